//! `dinoxide eval knn`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, ProtocolArgs, show};
use crate::run::console::print_line;
use crate::run::protocols::knn::{KnnReport, KnnRequest, knn};

/// Weighted k-nearest-neighbour classification.
#[derive(Debug, Args)]
pub(super) struct KnnArgs {
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Folder with one sub-folder per class, whose images vote
    #[arg(long, value_name = "DIR")]
    train: PathBuf,
    /// Folder with one sub-folder per class, whose images are classified
    #[arg(long, value_name = "DIR")]
    val: PathBuf,
    /// Numbers of neighbours
    #[arg(short, value_name = "N,…", value_delimiter = ',', default_values_t = [10, 20, 100, 200])]
    k: Vec<usize>,
    /// Temperature of the votes
    #[arg(long, value_name = "T", default_value_t = 0.07)]
    temperature: f64,
}

pub(super) fn run(arguments: KnnArgs) -> anyhow::Result<Ending> {
    let KnnArgs { protocol, train, val, k, temperature } = arguments;
    let (protocol, json) = protocol.request("knn");
    let outcome = knn(&KnnRequest { protocol, train, val, k, temperature })?;
    show(&outcome, json, print_table)
}

fn print_table(report: &KnnReport) {
    print_line("    k   top-1   top-5");
    for (k, top1) in &report.top1 {
        let top5 = report.top5.get(k).map_or_else(|| "–".to_owned(), |top5| format!("{top5:.2}"));
        print_line(&format!("{k:>5}  {top1:>6.2}  {top5:>6}"));
    }
    let KnnReport { train, val, classes, .. } = report;
    print_line(&format!("{val} images by {train} neighbours in {classes} classes"));
}
