//! DINO's loss over K prototypes: targets, cross-entropy and its gradient, each row by one task.
//!
//! Sums over K are taken in `f32` within blocks of a few thousand values and in `f64` across them.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{check_len, rows_of};
use super::math::{exp, fold, fold3, join, larger, vectorised};
use crate::kernels::{SoftCrossEntropy, Targets};

/// Values summed in `f32` before the sum goes to an `f64`.
const BLOCK: usize = 4096;

/// See [`crate::kernels::Kernels::targets`].
pub fn targets(arch: Arch, op: Targets<'_, f32>, probs: &mut [f32]) -> f64 {
    let width = op.center.len();
    let rows = rows_of("logits", op.logits.len(), width);
    check_len("probs", probs.len(), op.logits.len());
    let inverse_temp = (1.0 / op.temp) as f32;
    let tasks = probs.par_chunks_exact_mut(width).zip(op.logits.par_chunks_exact(width));
    let entropies: Vec<f64> = tasks
        .map(|(probs, logits)| {
            vectorised(
                arch,
                #[inline(always)]
                || target_row(logits, op.center, inverse_temp, probs),
            )
        })
        .collect();
    entropies.iter().sum::<f64>() / rows.max(1) as f64
}

/// Fills one row of probabilities and returns its entropy.
#[inline(always)]
fn target_row(logits: &[f32], center: &[f32], inverse_temp: f32, probs: &mut [f32]) -> f64 {
    for ((z, &logit), &center) in probs.iter_mut().zip(logits).zip(center) {
        *z = (logit - center) * inverse_temp;
    }
    let max = join(fold(f32::NEG_INFINITY, probs, larger), larger);
    let (mut total, mut weighted) = (0.0, 0.0);
    for block in probs.chunks_mut(BLOCK) {
        // Σ e^z·z is taken with z before it is overwritten: fold3 reads what the first loop leaves in `block`.
        weighted += f64::from(join(
            fold(
                0.0,
                block,
                #[inline(always)]
                |sum, z| exp(z - max).mul_add(z - max, sum),
            ),
            #[inline(always)]
            |a, b| a + b,
        ));
        for z in block.iter_mut() {
            *z = exp(*z - max);
        }
        total += f64::from(join(
            fold(
                0.0,
                block,
                #[inline(always)]
                |sum, e| sum + e,
            ),
            #[inline(always)]
            |a, b| a + b,
        ));
    }
    let inverse = (1.0 / total) as f32;
    for e in probs.iter_mut() {
        *e *= inverse;
    }
    total.ln() - weighted / total
}

/// See [`crate::kernels::Kernels::soft_cross_entropy`].
pub fn soft_cross_entropy(arch: Arch, op: SoftCrossEntropy<'_, f32>, log_sum_exp: &mut [f32]) -> f64 {
    let width = check_views(&op);
    check_len("log_sum_exp", log_sum_exp.len(), op.student_views * op.images);
    let inverse_temp = (1.0 / op.temp) as f32;
    let tasks = log_sum_exp.par_iter_mut().zip(op.logits.par_chunks_exact(width)).enumerate();
    let losses: Vec<f64> = tasks
        .map(|(row, (log_sum_exp, logits))| {
            let teachers = teacher_rows(&op, row);
            vectorised(
                arch,
                #[inline(always)]
                || {
                    let lse = log_sum_exp_row(logits, inverse_temp);
                    *log_sum_exp = lse as f32;
                    let mut loss = 0.0;
                    for targets in &teachers {
                        loss += cross_entropy(logits, targets, inverse_temp, lse);
                    }
                    loss
                },
            )
        })
        .collect();
    let pairs = op.terms() * op.images;
    losses.iter().sum::<f64>() / pairs as f64
}

/// Log-sum-exp of a row of `logits·inverse_temp`.
#[inline(always)]
fn log_sum_exp_row(logits: &[f32], inverse_temp: f32) -> f64 {
    let max = join(fold(f32::NEG_INFINITY, logits, larger), larger) * inverse_temp;
    let mut total = 0.0;
    for block in logits.chunks(BLOCK) {
        let sums = fold(
            0.0,
            block,
            #[inline(always)]
            |sum, logit| sum + exp(logit.mul_add(inverse_temp, -max)),
        );
        total += f64::from(join(
            sums,
            #[inline(always)]
            |a, b| a + b,
        ));
    }
    f64::from(max) + total.ln()
}

/// `−Σ_k targets[k]·(logits[k]/temp − lse)`.
#[inline(always)]
fn cross_entropy(logits: &[f32], targets: &[f32], inverse_temp: f32, lse: f64) -> f64 {
    let lse = lse as f32;
    let mut total = 0.0;
    for (logits, targets) in logits.chunks(BLOCK).zip(targets.chunks(BLOCK)) {
        let sums = fold3(
            logits,
            targets,
            targets,
            #[inline(always)]
            |sum, [logit, target, _]| target.mul_add(logit.mul_add(-inverse_temp, lse), sum),
        );
        total += f64::from(join(
            sums,
            #[inline(always)]
            |a, b| a + b,
        ));
    }
    total
}

/// See [`crate::kernels::Kernels::soft_cross_entropy_backward`].
pub fn soft_cross_entropy_backward(
    arch: Arch,
    op: SoftCrossEntropy<'_, f32>,
    log_sum_exp: &[f32],
    scale: f64,
    d_logits: &mut [f32],
) {
    let width = check_views(&op);
    check_len("log_sum_exp", log_sum_exp.len(), op.student_views * op.images);
    check_len("d_logits", d_logits.len(), op.logits.len());
    let inverse_temp = (1.0 / op.temp) as f32;
    let factor = (scale / (op.temp * (op.images * op.terms()) as f64)) as f32;
    let tasks = d_logits.par_chunks_exact_mut(width).zip(op.logits.par_chunks_exact(width));
    tasks.zip(log_sum_exp).enumerate().for_each(|(row, ((d_logits, logits), &lse))| {
        let teachers = teacher_rows(&op, row);
        let weight = teachers.len() as f32 * factor;
        vectorised(
            arch,
            #[inline(always)]
            || match teachers[..] {
                [] => d_logits.fill(0.0),
                [one] => {
                    for ((d, &logit), &one) in d_logits.iter_mut().zip(logits).zip(one) {
                        *d = exp(logit.mul_add(inverse_temp, -lse)).mul_add(weight, -(one * factor));
                    }
                }
                [first, ref others @ ..] => {
                    // Blocks stay in the first-level cache while further teachers are taken off.
                    for (start, d_logits) in (0..width).step_by(BLOCK).zip(d_logits.chunks_mut(BLOCK)) {
                        let block = start..start + d_logits.len();
                        let values = d_logits.iter_mut().zip(&logits[block.clone()]).zip(&first[block.clone()]);
                        for ((d, &logit), &target) in values {
                            *d = exp(logit.mul_add(inverse_temp, -lse)).mul_add(weight, -(target * factor));
                        }
                        for other in others {
                            for (d, &target) in d_logits.iter_mut().zip(&other[block.clone()]) {
                                *d -= target * factor;
                            }
                        }
                    }
                }
            },
        );
    });
}

/// The teacher rows that a student row is compared with: the same image, every other view.
fn teacher_rows<'a>(op: &SoftCrossEntropy<'a, f32>, row: usize) -> Vec<&'a [f32]> {
    let width = op.logits.len() / (op.student_views * op.images);
    let (view, image) = (row / op.images, row % op.images);
    let row_of = |teacher: usize| -> Range<usize> {
        let first = (teacher * op.images + image) * width;
        first..first + width
    };
    (0..op.teacher_views).filter(|&teacher| teacher != view).map(|teacher| &op.targets[row_of(teacher)]).collect()
}

/// Checks the sizes and returns K.
fn check_views(op: &SoftCrossEntropy<'_, f32>) -> usize {
    let student_rows = op.student_views * op.images;
    assert!(
        student_rows > 0 && !op.logits.is_empty() && op.logits.len().is_multiple_of(student_rows),
        "`logits` has {} values for {student_rows} rows",
        op.logits.len()
    );
    assert!(op.terms() > 0, "one view on each side leaves no pair of different views");
    let width = op.logits.len() / student_rows;
    check_len("targets", op.targets.len(), op.teacher_views * op.images * width);
    width
}
