//! What training leaves behind: the state of both networks and everything the page is made from.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dinoxide_views::Source;

use super::folder::RunFolder;
use super::health::Finding;
use super::validation::Validation;
use crate::report::page::PlanLine;
use crate::train::End;
use crate::train::step::TrainState;

/// A run whose loop has ended.
pub struct Trained<'a> {
    /// The run folder, still locked by this process.
    pub folder: &'a RunFolder,
    /// The training images.
    pub source: Arc<Source>,
    /// What was decided before the first step.
    pub plan: &'a [PlanLine],
    /// Student, teacher, optimizer.
    pub state: TrainState,
    /// The evaluation while training, if there was one.
    pub validation: Option<Validation>,
    /// How the loop ended.
    pub end: End,
    /// Whether it was stopped because it had collapsed.
    pub gave_up: bool,
    /// What was found to go wrong.
    pub findings: BTreeSet<Finding>,
    /// Time in the loop of this process.
    pub took: Duration,
}
