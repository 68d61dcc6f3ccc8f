//! The state of training in and out of a checkpoint: what is restored continues bit for bit.

use std::path::Path;

use dinoxide_engine::params::Params;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::step::TrainState;
use crate::checkpoint::{self, CheckpointError, Loaded, Part, Slot, TensorFile, TensorRef};
use crate::schedule::Pace;

/// Prefix of first moments, as in `torch.optim`.
const FIRST: &str = "exp_avg.";
/// Prefix of second moments.
const SECOND: &str = "exp_avg_sq.";

/// What a checkpoint holds besides tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// How fast the run goes through its schedule.
    #[serde(default)]
    pub pace: Pace,
    /// Updates each tensor has had, in the order of the student's tensors.
    pub updates: Vec<u64>,
    /// What the run adds, such as the sums of the epoch under way.
    pub run: Value,
}

/// A checkpoint that does not fit the run.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It lacks a tensor, or has it in another size.
    #[error(
        "the checkpoint has no `{tensor}` of {expected} values in its `{part}`; it belongs to another configuration"
    )]
    Tensor {
        /// The part.
        part: &'static str,
        /// The tensor.
        tensor: String,
        /// Values expected.
        expected: usize,
    },
    /// Its `state.json` is not one of ours.
    #[error("the checkpoint's `state.json` cannot be understood; it was written by another version")]
    Progress(#[source] serde_json::Error),
}

impl TrainState {
    /// Writes everything that training changes into `folder`.
    ///
    /// # Errors
    /// If a file cannot be written; the checkpoints that were there stay.
    pub fn save(&self, folder: &Path, slot: Slot<'_>, run: Value) -> Result<(), StateError> {
        let (_, teacher) = self.method.backbone();
        let method = self.method.state();
        let mut names = Vec::new();
        for spec in self.student.layout().specs() {
            names.push((format!("{FIRST}{}", spec.name), format!("{SECOND}{}", spec.name)));
        }
        let mut optim: Vec<TensorRef<'_>> = Vec::new();
        for (spec, (first, second)) in self.student.layout().specs().iter().zip(&names) {
            let shape = &spec.shape;
            optim.push(TensorRef { name: first, shape, values: &self.optimizer.first[spec.range()] });
            if !self.optimizer.second.is_empty() {
                optim.push(TensorRef { name: second, shape, values: &self.optimizer.second[spec.range()] });
            }
        }
        let state = method.iter();
        let state = state.map(|tensor| TensorRef { name: tensor.name, shape: &tensor.shape, values: &tensor.values });
        let parts = [
            Part { name: "student", tensors: tensors(&self.student) },
            Part { name: "teacher", tensors: tensors(teacher) },
            Part { name: "optim", tensors: optim },
            Part { name: "method", tensors: state.collect() },
        ];
        let progress = Progress { step: self.step, pace: self.pace, updates: self.optimizer.updates.clone(), run };
        let progress = serde_json::to_value(progress).map_err(StateError::Progress)?;
        Ok(checkpoint::save(folder, slot, &parts, &progress)?)
    }

    /// Takes everything back from a checkpoint; returns what the run had added.
    ///
    /// # Errors
    /// If a tensor is missing or has another size.
    pub fn restore(&mut self, loaded: &Loaded) -> Result<Value, StateError> {
        let progress: Progress = serde_json::from_value(loaded.state.clone()).map_err(StateError::Progress)?;
        let layout = self.student.layout().clone();
        fill(&mut self.student, loaded, "student")?;
        fill(self.method.teacher_mut(), loaded, "teacher")?;
        for spec in layout.specs() {
            let first = &mut self.optimizer.first[spec.range()];
            copy(loaded, "optim", &format!("{FIRST}{}", spec.name), first)?;
            if !self.optimizer.second.is_empty() {
                let second = &mut self.optimizer.second[spec.range()];
                copy(loaded, "optim", &format!("{SECOND}{}", spec.name), second)?;
            }
        }
        for mut tensor in self.method.state() {
            copy(loaded, "method", tensor.name, &mut tensor.values)?;
            self.method.restore(tensor.name, &tensor.values);
        }
        let (updates, tensors) = (progress.updates, layout.specs().len());
        if updates.len() != tensors {
            return Err(StateError::Tensor { part: "state", tensor: "updates".to_owned(), expected: tensors });
        }
        self.optimizer.updates = updates;
        (self.step, self.pace) = (progress.step, progress.pace);
        Ok(progress.run)
    }
}

fn tensors(params: &Params) -> Vec<TensorRef<'_>> {
    params.tensors().map(|(spec, values)| TensorRef { name: &spec.name, shape: &spec.shape, values }).collect()
}

fn fill(params: &mut Params, loaded: &Loaded, part: &'static str) -> Result<(), StateError> {
    let layout = params.layout().clone();
    for spec in layout.specs() {
        copy(loaded, part, &spec.name, &mut params.values_mut()[spec.range()])?;
    }
    Ok(())
}

fn copy(loaded: &Loaded, part: &'static str, name: &str, to: &mut [f32]) -> Result<(), StateError> {
    let tensor = loaded.parts.get(part).and_then(|file: &TensorFile| file.tensor(name));
    match tensor.filter(|tensor| tensor.values.len() == to.len()) {
        Some(tensor) => {
            to.copy_from_slice(&tensor.values);
            Ok(())
        }
        None => Err(StateError::Tensor { part, tensor: name.to_owned(), expected: to.len() }),
    }
}
