//! The figures of a run: `metrics.jsonl`, the official `log.txt`, `skipped.jsonl`, and event files for TensorBoard.
//!
//! A run resumed at step S cuts the files back to S, so that in the end they equal those of a run that was never
//! interrupted. Only `images_per_second` and `data_wait` depend on the clock.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunError;
use super::json_lines::JsonLines;
use super::tensorboard::EventFile;

/// One logged step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepRow {
    /// Steps done, from 1.
    pub step: usize,
    /// Epoch the step belongs to, from 0.
    pub epoch: usize,
    /// The loss.
    pub loss: f64,
    /// What of it is the term of masked patches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_patches: Option<f64>,
    /// What of it is KoLeo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_koleo: Option<f64>,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Share of the teacher kept; 0 where the student is all there is.
    pub momentum: f64,
    /// Temperature of DINO's teacher's softmax.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub teacher_temp: Option<f64>,
    /// Mean entropy of the targets, nats; only of targets that are probabilities, as are the next three.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entropy: Option<f64>,
    /// Mean divergence of the student from its targets, nats: loss − entropy, less the terms above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// Entropy of the mean target of the batch, nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_entropy: Option<f64>,
    /// Share of the prototype that the batch's targets prefer, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub largest_share: Option<f64>,
    /// Norm of the teacher's centre; 0 without one.
    #[serde(default)]
    pub center_norm: f64,
    /// Norm of the whole gradient before clipping.
    pub grad_norm: f64,
    /// The part of it that is the backbone's.
    #[serde(default)]
    pub grad_norm_backbone: f64,
    /// The part of it that is the prototypes'.
    #[serde(default)]
    pub grad_norm_prototypes: f64,
    /// Images per second since the last row.
    pub images_per_second: f64,
    /// Share of the time spent waiting for images since the last row.
    pub data_wait: f64,
}

/// One evaluation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// Always true: tells evaluations from steps.
    pub eval: bool,
    /// Steps done.
    pub step: usize,
    /// Epochs done; the last one may have been cut short.
    pub epoch: usize,
    /// k-NN top-1 of the teacher, percent; with labelled images only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_top1: Option<f64>,
    /// k-NN top-1 of the student, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_top1_student: Option<f64>,
    /// Neighbours that voted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knn_k: Option<usize>,
    /// Top-1 of the method's own classifier, percent; of a method that has one, with labelled images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1: Option<f64>,
    /// Its top-5, percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5: Option<f64>,
    /// Its cross-entropy, nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// RankMe of the teacher's features of the probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<f64>,
    /// Mean standard deviation of the teacher's features of the probe at unit length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feature_std: Option<f64>,
    /// Mean cosine between student's and teacher's features of the probe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub student_cosine: Option<f64>,
}

/// One epoch in the format of the reference program's `log.txt`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// Mean loss.
    pub train_loss: f64,
    /// Mean learning rate.
    pub train_lr: f64,
    /// Mean weight decay.
    pub train_wd: f64,
    /// Epoch, from 0.
    pub epoch: usize,
}

/// Sums of an epoch under way; part of a checkpoint, so that a resumed epoch has the same means.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochSums {
    /// Steps counted.
    pub steps: usize,
    /// Sum of losses.
    pub loss: f64,
    /// Sum of learning rates.
    pub lr: f64,
    /// Sum of weight decays.
    pub weight_decay: f64,
}

impl EpochSums {
    /// Counts one step.
    pub fn add(&mut self, loss: f64, lr: f64, weight_decay: f64) {
        self.steps += 1;
        self.loss += loss;
        self.lr += lr;
        self.weight_decay += weight_decay;
    }

    /// The means as the row of `epoch`.
    pub fn row(&self, epoch: usize) -> EpochRow {
        let count = self.steps.max(1) as f64;
        EpochRow {
            train_loss: self.loss / count,
            train_lr: self.lr / count,
            train_wd: self.weight_decay / count,
            epoch,
        }
    }
}

/// An image that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRow {
    /// The file.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// The files of figures of one run.
#[derive(Debug)]
pub struct Metrics {
    metrics: JsonLines,
    epochs: JsonLines,
    skipped: JsonLines,
    skipped_paths: BTreeSet<String>,
    evaluations: Vec<EvalRow>,
    events: Option<EventFile>,
}

impl Metrics {
    /// Opens the files of the run in `folder`, cut back to `step` steps and `epoch` whole epochs done (0 and 0 for
    /// a fresh run).
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn open(folder: &Path, step: usize, epoch: usize) -> Result<Self, RunError> {
        let number = |row: &Value, key: &str| row.get(key).and_then(Value::as_u64);
        let mut evaluations = Vec::new();
        let metrics = JsonLines::open(&folder.join("metrics.jsonl"), |row| {
            let kept = step > 0 && number(row, "step").is_some_and(|at| at <= step as u64);
            if kept && row.get("eval").is_some() {
                evaluations.extend(serde_json::from_value::<EvalRow>(row.clone()));
            }
            kept
        })?;
        let epochs =
            JsonLines::open(&folder.join("log.txt"), |row| number(row, "epoch").is_some_and(|at| at < epoch as u64))?;
        let mut skipped_paths = BTreeSet::new();
        let skipped = JsonLines::open(&folder.join("skipped.jsonl"), |row| {
            let path = row.get("path").and_then(Value::as_str);
            step > 0 && path.is_some_and(|path| skipped_paths.insert(path.to_owned()))
        })?;
        Ok(Self { metrics, epochs, skipped, skipped_paths, evaluations, events: None })
    }

    /// Writes the same figures to an event file for TensorBoard as well.
    #[must_use]
    pub fn with_events(self, events: EventFile) -> Self {
        Self { events: Some(events), ..self }
    }

    /// The event file, if there is one.
    pub fn events(&mut self) -> Option<&mut EventFile> {
        self.events.as_mut()
    }

    /// Writes a logged step.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn step(&mut self, row: &StepRow) -> Result<(), RunError> {
        self.events().map(|events| events.scalars("train", row.step, row)).transpose()?;
        self.metrics.append(row)
    }

    /// Writes an evaluation.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn eval(&mut self, row: &EvalRow) -> Result<(), RunError> {
        self.evaluations.push(row.clone());
        self.events().map(|events| events.scalars("eval", row.step, row)).transpose()?;
        self.metrics.append(row)
    }

    /// Whether an evaluation after `step` steps is already written: a run stopped between its checkpoint and its
    /// evaluation makes up for it.
    pub fn has_eval(&self, step: usize) -> bool {
        self.evaluations.iter().any(|row| row.step == step)
    }

    /// All evaluations so far, of earlier processes too.
    pub fn evaluations(&self) -> &[EvalRow] {
        &self.evaluations
    }

    /// Writes a finished epoch.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn epoch(&mut self, row: &EpochRow) -> Result<(), RunError> {
        self.epochs.append(row)
    }

    /// Notes an unreadable image, once.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn skip(&mut self, path: &str, reason: &str) -> Result<(), RunError> {
        if !self.skipped_paths.insert(path.to_owned()) {
            return Ok(());
        }
        self.skipped.append(&SkippedRow { path: path.to_owned(), reason: reason.to_owned() })
    }

    /// Unreadable images so far.
    pub fn skipped(&self) -> usize {
        self.skipped_paths.len()
    }

    /// Makes everything written so far survive a power cut.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn sync(&self) -> Result<(), RunError> {
        self.metrics.sync()?;
        self.epochs.sync()?;
        self.skipped.sync()
    }
}
