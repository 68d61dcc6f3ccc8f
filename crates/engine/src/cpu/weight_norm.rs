//! The weight-normalised last layer (Salimans and Kingma 2016) without a normalised copy of its weight: products are
//! taken with v, and columns scaled by g/‖v‖. Blocks of outputs, so that a block of v is read from memory once.

use faer::MatMut;
use faer::prelude::ReborrowMut;
use pulp::Arch;
use rayon::prelude::*;

use super::chunk::check_len;
use super::dense::{matrix, multiply, row_mut};
use super::math::{dot, vectorised};
use crate::kernels::{LinearSize, WeightNormLinear, WeightNormLinearGrad, Write};

/// Outputs of one block: 512 rows of 256 values are half a megabyte, a part of the second-level cache.
const BLOCK: usize = 512;
/// Partial sums of the input's gradient: enough for many cores, few enough to add up quickly.
const GROUPS: usize = 32;

/// One block of outputs: its rows of v, g and 1/‖v‖ and its columns of the output.
struct Block<'a> {
    v: &'a [f32],
    g: &'a [f32],
    inverse_norms: &'a mut [f32],
    out: MatMut<'a, f32>,
}

/// See [`crate::kernels::Kernels::weight_norm_linear`].
pub fn weight_norm_linear(arch: Arch, op: WeightNormLinear<'_, f32>, inverse_norms: &mut [f32], out: &mut [f32]) {
    let LinearSize { rows, inputs, outputs } = op.size;
    check_sizes(&op);
    check_len("inverse_norms", inverse_norms.len(), outputs);
    check_len("out", out.len(), rows * outputs);
    let mut rest = MatMut::from_row_major_slice_mut(out, rows, outputs);
    let mut blocks = Vec::with_capacity(outputs.div_ceil(BLOCK));
    let parts = op.v.chunks(BLOCK * inputs).zip(op.g.chunks(BLOCK)).zip(inverse_norms.chunks_mut(BLOCK));
    for ((v, g), inverse_norms) in parts {
        let (out, after) = rest.split_at_col_mut(g.len());
        blocks.push(Block { v, g, inverse_norms, out });
        rest = after;
    }
    blocks.into_par_iter().for_each(|mut block| {
        let scales = vectorised(
            arch,
            #[inline(always)]
            || {
                for (inverse, v) in block.inverse_norms.iter_mut().zip(block.v.chunks_exact(inputs)) {
                    *inverse = 1.0 / dot(v, v).sqrt();
                }
                scales(block.g, block.inverse_norms)
            },
        );
        let v = matrix(block.v, block.g.len(), inputs);
        multiply(block.out.rb_mut(), Write::Replace, matrix(op.x, rows, inputs), v.transpose());
        scale_columns(arch, block.out, &scales);
    });
}

/// See [`crate::kernels::Kernels::weight_norm_linear_backward`].
pub fn weight_norm_linear_backward(
    arch: Arch,
    op: WeightNormLinear<'_, f32>,
    inverse_norms: &[f32],
    d_out: &mut [f32],
    grad: WeightNormLinearGrad<'_, f32>,
) {
    let LinearSize { rows, inputs, outputs } = op.size;
    check_sizes(&op);
    check_len("inverse_norms", inverse_norms.len(), outputs);
    check_len("d_out", d_out.len(), rows * outputs);
    if grad.v.is_some() || grad.g.is_some() {
        weight_grads(arch, op, inverse_norms, d_out, (grad.v, grad.g));
    }
    let Some(d_x) = grad.x else { return };
    check_len("d_x", d_x.len(), rows * inputs);
    d_x.fill(0.0);
    let group = outputs.div_ceil(GROUPS).next_multiple_of(BLOCK);
    let mut tasks = Vec::with_capacity(GROUPS);
    let mut rest = MatMut::from_row_major_slice_mut(d_out, rows, outputs);
    for (v, (g, inverse_norms)) in op.v.chunks(group * inputs).zip(op.g.chunks(group).zip(inverse_norms.chunks(group)))
    {
        let (columns, after) = rest.split_at_col_mut(g.len());
        tasks.push((v, g, inverse_norms, columns, vec![0.0f32; rows * inputs]));
        rest = after;
    }
    tasks.par_iter_mut().for_each(|(v, g, inverse_norms, columns, partial)| {
        scale_columns(arch, columns.rb_mut(), &scales(g, inverse_norms));
        let partial = MatMut::from_row_major_slice_mut(partial, rows, inputs);
        multiply(partial, Write::Replace, columns.as_ref(), matrix(v, g.len(), inputs));
    });
    for (.., partial) in &tasks {
        super::residual::add(arch, partial, d_x);
    }
}

/// With w = g·v/‖v‖ and u = v/‖v‖: `d_g = u·d_w` and `d_v = g/‖v‖·(d_w − u·(u·d_w))`, where `d_w = d_outᵀ·x`.
fn weight_grads(
    arch: Arch,
    op: WeightNormLinear<'_, f32>,
    inverse_norms: &[f32],
    d_out: &[f32],
    (mut d_v, mut d_g): (Option<&mut [f32]>, Option<&mut [f32]>),
) {
    let LinearSize { rows, inputs, outputs } = op.size;
    let mut v_parts: Vec<Option<&mut [f32]>> = parts(&mut d_v, outputs, inputs);
    let mut g_parts: Vec<Option<&mut [f32]>> = parts(&mut d_g, outputs, 1);
    let (x, d_out) = (matrix(op.x, rows, inputs), matrix(d_out, rows, outputs));
    v_parts.par_iter_mut().zip(g_parts.par_iter_mut()).enumerate().for_each(|(index, (d_v, d_g))| {
        let first = index * BLOCK;
        let len = BLOCK.min(outputs - first);
        let mut d_w = vec![0.0f32; len * inputs];
        let out = MatMut::from_row_major_slice_mut(&mut d_w, len, inputs);
        multiply(out, Write::Replace, d_out.subcols(first, len).transpose(), x);
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (row, d_w) in d_w.chunks_exact(inputs).enumerate() {
                    let v = &op.v[(first + row) * inputs..][..inputs];
                    let inverse = inverse_norms[first + row];
                    let along = dot(d_w, v) * inverse;
                    if let Some(d_g) = d_g {
                        d_g[row] += along;
                    }
                    if let Some(d_v) = d_v {
                        let scale = op.g[first + row] * inverse;
                        for ((sum, &d), &v) in d_v[row * inputs..][..inputs].iter_mut().zip(d_w).zip(v) {
                            *sum = scale.mul_add((v * inverse).mul_add(-along, d), *sum);
                        }
                    }
                }
            },
        );
    });
}

/// Cuts a destination of `width` values per output into blocks; an absent one into as many absences.
fn parts<'a>(to: &'a mut Option<&mut [f32]>, outputs: usize, width: usize) -> Vec<Option<&'a mut [f32]>> {
    match to {
        Some(to) => {
            check_len("gradient", to.len(), outputs * width);
            to.chunks_mut(BLOCK * width).map(Some).collect()
        }
        None => (0..outputs.div_ceil(BLOCK)).map(|_| None).collect(),
    }
}

/// g/‖v‖ of each output.
#[inline(always)]
fn scales(g: &[f32], inverse_norms: &[f32]) -> Vec<f32> {
    g.iter().zip(inverse_norms).map(|(&g, &inverse)| g * inverse).collect()
}

fn scale_columns(arch: Arch, mut columns: MatMut<'_, f32>, scales: &[f32]) {
    for row in 0..columns.nrows() {
        let row = row_mut(&mut columns, row);
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (value, &scale) in row.iter_mut().zip(scales) {
                    *value *= scale;
                }
            },
        );
    }
}

fn check_sizes(op: &WeightNormLinear<'_, f32>) {
    let LinearSize { rows, inputs, outputs } = op.size;
    check_len("x", op.x.len(), rows * inputs);
    check_len("v", op.v.len(), outputs * inputs);
    check_len("g", op.g.len(), outputs);
}
