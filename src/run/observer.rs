//! What happens after each step besides training: figures, progress, checkpoints, evaluations, signals.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use dinoxide_views::Times;
use dinoxide_views::loader::Loader;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::console::Console;
use super::folder::RunFolder;
use super::health::{Finding, Memory, Monitor, Pulse};
use super::interrupt::Interrupt;
use super::metrics::{EpochSums, EvalRow, Metrics, StepRow};
use super::progress::Snapshot;
use super::status::{State, Status};
use super::validation::Validation;
use super::waiting::hint;
use super::{RunError, machine};
use crate::checkpoint::Slot;
use crate::methods::Device;
use crate::schedule::Schedule;
use crate::train::step::TrainState;
use crate::train::{End, Next, Observed};

/// Rows before a wait is worth a word: the queue fills during the first ones.
const SETTLED_ROWS: usize = 2;
/// Rows between the two losses whose difference the arrow shows.
const TREND_ROWS: usize = 10;

/// What a checkpoint carries for the observer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Carried {
    sums: EpochSums,
    knn: Option<(f64, usize)>,
    #[serde(default)]
    health: Memory,
}

/// Watches a run.
pub struct Observer<'a> {
    folder: &'a RunFolder,
    schedule: &'a Schedule,
    console: &'a Console,
    interrupt: Interrupt,
    metrics: Option<Metrics>,
    carried: Carried,
    since_row: Interval,
    losses: VecDeque<f64>,
    rate: Rate,
    /// How many of this loader's unreadable images are written down.
    skips_noted: usize,
    /// What the loader's workers had spent at the last row.
    times: Times,
    /// Whether the hint about waiting has been given.
    waiting_noted: bool,
    monitor: Monitor,
    when_collapsed: WhenCollapsed,
    /// Whether the run was stopped because it had collapsed.
    gave_up: bool,
}

/// What to do when a run has collapsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenCollapsed {
    /// Say so and go on.
    #[default]
    GoOn,
    /// Say so, save and stop.
    Stop,
}

/// Images and waiting since the last row.
struct Interval {
    begun: Instant,
    images: usize,
    waited: Duration,
}

impl Interval {
    fn new() -> Self {
        Self { begun: Instant::now(), images: 0, waited: Duration::ZERO }
    }
}

/// Speed of this process, for the estimate of the end.
struct Rate {
    begun: Instant,
    first_step: usize,
}

impl<'a> Observer<'a> {
    /// An observer of the run in `folder`.
    ///
    /// # Errors
    /// None yet; files are opened by [`Self::continue_from`].
    pub fn new(
        folder: &'a RunFolder,
        schedule: &'a Schedule,
        console: &'a Console,
        interrupt: Interrupt,
    ) -> Result<Self, RunError> {
        let rate = Rate { begun: Instant::now(), first_step: 0 };
        let (since_row, losses) = (Interval::new(), VecDeque::new());
        let carried = Carried::default();
        Ok(Self {
            folder,
            schedule,
            console,
            interrupt,
            metrics: None,
            carried,
            since_row,
            losses,
            rate,
            skips_noted: 0,
            times: Times::default(),
            waiting_noted: false,
            monitor: Monitor::new(&folder.config, schedule.steps_per_epoch()),
            when_collapsed: WhenCollapsed::default(),
            gave_up: false,
        })
    }

    /// Cuts the files of figures back to the state and takes over what its checkpoint carried.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub fn continue_from(&mut self, carried: Value, state: &TrainState) -> Result<(), RunError> {
        let epochs = state.step / self.schedule.steps_per_epoch();
        self.metrics = Some(Metrics::open(&self.folder.path, state.step, epochs)?);
        self.carried = serde_json::from_value(carried).unwrap_or_default();
        self.monitor.continue_from(std::mem::take(&mut self.carried.health));
        self.rate = Rate { begun: Instant::now(), first_step: state.step };
        self.since_row = Interval::new();
        Ok(())
    }

    /// Notes one step; saves when it is time, and says whether to go on.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn step(&mut self, state: &mut TrainState, loader: &Loader, seen: Observed<'_>) -> Result<Next, RunError> {
        let config = &self.folder.config;
        let (per_epoch, total) = (self.schedule.steps_per_epoch(), self.schedule.total_steps());
        self.since_row.images += seen.batch.samples.len();
        self.since_row.waited += seen.batch.wait;
        self.carried.sums.add(seen.report.loss, seen.at.lr, seen.at.weight_decay);
        self.note_skipped(loader)?;
        let epoch_ends = state.step.is_multiple_of(per_epoch);
        let collapsed = self.diagnose(state.step, seen);
        if state.step.is_multiple_of(config.log.every_steps.max(1)) || state.step == total {
            self.row(state, loader, seen)?;
        }
        if epoch_ends {
            let row = std::mem::take(&mut self.carried.sums).row(seen.at.epoch);
            self.metrics().map(|metrics| metrics.epoch(&row)).transpose()?;
        }
        let gives_up = collapsed && self.when_collapsed == WhenCollapsed::Stop;
        let stop = (self.interrupt.requested() || gives_up) && state.step < total;
        self.gave_up = stop && gives_up;
        let due = state.step.is_multiple_of(config.run.checkpoint_every_steps.max(1));
        if due && !stop && state.step < total {
            self.save(state)?;
        }
        let keep = config.run.keep_every_epochs;
        let epochs_done = state.step / per_epoch;
        if epoch_ends && keep > 0 && epochs_done.is_multiple_of(keep) {
            let name = format!("epoch-{epochs_done:04}");
            state.save(&self.folder.checkpoints(), Slot::Named(&name), self.carry()?)?;
        }
        if stop {
            self.console.say("finishing the step, saving…");
            return Ok(Next::Stop);
        }
        Ok(Next::Step)
    }

    /// Stops the run when it has collapsed, if that is asked for.
    #[must_use]
    pub fn when_collapsed(self, when_collapsed: WhenCollapsed) -> Self {
        Self { when_collapsed, ..self }
    }

    /// Whether the run was stopped because it had collapsed.
    pub fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// Says that the run is under way.
    ///
    /// # Errors
    /// If `status.json` cannot be written.
    pub fn begin(&self, state: &TrainState) -> Result<(), RunError> {
        self.status(State::Running, state.step).write(&self.folder.path)
    }

    /// What was found to go wrong in this run, in this process or an earlier one.
    pub fn findings(&self) -> &BTreeSet<Finding> {
        self.monitor.told()
    }

    /// Says what has begun to go wrong; returns whether the run has collapsed just now.
    fn diagnose(&mut self, step: usize, seen: Observed<'_>) -> bool {
        let report = seen.report;
        let pulse = Pulse {
            loss: report.loss,
            entropy: report.entropy,
            kl: report.kl(),
            batch_entropy: report.batch_entropy,
            grad_norm: report.grad_norm,
        };
        let found = self.monitor.look(step, &pulse);
        for (_, words) in &found {
            self.console.warn(&format!("step {step}: {words}"));
        }
        found.iter().any(|(finding, _)| finding.is_collapse())
    }

    /// Writes the checkpoint `last`.
    ///
    /// # Errors
    /// If it cannot be written; the earlier ones stay.
    pub fn save(&mut self, state: &TrainState) -> Result<(), RunError> {
        if let Some(metrics) = &self.metrics {
            metrics.sync()?;
        }
        state.save(&self.folder.checkpoints(), Slot::Last, self.carry()?)?;
        let status = self.status(State::Running, state.step);
        let eta_seconds = self.eta(state.step).map(|eta| eta.as_secs_f64());
        Status { eta_seconds, ..status }.write(&self.folder.path)
    }

    /// Evaluates at the start, every `eval.every_epochs` epochs and at the end, unless that is written already.
    ///
    /// # Errors
    /// If the labelled images cannot be read.
    pub fn validate_if_due(
        &mut self,
        validation: &Option<Validation>,
        state: &TrainState,
        device: Device<'_>,
    ) -> Result<(), RunError> {
        let Some(validation) = validation else { return Ok(()) };
        let (step, per_epoch) = (state.step, self.schedule.steps_per_epoch());
        let epoch = step / per_epoch;
        let every = self.folder.config.eval.every_epochs.max(1);
        let due =
            step.is_multiple_of(per_epoch) && (epoch.is_multiple_of(every) || step == self.schedule.total_steps());
        if !due || self.metrics.as_ref().is_some_and(|metrics| metrics.has_eval(step)) {
            return Ok(());
        }
        let begun = Instant::now();
        let (backbone, teacher) = state.method.backbone();
        let [knn_top1, student] = validation.top1(backbone, [teacher, &state.student], device)?;
        let knn_k = self.folder.config.eval.knn_k;
        let row = EvalRow { eval: true, step, epoch, knn_top1, knn_top1_student: Some(student), knn_k };
        self.metrics().map(|metrics| metrics.eval(&row)).transpose()?;
        self.console.figure(&row);
        self.carried.knn = Some((knn_top1, epoch));
        self.console.say(&format!("epoch {epoch}: k-NN {knn_top1:.2} % teacher, {student:.2} % student (k {knn_k})"));
        // Evaluation is not training: it counts for neither the speed nor the estimate of the end.
        self.rate.begun += begun.elapsed();
        self.since_row.begun += begun.elapsed();
        Ok(())
    }

    /// The last words: what was skipped, where everything is, how to go on.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn close(&mut self, end: End, state: &TrainState, took: Duration) -> Result<(), RunError> {
        let path = self.folder.path.display();
        // Of the whole run: this process may have begun after the step that met them.
        let skipped = self.metrics.as_ref().map_or(0, Metrics::skipped);
        if skipped > 0 {
            self.console.warn(&format!("{skipped} images could not be read; see {path}/skipped.jsonl"));
        }
        let minutes = took.as_secs_f64() / 60.0;
        let status = match end {
            End::Finished => State::Finished,
            End::Stopped => State::Interrupted,
        };
        self.status(status, state.step).write(&self.folder.path)?;
        match end {
            End::Finished => self.console.say(&format!("done in {minutes:.1} min: {path}")),
            End::Stopped => self
                .console
                .say(&format!("saved after step {}; resume with: dinoxide pretrain -c {path}/config.toml", state.step)),
        }
        Ok(())
    }

    /// Writes down the unreadable images that are new since the last call.
    fn note_skipped(&mut self, loader: &Loader) -> Result<(), RunError> {
        let skipped = loader.skipped();
        for file in skipped.iter().skip(self.skips_noted) {
            let path = file.path.display().to_string();
            self.metrics().map(|metrics| metrics.skip(&path, &file.reason)).transpose()?;
        }
        self.skips_noted = skipped.len();
        Ok(())
    }

    fn metrics(&mut self) -> Option<&mut Metrics> {
        self.metrics.as_mut()
    }

    fn carry(&self) -> Result<Value, RunError> {
        let carried = Carried { health: self.monitor.memory().clone(), ..self.carried.clone() };
        serde_json::to_value(&carried).map_err(|error| RunError::file("write", self.folder.checkpoints())(error.into()))
    }

    fn row(&mut self, state: &TrainState, loader: &Loader, seen: Observed<'_>) -> Result<(), RunError> {
        let seconds = self.since_row.begun.elapsed().as_secs_f64().max(1e-9);
        let (at, report) = (seen.at, seen.report);
        let row = StepRow {
            step: state.step,
            epoch: at.epoch,
            loss: report.loss,
            lr: at.lr,
            weight_decay: at.weight_decay,
            momentum: at.momentum,
            teacher_temp: at.teacher_temp,
            entropy: report.entropy,
            kl: report.kl(),
            batch_entropy: report.batch_entropy,
            grad_norm: report.grad_norm,
            images_per_second: self.since_row.images as f64 / seconds,
            data_wait: self.since_row.waited.as_secs_f64() / seconds,
        };
        self.since_row = Interval::new();
        let settled = self.losses.len() >= SETTLED_ROWS && !self.waiting_noted;
        let times = loader.times();
        let spent = times - std::mem::replace(&mut self.times, times);
        if let Some(hint) = settled.then(|| hint(row.data_wait, &spent, &self.folder.config)).flatten() {
            self.console.warn(&hint);
            self.waiting_noted = true;
        }
        self.metrics().map(|metrics| metrics.step(&row)).transpose()?;
        self.console.figure(&row);
        self.console.progress(&self.snapshot(&row));
        Ok(())
    }

    fn status(&self, state: State, step: usize) -> Status {
        let status = Status::now(state, step, self.schedule.total_steps(), self.schedule.steps_per_epoch());
        Status { health: self.findings().iter().copied().collect(), ..status }
    }

    /// Time to the end at the speed of this process so far; unknown before its first step.
    fn eta(&self, step: usize) -> Option<Duration> {
        let done = step.checked_sub(self.rate.first_step).filter(|done| *done > 0)?;
        let left = self.schedule.total_steps().saturating_sub(step);
        Some(self.rate.begun.elapsed().mul_f64(left as f64 / done as f64))
    }

    fn snapshot(&mut self, row: &StepRow) -> Snapshot {
        let total_steps = self.schedule.total_steps();
        self.losses.push_back(row.loss);
        let loss_before = (self.losses.len() > TREND_ROWS).then(|| self.losses.pop_front()).flatten();
        let eta = self.eta(row.step);
        Snapshot {
            epoch: row.epoch + 1,
            epochs: self.folder.config.run.epochs,
            step: row.step,
            total_steps,
            loss: row.loss,
            loss_before,
            images_per_second: row.images_per_second,
            data_wait: row.data_wait,
            eta,
            entropy: row.entropy,
            out_dim: self.folder.config.head.out_dim,
            kl: row.kl,
            grad_norm: row.grad_norm,
            knn: self.carried.knn,
            memory_bytes: machine::used_bytes(),
        }
    }
}
