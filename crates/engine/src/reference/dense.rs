//! Dense layers, the GELU, the residual connection and sums.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use super::rounded::full;
use crate::kernels::{Linear, LinearSize, Residual, Write};

/// Scalar product.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "dot: lengths of both vectors");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Row r of a row-major matrix.
pub(super) fn row(matrix: &[f64], r: usize, width: usize) -> &[f64] {
    &matrix[r * width..(r + 1) * width]
}

/// Writes or adds one value.
pub(super) fn store(write: Write, to: &mut f64, value: f64) {
    match write {
        Write::Replace => *to = value,
        Write::Add => *to += value,
    }
}

pub(super) fn linear(op: Linear<'_, f64>, out: &mut [f64]) {
    let LinearSize { rows, inputs, outputs } = op.size;
    let x = full(op.x);
    assert_eq!(x.len(), rows * inputs, "linear: length of x, rows·inputs");
    assert_eq!(op.weight.len(), outputs * inputs, "linear: length of weight, outputs·inputs");
    assert_eq!(out.len(), rows * outputs, "linear: length of out, rows·outputs");
    if let Some(bias) = op.bias {
        assert_eq!(bias.len(), outputs, "linear: length of bias, outputs");
    }
    for r in 0..rows {
        for k in 0..outputs {
            let shift = op.bias.map_or(0.0, |bias| bias[k]);
            out[r * outputs + k] = dot(row(&x, r, inputs), row(op.weight, k, inputs)) + shift;
        }
    }
}

pub(super) fn linear_input_grad(d_out: &[f64], weight: &[f64], size: LinearSize, write: Write, d_x: &mut [f64]) {
    let LinearSize { rows, inputs, outputs } = size;
    assert_eq!(d_out.len(), rows * outputs, "linear_input_grad: length of d_out, rows·outputs");
    assert_eq!(weight.len(), outputs * inputs, "linear_input_grad: length of weight, outputs·inputs");
    assert_eq!(d_x.len(), rows * inputs, "linear_input_grad: length of d_x, rows·inputs");
    for r in 0..rows {
        for c in 0..inputs {
            let sum = (0..outputs).map(|k| d_out[r * outputs + k] * weight[k * inputs + c]).sum();
            store(write, &mut d_x[r * inputs + c], sum);
        }
    }
}

pub(super) fn linear_weight_grad(d_out: &[f64], x: &[f64], size: LinearSize, d_weight: &mut [f64]) {
    let LinearSize { rows, inputs, outputs } = size;
    assert_eq!(d_out.len(), rows * outputs, "linear_weight_grad: length of d_out, rows·outputs");
    assert_eq!(x.len(), rows * inputs, "linear_weight_grad: length of x, rows·inputs");
    assert_eq!(d_weight.len(), outputs * inputs, "linear_weight_grad: length of d_weight, outputs·inputs");
    for k in 0..outputs {
        for c in 0..inputs {
            d_weight[k * inputs + c] += (0..rows).map(|r| d_out[r * outputs + k] * x[r * inputs + c]).sum::<f64>();
        }
    }
}

/// Φ(x), the standard normal distribution function. Through `erfc`, so that the left tail keeps its digits.
fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

pub(super) fn gelu(x: &[f64], out: &mut [f64]) {
    assert_eq!(out.len(), x.len(), "gelu: lengths of out and x");
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x * normal_cdf(x);
    }
}

pub(super) fn gelu_backward(x: &[f64], grad: &mut [f64]) {
    assert_eq!(grad.len(), x.len(), "gelu_backward: lengths of grad and x");
    for (grad, &x) in grad.iter_mut().zip(x) {
        let density = (-0.5 * x * x).exp() / (2.0 * PI).sqrt();
        *grad *= normal_cdf(x) + x * density;
    }
}

pub(super) fn swiglu(x: &[f64], width: usize, out: &mut [f64]) {
    assert_eq!(x.len(), 2 * out.len(), "swiglu: lengths of x and twice out");
    for (x, out) in x.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)) {
        for c in 0..width {
            out[c] = x[c] / (1.0 + (-x[c]).exp()) * x[width + c];
        }
    }
}

pub(super) fn swiglu_backward(x: &[f64], width: usize, d_out: &[f64], d_x: &mut [f64]) {
    assert_eq!(
        (x.len(), d_x.len()),
        (2 * d_out.len(), 2 * d_out.len()),
        "swiglu_backward: lengths of x and d_x, twice d_out"
    );
    let rows = x.chunks_exact(2 * width).zip(d_x.chunks_exact_mut(2 * width));
    for ((x, d_x), d_out) in rows.zip(d_out.chunks_exact(width)) {
        for c in 0..width {
            let sigmoid = 1.0 / (1.0 + (-x[c]).exp());
            d_x[c] = d_out[c] * x[width + c] * sigmoid * (1.0 + x[c] * (1.0 - sigmoid));
            d_x[width + c] = d_out[c] * x[c] * sigmoid;
        }
    }
}

/// `gamma[c]`, or 1 if it is absent.
fn residual_factor(op: &Residual<'_, f64>, c: usize) -> f64 {
    op.gamma.map_or(1.0, |gamma| gamma[c])
}

fn check_residual(op: &Residual<'_, f64>, len: usize) {
    assert_eq!(op.branch.len(), len, "residual: lengths of branch and x");
    assert_eq!(len % op.width, 0, "residual: length {len} in rows of {} leaves a rest", op.width);
    if let Some(gamma) = op.gamma {
        assert_eq!(gamma.len(), op.width, "residual: length of gamma, width");
    }
}

pub(super) fn residual(x: &[f64], op: Residual<'_, f64>, out: &mut [f64]) {
    check_residual(&op, x.len());
    assert_eq!(out.len(), x.len(), "residual: lengths of out and x");
    for i in 0..x.len() {
        out[i] = x[i] + residual_factor(&op, i % op.width) * op.branch[i];
    }
}

pub(super) fn residual_backward(
    d_out: &[f64],
    op: Residual<'_, f64>,
    d_branch: &mut [f64],
    d_gamma: Option<&mut [f64]>,
) {
    check_residual(&op, d_out.len());
    assert_eq!(d_branch.len(), d_out.len(), "residual_backward: lengths of d_branch and d_out");
    for i in 0..d_out.len() {
        d_branch[i] = residual_factor(&op, i % op.width) * d_out[i];
    }
    let Some(d_gamma) = d_gamma else { return };
    assert_eq!(d_gamma.len(), op.width, "residual_backward: length of d_gamma, width");
    for i in 0..d_out.len() {
        d_gamma[i % op.width] += op.branch[i] * d_out[i];
    }
}

pub(super) fn add_column_sums(x: &[f64], out: &mut [f64]) {
    let width = out.len();
    assert_eq!(x.len() % width, 0, "add_column_sums: length {} in rows of {width} leaves a rest", x.len());
    for (i, value) in x.iter().enumerate() {
        out[i % width] += value;
    }
}

pub(super) fn add(from: &[f64], to: &mut [f64]) {
    assert_eq!(to.len(), from.len(), "add: lengths of to and from");
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}
