//! `dinoxide eval knn`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, MannerArgs, ProtocolArgs, show};
use crate::run::console::print_line;
use crate::run::protocols::knn::{KnnReport, KnnRequest, SavedKnnRequest, knn, knn_of_saved, knn_saving};

/// Weighted k-nearest-neighbour classification.
#[derive(Debug, Args)]
pub(super) struct KnnArgs {
    /// Run folder, or file or folder of weights
    #[arg(required_unless_present = "features")]
    model: Option<PathBuf>,
    #[command(flatten)]
    manner: MannerArgs,
    /// Folder with one sub-folder per class, whose images vote
    #[arg(long, value_name = "DIR", required_unless_present = "features")]
    train: Option<PathBuf>,
    /// Folder with one sub-folder per class, whose images are classified
    #[arg(long, value_name = "DIR", required_unless_present = "features")]
    val: Option<PathBuf>,
    /// Numbers of neighbours
    #[arg(short, value_name = "N,…", value_delimiter = ',', default_values_t = [10, 20, 100, 200])]
    k: Vec<usize>,
    /// Temperature of the votes
    #[arg(long, value_name = "T", default_value_t = 0.07)]
    temperature: f64,
    /// Save features and labels there too: trainfeat.pth, trainlabels.pth, testfeat.pth, testlabels.pth
    #[arg(long, alias = "dump_features", value_name = "DIR")]
    save_features: Option<PathBuf>,
    /// Take features and labels from there instead of images, as --save-features or the original program has written them
    #[arg(
        long,
        alias = "load_features",
        value_name = "DIR",
        conflicts_with_all = ["model", "train", "val", "save_features", "image_size", "network", "reference_exact"]
    )]
    features: Option<PathBuf>,
}

pub(super) fn run(arguments: KnnArgs) -> anyhow::Result<Ending> {
    let KnnArgs { model, manner, train, val, k, temperature, save_features, features } = arguments;
    let (protocol, json) = ProtocolArgs { model: model.unwrap_or_default(), manner }.request("knn");
    let (train, val) = (train.unwrap_or_default(), val.unwrap_or_default());
    let outcome = match (features, save_features) {
        (Some(features), _) => {
            let (out, precision) = (protocol.out, protocol.precision);
            knn_of_saved(&SavedKnnRequest { features, out, precision, k, temperature })?
        }
        (None, Some(folder)) => knn_saving(&KnnRequest { protocol, train, val, k, temperature }, &folder)?,
        (None, None) => knn(&KnnRequest { protocol, train, val, k, temperature })?,
    };
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
