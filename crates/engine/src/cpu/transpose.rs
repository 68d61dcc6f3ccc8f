//! Transposition by small squares in registers.

/// Side of a square.
pub const SIDE: usize = 4;

/// Rows become columns: `lines[k·width + column + i] = rows[i][k]` for every k of the rows.
#[inline(always)]
pub fn transpose(rows: [&[f32]; SIDE], lines: &mut [f32], width: usize, column: usize) {
    let squares = rows.map(|row| row.as_chunks::<SIDE>());
    let (blocks, rest) = lines.split_at_mut(squares[0].0.len() * SIDE * width);
    for (k, block) in blocks.chunks_exact_mut(SIDE * width).enumerate() {
        let columns = turned(squares.map(|(squares, _)| &squares[k]));
        for (line, values) in block.chunks_exact_mut(width).zip(columns) {
            line[column..column + SIDE].copy_from_slice(&values);
        }
    }
    for (k, line) in rest.chunks_exact_mut(width).take(squares[0].1.len()).enumerate() {
        line[column..column + SIDE].copy_from_slice(&squares.map(|(_, rest)| rest[k]));
    }
}

/// A transposed square.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn turned(square: [&[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    use std::arch::x86_64::{_MM_TRANSPOSE4_PS, _mm_loadu_ps, _mm_storeu_ps};
    // SAFETY: four values are read from each row.
    let [mut a, mut b, mut c, mut d] = square.map(|row| unsafe { _mm_loadu_ps(row.as_ptr()) });
    // SAFETY: these instructions belong to every x86-64 processor.
    unsafe { _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d) };
    [a, b, c, d].map(|column| {
        let mut values = [0.0; SIDE];
        // SAFETY: four values are written.
        unsafe { _mm_storeu_ps(values.as_mut_ptr(), column) };
        values
    })
}

/// A transposed square.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn turned(square: [&[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    std::array::from_fn(|k| square.map(|row| row[k]))
}
