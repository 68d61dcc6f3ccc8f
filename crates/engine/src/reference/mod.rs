//! The definition of every operation: [`Kernels`] in plain `f64` loops, written to be read, not to be fast.
//!
//! The loops follow the formulas in [`crate::kernels`] index by index. Central differences prove the gradients
//! (`tests/gradients/`), and every faster implementation is compared with this one.

mod attention;
mod dense;
mod image;
mod loss;
mod norm;
mod rounded;
mod tokens;
mod update;
mod xca;

use crate::kernels::{
    AdamW, Attention, AttentionBackward, BatchNormBackward, BatchNormForward, BatchNormGrad, BatchNormOut, Conv,
    ConvSize, CrossCovariance, Depthwise, DepthwiseGrad, Grid, Kernels, LayerNorm, LayerNormBackward, Linear,
    LinearSize, Normalize, Patches, Residual, RowMix, Rows, Sgd, SoftCrossEntropy, Targets, Tokens, TokensGrad, Update,
    WeightNormLinear, WeightNormLinearGrad, Window, Write,
};
use crate::values::{Values, ValuesMut};
use rounded::{edit, full, round};

/// The reference device: one thread, `f64`, no state.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Kernels<f64> for Reference {
    fn patchify(&self, images: &[u8], patches: Patches, normalize: &Normalize, out: &mut [f64]) {
        tokens::patchify(images, patches, normalize, out);
    }

    fn linear(&self, op: Linear<'_, f64>, out: ValuesMut<'_, f64>) {
        edit(out, |out| dense::linear(op, out));
    }

    fn linear_gelu(&self, op: Linear<'_, f64>, pre: Option<ValuesMut<'_, f64>>, out: ValuesMut<'_, f64>) {
        let rounded = matches!(out, ValuesMut::Half(_));
        edit(out, |out| {
            let mut product = out.to_vec();
            dense::linear(op, &mut product);
            if rounded {
                round(&mut product);
            }
            if let Some(pre) = pre {
                edit(pre, |pre| pre.copy_from_slice(&product));
            }
            dense::gelu(&product, out);
        });
    }

    fn gelu_linear_input_grad(
        &self,
        d_out: Values<'_, f64>,
        weight: &[f64],
        size: LinearSize,
        x: ValuesMut<'_, f64>,
        d_x: ValuesMut<'_, f64>,
    ) {
        edit(d_x, |d_x| {
            dense::linear_input_grad(&full(d_out), weight, size, Write::Replace, d_x);
            edit(x, |x| {
                dense::gelu_backward(x, d_x);
                let pre = x.to_vec();
                dense::gelu(&pre, x);
            });
        });
    }

    fn linear_input_grad(
        &self,
        d_out: Values<'_, f64>,
        weight: &[f64],
        size: LinearSize,
        write: Write,
        d_x: &mut [f64],
    ) {
        dense::linear_input_grad(&full(d_out), weight, size, write, d_x);
    }

    fn linear_weight_grad(
        &self,
        d_out: Values<'_, f64>,
        x: Values<'_, f64>,
        size: LinearSize,
        d_weight: &mut [f64],
        d_bias: Option<&mut [f64]>,
    ) {
        let d_out = full(d_out);
        dense::linear_weight_grad(&d_out, &full(x), size, d_weight);
        if let Some(d_bias) = d_bias {
            assert_eq!(d_bias.len(), size.outputs, "linear_weight_grad: length of d_bias, outputs");
            dense::add_column_sums(&d_out, d_bias);
        }
    }

    fn swiglu(&self, x: &[f64], width: usize, out: &mut [f64]) {
        dense::swiglu(x, width, out);
    }

    fn swiglu_backward(&self, x: &[f64], width: usize, d_out: &[f64], d_x: &mut [f64]) {
        dense::swiglu_backward(x, width, d_out, d_x);
    }

    fn gelu(&self, x: &[f64], out: &mut [f64]) {
        dense::gelu(x, out);
    }

    fn gelu_backward(&self, x: &[f64], grad: &mut [f64]) {
        dense::gelu_backward(x, grad);
    }

    fn layer_norm(&self, op: LayerNorm<'_, f64>, out: ValuesMut<'_, f64>, stats: &mut [f64]) {
        edit(out, |out| norm::layer_norm(op, out, stats));
    }

    fn layer_norm_backward(
        &self,
        op: LayerNormBackward<'_, f64>,
        write: Write,
        d_x: &mut [f64],
        d_gamma: &mut [f64],
        d_beta: &mut [f64],
    ) {
        norm::layer_norm_backward(op, write, d_x, d_gamma, d_beta);
    }

    fn attention(&self, op: Attention<'_, f64>, out: &mut [f64], log_sum_exp: &mut [f64]) {
        attention::attention(op, out, log_sum_exp);
    }

    fn attention_backward(&self, op: Attention<'_, f64>, saved: AttentionBackward<'_, f64>, d_qkv: ValuesMut<'_, f64>) {
        edit(d_qkv, |d_qkv| attention::attention_backward(op, saved, d_qkv));
    }

    fn first_token_attention(&self, op: Attention<'_, f64>, out: &mut [f64]) {
        attention::first_token_attention(op, out);
    }

    fn cross_covariance(&self, op: CrossCovariance<'_, f64>, out: &mut [f64]) {
        xca::cross_covariance(op, out);
    }

    fn cross_covariance_backward(
        &self,
        op: CrossCovariance<'_, f64>,
        d_out: &[f64],
        d_qkv: ValuesMut<'_, f64>,
        d_temperature: Option<&mut [f64]>,
    ) {
        edit(d_qkv, |d_qkv| xca::cross_covariance_backward(op, d_out, d_qkv, d_temperature));
    }

    fn residual(&self, x: &[f64], op: Residual<'_, f64>, out: &mut [f64]) {
        dense::residual(x, op, out);
    }

    fn residual_backward(
        &self,
        d_out: &[f64],
        op: Residual<'_, f64>,
        d_branch: &mut [f64],
        d_gamma: Option<&mut [f64]>,
    ) {
        dense::residual_backward(d_out, op, d_branch, d_gamma);
    }

    fn gather_rows(&self, x: &[f64], op: Rows<'_>, out: &mut [f64]) {
        tokens::gather_rows(x, op, out);
    }

    fn scatter_add_rows(&self, from: &[f64], op: Rows<'_>, to: &mut [f64]) {
        tokens::scatter_add_rows(from, op, to);
    }

    fn tokens(&self, op: Tokens<'_, f64>, out: &mut [f64]) {
        tokens::tokens(op, out);
    }

    fn tokens_backward(&self, d_out: &[f64], images: usize, grad: TokensGrad<'_, f64>) {
        tokens::tokens_backward(d_out, images, grad);
    }

    fn mix_rows(&self, x: &[f64], mix: &RowMix<f64>, width: usize, out: &mut [f64]) {
        tokens::mix_rows(x, mix, width, out);
    }

    fn mix_rows_backward(&self, d_out: &[f64], mix: &RowMix<f64>, width: usize, d_x: &mut [f64]) {
        tokens::mix_rows_backward(d_out, mix, width, d_x);
    }

    fn l2_normalize(&self, x: &[f64], eps: f64, out: &mut [f64], norms: &mut [f64]) {
        norm::l2_normalize(x, eps, out, norms);
    }

    fn l2_normalize_backward(&self, d_out: &[f64], out: &[f64], norms: &[f64], eps: f64, d_x: &mut [f64]) {
        norm::l2_normalize_backward(d_out, out, norms, eps, d_x);
    }

    fn weight_norm_linear(&self, op: WeightNormLinear<'_, f64>, inverse_norms: &mut [f64], out: &mut [f64]) {
        norm::weight_norm_linear(op, inverse_norms, out);
    }

    fn weight_norm_linear_backward(
        &self,
        op: WeightNormLinear<'_, f64>,
        inverse_norms: &[f64],
        d_out: &mut [f64],
        grad: WeightNormLinearGrad<'_, f64>,
    ) {
        norm::weight_norm_linear_backward(op, inverse_norms, d_out, grad);
    }

    fn conv2d(&self, op: Conv<'_, f64>, out: ValuesMut<'_, f64>) {
        edit(out, |out| image::conv2d(op, out));
    }

    fn conv2d_input_grad(&self, d_out: Values<'_, f64>, weight: &[f64], size: ConvSize, write: Write, d_x: &mut [f64]) {
        image::conv2d_input_grad(d_out, weight, size, write, d_x);
    }

    fn conv2d_weight_grad(
        &self,
        d_out: Values<'_, f64>,
        x: Values<'_, f64>,
        size: ConvSize,
        d_weight: &mut [f64],
        d_bias: Option<&mut [f64]>,
    ) {
        image::conv2d_weight_grad(d_out, x, size, d_weight, d_bias);
    }

    fn depthwise(&self, op: Depthwise<'_, f64>, out: &mut [f64]) {
        image::depthwise(op, out);
    }

    fn depthwise_backward(&self, d_out: &[f64], op: Depthwise<'_, f64>, grad: DepthwiseGrad<'_, f64>) {
        image::depthwise_backward(d_out, op, grad);
    }

    fn max_pool(&self, x: &[f64], grid: Grid, window: Window, out: &mut [f64], taps: &mut [f64]) {
        image::max_pool(x, grid, window, out, taps);
    }

    fn max_pool_backward(&self, d_out: &[f64], taps: &[f64], grid: Grid, window: Window, d_x: &mut [f64]) {
        image::max_pool_backward(d_out, taps, grid, window, d_x);
    }

    fn mean_pool(&self, x: &[f64], images: usize, width: usize, out: &mut [f64]) {
        image::mean_pool(x, images, width, out);
    }

    fn mean_pool_backward(&self, d_out: &[f64], images: usize, width: usize, d_x: &mut [f64]) {
        image::mean_pool_backward(d_out, images, width, d_x);
    }

    fn batch_norm(
        &self,
        op: BatchNormForward<'_, f64>,
        out: BatchNormOut<'_, f64>,
        mean: &mut [f64],
        variance: &mut [f64],
    ) {
        norm::batch_norm(op, out, mean, variance);
    }

    fn batch_norm_with(
        &self,
        op: BatchNormForward<'_, f64>,
        mean: &[f64],
        variance: &[f64],
        out: BatchNormOut<'_, f64>,
    ) {
        norm::batch_norm_with(op, mean, variance, out);
    }

    fn batch_norm_backward(
        &self,
        op: BatchNormBackward<'_, f64>,
        grad: BatchNormGrad<'_, f64>,
        d_x: ValuesMut<'_, f64>,
    ) {
        edit(d_x, |d_x| norm::batch_norm_backward(op, grad, d_x));
    }

    fn targets(&self, op: Targets<'_, f64>, probs: &mut [f64]) -> f64 {
        loss::targets(op, probs)
    }

    fn soft_cross_entropy(&self, op: SoftCrossEntropy<'_, f64>, log_sum_exp: &mut [f64]) -> f64 {
        loss::soft_cross_entropy(op, log_sum_exp)
    }

    fn soft_cross_entropy_backward(
        &self,
        op: SoftCrossEntropy<'_, f64>,
        log_sum_exp: &[f64],
        scale: f64,
        d_logits: &mut [f64],
    ) {
        loss::soft_cross_entropy_backward(op, log_sum_exp, scale, d_logits);
    }

    fn add_column_sums(&self, x: Values<'_, f64>, out: &mut [f64]) {
        dense::add_column_sums(&full(x), out);
    }

    fn add(&self, from: &[f64], to: &mut [f64]) {
        dense::add(from, to);
    }

    fn sum_of_squares(&self, x: &[f64]) -> f64 {
        dense::dot(x, x)
    }

    fn dot(&self, x: &[f64], y: &[f64]) -> f64 {
        x.iter().zip(y).map(|(x, y)| x * y).sum()
    }

    fn adamw(&self, update: Update<'_, f64>, with: AdamW) {
        update::adamw(update, with);
    }

    fn sgd(&self, update: Update<'_, f64>, with: Sgd) {
        update::sgd(update, with);
    }

    fn average(&self, student: &[f64], momentum: f64, teacher: &mut [f64]) {
        update::average(student, momentum, teacher);
    }
}
