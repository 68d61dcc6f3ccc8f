//! DINO: a student matches the centred and sharpened output of its own moving average, across crops of the same image.
//! DINO (Caron et al. 2021), section 3 and algorithm 1; `main_dino.py`.

use std::borrow::Cow;

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::Tape;

use super::center::Center;
use super::{
    Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, Outputs, StateTensor, TargetSums, Views, store,
};
use crate::loss::dino::{dino_loss, targets};
use crate::loss::sinkhorn::sinkhorn_center;
use crate::nn::backbone::Backbone;
use crate::nn::dino_head::{DinoHead, DinoHeadConfig};
use crate::nn::init::Registry;
use crate::schedule::Scheduled;

/// Prefix of the head's tensors in student and teacher.
pub const HEAD: &str = "head.";

/// What DINO is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct DinoConfig {
    /// The backbone of student and teacher.
    pub encoder: EncoderConfig,
    /// The projection head of student and teacher.
    pub head: DinoHeadConfig,
    /// Student temperature, 0.1 in the paper.
    pub student_temp: f64,
    /// What keeps one prototype from winning everywhere.
    pub balance: Balance,
}

/// What keeps one prototype from winning everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Balance {
    /// A running centre with this momentum, 0.9 in the paper (eq. 4).
    Center {
        /// Share of the centre kept at each step.
        momentum: f64,
    },
    /// Sinkhorn–Knopp on each micro-batch (table 15).
    SinkhornKnopp,
}

/// Iterations of Sinkhorn–Knopp, as in SwAV and DINOv2.
const SINKHORN_ITERATIONS: usize = 3;

/// Teacher, centre and the shape of both networks. The student's parameters belong to the training loop.
#[derive(Debug, Clone)]
pub struct Dino {
    encoder: Encoder,
    head: DinoHead,
    teacher: Params,
    center: Center,
    config: DinoConfig,
}

impl Dino {
    /// Builds both networks and returns the method with the student's parameters. The teacher starts as an exact copy.
    pub fn new(config: DinoConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let head = DinoHead::new(&config.head, HEAD, &mut registry);
        let student = registry.finish(config.encoder.seed);
        let momentum = match config.balance {
            Balance::Center { momentum } => momentum,
            Balance::SinkhornKnopp => 0.0,
        };
        let center = Center::new(config.head.out_dim, momentum);
        (Self { encoder, head, teacher: student.clone(), center, config }, student)
    }

    /// The teacher's parameters.
    pub fn teacher(&self) -> &Params {
        &self.teacher
    }

    /// The centre.
    pub fn center(&self) -> &Center {
        &self.center
    }
}

impl Method for Dino {
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let (mut clock, count) = (Lap::start(), views.count());

        // Teacher: global crops only, no gradient, no drop path.
        let mut frozen = Tape::infer(tape.kernels(), &self.teacher, tape.pool());
        frozen.continue_statistics(views.teacher_statistics.clone());
        let features = self.encoder.backbone.features(&mut frozen, &views.groups[..1], None); // [2·B, D]
        let logits = self.head.forward(&mut frozen, &features); // [2·B, K]
        let teacher_seconds = clock.seconds();
        let center = match self.config.balance {
            Balance::Center { .. } => Cow::Borrowed(self.center.values()),
            Balance::SinkhornKnopp => {
                sinkhorn_center(logits.values(), logits.columns(), at.teacher_temp, SINKHORN_ITERATIONS).into()
            }
        };
        let targets = targets(&frozen, &logits, &center, at.teacher_temp);
        let target_seconds = clock.seconds();

        // Student: all crops.
        let features = self.encoder.student(tape, &views.groups, views, at); // [V·B, D]
        let student = self.head.forward(tape, &features); // [V·B, K]
        let student_seconds = clock.seconds();
        let loss = dino_loss(tape, &student, &targets, count, self.config.student_temp);

        let outputs = Outputs {
            targets: TargetSums::of(tape, [logits.values(), &targets.probs], logits.columns(), targets.entropy),
            student_statistics: tape.take_statistics(),
            teacher_statistics: frozen.take_statistics(),
            ..Outputs::default()
        };
        let loss_seconds = target_seconds + clock.seconds();
        let seconds = ForwardSeconds { teacher: teacher_seconds, student: student_seconds, loss: loss_seconds };
        Forward { loss, outputs, seconds }
    }

    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)> {
        Some((&mut self.teacher, at.momentum))
    }

    fn after_update(&mut self, outputs: Outputs, _at: &Scheduled) {
        self.center.update(&outputs.targets.logits, outputs.targets.rows);
        store(&mut self.teacher, outputs.teacher_statistics);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        (&self.encoder.backbone, &self.teacher)
    }

    fn state(&self) -> Vec<StateTensor> {
        let values = self.center.values().to_vec();
        vec![StateTensor { name: "center", shape: vec![1, values.len()], values }]
    }

    fn restore(&mut self, name: &str, values: &[f32]) -> bool {
        let known = name == "center" && values.len() == self.center.values().len();
        if known {
            self.center.set(values);
        }
        known
    }

    fn teacher_mut(&mut self) -> &mut Params {
        &mut self.teacher
    }
}
