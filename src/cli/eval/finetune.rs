//! `dinoxide eval finetune`.

use std::path::PathBuf;

use clap::Args;
use toml::Value;

use super::{Ending, ProtocolArgs, show};
use crate::config::{ConfigError, Origin, Partial};
use crate::run::console::print_line;
use crate::run::folder::WhenExists;
use crate::run::protocols::finetune::{FineTuneReport, FineTuneRequest, FineTuned, StartFrom, finetune};
use crate::run::trained::Stopped;

/// The whole network, trained on with a linear classifier: DeiT's recipe.
///
/// Goes on by itself if the folder of the results holds the same run, for example after Ctrl-C. The figure is that of the last epoch.
/// The tuned network with its classifier is tuned.safetensors, under the names of timm.
#[derive(Debug, Args)]
#[command(
    after_help = "`key=value` with --set reaches every other value of the run. Keys: `dinoxide recipes show finetune`, docs/eval-finetune.md."
)]
pub(super) struct FineTuneArgs {
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Folder with one sub-folder per class, or a .csv with paths and labels, to learn from
    #[arg(long, value_name = "DIR")]
    train: PathBuf,
    /// Folder with one sub-folder per class, whose images are classified
    #[arg(long, value_name = "DIR")]
    val: PathBuf,
    /// Begin with random values instead of the weights of MODEL
    #[arg(long)]
    from_scratch: bool,
    /// Passes over the images [default: what about an hour allows, 3 to 300; with --reference-exact 1000]
    #[arg(long, value_name = "N")]
    epochs: Option<i64>,
    /// Images of a step [default: 32 up to 20,000 images, 64, 128; with --reference-exact 768]
    #[arg(long, value_name = "N")]
    batch: Option<i64>,
    /// Learning rate for batches of 256 [default: 1e-3; from scratch 2e-3; with --reference-exact 3.75e-6]
    #[arg(long, value_name = "LR")]
    lr: Option<f64>,
    /// Learning rate of a block as a share of the next one's [default: 0.75; from scratch and with --reference-exact 1]
    #[arg(long, value_name = "SHARE")]
    layer_decay: Option<f64>,
    /// Epochs over which the learning rate rises; fractions allowed [default: a tenth of the run; with --reference-exact 5]
    #[arg(long, value_name = "N")]
    warmup_epochs: Option<f64>,
    /// Weight decay [default: 0.05]
    #[arg(long, value_name = "WD")]
    weight_decay: Option<f64>,
    /// Stochastic depth of the last block [default: 0.1; from scratch 0]
    #[arg(long, value_name = "P")]
    drop_path: Option<f64>,
    /// Share of a target that is spread over all classes [default: 0.1]
    #[arg(long, value_name = "SHARE")]
    label_smoothing: Option<f64>,
    /// Parameter of mixup; 0 for none [default: 0.8]
    #[arg(long, value_name = "ALPHA")]
    mixup: Option<f64>,
    /// Parameter of CutMix, in turns with mixup; 0 for none [default: 1]
    #[arg(long, value_name = "ALPHA")]
    cutmix: Option<f64>,
    /// RandAugment in timm's notation; "" for none [default: rand-m9-mstd0.5-inc1]
    #[arg(long, value_name = "TEXT")]
    rand_augment: Option<String>,
    /// Chance of random erasing [default: 0.25]
    #[arg(long, value_name = "P")]
    erase: Option<f64>,
    /// Evaluate and keep a moving average of the network that keeps this share at each step, such as 0.999 [default: 0, none]
    #[arg(long, value_name = "SHARE")]
    ema: Option<f64>,
    /// Seed of every random draw
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: i64,
    /// Any other value of the run; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Delete the run in the folder of the results and start anew
    #[arg(long)]
    overwrite: bool,
}

pub(super) fn run(arguments: FineTuneArgs) -> anyhow::Result<Ending> {
    let given = given(&arguments)?;
    let FineTuneArgs { protocol, train, val, from_scratch, overwrite, .. } = arguments;
    let (protocol, json) = protocol.request("finetune");
    let start = if from_scratch { StartFrom::Nothing } else { StartFrom::Weights };
    let when_exists = if overwrite { WhenExists::Overwrite } else { WhenExists::Resume };
    match finetune(&FineTuneRequest { protocol, train, val, start, given, when_exists })? {
        FineTuned::Finished(outcome) => show(&outcome, json, print_table),
        FineTuned::Stopped(Stopped::ByScheduler) => Ok(Ending::Preempted),
        FineTuned::Stopped(Stopped::Unhealthy) => Ok(Ending::Collapsed),
        FineTuned::Stopped(Stopped::ByPerson) => Ok(Ending::Interrupted),
    }
}

/// What was given for the run.
fn given(arguments: &FineTuneArgs) -> Result<Partial, ConfigError> {
    let mut given = Partial::default();
    given.insert("run.seed", Value::Integer(arguments.seed), Origin::Flag("--seed"))?;
    let wholes = [("run.epochs", "--epochs", arguments.epochs), ("run.batch", "--batch", arguments.batch)];
    for (key, flag, value) in wholes {
        value.map_or(Ok(()), |value| given.insert(key, Value::Integer(value), Origin::Flag(flag)))?;
    }
    let numbers = [
        ("optim.lr", "--lr", arguments.lr),
        ("optim.layer_decay", "--layer-decay", arguments.layer_decay),
        ("optim.warmup_epochs", "--warmup-epochs", arguments.warmup_epochs),
        ("model.drop_path", "--drop-path", arguments.drop_path),
        ("method.label_smoothing", "--label-smoothing", arguments.label_smoothing),
        ("views.mixup", "--mixup", arguments.mixup),
        ("views.cutmix", "--cutmix", arguments.cutmix),
        ("views.erase", "--erase", arguments.erase),
    ];
    for (key, flag, value) in numbers {
        value.map_or(Ok(()), |value| given.insert(key, Value::Float(value), Origin::Flag(flag)))?;
    }
    let pairs =
        [("optim.weight_decay", "--weight-decay", arguments.weight_decay), ("method.momentum", "--ema", arguments.ema)];
    for (key, flag, value) in pairs {
        let pair = |value: f64| Value::Array(vec![Value::Float(value); 2]);
        value.map_or(Ok(()), |value| given.insert(key, pair(value), Origin::Flag(flag)))?;
    }
    if let Some(text) = &arguments.rand_augment {
        given.insert("views.rand_augment", Value::String(text.clone()), Origin::Flag("--rand-augment"))?;
    }
    arguments.set.iter().try_for_each(|text| given.set(text))?;
    Ok(given)
}

fn print_table(report: &FineTuneReport) {
    let FineTuneReport { accuracy, loss, best, train, val, classes, weights, .. } = report;
    print_line(&format!(
        "top-1 {:.2} %, top-5 {:.2} %, loss {loss:.3} of {val} images in {classes} classes after the last epoch",
        accuracy.top1, accuracy.top5
    ));
    if let Some(best) = best {
        print_line(&format!(
            "the best epoch, {}, had {:.2} %; it would be chosen on the validation images, which is a little too good",
            best.epoch, best.top1
        ));
    }
    print_line(&format!("learnt from {train} images; the tuned network: {}", weights.display()));
}
