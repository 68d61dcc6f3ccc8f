//! The register tile: a block of sums that stays in registers over a whole panel.

use pulp::Simd;

use super::super::cache::{CACHE_LINE, prefetch};
use super::super::tile::sums;
use super::super::transpose::{SIDE, transpose};
use super::super::word::Word;
use super::Start;
use super::destination::Destination;

/// Where a tile finds the left operand.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// In place, or written one after the other: `rows` rows that lie `stride` bytes apart.
    Rows {
        /// The first word.
        values: *const f32,
        /// Distance of rows.
        stride: usize,
        /// Their number.
        rows: usize,
    },
    /// In panels of as many rows as a tile has, row by row adjacent.
    Panels {
        /// All panels.
        values: &'a [f32],
        /// Words of a row.
        depth: usize,
    },
}

/// A panel of the right operand.
#[derive(Clone, Copy)]
pub struct Panel<'a> {
    /// Its words, one inner index after the other.
    pub values: &'a [f32],
    /// Inner words.
    pub depth: usize,
    /// What the tile asks for while it computes; any address will do.
    pub next: *const f32,
    /// How many words of that for each inner word.
    pub share: usize,
}

/// A tile's place in the destination.
#[derive(Clone, Copy)]
pub struct Corner<'a> {
    /// The whole destination.
    pub out: Destination<f32>,
    /// The tile's first row and column.
    pub first: [usize; 2],
    /// Rows and columns that exist; a tile at the edge computes more than it stores.
    pub size: [usize; 2],
    /// What the tile is added to.
    pub start: Start<'a>,
}

/// Computes the tile whose first row of `left` is `row` over the inner length of `right`, a panel of `WIDTH` columns, and
/// stores it.
///
/// # Safety
/// The left operand holds its rows for that inner length; the corner's rows and columns are writable.
#[inline(always)]
pub unsafe fn tile<W: Word, S: Simd, const ROWS: usize, const VECTORS: usize, const WIDTH: usize>(
    simd: S,
    left: Left<'_>,
    row: usize,
    right: Panel<'_>,
    corner: Corner<'_>,
) {
    let [first_row, first_column] = corner.first;
    let lines = CACHE_LINE / size_of::<f32>();
    let steps = if corner.out.transposed { [lines, 1] } else { [1, lines] };
    for row in (0..corner.size[0]).step_by(steps[0]) {
        for column in (0..corner.size[1]).step_by(steps[1]) {
            prefetch(corner.out.at(first_row + row, first_column + column).cast());
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        if corner.size[1] <= S::F32_LANES && VECTORS > 1 {
            let sums = panel_sums::<W, S, ROWS, 1, WIDTH>(simd, left, row, right);
            store_parts::<S, ROWS, 1, WIDTH>(simd, &sums, corner);
            return;
        }
        if corner.size[1] <= 2 * S::F32_LANES && VECTORS > 2 {
            let sums = panel_sums::<W, S, ROWS, 2, WIDTH>(simd, left, row, right);
            store_parts::<S, ROWS, 2, WIDTH>(simd, &sums, corner);
            return;
        }
        let sums = panel_sums::<W, S, ROWS, VECTORS, WIDTH>(simd, left, row, right);
        if corner.size == [ROWS, WIDTH] && !corner.out.transposed {
            store(simd, &sums, corner);
        } else {
            store_parts::<S, ROWS, VECTORS, WIDTH>(simd, &sums, corner);
        }
    }
}

/// `Σ_k left(row, k)·right[k]` in registers, of the first `VECTORS` vectors of the panel.
///
/// # Safety
/// The left operand holds its rows for the inner length of `right`. Rows beyond the last one repeat it.
#[inline(always)]
unsafe fn panel_sums<W: Word, S: Simd, const ROWS: usize, const VECTORS: usize, const WIDTH: usize>(
    simd: S,
    left: Left<'_>,
    row: usize,
    panel: Panel<'_>,
) -> [[S::f32s; VECTORS]; ROWS] {
    let (right, inner) = ((panel.values.as_ptr(), WIDTH), panel.depth);
    // SAFETY: the caller's promise.
    unsafe {
        match left {
            Left::Rows { values, stride, rows } => {
                let rows: [*const f32; ROWS] =
                    std::array::from_fn(|at| values.wrapping_byte_add((row + at).min(rows - 1) * stride));
                sums::<W, S, ROWS, VECTORS>(
                    simd,
                    inner,
                    #[inline(always)]
                    |row, k| rows[row].wrapping_add(k),
                    right,
                    #[inline(always)]
                    |k| prefetch(panel.next.wrapping_add(k * panel.share).cast()),
                )
            }
            Left::Panels { values, depth } => {
                let rows = values.as_ptr().wrapping_add(row * depth);
                sums::<W, S, ROWS, VECTORS>(
                    simd,
                    inner,
                    #[inline(always)]
                    |row, k| rows.wrapping_add(k * ROWS + row),
                    right,
                    #[inline(always)]
                    |k| prefetch(panel.next.wrapping_add(k * panel.share).cast()),
                )
            }
        }
    }
}

/// Stores a whole tile whose columns lie side by side. No branch depends on a row: its sums stay in registers.
///
/// # Safety
/// Its place is writable, and a bias is as long as the destination is wide.
#[inline(always)]
unsafe fn store<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &[[S::f32s; VECTORS]; ROWS],
    corner: Corner<'_>,
) {
    let [first, column] = corner.first;
    for (row, sums) in sums.iter().enumerate() {
        for (vector, &sum) in sums.iter().enumerate() {
            let column = column + vector * S::F32_LANES;
            let to = corner.out.at(first + row, column).cast::<S::f32s>();
            // SAFETY: the caller's promise.
            unsafe {
                to.write_unaligned(match corner.start {
                    Start::Zero => sum,
                    Start::Out => simd.add_f32s(to.read_unaligned(), sum),
                    Start::Bias(bias) => {
                        simd.add_f32s(bias.as_ptr().add(column).cast::<S::f32s>().read_unaligned(), sum)
                    }
                });
            }
        }
    }
}

/// Stores the columns of a tile that exist into a destination in which its rows lie side by side; all rows exist.
///
/// # Safety
/// They are writable, and a bias has a value for each row.
#[inline(always)]
unsafe fn store_turned<const ROWS: usize, const WIDTH: usize>(tile: &[[f32; WIDTH]; ROWS], corner: Corner<'_>) {
    let mut turned = [[0.0; ROWS]; WIDTH];
    let (squares, rest) = tile.as_chunks::<SIDE>();
    for (square, rows) in squares.iter().enumerate() {
        transpose(rows.each_ref().map(<[f32; WIDTH]>::as_slice), turned.as_flattened_mut(), ROWS, square * SIDE);
    }
    for (row, values) in rest.iter().enumerate() {
        let row = squares.len() * SIDE + row;
        turned.iter_mut().zip(values).for_each(
            #[inline(always)]
            |(line, value)| line[row] = *value,
        );
    }
    let mut bias = [0.0; ROWS];
    if let Start::Bias(values) = corner.start {
        bias.copy_from_slice(&values[corner.first[0]..corner.first[0] + ROWS]);
    }
    for (column, sums) in turned.iter_mut().enumerate().take(corner.size[1]) {
        let to = corner.out.at(corner.first[0], corner.first[1] + column).cast::<[f32; ROWS]>();
        // SAFETY: the caller's promise.
        let start = if let Start::Out = corner.start { unsafe { to.read_unaligned() } } else { bias };
        for (sum, start) in sums.iter_mut().zip(start) {
            *sum += start;
        }
        // SAFETY: the caller's promise.
        unsafe { to.write_unaligned(*sums) };
    }
}

/// Stores the rows and columns of a tile that exist, one by one.
///
/// # Safety
/// They are writable.
#[inline(always)]
unsafe fn store_parts<S: Simd, const ROWS: usize, const VECTORS: usize, const WIDTH: usize>(
    simd: S,
    sums: &[[S::f32s; VECTORS]; ROWS],
    corner: Corner<'_>,
) {
    let mut whole = [[0.0f32; WIDTH]; ROWS];
    let out = Destination::new(whole.as_flattened_mut(), WIDTH);
    let inner = Corner { out, first: [0, 0], size: [ROWS, WIDTH], start: Start::Zero };
    // SAFETY: `whole` has room for the tile.
    unsafe { store(simd, sums, inner) };
    let ([rows, columns], [first_row, first_column]) = (corner.size, corner.first);
    if corner.out.transposed && rows == ROWS {
        // SAFETY: the caller's promise.
        unsafe { store_turned(&whole, corner) };
        return;
    }
    for column in 0..columns {
        for (row, sums) in whole.iter().enumerate().take(rows) {
            let [at_row, at_column] = [first_row + row, first_column + column];
            let (to, sum) = (corner.out.at(at_row, at_column), sums[column]);
            // SAFETY: the caller's promise.
            unsafe {
                *to = match corner.start {
                    Start::Zero => sum,
                    Start::Out => *to + sum,
                    Start::Bias(bias) => bias[if corner.out.transposed { at_row } else { at_column }] + sum,
                };
            }
        }
    }
}
