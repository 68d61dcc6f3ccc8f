//! Batch normalisation over rows (Ioffe and Szegedy 2015) with the batch's own statistics.

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{check_len, reduce_chunks, rows_of, rows_per_chunk};
use super::math::vectorised;
use crate::kernels::{BatchNormBackward, LayerNorm};

/// Rows of one partial of the column sums, at least.
const SUM_ROWS: usize = 32;

/// See [`crate::kernels::Kernels::batch_norm`].
pub fn batch_norm(arch: Arch, op: LayerNorm<'_, f32>, out: &mut [f32], stats: [&mut [f32]; 2]) {
    let [mean, variance] = stats;
    let width = op.gamma.len();
    let rows = rows_of("x", op.x.len(), width);
    check_len("beta", op.beta.len(), width);
    check_len("out", out.len(), op.x.len());
    check_len("mean", mean.len(), width);
    check_len("variance", variance.len(), width);
    column_means(
        arch,
        (rows, op.x),
        mean,
        #[inline(always)]
        |_, x| x,
    );
    let means: &[f32] = mean;
    column_means(
        arch,
        (rows, op.x),
        variance,
        #[inline(always)]
        |column, x| (x - means[column]) * (x - means[column]),
    );
    let scale: Vec<f32> = variance.iter().zip(op.gamma).map(|(&v, &gamma)| gamma * rstd(v, op.eps)).collect();
    let chunk = rows_per_chunk(width) * width;
    out.par_chunks_mut(chunk).zip(op.x.par_chunks(chunk)).for_each(
        #[inline(always)]
        |(out, x)| {
            vectorised(
                arch,
                #[inline(always)]
                || {
                    for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        let columns = out.iter_mut().zip(x).zip(means).zip(&scale).zip(op.beta);
                        columns.for_each(
                            #[inline(always)]
                            |((((out, &x), &mean), &scale), &beta)| *out = (x - mean).mul_add(scale, beta),
                        );
                    }
                },
            );
        },
    );
}

/// See [`crate::kernels::Kernels::batch_norm_backward`].
pub fn batch_norm_backward(arch: Arch, op: BatchNormBackward<'_, f32>, d_x: &mut [f32], grads: [&mut [f32]; 2]) {
    let [d_gamma, d_beta] = grads;
    let width = op.gamma.len();
    let rows = rows_of("x", op.x.len(), width);
    for (name, len) in [("mean", op.mean.len()), ("variance", op.variance.len())] {
        check_len(name, len, width);
    }
    check_len("d_out", op.d_out.len(), op.x.len());
    check_len("d_x", d_x.len(), op.x.len());
    check_len("d_gamma", d_gamma.len(), width);
    check_len("d_beta", d_beta.len(), width);
    if rows == 0 {
        return;
    }
    let rstds: Vec<f32> = op.variance.iter().map(|&variance| rstd(variance, op.eps)).collect();
    let sums = gradient_sums(arch, &op, &rstds);
    let (sum_dn, sum_d) = sums.split_at(width);
    d_gamma.iter_mut().zip(sum_dn).for_each(
        #[inline(always)]
        |(to, &sum)| *to += sum,
    );
    d_beta.iter_mut().zip(sum_d).for_each(
        #[inline(always)]
        |(to, &sum)| *to += sum,
    );
    // With n = (x − mean)·rstd: d_x = gamma·rstd·(d − mean(d) − n·mean(d·n)).
    let per_row = 1.0 / rows as f32;
    let chunk = rows_per_chunk(width) * width;
    let tasks = d_x.par_chunks_mut(chunk).zip(op.x.par_chunks(chunk)).zip(op.d_out.par_chunks(chunk));
    tasks.for_each(|((d_x, x), d_out)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                let rows = d_x.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(d_out.chunks_exact(width));
                for ((d_x, x), d_out) in rows {
                    for column in 0..width {
                        let n = (x[column] - op.mean[column]) * rstds[column];
                        let centred = n.mul_add(-sum_dn[column] * per_row, d_out[column] - sum_d[column] * per_row);
                        d_x[column] = op.gamma[column] * rstds[column] * centred;
                    }
                }
            },
        );
    });
}

/// Column sums of `d_out·n`, then of `d_out`.
fn gradient_sums(arch: Arch, op: &BatchNormBackward<'_, f32>, rstds: &[f32]) -> Vec<f32> {
    let width = op.gamma.len();
    let chunk = rows_per_chunk(width).max(SUM_ROWS) * width;
    let mut sums = vec![0.0f32; 2 * width];
    reduce_chunks(op.x.len().div_ceil(chunk), &mut sums, |index, partial| {
        let values = index * chunk..op.x.len().min((index + 1) * chunk);
        let (dn, d) = partial.split_at_mut(width);
        vectorised(
            arch,
            #[inline(always)]
            || {
                let rows = op.x[values.clone()].chunks_exact(width).zip(op.d_out[values.clone()].chunks_exact(width));
                for (x, d_out) in rows {
                    let columns = dn.iter_mut().zip(d.iter_mut()).zip(x).zip(d_out).zip(op.mean).zip(rstds);
                    columns.for_each(
                        #[inline(always)]
                        |(((((dn, sum), &x), &d), &mean), &rstd)| {
                            *dn = d.mul_add((x - mean) * rstd, *dn);
                            *sum += d;
                        },
                    );
                }
            },
        );
    });
    sums
}

/// Mean over the rows of `value(column, x)`.
fn column_means(
    arch: Arch,
    (rows, x): (usize, &[f32]),
    means: &mut [f32],
    value: impl Fn(usize, f32) -> f32 + Sync + Send,
) {
    let width = means.len();
    means.fill(0.0);
    let chunk = rows_per_chunk(width).max(SUM_ROWS) * width;
    reduce_chunks(x.len().div_ceil(chunk), means, |index, partial| {
        let values = &x[index * chunk..x.len().min((index + 1) * chunk)];
        vectorised(
            arch,
            #[inline(always)]
            || {
                for row in values.chunks_exact(width) {
                    for (column, (sum, &x)) in partial.iter_mut().zip(row).enumerate() {
                        *sum += value(column, x);
                    }
                }
            },
        );
    });
    means.iter_mut().for_each(|mean| *mean /= rows.max(1) as f32);
}

fn rstd(variance: f32, eps: f64) -> f32 {
    (1.0 / (f64::from(variance) + eps).sqrt()) as f32
}
