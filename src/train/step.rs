//! One training step: micro-batches in, one update out.
//!
//! `set schedule → teacher → student → loss → gradient (per micro-batch, summed) → clip → update → average → centre`, in the order
//! of `main_dino.py:train_one_epoch`. Gradients, the centre and the average see the whole batch, so splitting it into
//! micro-batches changes memory and not the result, except where batch normalisation has statistics of a micro-batch.

use std::time::Instant;

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Images, Keep, Tape};

use super::TrainError;
use super::optimizer::{Clip, Optimizer, Step};
use crate::methods::{
    BACKBONE, Device, ForwardSeconds, Method, Outputs, PROTOTYPES, TargetFigures, Terms, Views, store,
};
use crate::schedule::{Pace, Scheduled};

/// Everything that training changes.
pub struct TrainState {
    /// The method: teacher, centre, and the shape of the networks.
    pub method: Box<dyn Method>,
    /// The student's parameters.
    pub student: Params,
    /// Moments of the optimizer.
    pub optimizer: Optimizer,
    /// Clipping.
    pub clip: Clip,
    /// Images per micro-batch; at least the batch means the batch is not split.
    pub micro_batch: usize,
    /// What blocks keep for the gradient.
    pub keep: Keep,
    /// Steps done.
    pub step: usize,
    /// How fast it goes through the schedule.
    pub pace: Pace,
    grads: Vec<f32>,
}

/// Byte crops of one size.
#[derive(Debug, Clone, Copy)]
pub struct Crops<'a> {
    /// Bytes `[views·batch, side, side, C]`, view-major.
    pub pixels: &'a [u8],
    /// Side in pixels.
    pub side: usize,
    /// Views of each image.
    pub views: usize,
}

/// What one step measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The loss, of DINO a mean over images and pairs of views in nats.
    pub loss: f64,
    /// Its terms beside the one of its targets.
    pub terms: Terms,
    /// How sharp and varied the targets are, where they are probabilities.
    pub targets: Option<TargetFigures>,
    /// Norm of all gradients before clipping.
    pub grad_norm: f64,
    /// How long the parts of the step took.
    pub seconds: StepSeconds,
}

/// Time of the parts of one step, summed over its micro-batches, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StepSeconds {
    /// The forward passes and the loss.
    pub forward: ForwardSeconds,
    /// The gradient.
    pub backward: f64,
    /// Clipping, update and average.
    pub optimizer: f64,
}

impl StepSeconds {
    fn add_forward(&mut self, part: ForwardSeconds) {
        self.forward.teacher += part.teacher;
        self.forward.student += part.student;
        self.forward.loss += part.loss;
    }
}

impl StepReport {
    /// The term of the loss that compares the targets.
    pub fn matching(&self) -> f64 {
        self.loss - self.terms.total()
    }

    /// KL(P_t‖P_s), what of that term is not the targets' own entropy: `loss = entropy + kl + terms`.
    pub fn kl(&self) -> Option<f64> {
        self.targets.map(|targets| self.matching() - targets.entropy)
    }
}

impl TrainState {
    /// A run before its first step.
    pub fn new(method: Box<dyn Method>, student: Params, optimizer: Optimizer, clip: Clip) -> Self {
        let grads = vec![0.0; student.values().len()];
        let (micro_batch, keep, pace) = (usize::MAX, Keep::Everything, Pace::default());
        Self { method, student, optimizer, clip, micro_batch, keep, step: 0, pace, grads }
    }

    /// Trains on one batch of `images` images, global crops first.
    ///
    /// # Errors
    /// If the loss or a gradient is not finite; nothing has been updated then.
    pub fn step(
        &mut self,
        device: Device<'_>,
        groups: &[Crops<'_>],
        images: usize,
        at: &Scheduled,
    ) -> Result<StepReport, TrainError> {
        self.method.before_step(&mut self.student);
        let (mut loss, mut terms) = (0.0, Terms::default());
        let mut outputs = Outputs::default();
        let mut micro = MicroBatch::default();
        let mut seconds = StepSeconds::default();
        let size = self.micro_batch.clamp(1, images);
        for first in (0..images).step_by(size) {
            let count = size.min(images - first);
            let share = count as f64 / images as f64;
            let mut views = micro.cut(groups, images, first, count, &*self.method);
            views.teacher_statistics = std::mem::take(&mut outputs.teacher_statistics);
            let mut tape = Tape::train(device.kernels, &self.student, device.pool);
            tape.continue_statistics(std::mem::take(&mut outputs.student_statistics));
            tape.keep(self.keep);
            let forward = self.method.forward(&mut tape, &views, at);
            loss += share * forward.loss.value;
            terms.add(forward.outputs.terms, share);
            seconds.add_forward(forward.seconds);
            let begun = Instant::now();
            tape.backward(&forward.loss, share as f32, &mut self.grads);
            seconds.backward += begun.elapsed().as_secs_f64();
            outputs.merge(forward.outputs);
        }
        if !loss.is_finite() {
            return Err(TrainError::Loss { step: at.step, loss });
        }
        let (lr, weight_decay, clip) = (at.lr, at.weight_decay, self.clip);
        let mut frozen = if at.freeze_last_layer { PROTOTYPES.to_vec() } else { Vec::new() };
        frozen.extend(at.freeze_backbone.then_some(BACKBONE));
        let step = Step { lr, weight_decay, clip, frozen: &frozen };
        let begun = Instant::now();
        let average = self.method.average(at);
        let grad_norm = self.optimizer.step(device.kernels, &mut self.student, &mut self.grads, average, &step);
        if !grad_norm.is_finite() {
            return Err(TrainError::Gradient { step: at.step });
        }
        seconds.optimizer = begun.elapsed().as_secs_f64();
        store(&mut self.student, outputs.student_statistics.clone());
        let report = StepReport { loss, terms, targets: outputs.targets.figures(), grad_norm, seconds };
        self.method.after_update(outputs, at);
        self.step = at.step + 1;
        Ok(report)
    }
}

/// Pixels of a part of the batch, copied together where the batch is split.
#[derive(Debug, Default)]
struct MicroBatch {
    pixels: Vec<Vec<u8>>,
}

impl MicroBatch {
    /// Images `first..first + count` of every view.
    fn cut<'s>(
        &'s mut self,
        groups: &'s [Crops<'_>],
        images: usize,
        first: usize,
        count: usize,
        method: &dyn Method,
    ) -> Views<'s> {
        self.pixels.clear();
        if count < images {
            self.pixels.extend(groups.iter().map(|crops| {
                let image = crops.pixels.len() / (crops.views * images);
                let views = crops.pixels.chunks_exact(images * image);
                views.flat_map(|view| &view[first * image..(first + count) * image]).copied().collect()
            }));
        }
        let (backbone, _) = method.backbone();
        let pixels = |group: usize| if count < images { &self.pixels[group][..] } else { groups[group].pixels };
        let groups = groups.iter().enumerate().map(|(group, crops)| Images {
            pixels: pixels(group).into(),
            patches: backbone.patches(crops.views * count, crops.side, crops.side),
        });
        Views { groups: groups.collect(), images: count, first_image: first, teacher_statistics: Vec::new() }
    }
}
