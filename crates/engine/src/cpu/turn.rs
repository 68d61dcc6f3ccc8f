//! Small squares transposed in registers, of which larger transpositions are made.

/// Side of a square.
pub const SIDE: usize = 4;

/// A transposed square.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn turned(square: [&[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
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
pub fn turned(square: [&[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    std::array::from_fn(|k| square.map(|row| row[k]))
}
