//! What training leaves behind: the state of both networks and everything the page is made from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dinoxide_views::Source;

use super::folder::RunFolder;
use super::health::Finding;
use super::validation::Validation;
use crate::config::Facts;
use crate::report::page::PlanLine;
use crate::train::End;
use crate::train::step::TrainState;

/// Why a run stopped before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Something was found that makes going on a waste of time.
    Unhealthy,
    /// A person asked for it.
    ByPerson,
    /// A scheduler asked for it, and will start the run again.
    ByScheduler,
}

/// A run whose loop has ended.
pub struct Trained<'a> {
    /// The run folder, still locked by this process.
    pub folder: &'a RunFolder,
    /// The training images.
    pub source: Arc<Source>,
    /// What the plan was made from.
    pub facts: &'a Facts,
    /// What was decided before the first step.
    pub plan: &'a [PlanLine],
    /// Student, teacher, optimizer.
    pub state: TrainState,
    /// The evaluation while training, if there was one.
    pub validation: Option<Validation>,
    /// How the loop ended.
    pub end: End,
    /// Why it stopped before its end, if it did.
    pub stopped: Option<Stopped>,
    /// What was found to go wrong.
    pub findings: BTreeSet<Finding>,
    /// Time in the loop of this process.
    pub took: Duration,
}
