//! `dinoxide demo`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::config::Partial;
use crate::run::console::{Verbosity, print_line};
use crate::run::demo::{DemoOutcome, DemoReport, DemoRequest, demo};

/// See it work: makes images, trains for a few minutes, writes a page. Needs no data.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Run folder; one that holds a demo is continued [default: the next free runs/demo-<n>]
    #[arg(short, long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Images to make and train on; a fifth as many to test on
    #[arg(long, value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u64).range(2..))]
    images: u64,
    /// Seed of images and training
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Any value of the configuration, over those of `dinoxide recipes show demo`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Say warnings and errors only
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: DemoArgs) -> anyhow::Result<Ending> {
    let DemoArgs { out, images, seed, set, quiet, json } = arguments;
    let mut given = Partial::default();
    for text in &set {
        given.set(text)?;
    }
    let verbosity = if quiet { Verbosity::Quiet } else { Verbosity::Normal };
    match demo(&DemoRequest { out, images, seed, given, verbosity })? {
        DemoOutcome::Interrupted { .. } => return Ok(Ending::Interrupted),
        DemoOutcome::Finished(report) if json => print_json(&report)?,
        DemoOutcome::Finished(report) => print_words(&report),
    }
    Ok(Ending::Done)
}

fn print_words(report: &DemoReport) {
    print_line(&format!(
        "k-NN     {:.1} % trained, {:.1} % untrained, {:.1} % on pixels, {:.1} % by chance",
        report.knn_trained, report.knn_untrained, report.knn_pixels, report.chance
    ));
    print_line(&format!(
        "Jaccard  {:.3} trained, {:.3} untrained, {:.3} for a centred ellipse (best head)",
        report.jaccard, report.jaccard_untrained, report.jaccard_baseline
    ));
    print_line(&format!(
        "         {:.3} trained, {:.3} untrained (mean of heads)",
        report.jaccard_mean_heads, report.jaccard_mean_heads_untrained
    ));
    print_line(&format!("report   {}", report.report.display()));
}
