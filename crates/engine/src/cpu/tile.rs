//! A matrix product for operands that are in cache already: attention's scores and their neighbours, too small and too
//! many for a packing routine. Rows of the result are broadcast factors, columns are vectors, sums stay in registers; `gemm`
//! builds on the same block of sums.

use pulp::Simd;

use super::cache::prefetch;
use super::word::Word;
use crate::kernels::Write;

/// Columns are padded to whole vectors of the widest kind, so that no row ends inside one.
pub const PAD: usize = 16;

/// How many steps ahead a block asks for the right operand.
const AHEAD: usize = 8;

/// Words of a right operand that stays in the first-level cache beside everything else: 16 KB.
const NEAR: usize = 1 << 12;

/// `out[i, j] (+)= Σ_k left[i·left_row + k·left_step] · right[k·right_stride + j]` for `columns` a multiple of [`PAD`], where
/// `k` counts words.
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
pub fn multiply<W: Word, S: Simd>(simd: S, product: &Product<'_>, out: &mut [f32], out_stride: usize) {
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
    let whole =
        Corner { left: product.left.as_ptr(), right: product.right.as_ptr(), out: out.as_mut_ptr(), out_stride };
    // The side that stays in the first-level cache goes round in the inner loop.
    if inner * columns <= NEAR {
        let mut row = 0;
        while row < rows {
            // SAFETY: the assertions above cover rows row..row + taken, all `inner` steps and all `columns`.
            row += unsafe { strip_of::<W, S>(simd, product, whole, row, [0, columns]) };
        }
    } else {
        let mut column = 0;
        while column < columns {
            let end = column + block_width::<S>((columns - column) / S::F32_LANES) * S::F32_LANES;
            let mut row = 0;
            while row < rows {
                // SAFETY: as above.
                row += unsafe { strip_of::<W, S>(simd, product, whole, row, [column, end]) };
            }
            column = end;
        }
    }
}

/// Vectors of a block at most: sixteen registers hold six rows of two vectors, thirty-two six rows of four.
#[inline(always)]
fn widest<S: Simd>() -> usize {
    if S::F32_LANES == PAD { 4 } else { 2 }
}

/// Vectors of the next block of so many that are left: blocks are of about the same width, since narrow ones wait for
/// their own sums.
#[inline(always)]
fn block_width<S: Simd>(left: usize) -> usize {
    left.div_ceil(left.div_ceil(widest::<S>()))
}

/// Up to six rows of the result from `row` on, columns from `column` to `end`; returns the number of rows.
///
/// # Safety
/// Every address of these rows that `product` describes is within its slice.
#[inline(always)]
unsafe fn strip_of<W: Word, S: Simd>(
    simd: S,
    product: &Product<'_>,
    whole: Corner,
    row: usize,
    columns: [usize; 2],
) -> usize {
    let left = whole.left.wrapping_add(row * product.left_row);
    let strip = Corner { left, out: whole.out.wrapping_add(row * whole.out_stride), ..whole };
    // SAFETY: the caller's promise.
    unsafe {
        match product.size[0] - row {
            6.. => blocks_of::<W, S, 6>(simd, product, strip, columns),
            4.. => blocks_of::<W, S, 4>(simd, product, strip, columns),
            2.. => blocks_of::<W, S, 2>(simd, product, strip, columns),
            _ => blocks_of::<W, S, 1>(simd, product, strip, columns),
        }
    }
}

/// `ROWS` rows of the result, columns from `column` to `end`; returns `ROWS`.
///
/// # Safety
/// Every address of these rows that `product` describes is within its slice.
#[inline(always)]
unsafe fn blocks_of<W: Word, S: Simd, const ROWS: usize>(
    simd: S,
    product: &Product<'_>,
    strip: Corner,
    [mut column, end]: [usize; 2],
) -> usize {
    while column < end {
        let vectors = block_width::<S>((end - column) / S::F32_LANES);
        let at = Corner { right: strip.right.wrapping_add(column), out: strip.out.wrapping_add(column), ..strip };
        // SAFETY: the block ends at or before `end`; the caller covers the rest.
        let taken = unsafe {
            match vectors {
                4 if widest::<S>() == 4 => block::<W, S, ROWS, 4>(simd, product, at),
                3 if widest::<S>() == 4 => block::<W, S, ROWS, 3>(simd, product, at),
                2 => block::<W, S, ROWS, 2>(simd, product, at),
                _ => block::<W, S, ROWS, 1>(simd, product, at),
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
unsafe fn block<W: Word, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    product: &Product<'_>,
    at: Corner,
) -> usize {
    // SAFETY: the caller's promise.
    let sums: [[S::f32s; VECTORS]; ROWS] = unsafe {
        sums::<W, S, ROWS, VECTORS>(
            simd,
            product.size[1],
            #[inline(always)]
            |row, k| at.left.wrapping_add(row * product.left_row + k * product.left_step),
            (at.right, product.right_stride),
            #[inline(always)]
            |k| {
                // Rows lie too far apart for the processor to guess, and come from the second-level cache.
                let ahead = at.right.wrapping_add((k + AHEAD) * product.right_stride);
                (0..VECTORS).for_each(|vector| prefetch(ahead.wrapping_add(vector * S::F32_LANES).cast()));
            },
        )
    };
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

/// `Σ_k left(row, k)·right(k)` over `inner` steps for `ROWS` rows and `VECTORS` vectors side by side, in registers. The
/// left operand is given by the addresses of its factors, the right one by that of its first vector and the distance of
/// steps. `each` runs in every step.
///
/// # Safety
/// All these addresses are readable.
#[inline(always)]
pub unsafe fn sums<W: Word, S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    inner: usize,
    left: impl Fn(usize, usize) -> *const f32,
    (right, stride): (*const f32, usize),
    each: impl Fn(usize),
) -> [[S::f32s; VECTORS]; ROWS] {
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for k in 0..inner {
        each(k);
        let columns: [S::f32s; VECTORS] = std::array::from_fn(
            #[inline(always)]
            |vector| {
                let from = right.wrapping_add(k * stride + vector * S::F32_LANES);
                // SAFETY: the caller's promise; a vector of `f32` is plain memory and may be read unaligned.
                unsafe { from.cast::<S::f32s>().read_unaligned() }
            },
        );
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let factor = simd.splat_f32s(unsafe { left(row, k).read_unaligned() });
            for (sum, &columns) in sums.iter_mut().zip(&columns) {
                *sum = W::dot(simd, factor, columns, *sum);
            }
        }
    }
    sums
}
