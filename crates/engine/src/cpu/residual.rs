//! The residual connection with LayerScale, and plain additions.

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{CHUNK_LEN, check_len, reduce_chunks, rows_of, rows_per_chunk};
use super::math::vectorised;
use crate::kernels::Residual;

/// Rows whose sums for gamma form one partial, at least.
const GRAD_ROWS: usize = 128;

/// See [`crate::kernels::Kernels::residual`].
pub fn residual(arch: Arch, x: &[f32], op: Residual<'_, f32>, out: &mut [f32]) {
    let width = op.width;
    check_residual(&op);
    check_len("x", x.len(), op.branch.len());
    check_len("out", out.len(), op.branch.len());
    let chunk = rows_per_chunk(width) * width;
    let tasks = out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).zip(op.branch.par_chunks(chunk));
    tasks.for_each(|((out, x), branch)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                let rows = out.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(branch.chunks_exact(width));
                for ((out, x), branch) in rows {
                    let values = out.iter_mut().zip(x).zip(branch);
                    match op.gamma {
                        Some(gamma) => values.zip(gamma).for_each(
                            #[inline(always)]
                            |(((out, &x), &branch), &gamma)| *out = gamma.mul_add(branch, x),
                        ),
                        None => values.for_each(
                            #[inline(always)]
                            |((out, &x), &branch)| *out = branch + x,
                        ),
                    }
                }
            },
        );
    });
}

/// See [`crate::kernels::Kernels::residual_backward`].
pub fn residual_backward(
    arch: Arch,
    d_out: &[f32],
    op: Residual<'_, f32>,
    d_branch: &mut [f32],
    d_gamma: Option<&mut [f32]>,
) {
    let width = op.width;
    check_residual(&op);
    check_len("d_out", d_out.len(), op.branch.len());
    check_len("d_branch", d_branch.len(), op.branch.len());
    let chunk = rows_per_chunk(width) * width;
    d_branch.par_chunks_mut(chunk).zip(d_out.par_chunks(chunk)).for_each(|(d_branch, d_out)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (d_branch, d_out) in d_branch.chunks_exact_mut(width).zip(d_out.chunks_exact(width)) {
                    match op.gamma {
                        Some(gamma) => d_branch.iter_mut().zip(d_out).zip(gamma).for_each(
                            #[inline(always)]
                            |((to, &d), &gamma)| *to = d * gamma,
                        ),
                        None => d_branch.copy_from_slice(d_out),
                    }
                }
            },
        );
    });
    if let Some(d_gamma) = d_gamma {
        gamma_grad(arch, d_out, op, d_gamma);
    }
}

fn gamma_grad(arch: Arch, d_out: &[f32], op: Residual<'_, f32>, d_gamma: &mut [f32]) {
    let width = op.width;
    check_len("d_gamma", d_gamma.len(), width);
    let chunk = rows_per_chunk(width).max(GRAD_ROWS) * width;
    reduce_chunks(d_out.len().div_ceil(chunk), d_gamma, |index, partial| {
        let values = index * chunk..d_out.len().min((index + 1) * chunk);
        let (d_out, branch) = (&d_out[values.clone()], &op.branch[values]);
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (d_out, branch) in d_out.chunks_exact(width).zip(branch.chunks_exact(width)) {
                    for ((sum, &d), &branch) in partial.iter_mut().zip(d_out).zip(branch) {
                        *sum = d.mul_add(branch, *sum);
                    }
                }
            },
        );
    });
}

/// See [`crate::kernels::Kernels::add`].
pub fn add(arch: Arch, from: &[f32], to: &mut [f32]) {
    check_len("from", from.len(), to.len());
    to.par_chunks_mut(CHUNK_LEN).zip(from.par_chunks(CHUNK_LEN)).for_each(
        #[inline(always)]
        |(to, from)| {
            vectorised(
                arch,
                #[inline(always)]
                || {
                    for (to, &from) in to.iter_mut().zip(from) {
                        *to += from;
                    }
                },
            );
        },
    );
}

fn check_residual(op: &Residual<'_, f32>) {
    rows_of("branch", op.branch.len(), op.width);
    if let Some(gamma) = op.gamma {
        check_len("gamma", gamma.len(), op.width);
    }
}
