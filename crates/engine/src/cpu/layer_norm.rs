//! LayerNorm (Ba et al. 2016) and L2 normalisation: one visit to each row while it is in the first-level cache.

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{check_len, rows_of, rows_per_chunk};
use super::math::{dot, fold, fold3, join, sum, vectorised};
use crate::kernels::{LayerNorm, LayerNormBackward, Write};
use crate::values::{Element, ValuesMut};

/// Rows whose sums for gamma and beta form one partial.
const GRAD_ROWS: usize = 128;

/// See [`crate::kernels::Kernels::layer_norm`].
pub fn layer_norm(arch: Arch, op: LayerNorm<'_, f32>, out: ValuesMut<'_, f32>, stats: &mut [f32]) {
    match out {
        ValuesMut::Full(out) => layer_norm_to(arch, op, out, stats),
        ValuesMut::Half(out) => layer_norm_to(arch, op, out, stats),
    }
}

fn layer_norm_to<T: Element>(arch: Arch, op: LayerNorm<'_, f32>, out: &mut [T], stats: &mut [f32]) {
    let width = op.gamma.len();
    let rows = rows_of("x", op.x.len(), width);
    check_len("beta", op.beta.len(), width);
    check_len("out", out.len(), rows * width);
    check_len("stats", stats.len(), rows * 2);
    let chunk = rows_per_chunk(width);
    let tasks = out.par_chunks_mut(chunk * width).zip(op.x.par_chunks(chunk * width));
    tasks.zip(stats.par_chunks_mut(chunk * 2)).for_each(
        #[inline(always)]
        |((out, x), stats)| {
            vectorised(
                arch,
                #[inline(always)]
                || {
                    let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width));
                    for ((out, x), stats) in rows.zip(stats.as_chunks_mut::<2>().0) {
                        let (mean, rstd) = row_stats(x, op.eps as f32);
                        *stats = [mean, rstd];
                        for (((out, &x), &gamma), &beta) in out.iter_mut().zip(x).zip(op.gamma).zip(op.beta) {
                            *out = T::of(((x - mean) * rstd).mul_add(gamma, beta));
                        }
                    }
                },
            );
        },
    );
}

/// See [`crate::kernels::Kernels::layer_norm_backward`].
pub fn layer_norm_backward(
    arch: Arch,
    op: LayerNormBackward<'_, f32>,
    write: Write,
    d_x: &mut [f32],
    grads: [&mut [f32]; 2],
) {
    let width = op.gamma.len();
    let rows = rows_of("x", op.x.len(), width);
    check_len("d_out", op.d_out.len(), rows * width);
    check_len("stats", op.stats.len(), rows * 2);
    check_len("d_x", d_x.len(), rows * width);
    check_len("d_gamma", grads[0].len(), width);
    check_len("d_beta", grads[1].len(), width);
    let chunk = rows_per_chunk(width).max(GRAD_ROWS);
    let chunks = rows.div_ceil(chunk);
    let mut partials = vec![0.0f32; chunks * 2 * width];
    let tasks = d_x.par_chunks_mut(chunk * width).zip(op.x.par_chunks(chunk * width));
    let tasks = tasks.zip(op.d_out.par_chunks(chunk * width)).zip(op.stats.par_chunks(chunk * 2));
    tasks.zip(partials.par_chunks_mut(2 * width)).for_each(|((((d_x, x), d_out), stats), partial)| {
        let rows = LayerNormBackward { d_out, x, gamma: op.gamma, stats };
        vectorised(
            arch,
            #[inline(always)]
            || backward_rows(rows, write, d_x, partial),
        );
    });
    let [d_gamma, d_beta] = grads;
    for partial in partials.chunks_exact(2 * width) {
        for ((gamma, beta), (&from_gamma, &from_beta)) in
            d_gamma.iter_mut().zip(d_beta.iter_mut()).zip(partial[..width].iter().zip(&partial[width..]))
        {
            *gamma += from_gamma;
            *beta += from_beta;
        }
    }
}

/// Gradient of some rows; their sums for gamma and beta are added to the two halves of `partial`.
#[inline(always)]
fn backward_rows(op: LayerNormBackward<'_, f32>, write: Write, d_x: &mut [f32], partial: &mut [f32]) {
    let width = op.gamma.len();
    let (d_gamma, d_beta) = partial.split_at_mut(width);
    let rows = d_x.chunks_exact_mut(width).zip(op.x.chunks_exact(width)).zip(op.d_out.chunks_exact(width));
    for (((d_x, x), d_out), &[mean, rstd]) in rows.zip(op.stats.as_chunks::<2>().0) {
        for (((d_gamma, d_beta), &x), &d) in d_gamma.iter_mut().zip(d_beta.iter_mut()).zip(x).zip(d_out) {
            *d_gamma = d.mul_add((x - mean) * rstd, *d_gamma);
            *d_beta += d;
        }
        // With g = d_out·gamma and n = (x − mean)·rstd: d_x = rstd·(g − mean(g) − n·mean(g·n)).
        let g_mean = dot(d_out, op.gamma) / width as f32;
        let gn = fold3(
            d_out,
            op.gamma,
            x,
            #[inline(always)]
            |total, [d, gamma, x]| (d * gamma).mul_add((x - mean) * rstd, total),
        );
        let gn_mean = join(
            gn,
            #[inline(always)]
            |a, b| a + b,
        ) / width as f32;
        for (((d_x, &x), &d), &gamma) in d_x.iter_mut().zip(x).zip(d_out).zip(op.gamma) {
            let value = rstd * ((x - mean) * rstd).mul_add(-gn_mean, d.mul_add(gamma, -g_mean));
            *d_x = match write {
                Write::Replace => value,
                Write::Add => *d_x + value,
            };
        }
    }
}

/// Mean and reciprocal deviation of a row, in two passes: the row is in cache, and no digits cancel.
#[inline(always)]
fn row_stats(x: &[f32], eps: f32) -> (f32, f32) {
    let mean = sum(x) / x.len() as f32;
    let squares = join(
        fold(
            0.0,
            x,
            #[inline(always)]
            |total, x| (x - mean).mul_add(x - mean, total),
        ),
        #[inline(always)]
        |a, b| a + b,
    );
    (mean, 1.0 / (squares / x.len() as f32 + eps).sqrt())
}

/// See [`crate::kernels::Kernels::l2_normalize`].
pub fn l2_normalize(arch: Arch, x: &[f32], eps: f64, out: &mut [f32], norms: &mut [f32]) {
    check_len("out", out.len(), x.len());
    let Some(width) = width_of(x, norms) else { return };
    let chunk = rows_per_chunk(width);
    let tasks = out.par_chunks_mut(chunk * width).zip(x.par_chunks(chunk * width));
    tasks.zip(norms.par_chunks_mut(chunk)).for_each(
        #[inline(always)]
        |((out, x), norms)| {
            vectorised(
                arch,
                #[inline(always)]
                || {
                    for ((out, x), norm) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(norms.iter_mut())
                    {
                        let length = dot(x, x).sqrt();
                        *norm = if length < eps as f32 { eps as f32 } else { length };
                        let inverse = 1.0 / *norm;
                        for (out, &x) in out.iter_mut().zip(x) {
                            *out = x * inverse;
                        }
                    }
                },
            );
        },
    );
}

/// See [`crate::kernels::Kernels::l2_normalize_backward`].
pub fn l2_normalize_backward(arch: Arch, d_out: &[f32], saved: [&[f32]; 2], eps: f64, d_x: &mut [f32]) {
    let [out, norms] = saved;
    check_len("d_out", d_out.len(), out.len());
    check_len("d_x", d_x.len(), out.len());
    let Some(width) = width_of(out, norms) else { return };
    let chunk = rows_per_chunk(width);
    let tasks = d_x.par_chunks_mut(chunk * width).zip(d_out.par_chunks(chunk * width));
    tasks.zip(out.par_chunks(chunk * width)).zip(norms.par_chunks(chunk)).for_each(|(((d_x, d_out), out), norms)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                let rows = d_x.chunks_exact_mut(width).zip(d_out.chunks_exact(width)).zip(out.chunks_exact(width));
                for (((d_x, d_out), out), &norm) in rows.zip(norms) {
                    let along = if norm > eps as f32 { dot(d_out, out) } else { 0.0 };
                    for ((d_x, &d), &out) in d_x.iter_mut().zip(d_out).zip(out) {
                        *d_x = out.mul_add(-along, d) / norm;
                    }
                }
            },
        );
    });
}

/// Values per row of a matrix with one norm for each row; none if it is empty.
fn width_of(x: &[f32], norms: &[f32]) -> Option<usize> {
    if x.is_empty() || norms.is_empty() {
        check_len("x", x.len(), 0);
        return None;
    }
    Some(rows_of("x", x.len(), norms.len()))
}
