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

    /// A row of values as words, all of which go to `to`.
    fn write(row: Values<'_, f32>, to: &mut [f32]);

    /// One word for each value of `first` and its neighbour of `second`, which may be missing.
    fn line(first: Values<'_, f32>, second: Option<Values<'_, f32>>, to: &mut [f32]);

    /// Where vectors lie in memory as words, if they do, and how many bytes lie between them.
    fn in_place(values: Values<'_, f32>, stride: usize, depth: usize) -> Option<(*const f32, usize)>;

    /// The sum of the values of a word.
    fn sum(word: f32) -> f32;

    /// Rounds values to bf16, as words do.
    #[inline(always)]
    fn round(values: &[f32], to: &mut [bf16]) {
        to.iter_mut().zip(values).for_each(
            #[inline(always)]
            |(to, value)| *to = Element::of(*value),
        );
    }

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
    fn write(row: Values<'_, f32>, to: &mut [f32]) {
        to.copy_from_slice(single(row));
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
        match row {
            Values::Full(row) => filled(row, buffer),
            Values::Half(row) => as_words(row).unwrap_or_else(|| filled(row, buffer)),
        }
    }

    #[inline(always)]
    fn write(row: Values<'_, f32>, to: &mut [f32]) {
        match row {
            Values::Full(row) => fill(row, to),
            Values::Half(row) => match as_words(row) {
                Some(words) => to.copy_from_slice(words),
                None => fill(row, to),
            },
        }
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
        |value| u32::from(value.half().to_bits()),
    );
    f32::from_bits(first | second << 16)
}

/// Values that lie in memory as whole words.
#[inline(always)]
fn as_words(row: &[bf16]) -> Option<&[f32]> {
    bytemuck::try_cast_slice(row).ok()
}

/// Neighbours to words, as many as they take of the buffer.
#[inline(always)]
fn filled<'a, T: Element>(row: &[T], buffer: &'a mut [f32]) -> &'a [f32] {
    let words = &mut buffer[..row.len().div_ceil(2)];
    fill(row, words);
    words
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
mod hardware;
#[cfg(target_arch = "x86_64")]
pub use hardware::available;
