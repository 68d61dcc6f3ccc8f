//! `dinoxide pretrain`: plan, train, evaluate, report.

use std::path::PathBuf;

use super::RunError;
use super::console::{Figures, Verbosity};
use super::folder::WhenExists;
use crate::config::Partial;

/// What to pretrain, and where to.
#[derive(Debug, Clone)]
pub struct PretrainRequest {
    /// Values given by file, flags and `--set`; the recipe is not yet laid under them.
    pub given: Partial,
    /// The run folder; `None` for the next free `runs/<data>-<model>-<n>`.
    pub out: Option<PathBuf>,
    /// What to do if it holds a run.
    pub when_exists: WhenExists,
    /// How far to go.
    pub goal: Goal,
    /// How much to say.
    pub verbosity: Verbosity,
    /// Where figures go.
    pub figures: Figures,
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
    /// Stopped by a signal after saving.
    Interrupted {
        /// The run folder.
        run: PathBuf,
    },
}

/// Pretrains.
///
/// # Errors
/// If the configuration, the data or the run folder cannot be used, or training fails.
pub fn pretrain(request: &PretrainRequest) -> Result<Outcome, RunError> {
    let _ = request;
    Err(RunError::Unavailable { what: "pretrain" })
}
