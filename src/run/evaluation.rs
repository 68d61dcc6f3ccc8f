//! Evaluation while training: k-NN where labels are known, the probe everywhere, and which checkpoint is the best.

use std::sync::Arc;

use dinoxide_views::Source;
use dinoxide_views::source::SourceImage;

use super::RunError;
use super::accuracy::Judge;
use super::console::Console;
use super::folder::RunFolder;
use super::health::Sighting;
use super::metrics::EvalRow;
use super::pictures::{Drawn, Moment, Pictures};
use super::probe::Probe;
use super::validation::Validation;
use crate::config::{Config, MethodName};
use crate::eval::features::Frozen;
use crate::methods::Device;
use crate::train::step::TrainState;

/// What is evaluated while a run trains.
pub struct Evaluation {
    /// The labelled images, if there are any.
    pub validation: Option<Validation>,
    /// The same images, where the method has a classifier.
    judge: Option<Judge>,
    probe: Probe,
    pictures: Option<Pictures>,
    knn_k: usize,
}

/// What an evaluation gives.
pub struct Evaluated {
    /// The figures.
    pub row: EvalRow,
    /// The sheets that were drawn; none if one could not be.
    pub pictures: Result<Vec<Drawn>, RunError>,
}

/// The best evaluation so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Best {
    /// Its score: top-1 in percent, of its classifier or else of k-NN, or without labels the rank of its features.
    pub score: f64,
    /// Steps done then.
    pub step: usize,
}

impl Best {
    /// An evaluation as a candidate. A network that has not learnt yet is none, unless it began with weights.
    pub fn of(row: &EvalRow, config: &Config) -> Option<Self> {
        let score = row.top1.or(row.knn_top1).or(row.rank)?;
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
    pub fn open(folder: &RunFolder, train: &Arc<Source>, console: &Console) -> Result<Self, RunError> {
        let config = &folder.config;
        let judge = Judge::open(config, train, console)?;
        let supervised = config.method.name.learns_from_labels();
        let validation = if supervised { None } else { Validation::open(config, train, console)? };
        let among: Vec<&SourceImage> = match &validation {
            Some(validation) => validation.queries().collect(),
            None => train.images.iter().collect(),
        };
        let pictures = config.eval.pictures.then(|| Pictures::open(&folder.path, config, &among));
        Ok(Self { probe: Probe::open(config, train), knn_k: config.eval.knn_k, pictures, validation, judge })
    }

    /// Evaluates both networks after `epoch` epochs.
    ///
    /// # Errors
    /// If the labelled images cannot be read.
    pub fn run(&self, state: &TrainState, epoch: usize, device: Device<'_>) -> Result<Evaluated, RunError> {
        let (backbone, teacher) = state.method.backbone();
        let top1 = |validation: &Validation| validation.top1(backbone, [teacher, &state.student], device);
        let top1 = self.validation.as_ref().map(top1).transpose()?;
        let features = self.probe.look(state, device);
        let probed = features.figures();
        let judge = |judge: &Judge| judge.judge(&*state.method, teacher, device);
        let judged = self.judge.as_ref().map(judge).transpose()?;
        let frozen = Frozen::new(device.kernels, device.pool, backbone, teacher);
        let at = Moment { step: state.step, epoch };
        let draw = |pictures: &Pictures| pictures.draw(&frozen, &self.probe, &features, at);
        let pictures = self.pictures.as_ref().map_or_else(|| Ok(Vec::new()), draw);
        let row = EvalRow {
            eval: true,
            step: state.step,
            epoch,
            knn_top1: top1.map(|[teacher, _]| teacher),
            knn_top1_student: top1.map(|[_, student]| student),
            knn_k: top1.map(|_| self.knn_k),
            top1: judged.as_ref().map(|judged| judged.accuracy.top1),
            top5: judged.as_ref().map(|judged| judged.accuracy.top5),
            val_loss: judged.as_ref().map(|judged| judged.loss),
            rank: probed.rank,
            feature_std: probed.feature_std,
            student_cosine: probed.student_cosine,
        };
        Ok(Evaluated { row, pictures })
    }
}

impl EvalRow {
    /// What the monitor looks at. Features that classes shape have few directions when they are good: their rank is no sign.
    pub fn sighting(&self, method: MethodName) -> Sighting {
        let rank = self.rank.filter(|_| !method.learns_from_labels());
        Sighting { rank, feature_std: self.feature_std, knn_top1: self.knn_top1 }
    }

    /// The evaluation in one line.
    pub fn words(&self) -> String {
        let mut parts = Vec::new();
        if let (Some(top1), Some(top5), Some(loss)) = (self.top1, self.top5, self.val_loss) {
            parts.push(format!("top-1 {top1:.2} %, top-5 {top5:.2} %, loss {loss:.3}"));
        }
        if let (Some(teacher), Some(student), Some(k)) = (self.knn_top1, self.knn_top1_student, self.knn_k) {
            parts.push(format!("k-NN {teacher:.2} % teacher, {student:.2} % student (k {k})"));
        }
        parts.extend(self.rank.map(|rank| format!("rank {rank:.1}")));
        parts.extend(self.feature_std.map(|std| format!("std {std:.4}")));
        parts.extend(self.student_cosine.map(|cosine| format!("student to teacher {cosine:.3}")));
        format!("epoch {}: {}", self.epoch, parts.join(", "))
    }
}
