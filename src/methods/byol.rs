//! BYOL: a student predicts what its own moving average makes of another view. BYOL (Grill et al. 2020), section 3;
//! `byol_experiment.py`.
//!
//! The average starts as a copy of the student; the published program draws it anew. A view is normalised by itself, as there.

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::Tape;

use super::{Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, NORMALIZE_EPS, Outputs, Views, store};
use crate::loss::byol::byol_loss;
use crate::nn::backbone::Backbone;
use crate::nn::init::Registry;
use crate::nn::mlp::{LastLayer, Mlp, MlpConfig};
use crate::schedule::Scheduled;

/// What BYOL is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct ByolConfig {
    /// The backbone.
    pub encoder: EncoderConfig,
    /// Width of the hidden layers, 4096 in the paper.
    pub hidden_dim: usize,
    /// Width of the projections and predictions, 256 in the paper.
    pub out_dim: usize,
}

/// The average and the shape of both networks.
#[derive(Debug, Clone)]
pub struct Byol {
    encoder: Encoder,
    projector: Mlp,
    predictor: Mlp,
    teacher: Params,
}

impl Byol {
    /// Builds both networks and returns the method with the student's parameters. The average starts as an exact copy.
    pub fn new(config: &ByolConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let (hidden_dim, out_dim) = (config.hidden_dim, config.out_dim);
        let mut mlp = |in_dim: usize, prefix: &str| {
            let sizes = MlpConfig { in_dim, hidden_dim, out_dim, layers: 2, last: LastLayer::Unbiased };
            Mlp::new(&sizes, prefix, &mut registry)
        };
        let projector = mlp(encoder.backbone.dim(), "projector.");
        let predictor = mlp(out_dim, "predictor.");
        let student = registry.finish(config.encoder.seed);
        (Self { encoder, projector, predictor, teacher: student.clone() }, student)
    }
}

impl Method for Byol {
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let (mut clock, count) = (Lap::start(), views.count());

        // Targets: global crops, no gradient, no predictor.
        let mut frozen = Tape::infer(tape.kernels(), &self.teacher, tape.pool());
        frozen.continue_statistics(views.teacher_statistics.clone());
        let features = self.encoder.backbone.features(&mut frozen, &views.apart(1), None); // [2·B, D]
        let projections = self.projector.forward(&mut frozen, &features, count.teacher); // [2·B, out_dim]
        let targets = frozen.l2_normalize(&projections, NORMALIZE_EPS);
        let teacher = clock.seconds();

        let features = self.encoder.student(tape, &views.apart(2), views, at); // [V·B, D]
        let projections = self.projector.forward(tape, &features, count.student);
        let predictions = self.predictor.forward(tape, &projections, count.student); // [V·B, out_dim]
        let predictions = tape.l2_normalize(&predictions, NORMALIZE_EPS);
        let student = clock.seconds();

        let loss = byol_loss(tape, &predictions, targets.values(), count);
        let (student_statistics, teacher_statistics) = (tape.take_statistics(), frozen.take_statistics());
        let outputs = Outputs { student_statistics, teacher_statistics, ..Outputs::default() };
        Forward { loss, outputs, seconds: ForwardSeconds { teacher, student, loss: clock.seconds() } }
    }

    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)> {
        Some((&mut self.teacher, at.momentum))
    }

    fn after_update(&mut self, outputs: Outputs, _at: &Scheduled) {
        store(&mut self.teacher, outputs.teacher_statistics);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        (&self.encoder.backbone, &self.teacher)
    }

    fn teacher_mut(&mut self) -> &mut Params {
        &mut self.teacher
    }
}
