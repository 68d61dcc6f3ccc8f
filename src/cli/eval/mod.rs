//! `dinoxide eval`: one file per protocol, and here what they share.

mod all;
mod copy;
mod finetune;
mod knn;
mod linear;
mod logreg;
mod retrieval;
mod segmentation;
mod video;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::{Ending, SeenArgs, print_json};
use crate::eval::published::Published;
use crate::run::console::print_line;
use crate::run::protocols::{Manner, Outcome, ProtocolRequest};

/// Measure how good a network's features are: frozen, or as a start for more training.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    Knn(knn::KnnArgs),
    Linear(Box<linear::LinearArgs>),
    #[command(name = "logreg")]
    LogReg(Box<logreg::LogRegArgs>),
    #[command(name = "finetune")]
    FineTune(Box<finetune::FineTuneArgs>),
    Video(video::VideoArgs),
    VideoScore(video::VideoScoreArgs),
    Retrieval(retrieval::RetrievalArgs),
    Copy(copy::CopyArgs),
    Segmentation(segmentation::SegmentationArgs),
    Saliency(segmentation::SaliencyArgs),
    All(all::AllArgs),
}

/// What every protocol takes.
#[derive(Debug, Args)]
struct ProtocolArgs {
    /// Run folder, or file or folder of weights
    model: PathBuf,
    #[command(flatten)]
    manner: MannerArgs,
}

/// What every protocol takes beside a model.
#[derive(Debug, Args)]
struct MannerArgs {
    /// Folder for results.json, tables and pictures [default: eval-PROTOCOL]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    seen: SeenArgs,
    /// Do all as the original program does: its image size, f32, its mean and deviation of pixels, no rotation by EXIF; options that it lacks are refused
    #[arg(long, conflicts_with_all = ["image_size", "precision"])]
    reference_exact: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl ProtocolArgs {
    /// What to do, with a folder of the protocol's name unless another is given; and whether the result is printed as JSON.
    fn request(self, protocol: &str) -> (ProtocolRequest, bool) {
        let Self { model, manner: MannerArgs { out, seen, reference_exact, json } } = self;
        let SeenArgs { image_size, network, precision } = seen;
        let out = out.unwrap_or_else(|| PathBuf::from(format!("eval-{protocol}")));
        let manner = if reference_exact { Manner::Reference } else { Manner::Fitting };
        (ProtocolRequest { model, network, image_size, precision, out, manner }, json)
    }
}

pub(super) fn run(arguments: EvalArgs) -> anyhow::Result<Ending> {
    match arguments.protocol {
        Protocol::Knn(arguments) => knn::run(arguments),
        Protocol::Linear(arguments) => linear::run(*arguments),
        Protocol::LogReg(arguments) => logreg::run(*arguments),
        Protocol::FineTune(arguments) => finetune::run(*arguments),
        Protocol::Video(arguments) => video::run(arguments),
        Protocol::VideoScore(arguments) => video::run_score(arguments),
        Protocol::Retrieval(arguments) => retrieval::run(arguments),
        Protocol::Copy(arguments) => copy::run(arguments),
        Protocol::Segmentation(arguments) => segmentation::run(arguments),
        Protocol::Saliency(arguments) => segmentation::run_saliency(arguments),
        Protocol::All(arguments) => all::run(arguments),
    }
}

/// Prints an outcome: as JSON, or as words, `table` being those of its figures.
fn show<R: Serialize>(outcome: &Outcome<R>, json: bool, table: impl FnOnce(&R)) -> anyhow::Result<Ending> {
    if json {
        print_json(outcome)?;
        return Ok(Ending::Done);
    }
    table(&outcome.result);
    show_published(outcome.published);
    if !outcome.deviations.is_empty() {
        print_line("differs from the original program:");
    }
    outcome.deviations.iter().for_each(|deviation| print_line(&format!("  {deviation}")));
    outcome.files.iter().for_each(|file| print_line(&file.display().to_string()));
    Ok(Ending::Done)
}

/// Prints what was published.
fn show_published(published: &[Published]) {
    if !published.is_empty() {
        print_line("published:");
    }
    for row in published {
        print_line(&format!("  {:>6.1}  {}, {} ({})", row.value, row.network, row.figure, row.source));
    }
}
