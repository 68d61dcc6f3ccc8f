//! `dinoxide eval logreg`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, ProtocolArgs, show};
use crate::eval::logreg::{PENALTY, TOLERANCE};
use crate::eval::subset::Subset;
use crate::run::console::print_line;
use crate::run::protocols::logreg::{LogRegReport, LogRegRequest, logreg};

/// Logistic regression on frozen features, with all labels or few.
#[derive(Debug, Args)]
pub(super) struct LogRegArgs {
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Folder with one sub-folder per class to learn from
    #[arg(long, value_name = "DIR")]
    train: PathBuf,
    /// Folder with one sub-folder per class, whose images are classified
    #[arg(long, value_name = "DIR")]
    val: PathBuf,
    /// Learn from these shares of each class as well, such as 0.01,0.1
    #[arg(long, value_name = "F,…", value_delimiter = ',')]
    fraction: Vec<f64>,
    /// Learn from so many images of each class as well, such as 1,5,10
    #[arg(long, value_name = "N,…", value_delimiter = ',', conflicts_with = "reference_exact")]
    per_class: Vec<usize>,
    /// Draws of each of these, of which mean and deviation are reported
    #[arg(long, value_name = "N", default_value_t = 3)]
    seeds: usize,
    /// Penalties on the squared weights, times the number of training images
    #[arg(long, value_name = "P,…", value_delimiter = ',', default_values_t = [PENALTY], conflicts_with = "reference_exact")]
    penalty: Vec<f64>,
    /// Share of the loss that it may be above the smallest possible
    #[arg(long, value_name = "T", default_value_t = TOLERANCE, conflicts_with = "reference_exact")]
    tolerance: f64,
}

pub(super) fn run(arguments: LogRegArgs) -> anyhow::Result<Ending> {
    let LogRegArgs { protocol, train, val, fraction, per_class, seeds, penalty, tolerance } = arguments;
    let (protocol, json) = protocol.request("logreg");
    let few = per_class.into_iter().map(Subset::PerClass).chain(fraction.into_iter().map(Subset::Fraction));
    let subsets = std::iter::once(Subset::All).chain(few).collect();
    let outcome = logreg(&LogRegRequest { protocol, train, val, subsets, seeds, penalties: penalty, tolerance })?;
    show(&outcome, json, print_table)
}

fn print_table(report: &LogRegReport) {
    print_line("      labels   images  penalty   top-1        top-5");
    for fit in &report.fits {
        let deviation = fit.top1_std.map_or_else(String::new, |std| format!(" ±{std:.2}"));
        let (words, images, penalty) = (fit.subset.words(), fit.train, fit.penalty);
        print_line(&format!("{words:>12} {images:>8} {penalty:>8}  {:>6.2}{deviation:<6} {:>6.2}", fit.top1, fit.top5));
    }
    let LogRegReport { val, classes, .. } = report;
    print_line(&format!("{val} images in {classes} classes"));
}
