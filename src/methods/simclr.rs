//! SimCLR: two views of an image find each other among all views of the batch. SimCLR (Chen et al. 2020), section 2;
//! `model.py`, `objective.py`.

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::Tape;

use super::{Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, NORMALIZE_EPS, Outputs, Views, store};
use crate::loss::contrast::nt_xent;
use crate::nn::backbone::Backbone;
use crate::nn::init::Registry;
use crate::nn::mlp::{LastLayer, Mlp, MlpConfig};
use crate::schedule::Scheduled;

/// What SimCLR is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct SimclrConfig {
    /// The backbone.
    pub encoder: EncoderConfig,
    /// Width of the hidden layers.
    pub hidden_dim: usize,
    /// Width of the projections, 128 in the paper.
    pub out_dim: usize,
    /// Linear layers of the projector: 2, in version 2 of SimCLR 3.
    pub layers: usize,
    /// Temperature, 0.1 in the paper, 0.5 for CIFAR-10.
    pub temperature: f64,
}

/// The student after the last step and the shape of the network.
#[derive(Debug, Clone)]
pub struct Simclr {
    encoder: Encoder,
    projector: Mlp,
    kept: Params,
    temperature: f64,
}

impl Simclr {
    /// Builds the network and returns the method with its parameters.
    pub fn new(config: &SimclrConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let SimclrConfig { hidden_dim, out_dim, layers, temperature, .. } = *config;
        let sizes = MlpConfig { in_dim: encoder.backbone.dim(), hidden_dim, out_dim, layers, last: LastLayer::Normed };
        let projector = Mlp::new(&sizes, "projector.", &mut registry);
        let student = registry.finish(config.encoder.seed);
        (Self { encoder, projector, kept: student.clone(), temperature }, student)
    }
}

impl Method for Simclr {
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let mut clock = Lap::start();
        let features = self.encoder.student(tape, &views.groups[..1], views, at); // [2·B, D]
        let projections = self.projector.forward(tape, &features, 1); // [2·B, out_dim]
        let z = tape.l2_normalize(&projections, NORMALIZE_EPS);
        let student = clock.seconds();
        let loss = nt_xent(tape, &z, self.temperature);
        let outputs = Outputs { student_statistics: tape.take_statistics(), ..Outputs::default() };
        Forward { loss, outputs, seconds: ForwardSeconds { teacher: 0.0, student, loss: clock.seconds() } }
    }

    fn average(&mut self, _at: &Scheduled) -> Option<(&mut Params, f64)> {
        Some((&mut self.kept, 0.0))
    }

    fn after_update(&mut self, outputs: Outputs, _at: &Scheduled) {
        store(&mut self.kept, outputs.student_statistics);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        (&self.encoder.backbone, &self.kept)
    }

    fn teacher_mut(&mut self) -> &mut Params {
        &mut self.kept
    }
}
