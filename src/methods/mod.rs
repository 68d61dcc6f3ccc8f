//! Self-supervised methods: networks, state, and what happens around the gradient. One file per method.
//!
//! The training loop knows a method only through [`Method`]. Every method has a student, whose parameters belong to the loop, and an
//! average of it, which is kept and evaluated. Where the method itself has no second network, the average has a momentum of 0: it is
//! the student after the last step.

use std::time::Instant;

use dinoxide_engine::kernels::{Kernels, Patches};
use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Images, Loss, Tape};
use dinoxide_engine::tensor::{Matrix, Pool};

use crate::loss::classification::Target;
use crate::loss::dino::ViewCount;
use crate::nn::backbone::{Backbone, BackboneConfig};
use crate::nn::drop_path::{DropPath, KeptBranches};
use crate::nn::init::Registry;
use crate::schedule::Scheduled;

pub mod barlow_twins;
pub mod byol;
pub mod center;
pub mod deepcluster;
pub mod dino;
pub mod ibot;
pub mod moco;
pub mod obow;
mod prototypes;
pub mod queue;
pub mod simclr;
pub mod spherical_kmeans;
pub mod supervised;
pub mod swav;

/// Prefix of the backbone's tensors in student and average.
pub const BACKBONE: &str = "backbone.";
/// Prefixes of what follows the backbone in training and is not kept for use.
pub const HEADS: [&str; 5] = [dino::HEAD, ibot::PATCH_HEAD, "projector.", "predictor.", "prototypes."];
/// What is in the names of prototypes, which some methods do not train in the first steps.
pub const PROTOTYPES: [&str; 2] = ["last_layer.", "prototypes."];
/// Lower clamp of the norm in `torch.nn.functional.normalize`.
const NORMALIZE_EPS: f64 = 1e-12;

/// The views of one micro-batch, as groups of equally sized crops: global crops first, then local ones.
///
/// Each group is view-major: view v of image b is image `v·batch + b` of the group.
#[derive(Debug, Clone)]
pub struct Views<'a> {
    /// The groups, global crops first.
    pub groups: Vec<Images<'a>>,
    /// Images of this micro-batch.
    pub images: usize,
    /// Position of its first image in the effective batch.
    pub first_image: usize,
    /// Running statistics of the teacher after the micro-batches before this one; the student's tape has its own already.
    pub teacher_statistics: Statistics,
}

/// What one micro-batch gives.
#[derive(Debug)]
pub struct Forward {
    /// The loss to minimise.
    pub loss: Loss,
    /// What [`Method::after_update`] needs of this micro-batch.
    pub outputs: Outputs,
    /// How long the parts took.
    pub seconds: ForwardSeconds,
}

/// Time of the parts of a forward pass, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ForwardSeconds {
    /// The network that gives the targets.
    pub teacher: f64,
    /// The network that learns.
    pub student: f64,
    /// Targets and loss, the layer of DINO's prototypes included.
    pub loss: f64,
}

/// Terms of a loss beside the one of its targets, each with its weight; 0 where a method has none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Terms {
    /// What the student makes of masked patches.
    pub patches: f64,
    /// How near features are to each other; may be negative.
    pub koleo: f64,
}

/// What the micro-batches of a step leave behind; together they give that of the whole batch.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// Sums over the targets, where these are probabilities.
    pub targets: TargetSums,
    /// Terms of the loss beside the one of these targets; of one micro-batch.
    pub terms: Terms,
    /// The same over the targets of masked patches.
    pub patch_targets: TargetSums,
    /// Rows for a queue, in the order of the images, `[B, D]` of each view.
    pub keys: Vec<Vec<f32>>,
    /// Running statistics of the student's normalisation layers.
    pub student_statistics: Statistics,
    /// Running statistics of the teacher's normalisation layers.
    pub teacher_statistics: Statistics,
}

/// Sums over the rows of targets that are probabilities.
#[derive(Debug, Clone, Default)]
pub struct TargetSums {
    /// Column sums of the logits that the targets are made of, `[K]`.
    pub logits: Vec<f32>,
    /// Column sums of the targets, `[K]`.
    pub probs: Vec<f32>,
    /// Sum over rows of the targets' entropy, in nats.
    pub entropy: f64,
    /// Number of rows summed.
    pub rows: usize,
}

/// How sharp and how varied targets are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TargetFigures {
    /// Mean entropy of the targets, h(P_t), in nats.
    pub entropy: f64,
    /// Entropy of the mean target in nats: how many prototypes the batch uses.
    pub batch_entropy: f64,
    /// Share of the prototype that the mean target prefers.
    pub largest_share: f64,
}

/// New values of running statistics.
pub type Statistics = Vec<(dinoxide_engine::params::ParamId, Vec<f32>)>;

/// A tensor of a method's own state, as checkpoints store it.
#[derive(Debug, Clone, PartialEq)]
pub struct StateTensor {
    /// Its official name, for example `center`.
    pub name: &'static str,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// A self-supervised method: its networks, its state, its loss.
pub trait Method {
    /// Builds the loss of one micro-batch on the student's tape. `at` carries every scheduled value of this step. The tape may ask
    /// the method for more until it has the gradient.
    fn forward<'a>(&'a self, tape: &mut Tape<'a>, views: &Views<'_>, at: &Scheduled) -> Forward;

    /// Takes what the global views of the next batch show, view-major: for a method that learns from labels.
    fn take_targets(&mut self, _targets: Vec<Target>) {}

    /// Takes which images of the data the next batch is made of: for a method that remembers them.
    fn take_images(&mut self, _images: &[u32]) {}

    /// The score of every class for images, `[B, classes]`, by the network of the tape; `None` for a method without a classifier.
    fn scores(&self, _tape: &mut Tape<'_>, _images: &[Images<'_>]) -> Option<Matrix> {
        None
    }

    /// What happens to the student's parameters before a step: prototypes are brought back to unit length.
    fn before_step(&self, _student: &mut Params) {}

    /// The average of the student that the optimizer keeps up to date in its own pass over memory, with its momentum.
    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)>;

    /// What happens after the optimizer and the average: centre, queue, running statistics.
    fn after_update(&mut self, outputs: Outputs, at: &Scheduled);

    /// The network that is kept and evaluated, and its parameters.
    fn backbone(&self) -> (&Backbone, &Params);

    /// State besides student and teacher, for checkpoints.
    fn state(&self) -> Vec<StateTensor> {
        Vec::new()
    }

    /// Takes back one tensor that [`Method::state`] gave; says whether it was known.
    fn restore(&mut self, _name: &str, _values: &[f32]) -> bool {
        false
    }

    /// The teacher, for checkpoints.
    fn teacher_mut(&mut self) -> &mut Params;
}

/// What a method runs on.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    /// The kernels.
    pub kernels: &'a dyn Kernels<f32>,
    /// Where memory comes from.
    pub pool: &'a Pool,
}

impl Terms {
    /// Their sum.
    pub fn total(&self) -> f64 {
        self.patches + self.koleo
    }

    /// Adds `share` times others.
    pub fn add(&mut self, other: Self, share: f64) {
        self.patches += share * other.patches;
        self.koleo += share * other.koleo;
    }
}

impl Outputs {
    /// Adds what the next micro-batch leaves, whose running statistics have gone on from these.
    pub fn merge(&mut self, other: Self) {
        self.targets.merge(other.targets);
        self.patch_targets.merge(other.patch_targets);
        self.keys.resize_with(self.keys.len().max(other.keys.len()), Vec::new);
        self.keys.iter_mut().zip(other.keys).for_each(|(keys, more)| keys.extend(more));
        self.student_statistics = other.student_statistics;
        self.teacher_statistics = other.teacher_statistics;
    }
}

impl TargetSums {
    /// The sums of logits and of the targets that were made of them, both `[rows, out_dim]`, with the mean entropy of a row.
    pub fn of(tape: &Tape<'_>, [logits, probs]: [&[f32]; 2], out_dim: usize, entropy: f64) -> Self {
        let sums = Self::of_logits(tape, logits, out_dim);
        Self { probs: column_sums(tape, probs, out_dim), entropy: entropy * sums.rows as f64, ..sums }
    }

    /// The sums of logits `[rows, out_dim]` of which no probabilities are made.
    pub fn of_logits(tape: &Tape<'_>, logits: &[f32], out_dim: usize) -> Self {
        Self { logits: column_sums(tape, logits, out_dim), rows: logits.len() / out_dim, ..Self::default() }
    }

    fn merge(&mut self, other: Self) {
        if self.rows == 0 {
            *self = other;
            return;
        }
        let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.logits, &other.logits);
        add(&mut self.probs, &other.probs);
        self.entropy += other.entropy;
        self.rows += other.rows;
    }

    /// The figures; none without targets.
    pub fn figures(&self) -> Option<TargetFigures> {
        let rows = Some(self.rows as f64).filter(|rows| *rows > 0.0 && !self.probs.is_empty())?;
        let means = self.probs.iter().map(|sum| f64::from(*sum) / rows);
        Some(TargetFigures {
            entropy: self.entropy / rows,
            batch_entropy: means.clone().filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum(),
            largest_share: means.fold(0.0, f64::max),
        })
    }
}

/// Brings a row to unit length.
fn to_unit_length(row: &mut [f32]) {
    let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(NORMALIZE_EPS);
    row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
}

fn column_sums(tape: &Tape<'_>, rows: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    tape.kernels().add_column_sums(rows.into(), &mut sums);
    sums
}

/// The backbone of a method and how its student is regularised.
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderConfig {
    /// The backbone of student and average.
    pub backbone: BackboneConfig,
    /// Drop-path rate of the student's last block; the average drops nothing.
    pub drop_path: f64,
    /// Seed of the initial weights and of drop path.
    pub seed: u64,
}

/// The backbone of a method.
#[derive(Debug, Clone)]
struct Encoder {
    backbone: Backbone,
    drop_path: f64,
    seed: u64,
}

impl Encoder {
    fn new(config: &EncoderConfig, registry: &mut Registry) -> Self {
        let backbone = Backbone::new(config.backbone.clone(), BACKBONE, registry);
        Self { backbone, drop_path: config.drop_path, seed: config.seed }
    }

    /// The student's features of all images of `groups`, which are those of `views`: `[V·B, D]`.
    fn student(&self, tape: &mut Tape<'_>, groups: &[Images<'_>], views: &Views<'_>, at: &Scheduled) -> Matrix {
        let kept = self.drop_path(groups, views, at);
        self.backbone.features(tape, groups, kept.as_ref())
    }

    /// The residual branches that images of `groups`, which are those of `views`, take in this step.
    fn drop_path(&self, groups: &[Images<'_>], views: &Views<'_>, at: &Scheduled) -> Option<KeptBranches> {
        let (rate, seed, step) = (self.drop_path, self.seed, at.step as u64);
        let draw = DropPath { rate, seed, step, first_image: views.first_image };
        let count = groups.iter().map(|group| group.patches.images).sum::<usize>() / views.images;
        self.backbone.drop_path(&draw, count, views.images)
    }
}

impl<'a> Views<'a> {
    /// How many views there are of each image.
    pub fn count(&self) -> ViewCount {
        let of = |group: usize| self.groups.get(group).map_or(0, |group| group.patches.images / self.images);
        ViewCount { images: self.images, teacher: of(0), student: of(0) + of(1) }
    }

    /// The first `groups` groups with each view as a group of its own, so that it is normalised by its own statistics.
    pub fn apart(&self, groups: usize) -> Vec<Images<'a>> {
        let views = |group: &Images<'a>| {
            let patches = Patches { images: self.images, ..group.patches };
            let view = patches.images * patches.height * patches.width * patches.channels;
            group.pixels.parts(view).into_iter().map(move |pixels| Images { pixels, patches })
        };
        self.groups.iter().take(groups).flat_map(views).collect()
    }
}

/// Measures one part after the other.
struct Lap(Instant);

impl Lap {
    fn start() -> Self {
        Self(Instant::now())
    }

    /// Seconds since the last call.
    fn seconds(&mut self) -> f64 {
        let begun = std::mem::replace(&mut self.0, Instant::now());
        (self.0 - begun).as_secs_f64()
    }
}

/// Writes running statistics into the parameters that hold them.
pub fn store(params: &mut Params, statistics: Statistics) {
    for (id, values) in statistics {
        params.get_mut(id).copy_from_slice(&values);
    }
}
