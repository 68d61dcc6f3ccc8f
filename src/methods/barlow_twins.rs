//! Barlow Twins: the outputs of two views agree, and each output says something else. Barlow Twins (Zbontar et al. 2021),
//! section 2; `main.py`. Each view is normalised by itself, as there.

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::Tape;

use super::{Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, Outputs, Views, store};
use crate::loss::barlow_twins::barlow_twins_loss;
use crate::nn::backbone::Backbone;
use crate::nn::init::Registry;
use crate::nn::mlp::{LastLayer, Mlp, MlpConfig};
use crate::schedule::Scheduled;

/// What Barlow Twins is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct BarlowTwinsConfig {
    /// The backbone.
    pub encoder: EncoderConfig,
    /// Width of the projector's layers, 8192 in the paper.
    pub out_dim: usize,
    /// Linear layers of the projector, 3 in the paper.
    pub layers: usize,
    /// Weight of the correlations between different outputs, λ; 0.0051 in the paper.
    pub off_diagonal: f64,
}

/// The student after the last step and the shape of the network.
#[derive(Debug, Clone)]
pub struct BarlowTwins {
    encoder: Encoder,
    projector: Mlp,
    kept: Params,
    off_diagonal: f64,
}

impl BarlowTwins {
    /// Builds the network and returns the method with its parameters.
    pub fn new(config: &BarlowTwinsConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let BarlowTwinsConfig { out_dim, layers, off_diagonal, .. } = *config;
        let (in_dim, last) = (encoder.backbone.dim(), LastLayer::PlainNormed);
        let sizes = MlpConfig { in_dim, hidden_dim: out_dim, out_dim, layers, last };
        let projector = Mlp::new(&sizes, "projector.", &mut registry);
        let student = registry.finish(config.encoder.seed);
        (Self { encoder, projector, kept: student.clone(), off_diagonal }, student)
    }
}

impl Method for BarlowTwins {
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let mut clock = Lap::start();
        let features = self.encoder.student(tape, &views.apart(1), views, at); // [2·B, D]
        let z = self.projector.forward(tape, &features, 2); // [2·B, out_dim]
        let student = clock.seconds();
        let loss = barlow_twins_loss(tape, &z, self.off_diagonal);
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
