//! The command line: arguments → one library call → words.

mod attention;
mod bench;
mod check;
mod dedup;
mod demo;
mod embed;
mod eval;
mod export;
mod given;
mod inspect;
mod map;
mod models;
mod neighbors;
mod pack;
mod pca;
mod pretrain;
mod preview;
mod recipes;
mod replay;
mod report;
mod runs;
mod serve;
mod verify_export;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigError, Precision};
use crate::run::RunError;
use crate::run::console::print_line;
use crate::run::input::{ImageSize, Network};
use crate::run::interrupt::{EXIT_INTERRUPTED, EXIT_REQUEUE};
use crate::run::look::LookRequest;
use crate::run::video::VideoReport;

/// Exit code after an error in what was typed.
const EXIT_USAGE: u8 = 2;

/// Learn from a folder of images, no labels: DINO pretraining, features, attention maps.
#[derive(Debug, Parser)]
#[command(name = "dinoxide", version, about, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "No data at hand? Type `dinoxide demo`. Own images: `dinoxide pretrain photos/`.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Pretrain(Box<pretrain::PretrainArgs>),
    Embed(embed::EmbedArgs),
    Eval(eval::EvalArgs),
    Attention(attention::AttentionArgs),
    Pca(pca::PcaArgs),
    Neighbors(neighbors::NeighborsArgs),
    Dedup(dedup::DedupArgs),
    Map(map::MapArgs),
    Demo(demo::DemoArgs),
    Export(export::ExportArgs),
    Inspect(inspect::InspectArgs),
    VerifyExport(verify_export::VerifyExportArgs),
    Check(check::CheckArgs),
    Preview(preview::PreviewArgs),
    Pack(pack::PackArgs),
    Bench(bench::BenchArgs),
    Models(models::ModelsArgs),
    Recipes(recipes::RecipesArgs),
    Replay(replay::ReplayArgs),
    Report(report::ReportArgs),
    Runs(runs::RunsArgs),
    Serve(serve::ServeArgs),
}

/// Which network looks at the images, and at what size.
#[derive(Debug, Args)]
struct SeenArgs {
    /// Resize to exactly this size, such as 224 or 480x320 (width x height)
    /// [default: the size of the global crops; above 64 px cut from the centre of 256/224 of it]
    #[arg(long, value_name = "SIZE", verbatim_doc_comment)]
    image_size: Option<ImageSize>,
    /// Which network of a run
    #[arg(long, value_enum, default_value_t)]
    network: Network,
    /// Number format of the computation
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
}

/// What the commands take that show what a network has learnt.
#[derive(Debug, Args)]
struct LookArgs {
    /// Run folder, .safetensors or .pth
    model: PathBuf,
    /// Folders, images, lists (.txt), tables (.csv), archives (.tar, .zip) or globs
    #[arg(required = true)]
    data: Vec<String>,
    /// Folder to write to [default: named like the command]
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    seen: SeenArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// A video instead of pictures.
#[derive(Debug, Args)]
struct FilmArgs {
    /// Write a video instead: .gif, through ffmpeg .mp4, .webm, .mkv or .mov, else a folder of PNG files. What is given is then a folder of frames, or
    /// a video file
    #[arg(long, value_name = "OUT", conflicts_with = "out")]
    video: Option<PathBuf>,
    /// Frames per second [default: those of the video file, else 30]
    #[arg(long, value_name = "N", requires = "video", value_parser = speed)]
    fps: Option<f64>,
    /// Longer side of a picture of the video, pixels [default: as suits the pictures]
    #[arg(long, value_name = "PX", requires = "video", value_parser = clap::value_parser!(u32).range(16..=8192))]
    side: Option<u32>,
}

/// Frames per second.
fn speed(text: &str) -> Result<f64, String> {
    let sane = |fps: &f64| fps.is_finite() && (0.01..=1000.0).contains(fps);
    text.parse().ok().filter(sane).ok_or_else(|| "write frames per second, such as 24".to_owned())
}

/// What is said of a video that was written.
fn show_film(report: &VideoReport, json: bool) -> anyhow::Result<Ending> {
    if json {
        print_json(report)?;
    } else {
        print_line(&report.out.display().to_string());
    }
    Ok(Ending::Done)
}

impl LookArgs {
    /// What to look at, with a folder of the command's name unless another is given; and whether the result is printed as JSON.
    fn request(self, command: &str) -> (LookRequest, bool) {
        let Self { model, data, out, seen, json } = self;
        let SeenArgs { image_size, network, precision } = seen;
        let out = out.unwrap_or_else(|| PathBuf::from(command));
        (LookRequest { model, data, out, image_size, network, precision }, json)
    }
}

/// How a command ended, if not with an error.
enum Ending {
    Done,
    Collapsed,
    Interrupted,
    Preempted,
}

/// Exit code of a run that was stopped because it had collapsed.
const EXIT_COLLAPSED: u8 = 3;

/// Runs the command of this process. Exit codes: 0 done, 1 failed, 2 usage, 3 collapsed (with
/// --strict-health) or forgetting, 75 stopped by a scheduler after saving, 130 interrupted after saving.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let ending = match cli.command {
        Command::Pretrain(arguments) => pretrain::run(*arguments),
        Command::Embed(arguments) => embed::run(arguments),
        Command::Eval(arguments) => eval::run(arguments),
        Command::Attention(arguments) => attention::run(arguments),
        Command::Pca(arguments) => pca::run(arguments),
        Command::Neighbors(arguments) => neighbors::run(arguments),
        Command::Dedup(arguments) => dedup::run(arguments),
        Command::Map(arguments) => map::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Export(arguments) => export::run(arguments),
        Command::Inspect(arguments) => inspect::run(arguments),
        Command::VerifyExport(arguments) => verify_export::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Preview(arguments) => preview::run(arguments),
        Command::Pack(arguments) => pack::run(arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Recipes(arguments) => recipes::run(arguments),
        Command::Models(arguments) => models::run(arguments),
        Command::Replay(arguments) => replay::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Runs(arguments) => runs::run(arguments),
        Command::Serve(arguments) => serve::run(arguments),
    };
    match ending {
        Ok(Ending::Done) => ExitCode::SUCCESS,
        Ok(Ending::Collapsed) => ExitCode::from(EXIT_COLLAPSED),
        Ok(Ending::Interrupted) => ExitCode::from(EXIT_INTERRUPTED),
        Ok(Ending::Preempted) => ExitCode::from(EXIT_REQUEUE),
        Err(error) => {
            writeln!(std::io::stderr(), "{}", describe(&error)).ok();
            if is_usage(&error) { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// The error with everything that caused it. What to do next is part of the first message.
fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("\n  because: {cause}"));
    }
    text
}

/// Whether the error lies in what was typed.
fn is_usage(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<ConfigError>() || matches!(cause.downcast_ref(), Some(RunError::Config(_) | RunError::NoData))
    })
}

/// Prints a result for scripts.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    print_line(&serde_json::to_string(value)?);
    Ok(())
}
