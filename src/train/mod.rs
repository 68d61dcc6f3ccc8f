//! THE LOOP, and below it what one step does.
//!
//! `schedule → batch → step (teacher, student, loss, gradient, update, average, centre) → observe`. Everything around it
//! (logs, checkpoints, evaluations, pictures) happens in the observer, which lives in `run`.

use dinoxide_views::Label;
use dinoxide_views::loader::{Batch, Loader, ViewGroup};

use crate::loss::classification::Target;
use crate::methods::Device;
use crate::schedule::{Schedule, Scheduled};

pub mod optimizer;
pub mod state;
pub mod step;

use step::{Crops, StepReport, TrainState};

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss is NaN or infinite.
    #[error(
        "the loss is {loss} at step {step}; nothing was updated and the last checkpoint is from before it: lower `optim.lr`, \
         then resume"
    )]
    Loss {
        /// The step.
        step: usize,
        /// The loss.
        loss: f64,
    },
    /// A gradient is NaN or infinite.
    #[error(
        "a gradient is not finite at step {step}; nothing was updated and the last checkpoint is from before it: lower \
         `optim.lr`, then resume"
    )]
    Gradient {
        /// The step.
        step: usize,
    },
    /// The images cannot be read.
    #[error(transparent)]
    Views(#[from] dinoxide_views::Error),
}

/// What the observer wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another step.
    Step,
    /// Leave the loop; everything is saved.
    Stop,
}

/// How the loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The schedule is done.
    Finished,
    /// The observer stopped it.
    Stopped,
}

/// What the observer sees after each step.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// The batch that was used.
    pub batch: &'a Batch,
    /// The values that were scheduled.
    pub at: &'a Scheduled,
    /// What was measured.
    pub report: &'a StepReport,
}

/// Trains from `state.step` to the end of the schedule, or until `observe` says stop.
///
/// # Errors
/// If images cannot be read, a value is not finite, or the observer fails.
pub fn train<E: From<TrainError>>(
    state: &mut TrainState,
    loader: &mut Loader,
    schedule: &Schedule,
    device: Device<'_>,
    mut observe: impl FnMut(&mut TrainState, &mut Loader, Observed<'_>) -> Result<Next, E>,
) -> Result<End, E> {
    while let Some(at) = schedule.at(state.step, &state.pace) {
        let batch = loader.next_batch().map_err(TrainError::from)?;
        state.method.take_targets(targets(&batch.labels));
        state.method.take_images(&batch.samples);
        let report = state.step(device, &crops(&batch.groups), batch.samples.len(), &at)?;
        let observed = Observed { batch: &batch, at: &at, report: &report };
        if observe(state, loader, observed)? == Next::Stop {
            return Ok(End::Stopped);
        }
    }
    Ok(End::Finished)
}

/// The crops of a batch, for [`TrainState::step`].
pub fn crops(groups: &[ViewGroup]) -> Vec<Crops<'_>> {
    let sizes = |group: &ViewGroup| (group.size as usize, group.views as usize);
    groups
        .iter()
        .map(|group| (sizes(group), &group.pixels))
        .map(|((side, views), pixels)| Crops { pixels, side, views })
        .collect()
}

/// What the views of a batch show, for [`Method::take_targets`](crate::methods::Method::take_targets).
pub fn targets(labels: &[Label]) -> Vec<Target> {
    let target = |label: &Label| {
        let [class, other] = [label.class, label.other].map(|class| class as usize);
        Target { class, other, share: label.share }
    };
    labels.iter().map(target).collect()
}
