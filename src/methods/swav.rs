//! SwAV: the scores of one view predict the balanced assignment of another. SwAV (Caron et al. 2020), algorithm 1;
//! `main_swav.py`.

use std::rc::Rc;

use dinoxide_engine::kernels::Targets;
use dinoxide_engine::params::{ParamId, Params};
use dinoxide_engine::tape::Tape;
use dinoxide_engine::tensor::Matrix;

use super::queue::Queue;
use super::{
    Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, NORMALIZE_EPS, Outputs, StateTensor, TargetSums,
    Views, store, to_unit_length,
};
use crate::loss::dino::{DinoTargets, dino_loss};
use crate::loss::product::Rows;
use crate::loss::sinkhorn::sinkhorn_center;
use crate::nn::backbone::Backbone;
use crate::nn::init::{Init, Registry};
use crate::nn::mlp::{LastLayer, Mlp, MlpConfig};
use crate::schedule::Scheduled;

/// Iterations of Sinkhorn–Knopp.
const ITERATIONS: usize = 3;
/// Names of the queues of both global crops and of their places in checkpoints.
const QUEUES: [[&str; 2]; 2] = [["queue.0", "queue_ptr.0"], ["queue.1", "queue_ptr.1"]];

/// What SwAV is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct SwavConfig {
    /// The backbone.
    pub encoder: EncoderConfig,
    /// Width of the projector's hidden layer, 2048 in the paper.
    pub hidden_dim: usize,
    /// Width of the embeddings, 128 in the paper.
    pub out_dim: usize,
    /// Number of prototypes, 3000 in the paper.
    pub prototypes: usize,
    /// Temperature of the predictions, 0.1 in the paper.
    pub temperature: f64,
    /// Temperature of the assignments, ε; 0.05 in the paper.
    pub epsilon: f64,
    /// Embeddings of earlier batches that the assignments are balanced with, of each global crop; 0 for none.
    pub queue: usize,
    /// Epoch from which on they are.
    pub queue_from_epoch: usize,
}

/// The student after the last step, the queues, and the shape of the network.
#[derive(Debug, Clone)]
pub struct Swav {
    encoder: Encoder,
    projector: Mlp,
    prototypes: ParamId,
    kept: Params,
    queues: Vec<Queue>,
    config: SwavConfig,
}

impl Swav {
    /// Builds the network and returns the method with its parameters.
    pub fn new(config: SwavConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let SwavConfig { hidden_dim, out_dim, queue, .. } = config;
        let sizes =
            MlpConfig { in_dim: encoder.backbone.dim(), hidden_dim, out_dim, layers: 2, last: LastLayer::Biased };
        let projector = Mlp::new(&sizes, "projector.", &mut registry);
        let shape = [config.prototypes, out_dim];
        let prototypes = registry.trained("prototypes.weight".to_owned(), &shape, Init::FanIn(out_dim));
        let student = registry.finish(config.encoder.seed);
        let count = if queue > 0 { QUEUES.len() } else { 0 };
        let queues = vec![Queue::new(vec![0.0; queue * out_dim], out_dim); count];
        (Self { encoder, projector, prototypes, kept: student.clone(), queues, config }, student)
    }

    /// Balanced assignments of the global crops, each crop's by itself, and the mean entropy of a row.
    fn assignments(&self, tape: &Tape<'_>, scores: &Matrix, images: usize) -> DinoTargets {
        let (prototypes, epsilon) = (scores.columns(), self.config.epsilon);
        let mut probs = tape.scratch(QUEUES.len() * images * prototypes);
        let crops = probs.chunks_exact_mut(images * prototypes).zip(scores.values().chunks_exact(images * prototypes));
        let mut entropy = 0.0;
        for (crop, (probs, scores)) in crops.enumerate() {
            let mut balanced = self.queued_scores(tape, crop);
            balanced.extend_from_slice(scores);
            let center = sinkhorn_center(&balanced, prototypes, epsilon, ITERATIONS);
            entropy += tape.kernels().targets(Targets { logits: scores, center: &center, temp: epsilon }, probs);
        }
        DinoTargets { probs: Rc::new(probs), entropy: entropy / QUEUES.len() as f64 }
    }

    /// Scores of a crop's queue under today's prototypes; none before it is full.
    fn queued_scores(&self, tape: &Tape<'_>, crop: usize) -> Vec<f32> {
        let width = self.config.out_dim;
        let full =
            |queue: &&Queue| queue.values().rchunks_exact(width).next().is_some_and(|row| row != vec![0.0; width]);
        let Some(queue) = self.queues.get(crop).filter(full) else { return Vec::new() };
        let prototypes = Rows::new(tape.params().get(self.prototypes), width);
        Rows::new(queue.values(), width).times(prototypes.transposed())
    }
}

impl Method for Swav {
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let (mut clock, count) = (Lap::start(), views.count());
        let features = self.encoder.student(tape, &views.groups, views, at); // [V·B, D]
        let projections = self.projector.forward(tape, &features, 1); // [V·B, out_dim]
        let embeddings = tape.l2_normalize(&projections, NORMALIZE_EPS);
        let scores = tape.linear(&embeddings, self.prototypes, None); // [V·B, K]
        let student = clock.seconds();

        let targets = self.assignments(tape, &scores, views.images);
        let loss = dino_loss(tape, &scores, &targets, count, self.config.temperature);
        let global = count.teacher * views.images;
        let logits = &scores.values()[..global * scores.columns()];
        let queued = !self.queues.is_empty() && at.epoch >= self.config.queue_from_epoch;
        let crops = embeddings.values().chunks_exact(views.images * embeddings.columns()).take(count.teacher);
        let outputs = Outputs {
            targets: TargetSums::of(tape, [logits, &targets.probs], scores.columns(), targets.entropy),
            keys: crops.filter(|_| queued).map(<[f32]>::to_vec).collect(),
            student_statistics: tape.take_statistics(),
            ..Outputs::default()
        };
        Forward { loss, outputs, seconds: ForwardSeconds { teacher: 0.0, student, loss: clock.seconds() } }
    }

    /// Brings the prototypes to unit length.
    fn before_step(&self, student: &mut Params) {
        student.get_mut(self.prototypes).chunks_exact_mut(self.config.out_dim).for_each(to_unit_length);
    }

    fn average(&mut self, _at: &Scheduled) -> Option<(&mut Params, f64)> {
        Some((&mut self.kept, 0.0))
    }

    fn after_update(&mut self, outputs: Outputs, _at: &Scheduled) {
        self.queues.iter_mut().zip(&outputs.keys).for_each(|(queue, keys)| queue.push(keys));
        store(&mut self.kept, outputs.student_statistics);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        (&self.encoder.backbone, &self.kept)
    }

    fn state(&self) -> Vec<StateTensor> {
        self.queues.iter().zip(QUEUES).flat_map(|(queue, names)| queue.state(names)).collect()
    }

    fn restore(&mut self, name: &str, values: &[f32]) -> bool {
        self.queues.iter_mut().zip(QUEUES).any(|(queue, names)| queue.restore(names, name, values))
    }

    fn teacher_mut(&mut self) -> &mut Params {
        &mut self.kept
    }
}
