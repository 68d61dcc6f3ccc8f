//! SwiGLU (Shazeer 2020): one half of a row, through a SiLU, times the other.

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{check_len, rows_per_chunk};
use super::math::{exp, vectorised};

/// See [`crate::kernels::Kernels::swiglu`].
pub fn swiglu(arch: Arch, x: &[f32], width: usize, out: &mut [f32]) {
    check_len("x", x.len(), 2 * out.len());
    if width == 0 {
        return;
    }
    let rows = rows_per_chunk(2 * width);
    out.par_chunks_mut(rows * width).zip(x.par_chunks(2 * rows * width)).for_each(|(out, x)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(2 * width)) {
                    let (gates, values) = x.split_at(width);
                    for ((out, &gate), &value) in out.iter_mut().zip(gates).zip(values) {
                        *out = gate * sigmoid(gate) * value;
                    }
                }
            },
        );
    });
}

/// See [`crate::kernels::Kernels::swiglu_backward`].
pub fn swiglu_backward(arch: Arch, x: &[f32], width: usize, d_out: &[f32], d_x: &mut [f32]) {
    check_len("x", x.len(), 2 * d_out.len());
    check_len("d_x", d_x.len(), 2 * d_out.len());
    if width == 0 {
        return;
    }
    let rows = rows_per_chunk(2 * width);
    let chunks = d_x.par_chunks_mut(2 * rows * width).zip(x.par_chunks(2 * rows * width));
    chunks.zip(d_out.par_chunks(rows * width)).for_each(|((d_x, x), d_out)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                let rows = d_x.chunks_exact_mut(2 * width).zip(x.chunks_exact(2 * width));
                for ((d_x, x), d_out) in rows.zip(d_out.chunks_exact(width)) {
                    let ((d_gates, d_values), (gates, values)) = (d_x.split_at_mut(width), x.split_at(width));
                    for column in 0..width {
                        let (gate, d) = (gates[column], d_out[column]);
                        let sigmoid = sigmoid(gate);
                        d_gates[column] = d * values[column] * sigmoid * (1.0 + gate * (1.0 - sigmoid));
                        d_values[column] = d * gate * sigmoid;
                    }
                }
            },
        );
    });
}

/// `1/(1 + e^-x)`, by way of `e^-|x|`, which does not overflow.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    let inverse = 1.0 / (1.0 + e);
    if x >= 0.0 { inverse } else { e * inverse }
}
