//! What classifiers on frozen features share: labelled rows, and how right they are.

use std::collections::BTreeMap;

use serde::Serialize;

use super::EvalError;

/// How many ranked classes count as a hit of top-5.
const TOP: usize = 5;

/// A classifier that cannot be trained or used as asked.
#[derive(Debug, thiserror::Error, Clone, PartialEq)]
pub enum ClassifierError {
    /// There is nothing to tell apart.
    #[error("all training images are of one class, and a classifier needs two; give a folder for each class")]
    OneClass,
    /// A number that has to be above 0.
    #[error("{what} {value} is not above 0; use for example {example}")]
    NotPositive {
        /// Which number.
        what: &'static str,
        /// As given.
        value: f64,
        /// One that works.
        example: &'static str,
    },
    /// A number that nothing can be done so often with.
    #[error("{what} {value} is above {most}; use for example {example}")]
    TooLarge {
        /// Which number.
        what: &'static str,
        /// As given.
        value: usize,
        /// The largest that is taken.
        most: usize,
        /// One that works.
        example: &'static str,
    },
    /// The original program has one learning rate.
    #[error(
        "the original program trains with one learning rate, and {rates} were given; give one with `--lr`, or leave `--reference-exact` away"
    )]
    SeveralRates {
        /// How many.
        rates: usize,
    },
    /// A list with nothing in it.
    #[error("no {what} was given; give one or more")]
    Nothing {
        /// What is missing.
        what: &'static str,
    },
    /// A share of the images outside of (0, 1].
    #[error("fraction {fraction} is outside of (0, 1]; 0.01 takes one image of a hundred")]
    Fraction {
        /// As given.
        fraction: f64,
    },
    /// Every learning rate was too large.
    #[error("the loss became infinite or NaN with every learning rate; try smaller ones with `--lr`, such as 0.001")]
    Diverged,
}

/// Whether a count is at least 1 and at most `most`.
///
/// # Errors
/// [`ClassifierError::NotPositive`] or [`ClassifierError::TooLarge`].
pub fn check_count(
    what: &'static str,
    value: usize,
    most: usize,
    example: &'static str,
) -> Result<(), ClassifierError> {
    match value {
        0 => Err(ClassifierError::NotPositive { what, value: 0.0, example }),
        _ if value > most => Err(ClassifierError::TooLarge { what, value, most, example }),
        _ => Ok(()),
    }
}

/// Frozen features with their classes, which fit together.
#[derive(Debug, Clone, Copy)]
pub struct LabelledRows<'a> {
    features: &'a [f32],
    labels: &'a [u32],
    dim: usize,
    classes: usize,
}

impl<'a> LabelledRows<'a> {
    /// Checks features `[N, D]` and labels `[N]` for `sizes` = (D, classes); `what` names the features in errors.
    ///
    /// # Errors
    /// No rows, sizes that do not fit, a label that is no class, a value that is not finite.
    pub fn new(
        features: &'a [f32],
        labels: &'a [u32],
        sizes: (usize, usize),
        what: &'static str,
    ) -> Result<Self, EvalError> {
        let (dim, classes) = sizes;
        if labels.is_empty() || dim == 0 {
            return Err(EvalError::Empty { what });
        }
        if features.len() != labels.len() * dim {
            return Err(EvalError::Size { what, found: features.len(), expected: labels.len() * dim });
        }
        if let Some(index) = labels.iter().position(|label| *label as usize >= classes) {
            return Err(EvalError::Label { label: labels[index], index, classes });
        }
        match features.iter().position(|value| !value.is_finite()) {
            Some(place) => Err(EvalError::BadValue { what, row: place / dim, value: features[place] }),
            None => Ok(Self { features, labels, dim, classes }),
        }
    }

    /// The same, to learn from.
    ///
    /// # Errors
    /// [`ClassifierError::OneClass`] if all rows are of one class.
    pub fn to_learn_from(self) -> Result<Self, EvalError> {
        let first = self.labels[0];
        if self.labels.iter().all(|label| *label == first) {
            return Err(ClassifierError::OneClass.into());
        }
        Ok(self)
    }

    /// Other rows of the same width and classes, such as some of these in another order.
    pub(super) fn replaced<'b>(&self, features: &'b [f32], labels: &'b [u32]) -> LabelledRows<'b> {
        LabelledRows { features, labels, dim: self.dim, classes: self.classes }
    }

    /// All features, `[N, D]`.
    pub fn features(&self) -> &'a [f32] {
        self.features
    }

    /// The class of every row.
    pub fn labels(&self) -> &'a [u32] {
        self.labels
    }

    /// Number of rows; there are some.
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// Values of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }
}

/// Shares of rows whose class is found, percent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Accuracy {
    /// The best class is the right one.
    pub top1: f64,
    /// The right class is among the best five.
    pub top5: f64,
}

impl Accuracy {
    /// Of the ranks that the right classes have.
    pub fn of(ranks: impl Iterator<Item = usize>) -> Self {
        let (mut rows, mut hits) = (0usize, [0usize; 2]);
        for rank in ranks {
            rows += 1;
            hits[0] += usize::from(rank == 0);
            hits[1] += usize::from(rank < TOP);
        }
        let percent = |hits: usize| 100.0 * hits as f64 / rows.max(1) as f64;
        Self { top1: percent(hits[0]), top5: percent(hits[1]) }
    }
}

/// How many classes stand before the right one. Of equal logits the lower class stands first; what is not a number stands before all,
/// so that a classifier that has diverged is wrong.
pub fn rank<T: PartialOrd + Copy>(logits: &[T], label: u32) -> usize {
    let label = label as usize;
    let own = logits[label];
    let behind = |(class, logit): (usize, &T)| *logit < own || (*logit == own && class > label);
    logits.iter().enumerate().filter(|(class, logit)| *class != label && !behind((*class, logit))).count()
}

/// The class of the largest logit, the lower one of equal ones.
pub fn best<T: PartialOrd + Copy>(logits: &[T]) -> u32 {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best as u32
}

/// How often images of each class were taken for each class; only pairs that occur take memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    counts: BTreeMap<(u32, u32), u32>, // of true and predicted class
    classes: usize,
}

impl Confusion {
    /// Counts true and predicted classes.
    pub fn of(truths: &[u32], predictions: &[u32], classes: usize) -> Self {
        let mut counts = BTreeMap::new();
        for (truth, prediction) in truths.iter().zip(predictions) {
            *counts.entry((*truth, *prediction)).or_insert(0) += 1;
        }
        Self { counts, classes }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The classes that images of a class were taken for, ascending, and how often.
    pub fn row(&self, truth: usize) -> impl Iterator<Item = (usize, u32)> {
        let truth = truth as u32;
        self.counts.range((truth, 0)..=(truth, u32::MAX)).map(|((_, predicted), count)| (*predicted as usize, *count))
    }

    /// Images of a class.
    pub fn images(&self, truth: usize) -> u32 {
        self.row(truth).map(|(_, count)| count).sum()
    }

    /// Share of a class that was found, percent; none if it has no image.
    pub fn accuracy(&self, truth: usize) -> Option<f64> {
        let images = self.images(truth);
        let found: u32 = self.row(truth).filter(|(predicted, _)| *predicted == truth).map(|(_, count)| count).sum();
        (images > 0).then(|| 100.0 * f64::from(found) / f64::from(images))
    }
}
