//! What the time says: the speed of this process, the estimate of the end, and the pace that ends a run on time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::schedule::{Pace, Schedule};
use crate::train::step::TrainState;

/// Share of the time between two looks at whether the run will end on time.
const LOOK_SHARE: f64 = 0.02;
/// Looks over which the speed is measured.
const LOOKS: usize = 5;
/// Largest share by which the steps left may be off before the pace changes.
const TOLERANCE: f64 = 0.02;
/// Smallest share of the steps left that are done, however late it is.
const FEWEST_STEPS: f64 = 0.05;
/// Share of an evaluation that the page of the run takes the time of, and seconds for it, films and the last checkpoint besides.
const FINISH: (f64, f64) = (0.25, 6.0);

/// The clock of a run.
#[derive(Debug, Clone)]
pub struct Clock {
    /// When this process began with the run.
    begun: Instant,
    /// When it would have begun had it only trained.
    training_since: Instant,
    /// Step after which this process began.
    first_step: usize,
    /// What earlier processes took.
    before: Duration,
    deadline: Option<Deadline>,
}

/// A time that a run has to end at.
#[derive(Debug, Clone)]
struct Deadline {
    /// What all processes of the run may take.
    limit: Duration,
    /// What the last evaluation took.
    evaluation: Duration,
    /// Steps and training time at the last looks.
    looks: VecDeque<(usize, f64)>,
}

impl Clock {
    /// The clock of a run whose process began at `begun`.
    pub fn new(config: &Config, begun: Instant) -> Self {
        let looks = VecDeque::new();
        let deadline = config.run.time_limit().map(|limit| Deadline { limit, evaluation: Duration::ZERO, looks });
        Self { begun, training_since: Instant::now(), first_step: 0, before: Duration::ZERO, deadline }
    }

    /// Goes on after `step`, for which earlier processes took `before_seconds`.
    pub fn continue_from(&mut self, step: usize, before_seconds: f64) {
        let before = Duration::try_from_secs_f64(before_seconds).unwrap_or_default();
        (self.first_step, self.before, self.training_since) = (step, before, Instant::now());
    }

    /// Leaves an evaluation out of the speed.
    pub fn evaluated(&mut self, took: Duration) {
        self.training_since += took;
        if let Some(deadline) = &mut self.deadline {
            deadline.evaluation = took;
        }
    }

    /// Seconds that a run with a time has taken of it, in all its processes; what does not limit a run is not counted.
    pub fn spent_of_limit(&self) -> Option<f64> {
        self.deadline.as_ref().map(|_| (self.before + self.begun.elapsed()).as_secs_f64())
    }

    /// Time to the end at the speed of this process so far; unknown before its first step.
    pub fn eta(&self, step: usize, total_steps: usize) -> Option<Duration> {
        let done = step.checked_sub(self.first_step).filter(|done| *done > 0)?;
        let left = total_steps.saturating_sub(step);
        Some(self.training_since.elapsed().mul_f64(left as f64 / done as f64))
    }

    /// The pace that ends the run on time, with `evaluations` still to come; `None` if that is the pace it has.
    pub fn pace(&mut self, state: &TrainState, schedule: &Schedule, evaluations: usize) -> Option<Pace> {
        let (trained, spent) = (self.training_since.elapsed().as_secs_f64(), self.spent_of_limit()?);
        let Deadline { limit, evaluation, looks } = self.deadline.as_mut()?;
        let limit = limit.as_secs_f64();
        let (step_before, trained_before) = looks.back().copied().unwrap_or((self.first_step, 0.0));
        if trained - trained_before < LOOK_SHARE * limit || state.step == step_before {
            return None;
        }
        if looks.is_empty() {
            looks.push_back((self.first_step, 0.0));
        }
        looks.push_back((state.step, trained));
        if looks.len() > LOOKS + 1 {
            looks.pop_front();
        }
        let (from, since) = looks.front().copied()?;
        let step_seconds = (trained - since) / (state.step - from).max(1) as f64;
        let (evaluations_at_end, seconds_at_end) = FINISH;
        let other = (evaluations as f64 + evaluations_at_end) * evaluation.as_secs_f64() + seconds_at_end;
        let left = schedule.total_steps(&state.pace).saturating_sub(state.step) as f64;
        let possible = ((limit - spent - other) / step_seconds).max(FEWEST_STEPS * left);
        let off = (possible - left).abs() > TOLERANCE * left;
        // The last stretch is not worth a change.
        let worth_it = left * step_seconds > LOOK_SHARE * limit;
        (off && worth_it).then(|| state.pace.ending_in(possible as usize, state.step, schedule.planned_steps()))
    }
}
