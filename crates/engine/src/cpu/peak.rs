//! What this processor can do at best: the ceilings that measured rates are held against.

use std::hint::black_box;
use std::marker::PhantomData;
use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::chunk::CHUNK_LEN;
use super::math::vectorised;
use super::word::Word;

/// Independent sums, enough to hide the latency of a multiply-add and few enough for sixteen registers; twice as many where
/// there are thirty-two, since products of pairs take longer than those of single values.
const CHAINS: usize = 12;
/// Multiply-adds of each chain in one measurement, a few milliseconds.
const STEPS: usize = 2_000_000;
/// Values of each array of the bandwidth measurement: 256 MB, beyond every cache.
const STREAM: usize = 1 << 26;
/// The best of so many measurements counts: whatever else the machine does can only slow it down.
const REPEATS: usize = 5;

/// Multiply-adds on registers alone.
struct Chains<W>(PhantomData<W>);

impl<W: Word> WithSimd for Chains<W> {
    /// Words that were multiplied.
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        if S::F32_LANES == 16 { chains::<W, S, { 2 * CHAINS }>(simd) } else { chains::<W, S, CHAINS>(simd) }
    }
}

#[inline(always)]
fn chains<W: Word, S: Simd, const COUNT: usize>(simd: S) -> usize {
    // As a pair of bf16 these are -0.24 and 0.996: sums stay ordinary numbers.
    let factor = simd.splat_f32s(black_box(0.999));
    // Chains that start alike could be merged into one.
    let mut sums: [S::f32s; COUNT] = std::array::from_fn(|chain| simd.splat_f32s(black_box(chain as f32)));
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = W::dot(simd, factor, factor, *sum);
        }
    }
    let total = sums.into_iter().fold(factor, |total, sum| simd.add_f32s(total, sum));
    black_box(simd.reduce_sum_f32s(total));
    S::F32_LANES * COUNT * STEPS
}

/// Floating-point operations per second of multiply-adds on every thread of the rayon pool; a multiply-add counts as two.
pub fn multiply_add_rate<W: Word>(arch: Arch) -> f64 {
    let rate = |()| {
        let start = Instant::now();
        let words: usize = rayon::broadcast(|_| W::dispatch(arch, Chains::<W>(PhantomData))).into_iter().sum();
        (2 * W::VALUES * words) as f64 / start.elapsed().as_secs_f64()
    };
    [(); REPEATS].map(rate).into_iter().fold(0.0, f64::max)
}

/// Bytes per second that all threads together read and write in memory: the better of `a += b` (two reads, one write)
/// and `a *= 0.999` (one read, one write).
pub fn memory_rate(arch: Arch) -> f64 {
    let (mut a, b) = (vec![1.0f32; STREAM], vec![1e-9f32; STREAM]);
    let mut best = 0.0f64;
    for _ in 0..REPEATS {
        let start = Instant::now();
        super::residual::add(arch, &b, &mut a);
        best = best.max((3 * size_of::<f32>() * STREAM) as f64 / start.elapsed().as_secs_f64());
        let start = Instant::now();
        a.par_chunks_mut(CHUNK_LEN).for_each(|chunk| {
            vectorised(
                arch,
                #[inline(always)]
                || chunk.iter_mut().for_each(|value| *value *= 0.999),
            );
        });
        best = best.max((2 * size_of::<f32>() * STREAM) as f64 / start.elapsed().as_secs_f64());
    }
    black_box(a);
    best
}
