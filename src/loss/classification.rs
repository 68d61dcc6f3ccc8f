//! Cross-entropy with classes that are known, smoothed and mixed. `timm/loss/cross_entropy.py:SoftTargetCrossEntropy`,
//! `timm/data/mixup.py:mixup_target`.

use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;
use rayon::prelude::*;

/// What an image shows: one class, or two of them mixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Target {
    /// The class of the image.
    pub class: usize,
    /// The class of what was mixed in; the same where nothing was.
    pub other: usize,
    /// Share of the first, 0 to 1.
    pub share: f64,
}

impl Target {
    /// The share of each of two classes before smoothing.
    fn shares(&self) -> [(usize, f64); 2] {
        [(self.class, self.share), (self.other, 1.0 - self.share)]
    }
}

/// The mean over the images of the cross-entropy with smoothed targets:
///
/// ```text
/// for b in images:
///     t = (1 − smoothing)·(share·e[class] + (1 − share)·e[other]) + smoothing / K
///     loss += −Σ_k t[k] · log softmax(logits[b])[k] / images
/// ```
///
/// # Shapes
/// `logits` `[B, K]`, one target for each row.
///
/// # Panics
/// If there are not as many targets as rows, or a class is not below K.
pub fn soft_target_cross_entropy(tape: &mut Tape<'_>, logits: &Matrix, targets: &[Target], smoothing: f64) -> Loss {
    let (rows, classes) = (logits.rows(), logits.columns());
    assert_eq!(rows, targets.len(), "a target for each row of logits");
    let weight = 1.0 / rows as f64;
    let mut gradient = vec![0.0; logits.values().len()];
    let pairs = logits.values().par_chunks_exact(classes).zip(gradient.par_chunks_exact_mut(classes)).zip(targets);
    let losses = pairs.map(|((logits, gradient), target)| {
        let logits: Vec<f64> = logits.iter().map(|logit| f64::from(*logit)).collect();
        let (loss, residual) = cross_entropy_of_row(&logits, target, smoothing);
        gradient.iter_mut().zip(residual).for_each(|(to, from)| *to = (weight * from) as f32);
        weight * loss
    });
    // One order of summation, whatever the threads do.
    let value = losses.collect::<Vec<f64>>().into_iter().sum();
    tape.loss_from(logits, value, gradient)
}

/// The cross-entropy of one row of logits, and its gradient `softmax(logits) − t`.
pub fn cross_entropy_of_row(logits: &[f64], target: &Target, smoothing: f64) -> (f64, Vec<f64>) {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    let log_sum = largest + sum.ln();
    let even = smoothing / logits.len() as f64;
    let mut gradient: Vec<f64> = logits.iter().map(|logit| (logit - log_sum).exp() - even).collect();
    let mut loss = logits.iter().map(|logit| even * (log_sum - logit)).sum::<f64>();
    for (class, share) in target.shares() {
        let share = (1.0 - smoothing) * share;
        loss += share * (log_sum - logits[class]);
        gradient[class] -= share;
    }
    (loss, gradient)
}
