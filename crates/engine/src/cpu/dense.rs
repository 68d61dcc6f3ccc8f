//! Dense layers as matrix products.

use faer::linalg::matmul::matmul;
use faer::prelude::ReborrowMut;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::Arch;

use super::chunk::{check_len, reduce_chunks, rows_of, rows_per_chunk};
use super::gemm::{Finish, Operand, Product, Start};
use super::math::vectorised;
use crate::kernels::{Linear, LinearSize, Packed, Write};
use crate::values::{Element, Values, ValuesMut};

/// The product of [`crate::kernels::Kernels::linear`] and `linear_gelu`.
pub fn layer<'a>(op: Linear<'a, f32>, finish: Finish<ValuesMut<'a, f32>>) -> Product<'a> {
    let LinearSize { rows, inputs, outputs } = op.size;
    check_len("x", op.x.len(), rows * inputs);
    check_len("weight", op.weight.len(), outputs * inputs);
    let (left, right) = (Operand::rows(op.x, inputs), Operand::rows(op.weight, inputs));
    let start = op.bias.map_or(Start::Zero, Start::Bias);
    let packed = op.packed.map(Packed::words);
    Product { left, right, packed, size: [rows, outputs, inputs], start, finish, left_sums: None }
}

/// The product of [`crate::kernels::Kernels::linear_input_grad`] and `gelu_linear_input_grad`.
pub fn input_grad<'a>(
    d_out: Values<'a, f32>,
    weight: &'a [f32],
    size: LinearSize,
    start: Start<'a>,
    finish: Finish<ValuesMut<'a, f32>>,
) -> Product<'a> {
    let LinearSize { rows, inputs, outputs } = size;
    check_len("d_out", d_out.len(), rows * outputs);
    check_len("weight", weight.len(), outputs * inputs);
    let (left, right) = (Operand::rows(d_out, outputs), Operand::columns(weight, inputs));
    Product { left, right, packed: None, size: [rows, inputs, outputs], start, finish, left_sums: None }
}

/// The product of [`crate::kernels::Kernels::linear_weight_grad`].
pub fn weight_grad<'a>(
    d_out: Values<'a, f32>,
    x: Values<'a, f32>,
    size: LinearSize,
    d_bias: Option<&'a mut [f32]>,
) -> Product<'a> {
    let LinearSize { rows, inputs, outputs } = size;
    check_len("d_out", d_out.len(), rows * outputs);
    check_len("x", x.len(), rows * inputs);
    let (left, right) = (Operand::columns(d_out, outputs), Operand::columns(x, inputs));
    let (start, finish, size) = (Start::Out, Finish::Keep, [outputs, inputs, rows]);
    Product { left, right, packed: None, size, start, finish, left_sums: d_bias }
}

/// See [`crate::kernels::Kernels::add_column_sums`].
pub fn add_column_sums(arch: Arch, x: Values<'_, f32>, out: &mut [f32]) {
    match x {
        Values::Full(x) => column_sums(arch, x, out),
        Values::Half(x) => column_sums(arch, x, out),
    }
}

fn column_sums<T: Element>(arch: Arch, x: &[T], out: &mut [f32]) {
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
                        *sum += value.wide();
                    }
                }
            },
        );
    });
}

/// `out (+)= left·right` on the calling thread; an empty inner dimension gives zeros.
pub fn multiply(out: MatMut<'_, f32>, write: Write, left: MatRef<'_, f32>, right: MatRef<'_, f32>) {
    let accum = match write {
        Write::Replace => Accum::Replace,
        Write::Add => Accum::Add,
    };
    if out.nrows() > 0 && out.ncols() > 0 {
        matmul(out, accum, left, right, 1.0, Par::Seq);
    }
}

/// A row of a view on a row-major matrix.
#[inline(always)]
pub fn row_mut<'a, T>(view: &'a mut MatMut<'_, T>, row: usize) -> &'a mut [T] {
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
