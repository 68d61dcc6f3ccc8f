//! Learning rate, weight decay, momentum and temperature of every step.
//!
//! Follows DINO (`utils.py:cosine_scheduler`, `main_dino.py:DINOLoss.teacher_temp_schedule`) to the last bit of
//! NumPy's `linspace`: the warm-up includes both its ends, so step 0 learns nothing and the peak is used twice.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The scheduled values of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scheduled {
    /// Steps before this one.
    pub step: usize,
    /// Epochs before this one.
    pub epoch: usize,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay of the decayed group.
    pub weight_decay: f64,
    /// Share of the teacher kept.
    pub momentum: f64,
    /// Temperature of the teacher's softmax.
    pub teacher_temp: f64,
    /// Whether the prototypes do not learn.
    pub freeze_last_layer: bool,
    /// Whether the backbone does not learn.
    pub freeze_backbone: bool,
    /// Whether this is the last step of its epoch.
    pub ends_epoch: bool,
}

/// The scheduled values of a whole run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    steps_per_epoch: usize,
    freeze_last_layer_steps: usize,
    freeze_backbone_steps: usize,
    lr: Vec<f64>,
    weight_decay: Vec<f64>,
    momentum: Vec<f64>,
    teacher_temp: Vec<f64>,
}

impl Schedule {
    /// The schedule of `config` for epochs of `steps_per_epoch` steps.
    pub fn new(config: &Config, steps_per_epoch: usize) -> Self {
        let (epochs, total) = (config.run.epochs, config.run.total_steps(steps_per_epoch));
        let warmup = warmup_steps(config.optim.warmup_epochs, steps_per_epoch).min(total);
        let [decay_start, decay_end] = config.optim.weight_decay;
        let [momentum_start, momentum_end] = config.momentum();
        Self {
            steps_per_epoch,
            freeze_last_layer_steps: config.freeze_prototypes_steps(),
            freeze_backbone_steps: config.optim.freeze_backbone_steps,
            lr: cosine([config.peak_lr(), config.optim.min_lr], total, warmup),
            weight_decay: cosine([decay_start, decay_end], total, 0),
            momentum: cosine([momentum_start, momentum_end], total, 0),
            teacher_temp: temperatures(config.dino.teacher_temp, config.dino.teacher_temp_warmup_epochs, epochs),
        }
    }

    /// Steps of the whole run at its planned pace.
    pub fn planned_steps(&self) -> usize {
        self.lr.len()
    }

    /// Steps of the whole run at `pace`.
    pub fn total_steps(&self, pace: &Pace) -> usize {
        pace.total_steps(self.planned_steps())
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.steps_per_epoch
    }

    /// The values of `step`, counted from 0, at `pace`; `None` after the last one.
    pub fn at(&self, step: usize, pace: &Pace) -> Option<Scheduled> {
        let epoch = step.checked_div(self.steps_per_epoch)?;
        if step >= self.total_steps(pace) {
            return None;
        }
        let place = (pace.place(step) as usize).min(self.planned_steps() - 1);
        Some(Scheduled {
            step,
            epoch,
            lr: *self.lr.get(place)?,
            weight_decay: *self.weight_decay.get(place)?,
            momentum: *self.momentum.get(place)?,
            teacher_temp: *self.teacher_temp.get(place / self.steps_per_epoch)?,
            freeze_last_layer: place < self.freeze_last_layer_steps,
            freeze_backbone: place < self.freeze_backbone_steps,
            ends_epoch: (step + 1).is_multiple_of(self.steps_per_epoch),
        })
    }
}

/// How fast a run goes through its schedule. A run that has to end on time goes faster or slower through the rest of it, so that every
/// curve still comes to its end, without a jump.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// The step since which this is the pace.
    since: usize,
    /// The place in the schedule at that step.
    place: f64,
    /// Places per step.
    rate: f64,
}

impl Default for Pace {
    /// One place per step from the beginning on.
    fn default() -> Self {
        Self { since: 0, place: 0.0, rate: 1.0 }
    }
}

impl Pace {
    /// The pace that from `step` on brings a schedule of `planned` places to its end in `left` steps, at least one.
    #[must_use]
    pub fn ending_in(&self, left: usize, step: usize, planned: usize) -> Self {
        let place = self.place(step);
        Self { since: step, place, rate: ((planned as f64 - place) / left.max(1) as f64).max(f64::EPSILON) }
    }

    /// The place in the schedule at `step`.
    fn place(&self, step: usize) -> f64 {
        self.place + (step as f64 - self.since as f64) * self.rate
    }

    /// Steps until a schedule of `planned` places is at its end.
    fn total_steps(&self, planned: usize) -> usize {
        // What rounding leaves of a place is not worth a step.
        let rest = (planned as f64 - self.place) / self.rate - ROUNDING;
        self.since + rest.ceil().max(0.0) as usize
    }
}

/// Places, as a share of one, that rounding may have left over.
const ROUNDING: f64 = 1e-6;

/// Whole steps of a warm-up that may be a fraction of an epoch.
pub fn warmup_steps(warmup_epochs: f64, steps_per_epoch: usize) -> usize {
    (warmup_epochs * steps_per_epoch as f64).round() as usize
}

/// `total` values: a line from 0 to `start` over `warmup` steps, both ends included, then a half cosine towards
/// `end`, which is never quite reached.
pub fn cosine([start, end]: [f64; 2], total: usize, warmup: usize) -> Vec<f64> {
    let falling = total.saturating_sub(warmup);
    let wave = |step: usize| end + 0.5 * (start - end) * (1.0 + (PI * step as f64 / falling as f64).cos());
    let mut values = linspace(0.0, start, warmup.min(total));
    values.extend((0..falling).map(wave));
    values
}

/// Temperature of the teacher in every epoch: a line over the warm-up, both ends included, then constant.
pub fn temperatures([start, end]: [f64; 2], warmup_epochs: usize, epochs: usize) -> Vec<f64> {
    let mut values = linspace(start, end, warmup_epochs.min(epochs));
    values.resize(epochs, end);
    values
}

/// NumPy's `linspace(start, stop, count)`, in its order of operations.
fn linspace(start: f64, stop: f64, count: usize) -> Vec<f64> {
    let step = (stop - start) / count.saturating_sub(1).max(1) as f64;
    let mut values: Vec<f64> = (0..count).map(|index| index as f64 * step + start).collect();
    if count > 1
        && let Some(last) = values.last_mut()
    {
        *last = stop;
    }
    values
}
