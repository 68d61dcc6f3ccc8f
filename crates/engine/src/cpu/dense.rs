//! Dense layers: matrix products by faer, the bias and the activation while their rows are in cache.

use faer::linalg::matmul::matmul;
use faer::prelude::ReborrowMut;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{check_len, reduce_chunks, rows_of, rows_per_chunk};
use super::gelu::gelu;
use super::math::vectorised;
use crate::kernels::{Linear, LinearSize, Write};

/// See [`crate::kernels::Kernels::linear`].
pub fn linear(op: Linear<'_, f32>, out: &mut [f32]) {
    check_linear(&op);
    let LinearSize { rows, inputs, outputs } = op.size;
    check_len("out", out.len(), rows * outputs);
    let write = fill_bias(op.bias, outputs, out);
    product(matrix(op.x, rows, inputs), matrix(op.weight, outputs, inputs).transpose(), write, out);
}

/// See [`crate::kernels::Kernels::linear_gelu`].
pub fn linear_gelu(arch: Arch, op: Linear<'_, f32>, pre: &mut [f32], out: &mut [f32]) {
    check_len("out", out.len(), pre.len());
    linear(op, pre);
    gelu(arch, pre, out);
}

/// See [`crate::kernels::Kernels::linear_input_grad`].
pub fn linear_input_grad(d_out: &[f32], weight: &[f32], size: LinearSize, write: Write, d_x: &mut [f32]) {
    let LinearSize { rows, inputs, outputs } = size;
    check_len("d_out", d_out.len(), rows * outputs);
    check_len("weight", weight.len(), outputs * inputs);
    check_len("d_x", d_x.len(), rows * inputs);
    product(matrix(d_out, rows, outputs), matrix(weight, outputs, inputs), write, d_x);
}

/// See [`crate::kernels::Kernels::linear_weight_grad`].
pub fn linear_weight_grad(d_out: &[f32], x: &[f32], size: LinearSize, d_weight: &mut [f32]) {
    let LinearSize { rows, inputs, outputs } = size;
    check_len("d_out", d_out.len(), rows * outputs);
    check_len("x", x.len(), rows * inputs);
    check_len("d_weight", d_weight.len(), outputs * inputs);
    product(matrix(d_out, rows, outputs).transpose(), matrix(x, rows, inputs), Write::Add, d_weight);
}

/// See [`crate::kernels::Kernels::add_column_sums`].
pub fn add_column_sums(arch: Arch, x: &[f32], out: &mut [f32]) {
    let width = out.len();
    if width == 0 {
        return;
    }
    rows_of("x", x.len(), width);
    // Few rows per partial would make the partials as large as the input.
    let rows = rows_per_chunk(width).max(32);
    reduce_chunks(x.len().div_ceil(rows * width), out, |index, partial| {
        let chunk = &x[index * rows * width..x.len().min((index + 1) * rows * width)];
        vectorised(
            arch,
            #[inline(always)]
            || {
                for row in chunk.chunks_exact(width) {
                    for (sum, &value) in partial.iter_mut().zip(row) {
                        *sum += value;
                    }
                }
            },
        );
    });
}

/// `out (+)= left·right` with all threads; `out` is dense and row-major.
pub fn product(left: MatRef<'_, f32>, right: MatRef<'_, f32>, write: Write, out: &mut [f32]) {
    let out = MatMut::from_row_major_slice_mut(out, left.nrows(), right.ncols());
    multiply(out, write, left, right, Par::rayon(0));
}

/// `out (+)= left·right`; an empty inner dimension gives zeros.
pub fn multiply(out: MatMut<'_, f32>, write: Write, left: MatRef<'_, f32>, right: MatRef<'_, f32>, par: Par) {
    let accum = match write {
        Write::Replace => Accum::Replace,
        Write::Add => Accum::Add,
    };
    if out.nrows() > 0 && out.ncols() > 0 {
        matmul(out, accum, left, right, 1.0, par);
    }
}

/// A row of a view on a row-major matrix.
#[inline(always)]
pub fn row_mut<'a>(view: &'a mut MatMut<'_, f32>, row: usize) -> &'a mut [f32] {
    assert!(view.col_stride() == 1, "columns lie {} apart, a row is no slice", view.col_stride());
    let columns = view.ncols();
    let first = view.rb_mut().row_mut(row).as_ptr_mut();
    // SAFETY: `row_mut` has checked the row, and its `columns` values are adjacent and borrowed from `view`.
    unsafe { std::slice::from_raw_parts_mut(first, columns) }
}

/// A dense row-major matrix.
pub fn matrix(values: &[f32], rows: usize, columns: usize) -> MatRef<'_, f32> {
    MatRef::from_row_major_slice(values, rows, columns)
}

fn check_linear(op: &Linear<'_, f32>) {
    let LinearSize { rows, inputs, outputs } = op.size;
    check_len("x", op.x.len(), rows * inputs);
    check_len("weight", op.weight.len(), outputs * inputs);
    if let Some(bias) = op.bias {
        check_len("bias", bias.len(), outputs);
    }
}

/// Fills the rows of `out` with the bias; the product is then added to it.
fn fill_bias(bias: Option<&[f32]>, outputs: usize, out: &mut [f32]) -> Write {
    let Some(bias) = bias else {
        return Write::Replace;
    };
    if outputs > 0 {
        out.par_chunks_mut(rows_per_chunk(outputs) * outputs).for_each(|rows| {
            for row in rows.chunks_exact_mut(outputs) {
                row.copy_from_slice(bias);
            }
        });
    }
    Write::Add
}
