//! The plan block: what a run is going to do, and why, before it does it.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::console::Verbosity;
use super::machine;
use super::progress::{duration, grouped};
use crate::config::{Choice, Config, Facts, images_per_second};
use crate::report::page::PlanLine;

/// Bytes of one f32.
const F32_BYTES: usize = 4;
/// Copies in one checkpoint: student, teacher, two moments.
const COPIES_PER_CHECKPOINT: usize = 4;
/// Checkpoints that are always kept: `last`, `previous` and `best`.
const CHECKPOINTS: usize = 3;
/// Bytes of the pictures of an evaluation, as files and for TensorBoard, about.
const PICTURE_BYTES: usize = 1_700_000;
/// Characters of the widest column.
const WIDEST: usize = 32;
/// Images below which a user is told that starting from weights is better.
const FEW_IMAGES: usize = 1000;

/// A run that is about to start.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// The complete configuration.
    pub config: &'a Config,
    /// What was derived, with reasons.
    pub choices: &'a [Choice],
    /// What it was derived from.
    pub facts: &'a Facts,
    /// The run folder.
    pub out: &'a Path,
}

impl Plan<'_> {
    /// The block as text: a summary, then every derived value with its reason and what to type to change it; the
    /// whole configuration for the verbose.
    pub fn text(&self, verbosity: Verbosity) -> String {
        let mut text = String::from("plan\n");
        for (name, line) in self.summary() {
            let _ = writeln!(text, "  {name:<9} {line}");
        }
        if !self.choices.is_empty() {
            text.push_str("derived\n");
        }
        let width = |of: fn(&Choice) -> &str| {
            let widths = self.choices.iter().map(|choice| of(choice).chars().count());
            // A list for each of many channels sticks out; it does not push everything aside.
            widths.filter(|width| *width <= WIDEST).max().unwrap_or(0)
        };
        let (keys, values) = (width(|choice| &choice.key), width(|choice| &choice.value));
        for Choice { key, value, reason, flag } in self.choices {
            // The key is enough for `--set`; only a flag of its own is worth the space.
            let flag = if flag.starts_with("--set") { "" } else { flag };
            let line = format!("  {key:<keys$}  {value:<values$}  {reason}  {flag}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !self.choices.is_empty() {
            text.push_str("  to choose otherwise: the flag, or --set key=value\n");
        }
        if verbosity == Verbosity::Verbose
            && let Ok(toml) = self.config.to_commented_toml()
        {
            let _ = write!(text, "configuration\n{toml}");
        }
        text
    }

    /// The block for the page: the summary, then every derived value with its reason.
    pub fn lines(&self) -> Vec<PlanLine> {
        let summary = self.summary().into_iter();
        let summary = summary.map(|(name, value)| PlanLine { label: name.to_owned(), value, reason: String::new() });
        let derived = self.choices.iter().map(|Choice { key, value, reason, .. }| PlanLine {
            label: key.clone(),
            value: value.clone(),
            reason: reason.clone(),
        });
        summary.chain(derived).collect()
    }

    /// Advice that deserves a warning, such as too few images.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let images = self.facts.images;
        if images < FEW_IMAGES && self.config.model.init.is_none() {
            warnings.push(format!(
                "{images} images are few; starting from trained weights (`--init WEIGHTS`) will give better features"
            ));
        }
        if self.config.run.micro_batch < self.config.run.batch {
            let balanced = self.config.dino.centering.looks_at_batch();
            let method = self.config.method.name;
            if method.compares_images() {
                warnings.push(
                    "this method compares the images of a micro-batch, so accumulating is not the large batch"
                        .to_owned(),
                );
            }
            if method.normalises_in_head() && !method.compares_images() {
                warnings.push(
                    "batch normalisation in the heads sees one micro-batch at a time, so accumulating is not quite the \
                     large batch"
                        .to_owned(),
                );
            }
            let in_backbone = self.config.model.has_batch_norm();
            if in_backbone {
                let name = &self.config.model.name;
                warnings.push(format!(
                    "batch normalisation of `{name}` sees one micro-batch at a time, so accumulating is not quite the large batch"
                ));
            }
            let across_images = [
                (!in_backbone && self.config.head.use_bn, "batch normalisation sees", "head.use_bn=false"),
                (balanced, "the balancing of prototypes sees", "dino.centering=centering"),
            ];
            warnings.extend(across_images.into_iter().filter(|(used, ..)| *used).map(|(_, who, exact)| {
                format!(
                    "{who} one micro-batch at a time, so accumulating is not quite the large batch; `--set {exact}` makes \
                     it exact"
                )
            }));
        }
        warnings
    }

    /// Estimated duration of the run.
    pub fn time(&self) -> Duration {
        if let Some(speed) = self.facts.speed {
            let evaluations = self.config.run.epochs / self.config.eval.every_epochs.max(1) + 1;
            let seconds = self.steps() as f64 * speed.step + evaluations as f64 * speed.evaluation;
            return Duration::from_secs_f64(seconds);
        }
        let images = self.steps() * self.config.run.batch;
        Duration::from_secs_f64(images as f64 / images_per_second(self.config, self.config.run.threads))
    }

    /// Disk that checkpoints and pictures need, bytes.
    pub fn disk_bytes(&self) -> usize {
        let kept = self.config.run.epochs.checked_div(self.config.run.keep_every_epochs).unwrap_or(0);
        let parameters = self.config.model.parameters(self.config.data.channels) + self.head_parameters();
        let evaluations = self.config.run.epochs / self.config.eval.every_epochs.max(1) + 2;
        let pictures = if self.config.eval.pictures { evaluations * PICTURE_BYTES } else { 0 };
        parameters * F32_BYTES * COPIES_PER_CHECKPOINT * (CHECKPOINTS + kept) + pictures
    }

    fn steps(&self) -> usize {
        self.config.total_steps(self.facts.images)
    }

    fn head_parameters(&self) -> usize {
        let width = self.config.model.dim();
        let layers = self.config.head_layers(width).into_iter().chain(self.config.patch_head_layers(width));
        layers.map(|[inputs, outputs]| inputs * outputs).sum()
    }

    fn summary(&self) -> Vec<(&'static str, String)> {
        let (config, facts) = (self.config, self.facts);
        let median = facts.median_size.map_or(String::new(), |(width, height)| format!(", median {width}×{height}"));
        let gib = facts.memory_bytes as f64 / f64::from(1 << 30);
        let weights = &config.data.weights;
        let shares = if weights.is_empty() { String::new() } else { format!(", shares {weights:?}") };
        let model = &config.model;
        let million = model.parameters(config.data.channels) as f64 / 1e6;
        let (global, local) = (&config.views.global, &config.views.local);
        let (batch, micro) = (config.run.batch, config.run.micro_batch);
        let parts = if micro < batch {
            format!("{batch} = {micro} × {} accumulated", config.accumulation())
        } else {
            format!("{batch} in one piece")
        };
        let time = duration(self.time());
        let every = config.eval.every_epochs;
        let supervised = config.method.name.learns_from_labels();
        let evaluate = match (&config.data.val, facts.val_classes) {
            (Some(val), _) if supervised => format!("top-1 on {val} every {every} epochs"),
            (None, _) if supervised => "none; accuracy with a labelled folder (--val)".to_owned(),
            (Some(val), Some(classes)) => format!("k-NN on {val} every {every} epochs ({classes} classes)"),
            (Some(val), None) => format!("k-NN on {val} every {every} epochs"),
            (None, _) => format!("rank of the features every {every} epochs; k-NN with a labelled folder (--val)"),
        };
        let prototypes = config.prototypes().map_or(String::new(), |prototypes| format!(", K {prototypes}"));
        let name = config.method.name;
        let method = if name.has_options() { format!(", {}", name.title()) } else { String::new() };
        let disk = self.disk_bytes() as f64 / 1e6;
        let start = model.init.as_ref().map_or(String::new(), |init| format!(", starting from {init}"));
        vec![
            ("data", format!("{} images, {} channels{median}{shares}", grouped(facts.images), config.data.channels)),
            ("device", format!("cpu {}, {} cores, {gib:.1} GiB", machine::cpu_model(), facts.cores)),
            ("model", format!("{} ({million:.1} M parameters){start}", model.full_name())),
            ("views", format!("{} × {} px, {} × {} px", global.count, global.size, local.count, local.size)),
            ("recipe", format!("{}{method}{prototypes}, lr {:.2e} at batch {batch}", config.recipe, config.peak_lr())),
            ("batch", parts),
            ("schedule", format!("{} epochs, {} steps ≈ {time}", config.run.epochs, grouped(self.steps()))),
            ("evaluate", evaluate),
            ("output", format!("{} (needs ≈ {disk:.0} MB)", self.out.display())),
        ]
    }
}
