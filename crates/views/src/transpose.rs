//! Transposition of bytes by small squares in registers.

/// Side of a square.
pub(crate) const SIDE: usize = 16;

/// Returns the square with rows and columns exchanged.
#[inline(always)]
pub(crate) fn transposed(mut square: [[u8; SIDE]; SIDE]) -> [[u8; SIDE]; SIDE] {
    // Interleaving rows i and i + 8 moves the top bit of a row's number to the bottom of the column's; four times is all.
    for _ in 0..SIDE.ilog2() {
        let mut mixed = [[0; SIDE]; SIDE];
        for at in 0..SIDE / 2 {
            [mixed[2 * at], mixed[2 * at + 1]] = interleaved(square[at], square[at + SIDE / 2]);
        }
        square = mixed;
    }
    square
}

/// The values of two rows in turns.
#[inline(always)]
fn interleaved(even: [u8; SIDE], odd: [u8; SIDE]) -> [[u8; SIDE]; 2] {
    let mut rows = [[0; SIDE]; 2];
    for at in 0..SIDE {
        rows[2 * at / SIDE][2 * at % SIDE] = even[at];
        rows[2 * at / SIDE][2 * at % SIDE + 1] = odd[at];
    }
    rows
}

/// Transposes a matrix of bytes: `to[x·to_stride + y] = from[y·from_stride + x]` for as many rows as either side has.
/// Strides are multiples of [`SIDE`]; rows that are missing at the end of `from` are arbitrary.
#[inline(always)]
pub(crate) fn transpose((from, from_stride): (&[u8], usize), (to, to_stride): (&mut [u8], usize)) {
    for (left, lines) in to.chunks_mut((SIDE * to_stride).max(1)).enumerate() {
        for (top, rows) in from.chunks((SIDE * from_stride).max(1)).enumerate() {
            let mut square = [[0; SIDE]; SIDE];
            for (values, row) in square.iter_mut().zip(rows.chunks_exact(from_stride)) {
                values.copy_from_slice(&row[left * SIDE..][..SIDE]);
            }
            for (line, values) in lines.chunks_exact_mut(to_stride).zip(transposed(square)) {
                line[top * SIDE..][..SIDE].copy_from_slice(&values);
            }
        }
    }
}
