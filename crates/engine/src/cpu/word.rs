//! What a 32-bit word of a packed operand holds: one `f32`, or two neighbouring bf16 of a vector, and how words are
//! multiplied. A new kind of unit (AMX, ARM's `bfdot`) is another [`Word`], or a tile of its own shape in `multiply`.

use half::bf16;
use pulp::{Arch, Simd, WithSimd};

use crate::values::{Element, Values};

/// A kind of word.
pub trait Word: 'static {
    /// Neighbouring values of a vector in one word.
    const VALUES: usize;

    /// `sum + factor·column`, summed over the values of the words.
    fn dot<S: Simd>(simd: S, factor: S::f32s, columns: S::f32s, sum: S::f32s) -> S::f32s;

    /// A row of values as words, written to `buffer` if they do not lie in memory like that.
    fn words<'a>(row: Values<'a, f32>, buffer: &'a mut [f32]) -> &'a [f32];

    /// One word for each value of `first` and its neighbour of `second`, which may be missing.
    fn line(first: Values<'_, f32>, second: Option<Values<'_, f32>>, to: &mut [f32]);

    /// Where vectors lie in memory as words, if they do, and how many bytes lie between them.
    fn in_place(values: Values<'_, f32>, stride: usize, depth: usize) -> Option<(*const f32, usize)>;

    /// The sum of the values of a word.
    fn sum(word: f32) -> f32;

    /// Runs a task compiled for this word's instructions.
    fn dispatch<T: WithSimd>(arch: Arch, task: T) -> T::Output;
}

/// One `f32`.
pub struct Single;

/// Two bf16, the first in the lower half, multiplied by the instructions every machine has: what [`Hardware`] does, but
/// that the latter takes numbers too small to be normal for zero.
pub struct Pair;

/// [`Pair`] multiplied by one instruction.
#[cfg(target_arch = "x86_64")]
pub struct Hardware;

impl Word for Single {
    const VALUES: usize = 1;

    #[inline(always)]
    fn dot<S: Simd>(simd: S, factor: S::f32s, columns: S::f32s, sum: S::f32s) -> S::f32s {
        simd.mul_add_f32s(factor, columns, sum)
    }

    #[inline(always)]
    fn words<'a>(row: Values<'a, f32>, _: &'a mut [f32]) -> &'a [f32] {
        single(row)
    }

    #[inline(always)]
    fn line(first: Values<'_, f32>, _: Option<Values<'_, f32>>, to: &mut [f32]) {
        to.copy_from_slice(single(first));
    }

    #[inline(always)]
    fn in_place(values: Values<'_, f32>, stride: usize, _: usize) -> Option<(*const f32, usize)> {
        Some((single(values).as_ptr(), stride * size_of::<f32>()))
    }

    #[inline(always)]
    fn sum(word: f32) -> f32 {
        word
    }

    #[inline(always)]
    fn dispatch<T: WithSimd>(arch: Arch, task: T) -> T::Output {
        arch.dispatch(task)
    }
}

/// Values in full precision.
#[inline(always)]
fn single(values: Values<'_, f32>) -> &[f32] {
    match values {
        Values::Full(values) => values,
        // `multiply` has refused them.
        Values::Half(_) => &[],
    }
}

impl Word for Pair {
    const VALUES: usize = 2;

    /// The second values first, as the instruction does.
    #[inline(always)]
    fn dot<S: Simd>(simd: S, factor: S::f32s, columns: S::f32s, sum: S::f32s) -> S::f32s {
        let [factor, columns] = [factor, columns].map(
            #[inline(always)]
            |words| simd.transmute_u32s_f32s(words),
        );
        let upper = simd.splat_u32s(0xffff_0000);
        let [second, second_columns] = [factor, columns].map(
            #[inline(always)]
            |words| simd.transmute_f32s_u32s(simd.and_u32s(words, upper)),
        );
        let [first, first_columns] = [factor, columns].map(
            #[inline(always)]
            |words| simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(16))),
        );
        simd.mul_add_f32s(first, first_columns, simd.mul_add_f32s(second, second_columns, sum))
    }

    #[inline(always)]
    fn words<'a>(row: Values<'a, f32>, buffer: &'a mut [f32]) -> &'a [f32] {
        let words = &mut buffer[..row.len().div_ceil(2)];
        match row {
            Values::Full(row) => fill(row, words),
            Values::Half(row) => fill(row, words),
        }
        words
    }

    #[inline(always)]
    fn line(first: Values<'_, f32>, second: Option<Values<'_, f32>>, to: &mut [f32]) {
        match (first, second) {
            (Values::Full(first), Some(Values::Full(second))) => interleave(first, second, to),
            (Values::Half(first), Some(Values::Half(second))) => interleave(first, second, to),
            (Values::Full(first), _) => alone(first, to),
            (Values::Half(first), _) => alone(first, to),
        }
    }

    #[inline(always)]
    fn in_place(values: Values<'_, f32>, stride: usize, depth: usize) -> Option<(*const f32, usize)> {
        match values {
            // The last word of an odd length would reach into the next vector.
            Values::Half(values) if depth.is_multiple_of(2) => {
                Some((values.as_ptr().cast(), stride * size_of::<bf16>()))
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn sum(word: f32) -> f32 {
        f32::from_bits(word.to_bits() << 16) + f32::from_bits(word.to_bits() & 0xffff_0000)
    }

    #[inline(always)]
    fn dispatch<T: WithSimd>(arch: Arch, task: T) -> T::Output {
        arch.dispatch(task)
    }
}

/// Two values in a word.
#[inline(always)]
fn pair<T: Element>(first: T, second: T) -> f32 {
    let [first, second] = [first, second].map(
        #[inline(always)]
        |value| u32::from(<bf16 as Element>::of(value.wide()).to_bits()),
    );
    f32::from_bits(first | second << 16)
}

/// Neighbours to words.
#[inline(always)]
fn fill<T: Element>(row: &[T], words: &mut [f32]) {
    let (pairs, rest) = row.as_chunks::<2>();
    for (word, &[first, second]) in words.iter_mut().zip(pairs) {
        *word = pair(first, second);
    }
    if let ([last], Some(word)) = (rest, words.last_mut()) {
        *word = pair(*last, T::of(0.0));
    }
}

#[inline(always)]
fn interleave<T: Element>(first: &[T], second: &[T], to: &mut [f32]) {
    for ((to, &first), &second) in to.iter_mut().zip(first).zip(second) {
        *to = pair(first, second);
    }
}

#[inline(always)]
fn alone<T: Element>(first: &[T], to: &mut [f32]) {
    for (to, &first) in to.iter_mut().zip(first) {
        *to = pair(first, T::of(0.0));
    }
}

#[cfg(target_arch = "x86_64")]
mod hardware {
    use pulp::x86::V4;

    use super::*;

    /// Whether this machine has the instruction, and pulp its vectors.
    pub fn available(arch: Arch) -> bool {
        matches!(arch, Arch::V4(_)) && std::arch::is_x86_feature_detected!("avx512bf16")
    }

    impl Word for Hardware {
        const VALUES: usize = 2;

        #[inline(always)]
        fn dot<S: Simd>(_: S, factor: S::f32s, columns: S::f32s, sum: S::f32s) -> S::f32s {
            use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps};
            assert!(size_of::<S::f32s>() == size_of::<__m512>(), "the instruction takes sixteen words");
            // SAFETY: the sizes are equal, and both are plain memory; `dispatch` has made sure of the instruction.
            unsafe {
                let [factor, columns]: [__m512bh; 2] =
                    [std::mem::transmute_copy(&factor), std::mem::transmute_copy(&columns)];
                let sum: __m512 = std::mem::transmute_copy(&sum);
                std::mem::transmute_copy(&_mm512_dpbf16_ps(sum, factor, columns))
            }
        }

        #[inline(always)]
        fn words<'a>(row: Values<'a, f32>, buffer: &'a mut [f32]) -> &'a [f32] {
            Pair::words(row, buffer)
        }

        #[inline(always)]
        fn line(first: Values<'_, f32>, second: Option<Values<'_, f32>>, to: &mut [f32]) {
            Pair::line(first, second, to);
        }

        #[inline(always)]
        fn in_place(values: Values<'_, f32>, stride: usize, depth: usize) -> Option<(*const f32, usize)> {
            Pair::in_place(values, stride, depth)
        }

        #[inline(always)]
        fn sum(word: f32) -> f32 {
            Pair::sum(word)
        }

        #[inline(always)]
        fn dispatch<T: WithSimd>(arch: Arch, task: T) -> T::Output {
            match arch {
                // SAFETY: `available` was true when this word was chosen.
                Arch::V4(simd) => unsafe { run(simd, task) },
                _ => unreachable!("products of bf16 pairs are chosen only where `available` has found them"),
            }
        }
    }

    /// Compiles a task for all instructions of `V4` and the one that multiplies pairs.
    ///
    /// # Safety
    /// The machine has the instruction.
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn run<T: WithSimd>(simd: V4, task: T) -> T::Output {
        task.with_simd(simd)
    }
}
#[cfg(target_arch = "x86_64")]
pub use hardware::available;
