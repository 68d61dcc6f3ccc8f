//! The exact GELU (Hendrycks and Gimpel 2016), `x·Φ(x)`, and its gradient.

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{CHUNK_LEN, check_len};
use super::math::{normal, vectorised};
use crate::values::Element;

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

/// GELU of values as `T` has them, in their place.
#[inline(always)]
pub fn in_place<T: Element>(x: &mut [f32]) {
    for x in x {
        let value = T::of(*x).wide();
        *x = value * normal(value).0;
    }
}

/// GELU of values, in their place; `x` keeps them, and what it keeps is what the GELU is of.
#[inline(always)]
pub fn in_place_of<T: Element>(x: &mut [T], out: &mut [f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *x = T::of(*out);
        let value = x.wide();
        *out = value * normal(value).0;
    }
}

/// [`gelu_backward`] for `grad`, then [`in_place`] for `x`.
#[inline(always)]
pub fn backward_and_forward<T: Element>(x: &mut [T], grad: &mut [f32]) {
    for (grad, x) in grad.iter_mut().zip(x) {
        let value = x.wide();
        let (cdf, density) = normal(value);
        *grad *= value.mul_add(density, cdf);
        *x = T::of(value * cdf);
    }
}
