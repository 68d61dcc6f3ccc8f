//! Pairs of bf16 on processors with AVX512-BF16: one instruction multiplies them, another one rounds to them. Both take
//! numbers too small to be normal for zero. Only the words of fewer than eight vectors at the end of a line are rounded as on any
//! machine (`interleave`).

use std::arch::x86_64::*;

use half::bf16;
use pulp::x86::V4;
use pulp::{Arch, Simd, WithSimd};

use super::{Hardware, Pair, Word, alone, as_words, interleave};
use crate::values::Values;

/// Words of a vector.
const LANES: usize = 16;
/// Words of half a vector: the rows of a register tile.
const HALF: usize = 8;

/// Whether this machine has the instructions, and pulp its vectors.
pub fn available(arch: Arch) -> bool {
    matches!(arch, Arch::V4(_)) && std::arch::is_x86_feature_detected!("avx512bf16")
}

impl Word for Hardware {
    const VALUES: usize = 2;

    #[inline(always)]
    fn dot<S: Simd>(_: S, factor: S::f32s, columns: S::f32s, sum: S::f32s) -> S::f32s {
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
        if let Values::Half(half) = row
            && let Some(words) = as_words(half)
        {
            return words;
        }
        let words = &mut buffer[..row.len().div_ceil(2)];
        Self::write(row, words);
        words
    }

    #[inline(always)]
    fn write(row: Values<'_, f32>, to: &mut [f32]) {
        let Values::Full(row) = row else { return Pair::write(row, to) };
        let (blocks, rest) = row.as_chunks::<{ 2 * LANES }>();
        let (to, last) = to.split_at_mut(LANES * blocks.len());
        for (block, to) in blocks.iter().zip(to.as_chunks_mut::<LANES>().0) {
            // SAFETY: `dispatch` has made sure of the instructions.
            unsafe { store(rounded(block), to) };
        }
        if !rest.is_empty() {
            // SAFETY: as above.
            unsafe { write_rest(rest, last) };
        }
    }

    #[inline(always)]
    fn line(first: Values<'_, f32>, second: Option<Values<'_, f32>>, to: &mut [f32]) {
        match (first, second) {
            (Values::Full(first), Some(Values::Full(second))) => interleave_full(first, second, to),
            (Values::Half(first), Some(Values::Half(second))) => interleave(first, second, to),
            (Values::Full(first), _) => alone(first, to),
            (Values::Half(first), _) => alone(first, to),
        }
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
    fn round(values: &[f32], to: &mut [bf16]) {
        let (blocks, rest) = values.as_chunks::<{ 2 * LANES }>();
        let (to, last) = to.split_at_mut(2 * LANES * blocks.len());
        for (block, to) in blocks.iter().zip(to.as_chunks_mut::<{ 2 * LANES }>().0) {
            // SAFETY: `dispatch` has made sure of the instructions.
            unsafe { store(rounded(block), to) };
        }
        // The same instruction for the rest, since where a value stands depends on the number of threads.
        let mut block = [0.0; 2 * LANES];
        block[..rest.len()].copy_from_slice(rest);
        let mut half = [bf16::ZERO; 2 * LANES];
        // SAFETY: as above.
        unsafe { store(rounded(&block), &mut half) };
        last.copy_from_slice(&half[..rest.len()]);
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

/// Fewer values than two vectors take, as words.
#[inline(always)]
unsafe fn write_rest(values: &[f32], to: &mut [f32]) {
    assert!(values.len() < 2 * LANES && to.len() >= values.len().div_ceil(2), "room for the rest of a row");
    let mask = |count: usize| ((1u32 << count.min(LANES)) - 1) as __mmask16;
    let second = values.as_ptr().wrapping_add(LANES);
    // SAFETY: masks keep to the values that there are and to their words; the caller has made sure of the instructions.
    unsafe {
        let low = _mm512_maskz_loadu_ps(mask(values.len()), values.as_ptr());
        let high = _mm512_maskz_loadu_ps(mask(values.len().saturating_sub(LANES)), second);
        let words = std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low));
        _mm512_mask_storeu_ps(to.as_mut_ptr(), mask(values.len().div_ceil(2)), words);
    }
}

/// One word for each pair of neighbours.
#[inline(always)]
fn interleave_full(first: &[f32], second: &[f32], to: &mut [f32]) {
    const IN_TURN: [u16; 2 * LANES] = in_turn();
    const HALVES_IN_TURN: [u16; 2 * HALF] = in_turn();
    let (firsts, first) = first.as_chunks::<LANES>();
    let (seconds, second) = second.as_chunks::<LANES>();
    let (blocks, to) = to.split_at_mut(LANES * firsts.len());
    for ((first, second), to) in firsts.iter().zip(seconds).zip(blocks.as_chunks_mut::<LANES>().0) {
        // SAFETY: `dispatch` has made sure of the instructions.
        unsafe {
            let order = std::mem::transmute::<[u16; 2 * LANES], __m512i>(IN_TURN);
            let both = _mm512_cvtne2ps_pbh(load(second), load(first));
            store(_mm512_permutexvar_epi16(order, std::mem::transmute::<__m512bh, __m512i>(both)), to);
        }
    }
    let (firsts, first) = first.as_chunks::<HALF>();
    let (seconds, second) = second.as_chunks::<HALF>();
    let (blocks, to) = to.split_at_mut(HALF * firsts.len());
    for ((first, second), to) in firsts.iter().zip(seconds).zip(blocks.as_chunks_mut::<HALF>().0) {
        // SAFETY: as above.
        unsafe {
            let [first, second] = [first, second].map(|values| _mm256_loadu_ps(values.as_ptr()));
            let order = std::mem::transmute::<[u16; 2 * HALF], __m256i>(HALVES_IN_TURN);
            let both: __m256i = std::mem::transmute(_mm256_cvtne2ps_pbh(second, first));
            store(_mm256_permutexvar_epi16(order, both), to);
        }
    }
    interleave(first, second, to);
}

/// Places of the first half of some values and of the second half, in turn.
const fn in_turn<const LEN: usize>() -> [u16; LEN] {
    let mut order = [0; LEN];
    let mut place = 0;
    while place < LEN {
        order[place] = (place / 2 + LEN / 2 * (place % 2)) as u16;
        place += 1;
    }
    order
}

#[inline(always)]
unsafe fn load(values: &[f32; LANES]) -> __m512 {
    // SAFETY: the caller has made sure of the instruction.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Values as bf16, in their order.
#[inline(always)]
unsafe fn rounded(values: &[f32; 2 * LANES]) -> __m512i {
    // SAFETY: the caller has made sure of the instructions.
    unsafe {
        let [low, high] = [0, LANES].map(|at| _mm512_loadu_ps(values.as_ptr().add(at)));
        std::mem::transmute(_mm512_cvtne2ps_pbh(high, low))
    }
}

/// Writes a vector over a place of its size.
#[inline(always)]
unsafe fn store<V, T, const LEN: usize>(vector: V, to: &mut [T; LEN]) {
    assert!(size_of::<V>() == size_of::<[T; LEN]>(), "a vector fills its place");
    // SAFETY: the sizes are equal, and vectors are plain memory.
    unsafe { std::ptr::from_mut(to).cast::<V>().write_unaligned(vector) }
}

/// Compiles a task for all instructions of `V4` and those for bf16.
///
/// # Safety
/// The machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn run<T: WithSimd>(simd: V4, task: T) -> T::Output {
    task.with_simd(simd)
}
