//! A matrix product for operands that are in cache already: attention's scores and their neighbours, too small and too
//! many for a packing routine. Rows of the result are broadcast factors, columns are vectors, sums stay in registers.

use pulp::Simd;

use crate::kernels::Write;

/// Columns are padded to whole vectors of the widest kind, so that no row ends inside one.
pub const PAD: usize = 16;

/// `out[i, j] (+)= Σ_k left[i·left_row + k·left_step] · right[k·right_stride + j]` for `columns` a multiple of [`PAD`].
pub struct Product<'a> {
    /// Left operand with any strides: the transposed product only swaps them.
    pub left: &'a [f32],
    /// Distance of the left operand's rows.
    pub left_row: usize,
    /// Distance of the left operand's columns.
    pub left_step: usize,
    /// Right operand, contiguous along its rows.
    pub right: &'a [f32],
    /// Distance of the right operand's rows.
    pub right_stride: usize,
    /// Rows, inner length and columns of the product.
    pub size: [usize; 3],
    /// Whether `out` is overwritten.
    pub write: Write,
}

/// Pointers of one block of registers.
#[derive(Clone, Copy)]
struct Corner {
    left: *const f32,
    right: *const f32,
    out: *mut f32,
    out_stride: usize,
}

/// Computes a [`Product`] into `out`, whose rows lie `out_stride` apart.
#[inline(always)]
pub fn multiply<S: Simd>(simd: S, product: &Product<'_>, out: &mut [f32], out_stride: usize) {
    let [rows, inner, columns] = product.size;
    assert!(columns % PAD == 0, "{columns} columns are not whole vectors of {PAD}");
    if rows == 0 || columns == 0 {
        return;
    }
    let last = |row: usize, stride: usize, len: usize| (row - 1) * stride + len;
    assert!(out.len() >= last(rows, out_stride, columns), "the product's destination is too short");
    if inner > 0 {
        let left_end = (rows - 1) * product.left_row + (inner - 1) * product.left_step;
        assert!(product.left.len() > left_end, "the product's left operand is too short");
        assert!(product.right.len() >= last(inner, product.right_stride, columns), "the right operand is too short");
    }
    let mut row = 0;
    while row < rows {
        let left = product.left.as_ptr().wrapping_add(row * product.left_row);
        let out = out.as_mut_ptr().wrapping_add(row * out_stride);
        let strip = Corner { left, right: product.right.as_ptr(), out, out_stride };
        // SAFETY: the assertions above cover rows row..row + taken, all `inner` steps and all `columns`.
        row += unsafe {
            match rows - row {
                6.. => strip_of::<S, 6>(simd, product, strip),
                2.. => strip_of::<S, 2>(simd, product, strip),
                _ => strip_of::<S, 1>(simd, product, strip),
            }
        };
    }
}

/// `ROWS` rows of the result, all columns; returns `ROWS`.
///
/// # Safety
/// Every address of these rows that `product` describes is within its slice.
#[inline(always)]
unsafe fn strip_of<S: Simd, const ROWS: usize>(simd: S, product: &Product<'_>, strip: Corner) -> usize {
    let columns = product.size[2];
    // Sixteen registers hold six rows of two vectors, thirty-two six rows of four.
    let widest = if S::F32_LANES == PAD { 4 } else { 2 };
    let mut column = 0;
    while column < columns {
        let vectors = (columns - column) / S::F32_LANES;
        let at = Corner { right: strip.right.wrapping_add(column), out: strip.out.wrapping_add(column), ..strip };
        // SAFETY: the block ends at or before `columns`; the caller covers the rest.
        let taken = unsafe {
            if vectors >= 4 && widest == 4 {
                block::<S, ROWS, 4>(simd, product, at)
            } else if vectors >= 2 {
                block::<S, ROWS, 2>(simd, product, at)
            } else {
                block::<S, ROWS, 1>(simd, product, at)
            }
        };
        column += taken * S::F32_LANES;
    }
    ROWS
}

/// `ROWS` rows by `VECTORS` vectors of the result, kept in registers over the whole inner length; returns `VECTORS`.
///
/// # Safety
/// Every address of this block is within the product's slices.
#[inline(always)]
unsafe fn block<S: Simd, const ROWS: usize, const VECTORS: usize>(simd: S, product: &Product<'_>, at: Corner) -> usize {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for k in 0..product.size[1] {
        let mut right = [simd.splat_f32s(0.0); VECTORS];
        for (vector, value) in right.iter_mut().enumerate() {
            let from = at.right.wrapping_add(k * product.right_stride + vector * S::F32_LANES);
            // SAFETY: the caller's promise; a vector of `f32` lanes is plain memory and may be read unaligned.
            *value = unsafe { from.cast::<S::f32s>().read_unaligned() };
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let factor = unsafe { *at.left.wrapping_add(row * product.left_row + k * product.left_step) };
            let factor = simd.splat_f32s(factor);
            for (sum, &right) in sums.iter_mut().zip(&right) {
                *sum = simd.mul_add_f32s(factor, right, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        for (vector, &sum) in sums.iter().enumerate() {
            let to = at.out.wrapping_add(row * at.out_stride + vector * S::F32_LANES).cast::<S::f32s>();
            // SAFETY: the caller's promise, for a destination that this call alone may write.
            unsafe {
                match product.write {
                    Write::Replace => to.write_unaligned(sum),
                    Write::Add => to.write_unaligned(simd.add_f32s(to.read_unaligned(), sum)),
                }
            }
        }
    }
    VECTORS
}
