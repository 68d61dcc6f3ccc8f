//! Evaluation while training: k-NN where labels are known, the probe everywhere, and which checkpoint is the best.

use std::sync::Arc;

use dinoxide_views::Source;

use super::RunError;
use super::console::Console;
use super::health::Sighting;
use super::metrics::EvalRow;
use super::probe::Probe;
use super::validation::Validation;
use crate::config::Config;
use crate::methods::Device;
use crate::train::step::TrainState;

/// What is evaluated while a run trains.
pub struct Evaluation {
    /// The labelled images, if there are any.
    pub validation: Option<Validation>,
    probe: Probe,
    knn_k: usize,
}

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// Its score: k-NN top-1 of the teacher in percent, or without labels the rank of its features.
    pub score: f64,
    /// Steps done then.
    pub step: usize,
}

impl Best {
    /// An evaluation as a candidate. A network that has not learnt yet is none, unless it began with weights.
    pub fn of(row: &EvalRow, config: &Config) -> Option<Self> {
        let score = row.knn_top1.or(row.rank)?;
        (row.step > 0 || config.model.init.is_some()).then_some(Self { score, step: row.step })
    }

    /// Whether it is better than the best before it.
    pub fn beats(&self, before: Option<Self>) -> bool {
        before.is_none_or(|before| self.score > before.score)
    }
}

impl Evaluation {
    /// Reads what the evaluation `config` asks for needs.
    ///
    /// # Errors
    /// If the labelled images cannot be used.
    pub fn open(config: &Config, train: &Arc<Source>, console: &Console) -> Result<Self, RunError> {
        let validation = Validation::open(config, train, console)?;
        Ok(Self { validation, probe: Probe::open(config, train), knn_k: config.eval.knn_k })
    }

    /// Evaluates both networks after `epoch` epochs.
    ///
    /// # Errors
    /// If the labelled images cannot be read.
    pub fn run(&self, state: &TrainState, epoch: usize, device: Device<'_>) -> Result<EvalRow, RunError> {
        let (backbone, teacher) = state.method.backbone();
        let top1 = |validation: &Validation| validation.top1(backbone, [teacher, &state.student], device);
        let top1 = self.validation.as_ref().map(top1).transpose()?;
        let probed = self.probe.look(state, device);
        Ok(EvalRow {
            eval: true,
            step: state.step,
            epoch,
            knn_top1: top1.map(|[teacher, _]| teacher),
            knn_top1_student: top1.map(|[_, student]| student),
            knn_k: top1.map(|_| self.knn_k),
            rank: probed.rank,
            feature_std: probed.feature_std,
            student_cosine: probed.student_cosine,
        })
    }
}

impl EvalRow {
    /// What the monitor looks at.
    pub fn sighting(&self) -> Sighting {
        Sighting { rank: self.rank, feature_std: self.feature_std, knn_top1: self.knn_top1 }
    }

    /// The evaluation in one line.
    pub fn words(&self) -> String {
        let mut parts = Vec::new();
        if let (Some(teacher), Some(student), Some(k)) = (self.knn_top1, self.knn_top1_student, self.knn_k) {
            parts.push(format!("k-NN {teacher:.2} % teacher, {student:.2} % student (k {k})"));
        }
        parts.extend(self.rank.map(|rank| format!("rank {rank:.1}")));
        parts.extend(self.feature_std.map(|std| format!("std {std:.4}")));
        parts.extend(self.student_cosine.map(|cosine| format!("student to teacher {cosine:.3}")));
        format!("epoch {}: {}", self.epoch, parts.join(", "))
    }
}
