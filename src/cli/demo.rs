//! `dinoxide demo`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::run::console::{Verbosity, print_line};
use crate::run::demo::{DemoRequest, demo};

/// See it work: makes images, trains for a few minutes, writes a page. Needs no data.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Run folder [default: the next free runs/demo-<n>]
    #[arg(short, long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Seed of images and training
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Say warnings and errors only
    #[arg(short, long)]
    quiet: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: DemoArgs) -> anyhow::Result<Ending> {
    let DemoArgs { out, seed, quiet, json } = arguments;
    let verbosity = if quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let report = demo(&DemoRequest { out, seed, verbosity })?;
    if json {
        print_json(&report)?;
        return Ok(Ending::Done);
    }
    print_line(&format!(
        "k-NN     {:.1} % trained, {:.1} % untrained, {:.1} % on pixels, {:.1} % by chance",
        report.knn_trained, report.knn_untrained, report.knn_pixels, report.chance
    ));
    print_line(&format!(
        "Jaccard  {:.3} trained, {:.3} untrained, {:.3} for a centred ellipse",
        report.jaccard, report.jaccard_untrained, report.jaccard_baseline
    ));
    print_line(&format!("report   {}", report.report.display()));
    Ok(Ending::Done)
}
