//! Branch-free exp and normal distribution for `f32`, and sums in a fixed order, all written to be inlined into a loop
//! that the compiler turns into vector instructions (inside `Arch::dispatch`; elsewhere `mul_add` would be slow).

use pulp::{Arch, Simd, WithSimd};

/// Runs a loop compiled for the machine's vectors. The closure must be marked `#[inline(always)]`: its code is compiled
/// anew inside a function for each instruction set, and only what is inlined there gets vectors.
#[inline(always)]
pub fn vectorised<R>(arch: Arch, run: impl FnMut() -> R) -> R {
    /// Calls through `FnMut`: the shim that calls a closure through `FnOnce` is not always inlined.
    struct Loop<F>(F);

    impl<R, F: FnMut() -> R> WithSimd for Loop<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }

    arch.dispatch(Loop(run))
}

/// Below this, `e^x` is smaller than the smallest normal number; [`exp`] returns 0.
const EXP_LOW: f32 = -87.336_54;
/// 1.5·2^23: adding it rounds to an integer that then stands in the low bits of the sum.
const ROUND: f32 = 12_582_912.0;

/// `e^x` for x up to 88, within 2.5e-7 of the true value, relatively; 0 below −87.34, NaN for NaN. Beyond 88 it is anything:
/// every caller takes off a maximum or a log-sum-exp.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // ln 2 in two parts, so that n·ln 2 is exact in the first.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let y = if x < EXP_LOW { EXP_LOW } else { x };
    let shifted = y.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, y));
    // Taylor's coefficients, the last three adjusted for the interval |r| <= ln(2)/2 (Cephes, expf).
    let p = r.mul_add(1.987_569_1e-4, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    // The exponent of 2^n; the bits of ROUND itself leave the word on the left.
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < EXP_LOW { 0.0 } else { p * scale }
}

/// Φ(x) and φ(x), the normal distribution function and its density, each within 3e-7 of the true value.
///
/// `Φ(−|x|) = e^(−x²/2)·p(|x|)` with the polynomial of degree 10 that has the smallest largest error of Φ on 0 to 5, found by
/// linear programming; beyond 5 its last value serves. No division: one takes as long as ten multiply-adds.
#[inline(always)]
pub fn normal(x: f32) -> (f32, f32) {
    const FRAC_1_SQRT_TAU: f32 = 0.398_942_3;
    const LAST: f32 = 5.0;
    const COEFFICIENTS: [f32; 11] = [
        0.499_999_9,
        -0.398_936_57,
        0.249_921_77,
        -0.132_540_23,
        0.061_203_163,
        -0.024_349_183,
        0.007_942_894,
        -0.001_965_2,
        3.342_338_6e-4,
        -3.398_248e-5,
        1.532_574_9e-6,
    ];
    let e = exp(-0.5 * x * x);
    let y = if x.abs() > LAST { LAST } else { x.abs() };
    let mut p = COEFFICIENTS[10];
    for coefficient in COEFFICIENTS[..10].iter().rev() {
        p = p.mul_add(y, *coefficient);
    }
    let tail = p * e;
    (if x > 0.0 { 1.0 - tail } else { tail }, FRAC_1_SQRT_TAU * e)
}

/// erf(x) within 6e-7 of the true value.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    2.0f32.mul_add(normal(x * std::f32::consts::SQRT_2).0, -1.0)
}

/// Accumulators that a fold keeps: one, two or four vector registers, and the whole of its summation order. With 32 the
/// compiler gives up on vectors of eight.
pub const LANES: usize = 16;

/// Folds three slices of the same length into [`LANES`] accumulators, element i into accumulator i mod `LANES`.
#[inline(always)]
pub fn fold3(a: &[f32], b: &[f32], c: &[f32], step: impl Fn(f32, [f32; 3]) -> f32) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    let (c_blocks, c_tail) = c.as_chunks::<LANES>();
    for ((x, y), z) in a_blocks.iter().zip(b_blocks).zip(c_blocks) {
        for lane in 0..LANES {
            lanes[lane] = step(lanes[lane], [x[lane], y[lane], z[lane]]);
        }
    }
    for (((lane, &x), &y), &z) in lanes.iter_mut().zip(a_tail).zip(b_tail).zip(c_tail) {
        *lane = step(*lane, [x, y, z]);
    }
    lanes
}

/// [`fold3`] for one slice and any start.
#[inline(always)]
pub fn fold(start: f32, a: &[f32], step: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [start; LANES];
    let (blocks, tail) = a.as_chunks::<LANES>();
    for x in blocks {
        for lane in 0..LANES {
            lanes[lane] = step(lanes[lane], x[lane]);
        }
    }
    for (lane, &x) in lanes.iter_mut().zip(tail) {
        *lane = step(*lane, x);
    }
    lanes
}

/// Joins the accumulators pairwise, always in the same order.
#[inline(always)]
pub fn join(mut lanes: [f32; LANES], step: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = step(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Σ x.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    join(
        fold(
            0.0,
            x,
            #[inline(always)]
            |total, value| total + value,
        ),
        #[inline(always)]
        |a, b| a + b,
    )
}

/// Σ x·y.
#[inline(always)]
pub fn dot(x: &[f32], y: &[f32]) -> f32 {
    join(
        fold3(
            x,
            y,
            y,
            #[inline(always)]
            |total, [a, b, _]| a.mul_add(b, total),
        ),
        #[inline(always)]
        |a, b| a + b,
    )
}

/// The largest value; −∞ for an empty slice. A NaN may or may not be seen.
#[inline(always)]
pub fn maximum(x: &[f32]) -> f32 {
    join(fold(f32::NEG_INFINITY, x, larger), larger)
}

/// The larger of two values in one instruction (`f32::max` takes three, for NaN's sake).
#[inline(always)]
pub fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}
