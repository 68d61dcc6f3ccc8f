//! Normalisations: LayerNorm (Ba et al. 2016), BatchNorm (Ioffe and Szegedy 2015), L2, and weight normalisation
//! (Salimans and Kingma 2016, eq. 2 and 3).

use super::dense::{add, dot, row, store};
use super::rounded::{full, nearest};
use crate::kernels::{
    Activation, BatchNormBackward, BatchNormForward, BatchNormGrad, BatchNormOut, LayerNorm, LayerNormBackward,
    LinearSize, Passed, WeightNormLinear, WeightNormLinearGrad, Write,
};

/// Mean and biased variance of some values.
fn moments(values: impl ExactSizeIterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance)
}

pub(super) fn layer_norm(op: LayerNorm<'_, f64>, out: &mut [f64], stats: &mut [f64]) {
    let width = op.gamma.len();
    assert_eq!(op.beta.len(), width, "layer_norm: lengths of beta and gamma");
    assert_eq!(out.len(), op.x.len(), "layer_norm: lengths of out and x");
    assert_eq!(stats.len() * width, 2 * op.x.len(), "layer_norm: width·length of stats, 2·length of x");
    for r in 0..op.x.len() / width {
        let x = row(op.x, r, width);
        let (mean, variance) = moments(x.iter().copied());
        let inverse_deviation = 1.0 / (variance + op.eps).sqrt();
        for c in 0..width {
            out[r * width + c] = (x[c] - mean) * inverse_deviation * op.gamma[c] + op.beta[c];
        }
        stats[2 * r] = mean;
        stats[2 * r + 1] = inverse_deviation;
    }
}

pub(super) fn layer_norm_backward(
    op: LayerNormBackward<'_, f64>,
    write: Write,
    d_x: &mut [f64],
    d_gamma: &mut [f64],
    d_beta: &mut [f64],
) {
    let width = op.gamma.len();
    assert_eq!(op.d_out.len(), op.x.len(), "layer_norm_backward: lengths of d_out and x");
    assert_eq!(d_x.len(), op.x.len(), "layer_norm_backward: lengths of d_x and x");
    assert_eq!(op.stats.len() * width, 2 * op.x.len(), "layer_norm_backward: width·length of stats, 2·length of x");
    assert_eq!((d_gamma.len(), d_beta.len()), (width, width), "layer_norm_backward: lengths of d_gamma, d_beta");
    for r in 0..op.x.len() / width {
        let (mean, inverse_deviation) = (op.stats[2 * r], op.stats[2 * r + 1]);
        let d_out = row(op.d_out, r, width);
        let normal: Vec<f64> = row(op.x, r, width).iter().map(|x| (x - mean) * inverse_deviation).collect();
        let d_normal: Vec<f64> = d_out.iter().zip(op.gamma).map(|(d, gamma)| d * gamma).collect();
        let mean_d = d_normal.iter().sum::<f64>() / width as f64;
        let mean_d_normal = dot(&d_normal, &normal) / width as f64;
        for c in 0..width {
            let d = inverse_deviation * (d_normal[c] - mean_d - normal[c] * mean_d_normal);
            store(write, &mut d_x[r * width + c], d);
            d_gamma[c] += d_out[c] * normal[c];
            d_beta[c] += d_out[c];
        }
    }
}

pub(super) fn batch_norm(
    op: BatchNormForward<'_, f64>,
    out: BatchNormOut<'_, f64>,
    mean: &mut [f64],
    variance: &mut [f64],
) {
    let (x, width) = (full(op.x), op.gamma.len());
    assert_eq!((mean.len(), variance.len()), (width, width), "batch_norm: lengths of mean, variance");
    for c in 0..width {
        (mean[c], variance[c]) = moments((0..x.len() / width).map(|r| x[r * width + c]));
    }
    batch_norm_with(op, mean, variance, out);
}

pub(super) fn batch_norm_with(
    op: BatchNormForward<'_, f64>,
    mean: &[f64],
    variance: &[f64],
    mut out: BatchNormOut<'_, f64>,
) {
    let (x, width) = (full(op.x), op.gamma.len());
    assert_eq!(op.beta.len(), width, "batch_norm: lengths of beta and gamma");
    assert_eq!(x.len() % width, 0, "batch_norm: length {} of x in rows of {width} leaves a rest", x.len());
    assert!(out.lens().all(|len| len == x.len()), "batch_norm: lengths of out and x");
    for i in 0..x.len() {
        let c = i % width;
        let normal = (x[i] - mean[c]) / (variance[c] + op.eps).sqrt();
        let sum = normal * op.gamma[c] + op.beta[c] + op.skip.map_or(0.0, |skip| skip[i]);
        let value = if op.activation == Activation::Relu && sum < 0.0 { 0.0 } else { sum };
        if let Some(full) = &mut out.full {
            full[i] = value;
        }
        if let Some(half) = &mut out.half {
            half[i] = nearest(value);
        }
    }
}

/// With d what the activation lets pass of `d_out`, and n the normalised input:
/// `d_x = gamma/√(variance + eps)·(d − mean(d) − n·mean(d·n))`.
pub(super) fn batch_norm_backward(op: BatchNormBackward<'_, f64>, grad: BatchNormGrad<'_, f64>, d_x: &mut [f64]) {
    let (x, width) = (full(op.x), op.gamma.len());
    let rows = x.len() / width;
    assert_eq!(grad.d_out.len(), x.len(), "batch_norm_backward: lengths of d_out and x");
    assert_eq!(d_x.len(), x.len(), "batch_norm_backward: lengths of d_x and x");
    assert_eq!((op.mean.len(), op.variance.len()), (width, width), "batch_norm_backward: lengths of mean, variance");
    let (mut d_gamma, mut d_beta) = (vec![0.0; width], vec![0.0; width]);
    for c in 0..width {
        let inverse_deviation = 1.0 / (op.variance[c] + op.eps).sqrt();
        let normal = |i: usize| (x[i] - op.mean[c]) * inverse_deviation;
        let column = (0..rows).map(|r| r * width + c);
        let d: Vec<f64> = column
            .clone()
            .map(|i| {
                let passes = match op.passed {
                    Passed::All => true,
                    Passed::Normed => normal(i) * op.gamma[c] + op.beta[c] > 0.0,
                    Passed::Positive(out) => out[i] > 0.0,
                };
                if passes { grad.d_out[i] } else { 0.0 }
            })
            .collect();
        d_beta[c] = d.iter().sum();
        d_gamma[c] = column.clone().zip(&d).map(|(i, d)| d * normal(i)).sum();
        for (i, d) in column.zip(d) {
            let centred = d - (d_beta[c] + normal(i) * d_gamma[c]) / rows as f64;
            d_x[i] = op.gamma[c] * inverse_deviation * centred;
            grad.d_out[i] = d;
        }
    }
    for (to, sums) in [(grad.gamma, d_gamma), (grad.beta, d_beta)] {
        to.into_iter().for_each(|to| add(&sums, to));
    }
}

pub(super) fn l2_normalize(x: &[f64], eps: f64, out: &mut [f64], norms: &mut [f64]) {
    assert_eq!(out.len(), x.len(), "l2_normalize: lengths of out and x");
    let width = x.len() / norms.len();
    assert_eq!(x.len(), norms.len() * width, "l2_normalize: length of x, rows·width");
    for r in 0..norms.len() {
        let x = row(x, r, width);
        norms[r] = dot(x, x).sqrt().max(eps);
        for c in 0..width {
            out[r * width + c] = x[c] / norms[r];
        }
    }
}

pub(super) fn l2_normalize_backward(d_out: &[f64], out: &[f64], norms: &[f64], eps: f64, d_x: &mut [f64]) {
    assert_eq!(d_out.len(), out.len(), "l2_normalize_backward: lengths of d_out and out");
    assert_eq!(d_x.len(), out.len(), "l2_normalize_backward: lengths of d_x and out");
    let width = out.len() / norms.len();
    assert_eq!(out.len(), norms.len() * width, "l2_normalize_backward: length of out, rows·width");
    for r in 0..norms.len() {
        let (d, out) = (row(d_out, r, width), row(out, r, width));
        // A clamped norm does not depend on x, so the direction is not projected out.
        let along = if norms[r] > eps { dot(out, d) } else { 0.0 };
        for c in 0..width {
            d_x[r * width + c] = (d[c] - out[c] * along) / norms[r];
        }
    }
}

fn check_weight_norm(op: &WeightNormLinear<'_, f64>, inverse_norms: &[f64], out: &[f64]) {
    let LinearSize { rows, inputs, outputs } = op.size;
    assert_eq!(op.x.len(), rows * inputs, "weight_norm_linear: length of x, rows·inputs");
    assert_eq!(op.v.len(), outputs * inputs, "weight_norm_linear: length of v, outputs·inputs");
    assert_eq!(op.g.len(), outputs, "weight_norm_linear: length of g, outputs");
    assert_eq!(inverse_norms.len(), outputs, "weight_norm_linear: length of inverse_norms, outputs");
    assert_eq!(out.len(), rows * outputs, "weight_norm_linear: length of out, rows·outputs");
}

pub(super) fn weight_norm_linear(op: WeightNormLinear<'_, f64>, inverse_norms: &mut [f64], out: &mut [f64]) {
    check_weight_norm(&op, inverse_norms, out);
    let LinearSize { rows, inputs, outputs } = op.size;
    for k in 0..outputs {
        let v = row(op.v, k, inputs);
        inverse_norms[k] = 1.0 / dot(v, v).sqrt();
        for r in 0..rows {
            out[r * outputs + k] = op.g[k] * dot(row(op.x, r, inputs), v) * inverse_norms[k];
        }
    }
}

pub(super) fn weight_norm_linear_backward(
    op: WeightNormLinear<'_, f64>,
    inverse_norms: &[f64],
    d_out: &[f64],
    mut grad: WeightNormLinearGrad<'_, f64>,
) {
    check_weight_norm(&op, inverse_norms, d_out);
    let LinearSize { rows, inputs, outputs } = op.size;
    if let Some(d_x) = grad.x.as_deref_mut() {
        assert_eq!(d_x.len(), op.x.len(), "weight_norm_linear_backward: lengths of d_x and x");
        d_x.fill(0.0);
    }
    for k in 0..outputs {
        let unit: Vec<f64> = row(op.v, k, inputs).iter().map(|v| v * inverse_norms[k]).collect();
        let mut d_weight = vec![0.0; inputs]; // gradient of the effective weight g·v/‖v‖
        for r in 0..rows {
            let d = d_out[r * outputs + k];
            for c in 0..inputs {
                d_weight[c] += d * op.x[r * inputs + c];
                if let Some(d_x) = grad.x.as_deref_mut() {
                    d_x[r * inputs + c] += d * op.g[k] * unit[c];
                }
            }
        }
        let along = dot(&d_weight, &unit);
        if let Some(d_g) = grad.g.as_deref_mut() {
            d_g[k] += along;
        }
        if let Some(d_v) = grad.v.as_deref_mut() {
            for c in 0..inputs {
                d_v[k * inputs + c] += op.g[k] * inverse_norms[k] * (d_weight[c] - unit[c] * along);
            }
        }
    }
}
