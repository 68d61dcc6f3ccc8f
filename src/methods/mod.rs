//! Self-supervised methods: networks, state, and what happens around the gradient. One file per method.
//!
//! The training loop knows a method only through [`Method`].

use dinoxide_engine::kernels::Kernels;
use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Images, Loss, Tape};
use dinoxide_engine::tensor::Pool;

use crate::nn::backbone::Backbone;
use crate::schedule::Scheduled;

pub mod center;
pub mod dino;

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
    /// Targets and loss.
    pub loss: f64,
}

/// Sums over the rows of one or more micro-batches; they add up to those of the whole batch.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// Column sums of the teacher's logits, `[K]`.
    pub logit_sums: Vec<f32>,
    /// Column sums of the teacher's probabilities, `[K]`.
    pub prob_sums: Vec<f32>,
    /// Sum over rows of the teacher's entropy, in nats.
    pub entropy_sum: f64,
    /// Number of rows summed.
    pub rows: usize,
    /// Running statistics of the student's normalisation layers.
    pub student_statistics: Statistics,
    /// Running statistics of the teacher's normalisation layers.
    pub teacher_statistics: Statistics,
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
    /// Builds the loss of one micro-batch on the student's tape. `at` carries every scheduled value of this step.
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward;

    /// The average of the student that the optimizer keeps up to date in its own pass over memory, with its momentum.
    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)>;

    /// What happens after the optimizer and the average: centre, queue, running statistics.
    fn after_update(&mut self, outputs: Outputs, at: &Scheduled);

    /// The network that is kept and evaluated, and its parameters.
    fn backbone(&self) -> (&Backbone, &Params);

    /// State besides student and teacher, for checkpoints.
    fn state(&self) -> Vec<StateTensor>;

    /// Takes back one tensor that [`Method::state`] gave; says whether it was known.
    fn restore(&mut self, name: &str, values: &[f32]) -> bool;

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

impl Outputs {
    /// Adds the sums of the next micro-batch, whose running statistics have gone on from these.
    pub fn merge(&mut self, other: Self) {
        if self.rows == 0 {
            *self = other;
            return;
        }
        let add = |to: &mut [f32], from: &[f32]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.logit_sums, &other.logit_sums);
        add(&mut self.prob_sums, &other.prob_sums);
        self.entropy_sum += other.entropy_sum;
        self.rows += other.rows;
        self.student_statistics = other.student_statistics;
        self.teacher_statistics = other.teacher_statistics;
    }

    /// Mean entropy of the teacher's rows in nats, h(P_t).
    pub fn entropy(&self) -> f64 {
        self.entropy_sum / self.rows as f64
    }

    /// Share of the prototype that the mean of the teacher's rows prefers.
    pub fn largest_share(&self) -> f64 {
        self.prob_sums.iter().copied().fold(0.0, f32::max) as f64 / self.rows as f64
    }

    /// Entropy of the mean of the teacher's rows in nats: how many prototypes the batch uses.
    pub fn batch_entropy(&self) -> f64 {
        let rows = self.rows as f64;
        self.prob_sums.iter().map(|sum| f64::from(*sum) / rows).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum()
    }
}
