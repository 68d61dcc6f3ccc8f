//! `dinoxide bench`.

use clap::{Args, Subcommand};

use super::{Ending, print_json};
use crate::config::Precision;
use crate::run::bench::infer::{InferRequest, infer};
use crate::run::bench::knn::{KnnBenchRequest, knn};
use crate::run::bench::linear::{LinearBenchRequest, linear};
use crate::run::bench::optim::{OptimRequest, optim};
use crate::run::bench::step::{StepReport, StepRequest, step};
use crate::run::bench::views::{ViewsReport, ViewsRequest, views};
use crate::run::bench::{Terms, ViewSize};
use crate::run::console::print_line;
use crate::run::input::ImageSize;

/// Measure this machine and how fast the program is on it.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Step(StepArgs),
    Infer(InferArgs),
    Optim(OptimArgs),
    Knn(KnnArgs),
    Linear(LinearArgs),
    Views(ViewsArgs),
}

#[derive(Debug, Args)]
struct Common {
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = positive)]
    threads: Option<usize>,
    /// Calls that count; two more come before
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive)]
    steps: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Common {
    fn terms(&self) -> Terms {
        Terms { threads: self.threads, steps: self.steps }
    }
}

/// Whole training steps: teacher, student, loss, gradient, optimizer.
#[derive(Debug, Args)]
struct StepArgs {
    /// Backbone with its sizes
    #[arg(short, long, value_name = "NAME", default_value = "vit_small_patch16_224")]
    model: String,
    /// Number and side of the crops, global ones first
    #[arg(long, value_name = "NxSIDE,…", value_delimiter = ',', default_value = "2x224,8x96")]
    views: Vec<ViewSize>,
    /// Prototypes of the head
    #[arg(long, value_name = "K", default_value_t = 65_536)]
    out_dim: usize,
    /// Rate of stochastic depth in the student's last block
    #[arg(long, value_name = "RATE", default_value_t = 0.1)]
    drop_path: f64,
    /// The backbone alone, forward and backward: no head, no teacher, no update
    #[arg(long, conflicts_with_all = ["out_dim", "drop_path"])]
    no_head: bool,
    /// Keep only the input of each block for the gradient and compute the rest again
    #[arg(long)]
    recompute: bool,
    /// Images of a step
    #[arg(short, long, value_name = "N", default_value_t = 8, value_parser = positive)]
    batch: usize,
    /// Number format of the computation
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    #[command(flatten)]
    common: Common,
}

/// Features of images that lie decoded in memory.
#[derive(Debug, Args)]
struct InferArgs {
    /// Backbone with its sizes, or a run folder, or a file or folder of weights
    #[arg(short, long, value_name = "MODEL", default_value = "vit_small_patch16_224")]
    model: String,
    /// Size of the images, such as 224 or 480x320 [default: that which the name has, or in which the model is shown images]
    #[arg(long, value_name = "SIZE")]
    image_size: Option<ImageSize>,
    /// Images of a forward pass
    #[arg(short, long, value_name = "N", default_value_t = 8, value_parser = positive)]
    batch: usize,
    /// Number format of the computation
    #[arg(long, value_enum, default_value_t)]
    precision: Precision,
    #[command(flatten)]
    common: Common,
}

/// Clipping, AdamW and the teacher's average.
#[derive(Debug, Args)]
struct OptimArgs {
    /// Backbone with its sizes
    #[arg(short, long, value_name = "NAME", default_value = "vit_small_patch16_224")]
    model: String,
    /// Prototypes of the head
    #[arg(long, value_name = "K", default_value_t = 65_536)]
    out_dim: usize,
    #[command(flatten)]
    common: Common,
}

/// Exact nearest neighbours of random features.
#[derive(Debug, Args)]
struct KnnArgs {
    /// Images that vote
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = positive)]
    train: usize,
    /// Images that are classified
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = positive)]
    queries: usize,
    /// Width of the features
    #[arg(long, value_name = "D", default_value_t = 384, value_parser = positive)]
    dim: usize,
    /// Neighbours
    #[arg(short, long, value_name = "N", default_value_t = 20, value_parser = positive)]
    k: usize,
    #[command(flatten)]
    common: Common,
}

/// An epoch of the linear probe on random features.
#[derive(Debug, Args)]
struct LinearArgs {
    /// Rows of features
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = positive)]
    train: usize,
    /// Width of the features
    #[arg(long, value_name = "D", default_value_t = 1536, value_parser = positive)]
    dim: usize,
    /// Classes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = positive)]
    classes: usize,
    /// Learning rates, each with a layer of its own
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = positive)]
    rates: usize,
    /// Rows of a step
    #[arg(short, long, value_name = "N", default_value_t = 256, value_parser = positive)]
    batch: usize,
    #[command(flatten)]
    common: Common,
}

/// Views of image files as in training, decoding included, and the time of each stage.
#[derive(Debug, Args)]
struct ViewsArgs {
    /// Folders, images, quoted globs, lists, tables, archives
    #[arg(required = true)]
    data: Vec<String>,
    /// Number and side of the crops, global ones first
    #[arg(long, value_name = "NxSIDE,…", value_delimiter = ',', default_value = "2x224,8x96")]
    views: Vec<ViewSize>,
    /// Images at most, spread over the data
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = positive)]
    images: usize,
    #[command(flatten)]
    common: Common,
}

fn positive(text: &str) -> Result<usize, String> {
    let sane = 1..=1_000_000_000; // No product of a few such numbers overflows.
    text.parse().ok().filter(|number| sane.contains(number)).ok_or_else(|| "a whole number above 0".to_owned())
}

pub(super) fn run(arguments: BenchArgs) -> anyhow::Result<Ending> {
    match arguments.what {
        What::Step(arguments) => run_step(arguments)?,
        What::Infer(InferArgs { model, image_size, batch, precision, common }) => {
            let terms = common.terms();
            let report = infer(&InferRequest { model, image_size, batch, precision, terms })?;
            let share = share(report.gflops, report.peak_gflops);
            show(&report, common.json, || {
                vec![
                    format!(
                        "{:.1} images of {} per second, {:.2} ms a pass",
                        report.images_per_second, report.image_size, report.ms
                    ),
                    format!("{:.0} GFLOP/s, {share} of the peak of {} threads", report.gflops, report.place.threads),
                ]
            })?;
        }
        What::Optim(OptimArgs { model, out_dim, common }) => {
            let report = optim(&OptimRequest { model, out_dim, terms: common.terms() })?;
            let share = share(report.gbytes, report.peak_gbytes);
            show(&report, common.json, || {
                vec![
                    format!("{:.1} ms for {:.1} M parameters", report.ms, report.parameters as f64 / 1e6),
                    format!("{:.1} GB/s, {share} of the memory's {:.1} GB/s", report.gbytes, report.peak_gbytes),
                ]
            })?;
        }
        What::Knn(KnnArgs { train, queries, dim, k, common }) => {
            let report = knn(&KnnBenchRequest { train, queries, dim, k, terms: common.terms() })?;
            let share = share(report.gflops, report.peak_gflops);
            show(&report, common.json, || {
                vec![format!("{:.2} s, {:.0} GFLOP/s, {share} of the peak", report.seconds, report.gflops)]
            })?;
        }
        What::Linear(LinearArgs { train, dim, classes, rates, batch, common }) => {
            let report = linear(&LinearBenchRequest { train, dim, classes, rates, batch, terms: common.terms() })?;
            let share = share(report.gflops, report.peak_gflops);
            show(&report, common.json, || {
                vec![format!("{:.1} ms an epoch, {:.0} GFLOP/s, {share} of the peak", report.ms, report.gflops)]
            })?;
        }
        What::Views(ViewsArgs { data, views: sizes, images, common }) => {
            let report = views(&ViewsRequest { data, views: sizes, images, terms: common.terms() })?;
            show(&report, common.json, || views_lines(&report))?;
        }
    }
    Ok(Ending::Done)
}

fn views_lines(report: &ViewsReport) -> Vec<String> {
    let mut lines = vec![format!(
        "{:.1} images per second on {} threads, {:.2} ms an image of {:.2} megapixels",
        report.images_per_second, report.threads, report.ms, report.megapixels
    )];
    for (name, ms) in &report.stages.0 {
        lines.push(format!("  {name:11} {ms:7.2} ms  {}", share(*ms, report.ms)));
    }
    if report.unreadable > 0 {
        lines.push(format!("{} of {} images could not be read", report.unreadable, report.images));
    }
    lines
}

fn run_step(arguments: StepArgs) -> anyhow::Result<()> {
    let StepArgs { model, views, out_dim, drop_path, no_head, recompute, batch, precision, common } = arguments;
    let (out_dim, drop_path) = if no_head { (None, 0.0) } else { (Some(out_dim), drop_path) };
    let terms = common.terms();
    let report = step(&StepRequest { model, views, out_dim, drop_path, recompute, batch, precision, terms })?;
    show(&report, common.json, || step_lines(&report))
}

fn step_lines(report: &StepReport) -> Vec<String> {
    let StepReport { phases, rates, peak_gflops, .. } = report;
    let parts = [
        ("teacher", phases.teacher, rates.teacher),
        ("student", phases.student, rates.student),
        ("loss", phases.loss, rates.loss),
        ("backward", phases.backward, rates.backward),
    ];
    let mut lines = vec![format!(
        "{:.3} images per second, {:.1} ms a step, {:.0} GFLOP/s, {} of the {peak_gflops:.0} GFLOP/s of {} threads",
        report.images_per_second,
        report.ms,
        report.gflops,
        share(report.gflops, *peak_gflops),
        report.place.threads
    )];
    for (name, ms, rate) in parts.into_iter().filter(|(_, ms, _)| *ms > 0.0) {
        lines.push(format!("  {name:9} {ms:8.1} ms  {rate:4.0} GFLOP/s  {}", share(rate, *peak_gflops)));
    }
    if phases.optimizer > 0.0 {
        let (ms, rate) = (phases.optimizer, rates.optimizer);
        lines.push(format!("  optimizer {ms:8.1} ms  {rate:4.0} GB/s     {}", share(rate, report.peak_gbytes)));
    }
    let most = report.peak_rss_mb.map_or_else(String::new, |most| format!("{most:.0} MB at most, "));
    lines.push(format!(
        "memory: {most}{:.0} MB of activations; {:.1} MB allocated after the second step",
        report.activations_mb, report.allocated_mb
    ));
    lines
}

fn share(of: f64, peak: f64) -> String {
    format!("{:.0} %", 100.0 * of / peak)
}

fn show(report: &impl serde::Serialize, json: bool, lines: impl FnOnce() -> Vec<String>) -> anyhow::Result<()> {
    if json {
        return print_json(report);
    }
    lines().iter().for_each(|line| print_line(line));
    Ok(())
}
