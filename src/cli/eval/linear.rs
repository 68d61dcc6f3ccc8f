//! `dinoxide eval linear`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, ProtocolArgs, show};
use crate::eval::readout::PatchMean;
use crate::run::console::print_line;
use crate::run::protocols::linear::{LinearReport, LinearRequest, TrainImages, Training, linear};

/// A linear layer trained on frozen features.
///
/// Several learning rates are trained side by side; the best of all rates and epochs on the validation images is reported, as the
/// original program does, and the last epoch of each.
#[derive(Debug, Args)]
pub(super) struct LinearArgs {
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Folder with one sub-folder per class to learn from
    #[arg(long, value_name = "DIR", required_unless_present = "evaluate")]
    train: Option<PathBuf>,
    /// Folder with one sub-folder per class, whose images are classified
    #[arg(long, value_name = "DIR")]
    val: PathBuf,
    /// Class tokens of so many last blocks [default: 4 for ViT-S and smaller, and for DINOv2; else 1]
    #[arg(long, value_name = "N")]
    blocks: Option<usize>,
    /// What is done with the mean of the last block's patches [default: interleaved for DINO's ViT-B, appended for DINOv2, else none]
    #[arg(long, value_enum)]
    patches: Option<PatchMean>,
    /// Learning rates for batches of 256 [default: 0.001,0.003,0.01,0.03,0.1,0.3; with --reference-exact 0.001]
    #[arg(long, value_name = "LR,…", value_delimiter = ',')]
    lr: Option<Vec<f64>>,
    /// Times that every image is seen [default: 100]
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Images of a step [default: 256; with --reference-exact 1024]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Another random crop of each image for every epoch, as the original does, instead of features of centres computed once
    #[arg(long)]
    augment: bool,
    /// Seed of the start, the order and the crops
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Evaluate this head instead of training one: head.pth of an earlier call, or a released one
    #[arg(long, value_name = "HEAD", conflicts_with_all = ["lr", "epochs", "batch", "augment"])]
    evaluate: Option<PathBuf>,
}

pub(super) fn run(arguments: LinearArgs) -> anyhow::Result<Ending> {
    let LinearArgs { protocol, train, val, blocks, patches, lr, epochs, batch, augment, seed, evaluate } = arguments;
    let (protocol, json) = protocol.request("linear");
    let images = if augment { TrainImages::Crops } else { TrainImages::Centres };
    let training = Training { rates: lr, epochs, batch, seed, images };
    let outcome = linear(&LinearRequest { protocol, train, val, blocks, patches, training, head: evaluate })?;
    show(&outcome, json, print_table)
}

fn print_table(report: &LinearReport) {
    let LinearReport { accuracy, best, rates, train, val, classes, .. } = report;
    if !rates.is_empty() {
        print_line("      lr   best  at epoch   last top-1  top-5    loss");
    }
    for rate in rates {
        let (lr, top1, epoch, last) = (rate.lr, rate.best_top1, rate.best_epoch, rate.last);
        let (last_top1, last_top5, loss) = (last.accuracy.top1, last.accuracy.top5, last.loss);
        print_line(&format!("{lr:>8} {top1:>6.2}  {epoch:>8}       {last_top1:>6.2} {last_top5:>6.2}  {loss:>6.4}"));
    }
    print_line(&format!(
        "top-1 {:.2} %, top-5 {:.2} % of {val} images in {classes} classes",
        accuracy.top1, accuracy.top5
    ));
    let Some(best) = best else { return };
    print_line(&format!(
        "learnt from {train} images; lr {} and epoch {} were chosen on the validation images,",
        best.lr, best.epoch
    ));
    print_line("as the original program does: a little too good. The last epoch of one learning rate is not.");
    let others = || rates.iter().map(|rate| rate.lr);
    let (low, high) = (others().fold(f64::INFINITY, f64::min), others().fold(0.0, f64::max));
    if low < high && (best.lr == low || best.lr == high) {
        let (which, side) = if best.lr == low { ("smallest", "smaller") } else { ("largest", "larger") };
        print_line(&format!("the best learning rate is the {which} that was tried: try {side} ones with `--lr`"));
    }
}
