//! `dinoxide pretrain`: facts → plan → run folder → loop → checkpoint → page.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use dinoxide_engine::tensor::Pool;
use dinoxide_views::{Loader, Source};

use super::RunError;
use super::bundle;
use super::clock::Clock;
use super::console::{Console, Figures, Progress, Verbosity};
use super::copies;
use super::device::{self, cpu};
use super::environment::Environment;
use super::evaluation::Evaluation;
use super::facts::gather;
use super::folder::{RunFolder, Start, WhenExists, default_path};
use super::found::Images;
use super::interrupt::Interrupt;
use super::observer::{Observer, WhenCollapsed};
use super::plan::Plan;
use super::rehearsal::rehearse;
use super::report;
use super::setup::{Weights, fresh_state, loading};
use super::status::{State, Status};
use super::trained::{Stopped, Trained};
use crate::checkpoint::{LoadedFrom, load_latest, set_damaged_aside};
use crate::config::{ConfigError, Facts, Partial, resolve};
use crate::methods::Device;
use crate::report::page::PlanLine;
use crate::schedule::Schedule;
use crate::train::step::TrainState;
use crate::train::{Next, TrainError, train};

/// Folder of runs that were given no name.
const RUNS: &str = "runs";

/// What to pretrain, and where to.
#[derive(Debug, Clone)]
pub struct PretrainRequest {
    /// Values given by file, flags and `--set`; the recipe is laid under them.
    pub given: Partial,
    /// The run folder; `None` for the next free `runs/<data>-<model>-<n>`.
    pub out: Option<PathBuf>,
    /// What to do if it holds a run.
    pub when_exists: WhenExists,
    /// How far to go.
    pub goal: Goal,
    /// What to do if the run collapses.
    pub when_collapsed: WhenCollapsed,
    /// How much to say.
    pub verbosity: Verbosity,
    /// Where figures go.
    pub figures: Figures,
    /// How progress is shown.
    pub progress: Progress,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Goal {
    /// Train to the end.
    #[default]
    Train,
    /// Print the plan and stop.
    Plan,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The plan was printed.
    Planned,
    /// Trained to the end.
    Finished {
        /// The run folder.
        run: PathBuf,
    },
    /// Stopped after saving because it had collapsed or forgot what it started from, or came to its end all the same.
    Collapsed {
        /// The run folder.
        run: PathBuf,
    },
    /// Stopped by a person after saving.
    Interrupted {
        /// The run folder.
        run: PathBuf,
    },
    /// Stopped by a scheduler after saving; the same command goes on.
    Preempted {
        /// The run folder.
        run: PathBuf,
    },
}

/// Pretrains.
///
/// # Errors
/// If the configuration, the data or the run folder cannot be used, or training fails.
pub fn pretrain(request: &PretrainRequest) -> Result<Outcome, RunError> {
    let console = Console::new(request.verbosity, request.figures).showing(request.progress);
    let outcome = train_run(request, &console, |trained| {
        if let Err(error) = report::publish(trained, &console) {
            // The weights are safe, and they are what the run was for.
            console.warn(&format!("the page of the run is missing: {}", error.on_one_line()));
        }
        let run = trained.folder.path.clone();
        Ok(match trained.stopped {
            Some(Stopped::Unhealthy) => Outcome::Collapsed { run },
            Some(Stopped::ByPerson) => Outcome::Interrupted { run },
            Some(Stopped::ByScheduler) => Outcome::Preempted { run },
            None if request.when_collapsed == WhenCollapsed::Stop && has_collapsed(trained) => {
                Outcome::Collapsed { run }
            }
            None => Outcome::Finished { run },
        })
    })?;
    Ok(outcome.unwrap_or(Outcome::Planned))
}

fn has_collapsed(trained: &Trained<'_>) -> bool {
    trained.findings.iter().any(|finding| finding.is_collapse())
}

/// Trains, and does `after` on the run's compute threads; `None` if only the plan was asked for.
///
/// # Errors
/// Those of [`pretrain`], and what `after` returns.
pub(super) fn train_run<T: Send>(
    request: &PretrainRequest,
    console: &Console,
    after: impl FnOnce(&Trained<'_>) -> Result<T, RunError> + Send,
) -> Result<Option<T>, RunError> {
    let begun = Instant::now();
    let interrupt = Interrupt::install().map_err(RunError::file("listen for signals in", "this process"))?;
    let (out, when_exists) = (request.out.as_deref(), request.when_exists);
    let Images { given, source, listed } = Images::find(&request.given, out, when_exists, console)?;
    if let (Some(out), WhenExists::Overwrite, Some(init)) = (out, when_exists, given.text("model.init")) {
        spare(out, init)?;
    }
    let source = Arc::new(source);
    let mut facts = gather(&source, &given)?;
    let (mut config, mut choices) = resolve(&given, &facts)?;
    if let (Some(limit), None) = (config.run.time_limit(), config.run.steps) {
        // Before anything that takes time.
        out.map(|out| RunFolder::check(out, when_exists)).transpose()?;
        console.say("measuring the speed of the first steps…");
        facts.speed = Some(rehearse(&config, &source, limit, begun)?);
        (config, choices) = resolve(&given, &facts)?;
    }
    let out = request.out.clone().unwrap_or_else(|| default_path(RUNS.as_ref(), &config));
    let plan = Plan { config: &config, choices: &choices, facts: &facts, out: &out };
    if request.goal == Goal::Plan {
        console.say(&plan.text(request.verbosity));
        return Ok(None);
    }
    let folder = RunFolder::open(&out, &config, request.when_exists)?;
    if !listed {
        folder.keep_images(&source)?;
    }
    // A run continued with its own configuration does not follow what was derived just now.
    let choices = if folder.config == config { choices.as_slice() } else { &[] };
    let plan = Plan { config: &folder.config, choices, ..plan };
    let lines = plan.lines();
    console.log_to(&out.join("train.log"))?;
    console.say(&plan.text(request.verbosity));
    let copies = if folder.start == Start::Fresh { copies::warning(&source) } else { None };
    plan.warnings().iter().chain(&copies).chain(&folder.notices).for_each(|line| console.warn(line));
    Environment::current().write(&out)?;
    let threads = device::threads(folder.config.run.threads)?;
    let clock = Clock::new(&folder.config, begun);
    let when_collapsed = request.when_collapsed;
    let run = Run { folder: &folder, facts: &facts, source, console, interrupt, when_collapsed, clock };
    let outcome = threads.install(|| run.go(&lines).map(|trained| after(&trained)));
    if let Err(error) = &outcome {
        console.end_progress();
        console.detail(&format!("failed: {error}"));
        let last = Status::read(&out).unwrap_or_else(|| Status::now(State::Failed, 0, 0, 1));
        // What failed may be the disk; then this fails too, and the first error is the one to report.
        last.failed().write(&out).ok();
    }
    outcome?.map(Some)
}

/// A run that starts from weights must not delete them.
fn spare(out: &Path, init: &str) -> Result<(), RunError> {
    let inside = || Some(Path::new(init).canonicalize().ok()?.starts_with(out.canonicalize().ok()?));
    if inside() != Some(true) {
        return Ok(());
    }
    Err(RunError::Config(ConfigError::Conflict {
        key: "--overwrite".to_owned(),
        value: out.display().to_string(),
        other: format!("`model.init` = {init}, which is in it"),
        hint: "choose another run folder with -o".to_owned(),
    }))
}

/// A run that is about to train.
struct Run<'a> {
    folder: &'a RunFolder,
    facts: &'a Facts,
    source: Arc<Source>,
    console: &'a Console,
    interrupt: Interrupt,
    when_collapsed: WhenCollapsed,
    clock: Clock,
}

impl<'a> Run<'a> {
    fn go(self, plan: &'a [PlanLine]) -> Result<Trained<'a>, RunError> {
        let config = &self.folder.config;
        let schedule = Schedule::new(config, config.steps_per_epoch(self.source.len()));
        let (mut state, carried) = self.start()?;
        let total = schedule.total_steps(&state.pace);
        if state.step > total {
            return Err(RunError::BeyondSchedule { done: state.step, total });
        }
        if state.step == 0
            && let Some(sheet) = report::preview(self.folder, &self.source)?
        {
            self.console.say(&format!("what the networks will see: {}", sheet.display()));
        }
        let loading = loading(config, &self.source, state.step);
        let mut loader = Loader::new(Arc::clone(&self.source), config.views.clone(), loading)?;
        let (cpu, pool) = (cpu(config.run.precision, self.console), Pool::new());
        let device = Device { kernels: &cpu, pool: &pool };
        let evaluation = Evaluation::open(self.folder, &self.source, self.console)?;
        let observer = Observer::new(self.folder, &schedule, self.console, self.interrupt.clone(), self.clock.clone());
        let mut observer = observer.when_collapsed(self.when_collapsed);
        observer.continue_from(carried, &state)?;
        observer.begin(&state)?;
        observer.evaluate_if_due(&evaluation, &state, device)?;
        let begun = Instant::now();
        let trained = train::<RunError>(&mut state, &mut loader, &schedule, device, |state, loader, observed| {
            let next = observer.step(state, loader, observed)?;
            // Who asked for a stop does not wait for an evaluation; the resumed run makes up for it.
            if next == Next::Step {
                observer.evaluate_if_due(&evaluation, state, device)?;
            }
            Ok(next)
        });
        let end = trained.inspect_err(|error| self.keep_step(&state, error))?;
        observer.save(&state)?;
        self.console.end_progress();
        let took = begun.elapsed();
        observer.close(end, &state, took)?;
        let (stopped, findings) = (observer.stopped(), observer.findings().clone());
        let (folder, facts, source, validation) = (self.folder, self.facts, self.source, evaluation.validation);
        Ok(Trained { folder, source, facts, plan, state, validation, end, stopped, findings, took })
    }

    /// Keeps a step that was not finite, so that it can be looked at.
    fn keep_step(&self, state: &TrainState, error: &RunError) {
        let RunError::Train(error @ (TrainError::Loss { .. } | TrainError::Gradient { .. })) = error else { return };
        match bundle::keep(self.folder, &self.source, state, error) {
            Ok(path) => {
                self.console.warn(&format!("the step is kept; see it again: dinoxide replay {}", path.display()))
            }
            Err(error) => self.console.warn(&format!("the step could not be kept: {}", error.on_one_line())),
        }
    }

    /// The state before the next step, from nothing, from weights or from a checkpoint, and what the checkpoint carried.
    fn start(&self) -> Result<(TrainState, serde_json::Value), RunError> {
        let config = &self.folder.config;
        let loaded = match self.folder.start {
            Start::Fresh => None,
            Start::Resume => load_latest(&self.folder.checkpoints())?,
        };
        let weights = if loaded.is_some() { Weights::Random } else { Weights::AsConfigured };
        let (mut state, report) = fresh_state(config, weights)?;
        report.into_iter().for_each(|report| self.console.say(&report));
        let mut carried = serde_json::Value::Null;
        if let Some(loaded) = &loaded {
            if let Some(warning) = &loaded.warning {
                self.console.warn(warning);
            }
            if loaded.from == LoadedFrom::Previous {
                set_damaged_aside(&self.folder.checkpoints())?;
            }
            carried = state.restore(loaded)?;
            self.console.say(&format!("continuing after step {}", state.step));
        }
        Ok((state, carried))
    }
}
