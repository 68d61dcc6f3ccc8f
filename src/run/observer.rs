//! What happens after each step besides training: figures, progress, checkpoints, evaluations, signals.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use dinoxide_views::Times;
use dinoxide_views::loader::Loader;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::clock::Clock;
use super::console::Console;
use super::evaluation::{Best, Evaluated, Evaluation};
use super::folder::RunFolder;
use super::health::{Finding, Memory, Monitor, Pulse, Targets};
use super::interrupt::Interrupt;
use super::json_lines::JsonLines;
use super::metrics::{EpochSums, Metrics, StepRow};
use super::pictures::Drawn;
use super::progress::Snapshot;
use super::status::{State, Status};
use super::tensorboard::EventFile;
use super::trained::Stopped;
use super::tui::Model;
use super::waiting::hint;
use super::{RunError, machine};
use crate::checkpoint::Slot;
use crate::methods::{Device, PROTOTYPES, TargetFigures};
use crate::schedule::Schedule;
use crate::train::step::TrainState;
use crate::train::{End, Next, Observed};

/// Rows before a wait is worth a word: the queue fills during the first ones.
const SETTLED_ROWS: usize = 2;
/// Rows between the two losses whose difference the arrow shows.
const TREND_ROWS: usize = 10;

/// Name of the checkpoint of the best evaluation.
pub const BEST: &str = "best";

/// What a checkpoint carries for the observer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Carried {
    sums: EpochSums,
    #[serde(default)]
    health: Memory,
    /// What a run with a time has taken of it, in all its processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spent_seconds: Option<f64>,
}

/// Watches a run.
pub struct Observer<'a> {
    folder: &'a RunFolder,
    schedule: &'a Schedule,
    console: &'a Console,
    interrupt: Interrupt,
    metrics: Option<Metrics>,
    carried: Carried,
    /// The best evaluation so far, of earlier processes too.
    best: Option<Best>,
    since_row: Interval,
    losses: VecDeque<f64>,
    clock: Clock,
    /// How many of this loader's unreadable images are written down.
    skips_noted: usize,
    /// What the loader's workers had spent at the last row.
    times: Times,
    /// Whether the hint about waiting has been given.
    waiting_noted: bool,
    monitor: Monitor,
    when_collapsed: WhenCollapsed,
    /// Whether something was found that the run is to stop for.
    gives_up: bool,
    /// Why the run was stopped, if it was.
    stopped: Option<Stopped>,
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

impl<'a> Observer<'a> {
    /// An observer of the run in `folder`; files are opened by [`Self::continue_from`].
    pub fn new(
        folder: &'a RunFolder,
        schedule: &'a Schedule,
        console: &'a Console,
        interrupt: Interrupt,
        clock: Clock,
    ) -> Self {
        let (since_row, losses) = (Interval::new(), VecDeque::new());
        let carried = Carried::default();
        Self {
            folder,
            schedule,
            console,
            interrupt,
            metrics: None,
            carried,
            best: None,
            since_row,
            losses,
            clock,
            skips_noted: 0,
            times: Times::default(),
            waiting_noted: false,
            monitor: Monitor::new(&folder.config, schedule.steps_per_epoch()),
            when_collapsed: WhenCollapsed::default(),
            gives_up: false,
            stopped: None,
        }
    }

    /// Cuts the files of figures back to the state and takes over what its checkpoint carried.
    ///
    /// # Errors
    /// If a file cannot be opened.
    pub fn continue_from(&mut self, carried: Value, state: &TrainState) -> Result<(), RunError> {
        let per_epoch = self.schedule.steps_per_epoch();
        let ended = state.step == self.schedule.total_steps(&state.pace);
        let epochs = if ended { state.step.div_ceil(per_epoch) } else { state.step / per_epoch };
        let metrics = Metrics::open(&self.folder.path, state.step, epochs)?;
        self.metrics = Some(match self.folder.config.log.tensorboard {
            true => metrics.with_events(EventFile::create(&self.folder.path, state.step)?),
            false => metrics,
        });
        self.carried = serde_json::from_value(carried).unwrap_or_default();
        self.monitor.continue_from(std::mem::take(&mut self.carried.health));
        // The last checkpoint may be from before the evaluation of its own step.
        let rows = self.metrics.as_ref().map(|metrics| metrics.evaluations().to_vec());
        for row in rows.into_iter().flatten() {
            self.best = Best::of(&row, &self.folder.config).filter(|now| now.beats(self.best)).or(self.best);
            // Nothing is new here, unless the run ended between an evaluation and the step after it.
            let found = self.monitor.look_at_features(row.step, row.sighting(self.folder.config.method.name));
            self.tell(row.step, &found);
        }
        self.clock.continue_from(state.step, self.carried.spent_seconds.unwrap_or(0.0));
        self.since_row = Interval::new();
        Ok(())
    }

    /// Notes one step; saves when it is time, and says whether to go on.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn step(&mut self, state: &mut TrainState, loader: &Loader, seen: Observed<'_>) -> Result<Next, RunError> {
        let config = &self.folder.config;
        self.keep_pace(state);
        let (per_epoch, total) = (self.schedule.steps_per_epoch(), self.schedule.total_steps(&state.pace));
        self.since_row.images += seen.batch.samples.len();
        self.since_row.waited += seen.batch.wait;
        self.carried.sums.add(seen.report.loss, seen.at.lr, seen.at.weight_decay);
        self.note_skipped(loader)?;
        let epoch_ends = state.step.is_multiple_of(per_epoch) || state.step == total;
        self.diagnose(state.step, seen);
        if state.step.is_multiple_of(config.log.every_steps.max(1)) || state.step == total {
            self.row(state, loader, seen)?;
        }
        if epoch_ends {
            let row = std::mem::take(&mut self.carried.sums).row(seen.at.epoch);
            self.metrics().map(|metrics| metrics.epoch(&row)).transpose()?;
        }
        self.stopped = self.reason_to_stop().filter(|_| state.step < total);
        let stop = self.stopped.is_some();
        // Those that are kept first: what comes after `last` would be missing if the run ended in between.
        let keep = config.run.keep_every_epochs;
        let epochs_done = state.step / per_epoch;
        if state.step.is_multiple_of(per_epoch) && keep > 0 && epochs_done.is_multiple_of(keep) {
            let name = format!("epoch-{epochs_done:04}");
            state.save(&self.folder.checkpoints(), Slot::Named(&name), self.carry()?)?;
        }
        let due = state.step.is_multiple_of(config.run.checkpoint_every_steps.max(1));
        if due && !stop && state.step < total {
            self.save(state)?;
        }
        if stop {
            self.console.say("finishing the step, saving…");
            return Ok(Next::Stop);
        }
        Ok(Next::Step)
    }

    /// Goes faster or slower through the rest of the schedule, if the run would not end on time.
    fn keep_pace(&mut self, state: &mut TrainState) {
        let period = self.schedule.steps_per_epoch() * self.folder.config.eval.every_epochs.max(1);
        let before = self.schedule.total_steps(&state.pace);
        let at_end = usize::from(!before.is_multiple_of(period));
        let evaluations = (before / period).saturating_sub(state.step / period) + at_end;
        if let Some(pace) = self.clock.pace(state, self.schedule, evaluations) {
            state.pace = pace;
            let total = self.schedule.total_steps(&pace);
            self.console.detail(&format!("to end on time: {total} steps in place of {before}"));
        }
    }

    /// Stops the run when it has collapsed, if that is asked for.
    #[must_use]
    pub fn when_collapsed(self, when_collapsed: WhenCollapsed) -> Self {
        Self { when_collapsed, ..self }
    }

    /// Why the run was stopped, or should not have come to its end, if that is so.
    pub fn stopped(&self) -> Option<Stopped> {
        self.stopped.or(self.gives_up.then_some(Stopped::Unhealthy))
    }

    fn reason_to_stop(&self) -> Option<Stopped> {
        match (self.gives_up, self.interrupt.requested(), self.interrupt.by_scheduler()) {
            (true, ..) => Some(Stopped::Unhealthy),
            (_, _, true) => Some(Stopped::ByScheduler),
            (_, true, _) => Some(Stopped::ByPerson),
            _ => None,
        }
    }

    /// Says that the run is under way, and opens the full-screen view if one is wanted.
    ///
    /// # Errors
    /// If `status.json` cannot be written.
    pub fn begin(&self, state: &TrainState) -> Result<(), RunError> {
        self.console.open_screen(&self.interrupt, || {
            let RunFolder { path, config, .. } = self.folder;
            let mut model = Model::new(path, self.schedule.steps_per_epoch(), config.prototypes());
            JsonLines::read(&path.join("metrics.jsonl")).iter().for_each(|row| model.curves.add(row));
            model
        });
        self.status(State::Running, state).write(&self.folder.path)
    }

    /// What was found to go wrong in this run, in this process or an earlier one.
    pub fn findings(&self) -> &BTreeSet<Finding> {
        self.monitor.told()
    }

    /// Says what has begun to go wrong.
    fn diagnose(&mut self, step: usize, seen: Observed<'_>) {
        let report = seen.report;
        let targets =
            report.targets.map(|TargetFigures { entropy, batch_entropy, .. }| Targets { entropy, batch_entropy });
        let pulse = Pulse { loss: report.matching(), targets, grad_norm: report.grad_norm };
        let found = self.monitor.look(step, &pulse);
        self.tell(step, &found);
    }

    /// Says what was found, and remembers whether the run is to stop for it.
    fn tell(&mut self, step: usize, found: &[(Finding, String)]) {
        for (finding, words) in found {
            self.console.warn(&format!("step {step}: {words}"));
            let strict = self.when_collapsed == WhenCollapsed::Stop && finding.is_collapse();
            self.gives_up |= strict || finding.ends_the_run();
        }
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
        let status = self.status(State::Running, state);
        let eta = self.clock.eta(state.step, self.schedule.total_steps(&state.pace));
        Status { eta_seconds: eta.map(|eta| eta.as_secs_f64()), ..status }.write(&self.folder.path)
    }

    /// Evaluates at the start, every `eval.every_epochs` epochs and at the end, unless that is written already, and keeps the best
    /// checkpoint.
    ///
    /// # Errors
    /// If the labelled images cannot be read, or a file not be written.
    pub fn evaluate_if_due(
        &mut self,
        evaluation: &Evaluation,
        state: &TrainState,
        device: Device<'_>,
    ) -> Result<(), RunError> {
        let (step, per_epoch) = (state.step, self.schedule.steps_per_epoch());
        let ends = step == self.schedule.total_steps(&state.pace);
        let epoch = if ends { step.div_ceil(per_epoch) } else { step / per_epoch };
        let every = self.folder.config.eval.every_epochs.max(1);
        let due = ends || step.is_multiple_of(per_epoch) && epoch.is_multiple_of(every);
        if !due || self.metrics.as_ref().is_some_and(|metrics| metrics.has_eval(step)) {
            return Ok(());
        }
        let begun = Instant::now();
        let Evaluated { row, pictures } = evaluation.run(state, epoch, device)?;
        // The row last: once it is there, the evaluation is not made up for.
        if let Some(best) = Best::of(&row, &self.folder.config).filter(|now| now.beats(self.best)) {
            self.best = Some(best);
            state.save(&self.folder.checkpoints(), Slot::Named(BEST), self.carry()?)?;
        }
        self.metrics().map(|metrics| metrics.eval(&row)).transpose()?;
        self.console.figure(&row);
        self.console.say(&row.words());
        if row.rank.is_none() {
            self.console
                .warn(&format!("step {step}: the features of the probe are not finite, or no image of it can be read"));
        }
        self.show(step, pictures);
        let found = self.monitor.look_at_features(step, row.sighting(self.folder.config.method.name));
        self.tell(step, &found);
        // Evaluation is not training: it counts for neither the speed nor the estimate of the end.
        self.clock.evaluated(begun.elapsed());
        self.since_row.begun += begun.elapsed();
        Ok(())
    }

    /// Gives the pictures of an evaluation to TensorBoard. A picture that fails is no reason to stop a run.
    fn show(&mut self, step: usize, pictures: Result<Vec<Drawn>, RunError>) {
        let events = self.metrics.as_mut().and_then(Metrics::events);
        let give = |drawn: Vec<Drawn>| {
            let Some(events) = events else { return Ok(()) };
            drawn.into_iter().try_for_each(|Drawn { kind, size, file }| events.picture(kind, step, size, file))
        };
        if let Err(error) = pictures.and_then(give) {
            self.console.warn(&format!("the pictures of this evaluation are missing: {}", error.on_one_line()));
        }
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
        self.status(status, state).write(&self.folder.path)?;
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
        let (health, spent_seconds) = (self.monitor.memory().clone(), self.clock.spent_of_limit());
        let carried = Carried { health, spent_seconds, ..self.carried.clone() };
        serde_json::to_value(&carried).map_err(|error| RunError::file("write", self.folder.checkpoints())(error.into()))
    }

    fn row(&mut self, state: &TrainState, loader: &Loader, seen: Observed<'_>) -> Result<(), RunError> {
        let seconds = self.since_row.begun.elapsed().as_secs_f64().max(1e-9);
        let (at, report) = (seen.at, seen.report);
        let prototypes = PROTOTYPES.map(|part| state.optimizer.grad_norm_of(&state.student, part).powi(2));
        let row = StepRow {
            step: state.step,
            epoch: at.epoch,
            loss: report.loss,
            loss_patches: Some(report.terms.patches).filter(|term| *term != 0.0),
            loss_koleo: Some(report.terms.koleo).filter(|term| *term != 0.0),
            lr: at.lr,
            weight_decay: at.weight_decay,
            momentum: at.momentum,
            teacher_temp: self.folder.config.method.name.has_dino_head().then_some(at.teacher_temp),
            entropy: report.targets.map(|targets| targets.entropy),
            kl: report.kl(),
            batch_entropy: report.targets.map(|targets| targets.batch_entropy),
            largest_share: report.targets.map(|targets| targets.largest_share),
            center_norm: center_norm(state),
            grad_norm: report.grad_norm,
            grad_norm_backbone: state.optimizer.grad_norm_of(&state.student, "backbone."),
            grad_norm_prototypes: prototypes.into_iter().sum::<f64>().sqrt(),
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
        self.console.progress(&self.snapshot(&row, state));
        Ok(())
    }

    fn status(&self, doing: State, state: &TrainState) -> Status {
        let total = self.schedule.total_steps(&state.pace);
        let status = Status::now(doing, state.step, total, self.schedule.steps_per_epoch());
        Status { health: self.findings().iter().copied().collect(), ..status }
    }

    fn snapshot(&mut self, row: &StepRow, state: &TrainState) -> Snapshot {
        let total_steps = self.schedule.total_steps(&state.pace);
        self.losses.push_back(row.loss);
        let loss_before = (self.losses.len() > TREND_ROWS).then(|| self.losses.pop_front()).flatten();
        let eta = self.clock.eta(row.step, total_steps);
        let evaluations = || self.metrics.iter().flat_map(Metrics::evaluations).rev();
        Snapshot {
            epoch: row.epoch + 1,
            epochs: total_steps.div_ceil(self.schedule.steps_per_epoch()),
            step: row.step,
            total_steps,
            loss: row.loss,
            loss_before,
            images_per_second: row.images_per_second,
            data_wait: row.data_wait,
            eta,
            entropy: row.entropy,
            prototypes: self.folder.config.prototypes(),
            kl: row.kl,
            grad_norm: row.grad_norm,
            findings: self.findings().iter().copied().collect(),
            rank: evaluations().find_map(|row| row.rank),
            knn: evaluations().find_map(|row| Some((row.knn_top1?, row.epoch))),
            memory_bytes: machine::used_bytes(),
        }
    }
}

/// Length of the teacher's centre; 0 without one.
fn center_norm(state: &TrainState) -> f64 {
    let tensors = state.method.state();
    let center = tensors.iter().filter(|tensor| tensor.name == "center").flat_map(|tensor| &tensor.values);
    center.map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt()
}
