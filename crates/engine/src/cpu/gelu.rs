//! The exact GELU (Hendrycks and Gimpel 2016), `x·Φ(x)`, and its gradient.

use half::bf16;
use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{CHUNK_LEN, check_len};
use super::math::{normal, vectorised};
use super::word::Word;
use crate::values::Element;

/// Rounded numbers that are worked on at a time.
const PIECE: usize = 64;

/// See [`crate::kernels::Kernels::gelu`].
pub fn gelu(arch: Arch, x: &[f32], out: &mut [f32]) {
    check_len("out", out.len(), x.len());
    out.par_chunks_mut(CHUNK_LEN).zip(x.par_chunks(CHUNK_LEN)).for_each(
        #[inline(always)]
        |(out, x)| {
            vectorised(
                arch,
                #[inline(always)]
                || gelu_chunk(x, out),
            );
        },
    );
}

/// See [`crate::kernels::Kernels::gelu_backward`].
pub fn gelu_backward(arch: Arch, x: &[f32], grad: &mut [f32]) {
    check_len("grad", grad.len(), x.len());
    grad.par_chunks_mut(CHUNK_LEN).zip(x.par_chunks(CHUNK_LEN)).for_each(|(grad, x)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (grad, &x) in grad.iter_mut().zip(x) {
                    let (cdf, density) = normal(x);
                    *grad *= x.mul_add(density, cdf);
                }
            },
        );
    });
}

/// GELU of a chunk.
#[inline(always)]
fn gelu_chunk(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x * normal(x).0;
    }
}

/// GELU of values, in their place.
#[inline(always)]
pub fn in_place(x: &mut [f32]) {
    for x in x {
        *x *= normal(*x).0;
    }
}

/// GELU of values, in their place; `x` keeps them.
#[inline(always)]
pub fn in_place_of(x: &mut [f32], out: &mut [f32]) {
    x.copy_from_slice(out);
    in_place(out);
}

/// GELU of rounded numbers.
#[inline(always)]
pub fn of_rounded(x: &[bf16], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out = coarse(x.wide());
    }
}

/// [`gelu_backward`] for `grad`, then GELU for `x`, both of rounded numbers.
#[inline(always)]
pub fn backward_and_forward_rounded<W: Word>(x: &mut [bf16], grad: &mut [f32]) {
    let mut values = [0.0; PIECE];
    for (x, grad) in x.chunks_mut(PIECE).zip(grad.chunks_mut(PIECE)) {
        let values = &mut values[..x.len()];
        for ((grad, x), value) in grad.iter_mut().zip(x.iter()).zip(values.iter_mut()) {
            let x = x.wide();
            *grad *= coarse_slope(x);
            *value = coarse(x);
        }
        W::round(values, x);
    }
}

/// [`gelu_backward`] for `grad`, then [`in_place`] for `x`.
#[inline(always)]
pub fn backward_and_forward(x: &mut [f32], grad: &mut [f32]) {
    for (grad, x) in grad.iter_mut().zip(x) {
        let (cdf, density) = normal(*x);
        *grad *= x.mul_add(density, cdf);
        *x *= cdf;
    }
}

/// Beyond it a GELU is `x` or 0, but for 1.5e-5.
const LAST: f32 = 4.5;

/// The GELU within 6e-5 of the true value, beyond [`LAST`] relatively: a hundredth of what rounding 1 to bf16 does, for half the
/// time of [`normal`].
///
/// `x·(0.5 + y·p(y²))` with y between −4.5 and 4.5, and p the polynomial with the smallest largest error that gives 0 and 1 at the ends,
/// found by linear programming.
#[inline(always)]
fn coarse(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 10] = [
        0.3988274,
        -0.06621698,
        0.009746126,
        -0.0010920067,
        9.1802e-05,
        -5.6441086e-06,
        2.4335796e-07,
        -6.8973165e-09,
        1.1444866e-10,
        -8.36885e-13,
    ];
    let x = at_least(x);
    x * odd(x, COEFFICIENTS)
}

/// The derivative of the GELU within 1e-4 of the true value, likewise.
#[inline(always)]
fn coarse_slope(x: f32) -> f32 {
    const COEFFICIENTS: [f32; 10] = [
        0.7975546,
        -0.26468685,
        0.05837944,
        -0.00871669,
        0.0009176274,
        -6.814062e-05,
        3.4734535e-06,
        -1.1497617e-07,
        2.2151114e-09,
        -1.8787192e-11,
    ];
    odd(at_least(x), COEFFICIENTS)
}

/// −[`LAST`] where `x` is below it: a product with it is almost 0 then, however far below. NaN stays NaN.
#[inline(always)]
fn at_least(x: f32) -> f32 {
    if x < -LAST { -LAST } else { x }
}

/// `0.5 + y·p(y²)` with `x` as y, but at most [`LAST`].
#[inline(always)]
fn odd(x: f32, coefficients: [f32; 10]) -> f32 {
    let y = if x > LAST { LAST } else { x };
    let mut p = coefficients[9];
    for coefficient in coefficients[..9].iter().rev() {
        p = p.mul_add(y * y, *coefficient);
    }
    p.mul_add(y, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Φ(x) and φ(x) by Simpson's rule from 0.
    fn exact(x: f64) -> (f64, f64) {
        let density = |t: f64| (-0.5 * t * t).exp() / std::f64::consts::TAU.sqrt();
        if x.abs() > 8.0 {
            return (if x > 0.0 { 1.0 } else { 0.0 }, 0.0);
        }
        let steps = 400;
        let step = x / f64::from(steps);
        let inner = (0..steps).map(|i| f64::from(i) * step);
        let area: f64 = inner.map(|t| density(t) + 4.0 * density(t + step / 2.0) + density(t + step)).sum();
        (0.5 + area * step / 6.0, density(x))
    }

    #[test]
    fn a_coarse_gelu_is_as_good_as_it_says_for_every_rounded_number() {
        let numbers = (0..=u16::MAX).map(|bits| bf16::from_bits(bits).to_f32()).filter(|x| x.is_finite());
        for x in numbers {
            let (wide, (cdf, density)) = (f64::from(x), exact(f64::from(x)));
            let error = (f64::from(coarse(x)) - wide * cdf).abs();
            assert!(error < 6e-5 * wide.max(4.5) / 4.5, "GELU of {x} is off by {error}");
            let error = (f64::from(coarse_slope(x)) - wide.mul_add(density, cdf)).abs();
            assert!(error < 1e-4, "the derivative at {x} is off by {error}");
        }
        assert!(coarse(f32::NAN).is_nan() && coarse_slope(f32::NAN).is_nan(), "what is no number stays none");
    }
}
