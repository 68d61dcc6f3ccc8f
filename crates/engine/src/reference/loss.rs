//! The teacher's targets and the cross-entropy between views: DINO (Caron et al. 2021), eq. 1 and 3, Algorithm 1.

use super::dense::row;
use crate::kernels::{SoftCrossEntropy, Targets};

/// `ln Σ exp(value)`, shifted by the largest value so that nothing overflows.
pub(super) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + values.map(|value| (value - largest).exp()).sum::<f64>().ln()
}

pub(super) fn targets(op: Targets<'_, f64>, probs: &mut [f64]) -> f64 {
    let k = op.center.len();
    let rows = op.logits.len() / k;
    assert_eq!(op.logits.len(), rows * k, "targets: length of logits, rows·K");
    assert_eq!(probs.len(), rows * k, "targets: length of probs, rows·K");
    let mut entropy = 0.0;
    for r in 0..rows {
        let scaled = row(op.logits, r, k).iter().zip(op.center).map(|(logit, center)| (logit - center) / op.temp);
        let sum = log_sum_exp(scaled.clone());
        for (prob, scaled) in probs[r * k..(r + 1) * k].iter_mut().zip(scaled) {
            *prob = (scaled - sum).exp();
            entropy -= *prob * (scaled - sum);
        }
    }
    entropy / rows as f64
}

/// Number of classes, K; checks all lengths.
fn classes(op: &SoftCrossEntropy<'_, f64>, log_sum_exp: &[f64]) -> usize {
    let student_rows = op.student_views * op.images;
    let k = op.logits.len() / student_rows;
    assert!(op.terms() > 0, "soft_cross_entropy: one view on each side leaves no pair of different views");
    assert_eq!(op.logits.len(), student_rows * k, "soft_cross_entropy: length of logits, student views·images·K");
    assert_eq!(
        op.targets.len(),
        op.teacher_views * op.images * k,
        "soft_cross_entropy: length of targets, teacher views·images·K"
    );
    assert_eq!(log_sum_exp.len(), student_rows, "soft_cross_entropy: length of log_sum_exp, student views·images");
    k
}

pub(super) fn soft_cross_entropy(op: SoftCrossEntropy<'_, f64>, sums: &mut [f64]) -> f64 {
    let k = classes(&op, sums);
    for (r, sum) in sums.iter_mut().enumerate() {
        *sum = log_sum_exp(row(op.logits, r, k).iter().map(|logit| logit / op.temp));
    }
    let mut loss = 0.0;
    for i in 0..op.teacher_views {
        for v in (0..op.student_views).filter(|&v| v != i) {
            for b in 0..op.images {
                let student = v * op.images + b;
                let targets = row(op.targets, i * op.images + b, k);
                let logits = row(op.logits, student, k);
                let pairs = targets.iter().zip(logits);
                loss -= pairs.map(|(target, logit)| target * (logit / op.temp - sums[student])).sum::<f64>();
            }
        }
    }
    loss / (op.images * op.terms()) as f64
}

pub(super) fn soft_cross_entropy_backward(
    op: SoftCrossEntropy<'_, f64>,
    sums: &[f64],
    scale: f64,
    d_logits: &mut [f64],
) {
    let k = classes(&op, sums);
    assert_eq!(d_logits.len(), op.logits.len(), "soft_cross_entropy_backward: lengths of d_logits and logits");
    let scale = scale / (op.temp * (op.images * op.terms()) as f64);
    d_logits.fill(0.0);
    for i in 0..op.teacher_views {
        for v in (0..op.student_views).filter(|&v| v != i) {
            for b in 0..op.images {
                let student = v * op.images + b;
                for c in 0..k {
                    let prob = (op.logits[student * k + c] / op.temp - sums[student]).exp();
                    let target = op.targets[(i * op.images + b) * k + c];
                    d_logits[student * k + c] += scale * (prob - target);
                }
            }
        }
    }
}
