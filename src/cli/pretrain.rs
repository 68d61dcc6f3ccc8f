//! `dinoxide pretrain`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use toml::Value;

use super::Ending;
use super::given::GivenArgs;
use crate::config::{ConfigError, Origin, Partial, Precision};
use crate::run::RunError;
use crate::run::console::{Figures, Progress, Verbosity};
use crate::run::environment::ENVIRONMENT_FILE;
use crate::run::folder::{CONFIG_FILE, WhenExists};
use crate::run::observer::WhenCollapsed;
use crate::run::pretrain::{Goal, Outcome, PretrainRequest, pretrain};

/// Train a network on images without labels.
///
/// Continues by itself if the run folder holds the same run. Everything not given is derived from the images and the
/// machine, and printed with its reason before the first step.
#[derive(Debug, Args)]
#[command(after_help = "`key=value` after DATA is the same as `--set key=value`. Keys: `dinoxide recipes show dino`.")]
pub(super) struct PretrainArgs {
    #[command(flatten)]
    given: GivenArgs,
    /// Run folder [default: the next free runs/<data>-<model>-<n>]
    #[arg(short, long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Weights to start from: a run folder, .pth or .safetensors
    #[arg(long, value_name = "WEIGHTS")]
    init: Option<String>,
    /// Start although some tensors of the weights do not fit the network; those begin with random values, and are named
    #[arg(long)]
    init_partial: bool,
    /// Passes over the images
    #[arg(short, long, value_name = "N|auto", value_parser = amount)]
    epochs: Option<Value>,
    /// Time the run may take, such as 8h or 1h30m: its speed is measured and the schedule planned to end by then
    #[arg(short, long, value_name = "TIME", conflicts_with = "epochs")]
    time: Option<String>,
    /// Images per optimizer step, split by memory and accumulated
    #[arg(short, long, value_name = "N|auto", value_parser = amount)]
    batch: Option<Value>,
    /// Folder with one sub-folder per class, or a .csv with paths and labels: k-NN while training
    #[arg(long, value_name = "DIR")]
    val: Option<String>,
    /// Epochs between two evaluations
    #[arg(long, value_name = "N|auto", value_parser = amount)]
    eval_every: Option<Value>,
    /// Where to compute
    #[arg(short, long, value_enum, default_value_t)]
    device: Device,
    /// Number format of the computation [default: f32]
    #[arg(long, value_enum)]
    precision: Option<Precision>,
    /// Threads that decode and augment
    #[arg(short = 'j', long, value_name = "N|auto", value_parser = amount)]
    workers: Option<Value>,
    /// Whether to continue a run in the run folder
    #[arg(long, value_enum, default_value_t)]
    resume: Resume,
    /// Delete the run in the run folder and start anew
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Save and stop if the run collapses; exit code 3 if it ever did
    #[arg(long)]
    strict_health: bool,
    /// Print the plan and stop
    #[arg(long)]
    dry_run: bool,
    /// Say warnings and errors only
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// Print the whole configuration
    #[arg(short, long)]
    verbose: bool,
    /// Print figures as JSON lines on stdout
    #[arg(long)]
    json: bool,
    /// Watch on the whole terminal: curves, figures, log; q saves and stops
    #[arg(long, conflicts_with_all = ["quiet", "json"])]
    tui: bool,
}

/// Where to compute.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Device {
    /// The processor.
    #[default]
    Cpu,
}

/// Whether to continue a run.
#[derive(Debug, Clone, Copy, Default, ValueEnum, PartialEq, Eq)]
enum Resume {
    /// If the configuration is the same.
    #[default]
    Auto,
    /// Refuse a folder that holds a run.
    Never,
    /// With the run's own configuration.
    Must,
}

pub(super) fn run(arguments: PretrainArgs) -> anyhow::Result<Ending> {
    let request = request(arguments)?;
    let outcome = pretrain(&request)?;
    Ok(match outcome {
        Outcome::Planned | Outcome::Finished { .. } => Ending::Done,
        Outcome::Collapsed { .. } => Ending::Collapsed,
        Outcome::Interrupted { .. } => Ending::Interrupted,
        Outcome::Preempted { .. } => Ending::Preempted,
    })
}

fn request(arguments: PretrainArgs) -> Result<PretrainRequest, RunError> {
    let when_exists = match (arguments.overwrite, arguments.resume) {
        (true, _) => WhenExists::Overwrite,
        (false, Resume::Auto) => WhenExists::Resume,
        (false, Resume::Never) => WhenExists::Refuse,
        (false, Resume::Must) => WhenExists::MustResume,
    };
    let stored = arguments.out.as_ref().map(|out| out.join(CONFIG_FILE)).filter(|file| file.exists());
    let file = match (&arguments.given.config, stored) {
        (Some(file), _) => Some(file.clone()),
        // `pretrain -o RUN --resume must` needs nothing else: the run knows its data.
        (None, Some(stored)) if when_exists == WhenExists::MustResume => Some(stored),
        _ => None,
    };
    let given = arguments.given.partial(file.as_deref(), |given| insert_flags(&arguments, given))?;
    if !given.has("data.train") {
        return Err(RunError::NoData);
    }
    Ok(PretrainRequest {
        given,
        out: arguments.out.or_else(|| arguments.given.config.as_deref().and_then(run_of)),
        when_exists,
        when_collapsed: if arguments.strict_health { WhenCollapsed::Stop } else { WhenCollapsed::GoOn },
        goal: if arguments.dry_run { Goal::Plan } else { Goal::Train },
        verbosity: match (arguments.quiet, arguments.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, true) => Verbosity::Verbose,
            (false, false) => Verbosity::Normal,
        },
        figures: if arguments.json { Figures::Json } else { Figures::Talk },
        progress: if arguments.tui { Progress::Screen } else { Progress::Lines },
    })
}

/// The run a configuration file belongs to: `-c RUN/config.toml` continues RUN unless `-o` says otherwise.
fn run_of(config: &Path) -> Option<PathBuf> {
    let folder = config.parent()?;
    let is_run = config.file_name()? == CONFIG_FILE && folder.join(ENVIRONMENT_FILE).exists();
    is_run.then(|| folder.to_owned())
}

/// The flags of this command alone.
fn insert_flags(arguments: &PretrainArgs, given: &mut Partial) -> Result<(), ConfigError> {
    let other_time = arguments.time.as_deref().is_some_and(|time| given.text("run.time") != Some(time));
    if other_time {
        // What a configuration file found for another time, or for none.
        ["run.steps", "run.epochs", "eval.every_epochs"].iter().for_each(|key| given.forget(key));
    }
    let texts = [
        ("model.init", "--init", &arguments.init),
        ("data.val", "--val", &arguments.val),
        ("run.time", "--time", &arguments.time),
    ];
    for (key, flag, text) in texts {
        if let Some(text) = text {
            given.insert(key, Value::String(text.clone()), Origin::Flag(flag))?;
        }
    }
    if arguments.init_partial {
        given.insert("model.init_partial", Value::Boolean(true), Origin::Flag("--init-partial"))?;
    }
    if let Some(precision) = arguments.precision {
        let name = precision.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        given.insert("run.precision", Value::String(name), Origin::Flag("--precision"))?;
    }
    let amounts = [
        ("run.epochs", "--epochs", &arguments.epochs),
        ("run.batch", "--batch", &arguments.batch),
        ("eval.every_epochs", "--eval-every", &arguments.eval_every),
        ("data.workers", "--workers", &arguments.workers),
    ];
    for (key, flag, amount) in amounts {
        if let Some(amount) = amount {
            given.insert(key, amount.clone(), Origin::Flag(flag))?;
        }
    }
    Ok(())
}

/// A whole number, or the word that leaves the choice to the program.
fn amount(text: &str) -> Result<Value, String> {
    match text {
        "auto" => Ok(Value::String(text.to_owned())),
        _ => text.parse().map(Value::Integer).map_err(|_| "a whole number or auto is expected".to_owned()),
    }
}
