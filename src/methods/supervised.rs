//! Supervised learning: a linear classifier on the backbone, both trained on images whose classes are known. DeiT (Touvron et al.
//! 2021), section 6 without distillation; `deit/main.py`, `deit/engine.py`.
//!
//! It stands beside the self-supervised methods as their baseline, and started from their weights it is fine-tuning. Mixtures of
//! images are made where views are: here arrives what each view shows.

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Dense, Images, Tape};
use dinoxide_engine::tensor::Matrix;

use super::{Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, Outputs, Views, store};
use crate::loss::classification::{Target, soft_target_cross_entropy};
use crate::nn::backbone::Backbone;
use crate::nn::init::Registry;
use crate::schedule::Scheduled;

/// Name of the classifier, as timm calls that of a ViT.
pub const CLASSIFIER: &str = "head";

/// What supervised learning is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct SupervisedConfig {
    /// The backbone.
    pub encoder: EncoderConfig,
    /// Number of classes.
    pub classes: usize,
    /// Share of a target that is spread over all classes, 0.1 in DeiT.
    pub label_smoothing: f64,
}

/// The average, the shape of the network, and what the next batch shows.
#[derive(Debug, Clone)]
pub struct Supervised {
    encoder: Encoder,
    classifier: Dense,
    kept: Params,
    label_smoothing: f64,
    /// View-major.
    targets: Vec<Target>,
}

impl Supervised {
    /// Builds the network and returns the method with its parameters.
    pub fn new(config: &SupervisedConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let classifier = registry.linear(CLASSIFIER, config.classes, encoder.backbone.dim());
        let student = registry.finish(config.encoder.seed);
        let (kept, label_smoothing) = (student.clone(), config.label_smoothing);
        (Self { encoder, classifier, kept, label_smoothing, targets: Vec::new() }, student)
    }

    fn logits(&self, tape: &mut Tape<'_>, features: &Matrix) -> Matrix {
        let (weight, bias) = self.classifier;
        tape.linear(features, weight, Some(bias)) // [R, classes]
    }

    /// What the views of a micro-batch show.
    fn shown(&self, views: &Views<'_>, count: usize) -> Vec<Target> {
        let batch = self.targets.len() / count;
        let images = views.first_image..views.first_image + views.images;
        assert!(images.end <= batch, "a batch of {batch} labels has no images {images:?}");
        (0..count).flat_map(|view| self.targets[view * batch..][images.clone()].iter().copied()).collect()
    }
}

impl Method for Supervised {
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let mut clock = Lap::start();
        let features = self.encoder.student(tape, &views.groups[..1], views, at); // [V·B, D]
        let logits = self.logits(tape, &features);
        let student = clock.seconds();
        let targets = self.shown(views, views.count().teacher);
        let loss = soft_target_cross_entropy(tape, &logits, &targets, self.label_smoothing);
        let outputs = Outputs { student_statistics: tape.take_statistics(), ..Outputs::default() };
        Forward { loss, outputs, seconds: ForwardSeconds { teacher: 0.0, student, loss: clock.seconds() } }
    }

    fn take_targets(&mut self, targets: Vec<Target>) {
        self.targets = targets;
    }

    fn scores(&self, tape: &mut Tape<'_>, images: &[Images<'_>]) -> Option<Matrix> {
        let features = self.encoder.backbone.features(tape, images, None);
        Some(self.logits(tape, &features))
    }

    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)> {
        Some((&mut self.kept, at.momentum))
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
