//! `dinoxide eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Ending, SeenArgs, print_json};
use crate::run::console::print_line;
use crate::run::knn::{KnnReport, KnnRequest, knn};

/// Measure how good frozen features are.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    Knn(KnnArgs),
}

/// Weighted k-nearest-neighbour classification.
#[derive(Debug, Args)]
struct KnnArgs {
    /// Run folder, .safetensors or .pth
    model: PathBuf,
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
    #[command(flatten)]
    seen: SeenArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: EvalArgs) -> anyhow::Result<Ending> {
    let Protocol::Knn(arguments) = arguments.protocol;
    let KnnArgs { model, train, val, k, temperature, seen, json } = arguments;
    let SeenArgs { image_size, network, precision } = seen;
    let report = knn(&KnnRequest { model, train, val, k, temperature, image_size, network, precision })?;
    if json {
        print_json(&report)?;
    } else {
        print_table(&report);
    }
    Ok(Ending::Done)
}

fn print_table(report: &KnnReport) {
    print_line("    k   top-1   top-5");
    for (k, top1) in &report.top1 {
        let top5 = report.top5.get(k).map_or_else(|| "–".to_owned(), |top5| format!("{top5:.2}"));
        print_line(&format!("{k:>5}  {top1:>6.2}  {top5:>6}"));
    }
    let KnnReport { train, val, classes, seconds, .. } = report;
    print_line(&format!("{val} images by {train} neighbours in {classes} classes, {seconds:.1} s"));
}
