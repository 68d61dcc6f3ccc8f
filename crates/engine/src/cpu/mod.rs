//! The kernels for processors, in `f32` and with products of bf16: SIMD chosen at run time (`pulp`), threads of the
//! current rayon pool. The definition of every operation is in [`crate::reference`]; this module only makes them fast.
//!
//! # Scheme
//! - **Products.** Dense layers and their gradients are one routine (`gemm`) that takes operands in any layout, starts from
//!   zero, a bias or what is there, and ends with the GELU or its gradient while a block is in cache. Attention's small
//!   products have a register tile of their own (`tile`); the weight-normalised layer's blocks are multiplied by faer.
//! - **Tasks.** Element-wise and row-wise kernels cut their matrices into chunks of about 64 KB of whole rows
//!   (`chunk`). Attention has one task per segment and head, short ones joined; DINO's loss one per row; the
//!   weight-normalised layer one per 512 outputs. A matrix of one chunk runs on the calling thread at once. While a tape
//!   lives or the optimizer runs, threads look for the next kernel's tasks instead of going to sleep ([`crate::team`]).
//! - **Vectors.** Loops are plain Rust inside `Arch::dispatch`, which compiles them for AVX-512, AVX2 and the baseline
//!   (every closure in it is `#[inline(always)]`: one that is not inlined falls back to the baseline, a hundred times slower);
//!   exp and the normal distribution (`math`) are branch-free, so they are vectorised too.
//! - **Determinism.** Sums within a chunk have a fixed number of accumulators; sums over chunks are stored as partials and
//!   added up in order; the order within an element of a product depends on the product's sizes. The number of
//!   threads changes no bit.

mod attention;
mod attention_head;
mod batch_norm;
mod cache;
mod chunk;
mod conv;
mod dense;
mod depthwise;
mod gelu;
mod gemm;
mod layer_norm;
mod loss;
pub mod math;
mod peak;
mod pool;
mod residual;
mod swiglu;
mod tile;
mod tokens;
mod transpose;
mod update;
mod weight_norm;
mod word;
mod xca;

use gemm::{Finish, Operand, Start, Units};
use pulp::Arch;

use crate::kernels::{
    AdamW, Attention, AttentionBackward, BatchNormBackward, BatchNormForward, BatchNormGrad, BatchNormOut, Conv,
    ConvSize, CrossCovariance, Depthwise, DepthwiseGrad, Grid, Kernels, LayerNorm, LayerNormBackward, Linear,
    LinearSize, Normalize, Packed, Patches, Residual, RowMix, Rows, Sgd, SoftCrossEntropy, Targets, Tokens, TokensGrad,
    Update, WeightNormLinear, WeightNormLinearGrad, Window, Write,
};
use crate::team::Awake;
use crate::values::{Precision, Values, ValuesMut};

/// The processor's kernels.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// The instruction sets found at run time.
    arch: Arch,
    /// What multiplies matrices.
    units: Units,
}

impl Cpu {
    /// Kernels in `f32` for the best instruction set of this machine, on the rayon pool that calls them.
    pub fn new() -> Self {
        Cpu { arch: Arch::new(), units: Units::F32 }
    }

    /// Kernels that multiply bf16, if this machine has instructions for it.
    pub fn bf16() -> Option<Self> {
        let arch = Arch::new();
        Units::of_pairs(arch).map(|units| Cpu { arch, units })
    }

    /// Kernels with the results of [`Cpu::bf16`] on any machine, no faster than `f32`: to test with.
    pub fn bf16_anywhere() -> Self {
        Cpu { arch: Arch::new(), units: Units::Pairs }
    }

    /// The most operations per second that the threads of the current rayon pool reach together in these kernels'
    /// precision, measured with multiply-adds on registers.
    pub fn peak_flops(&self) -> f64 {
        self.units.peak(self.arch)
    }

    /// The most bytes per second that these threads move between memory and registers, reads and writes counted.
    pub fn peak_memory_rate(&self) -> f64 {
        peak::memory_rate(self.arch)
    }
}

impl Default for Cpu {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernels<f32> for Cpu {
    fn stay_awake(&self) -> Awake {
        Awake::new()
    }

    fn precision(&self) -> Precision {
        if self.units == Units::F32 { Precision::F32 } else { Precision::Bf16 }
    }

    fn pack(&self, weight: &[f32], size: LinearSize) -> Option<Packed> {
        let weight = Operand::rows(weight, size.inputs);
        Some(gemm::pack(self.arch, self.units, weight, [size.outputs, size.inputs]))
    }

    fn patchify(&self, images: &[u8], patches: Patches, normalize: &Normalize, out: &mut [f32]) {
        tokens::patchify(images, patches, normalize, out);
    }

    fn linear(&self, op: Linear<'_, f32>, out: ValuesMut<'_, f32>) {
        gemm::multiply(self.arch, self.units, dense::layer(op, Finish::Keep), out);
    }

    fn linear_gelu(&self, op: Linear<'_, f32>, pre: Option<ValuesMut<'_, f32>>, out: ValuesMut<'_, f32>) {
        gemm::multiply(self.arch, self.units, dense::layer(op, pre.map_or(Finish::Gelu, Finish::GeluOf)), out);
    }

    fn linear_input_grad(
        &self,
        d_out: Values<'_, f32>,
        weight: &[f32],
        size: LinearSize,
        write: Write,
        d_x: &mut [f32],
    ) {
        let start = if write == Write::Add { Start::Out } else { Start::Zero };
        gemm::multiply(self.arch, self.units, dense::input_grad(d_out, weight, size, start, Finish::Keep), d_x.into());
    }

    fn gelu_linear_input_grad(
        &self,
        d_out: Values<'_, f32>,
        weight: &[f32],
        size: LinearSize,
        x: ValuesMut<'_, f32>,
        d_x: ValuesMut<'_, f32>,
    ) {
        let finish = Finish::GeluBackward(x);
        gemm::multiply(self.arch, self.units, dense::input_grad(d_out, weight, size, Start::Zero, finish), d_x);
    }

    fn linear_weight_grad(
        &self,
        d_out: Values<'_, f32>,
        x: Values<'_, f32>,
        size: LinearSize,
        d_weight: &mut [f32],
        d_bias: Option<&mut [f32]>,
    ) {
        gemm::multiply(self.arch, self.units, dense::weight_grad(d_out, x, size, d_bias), d_weight.into());
    }

    fn swiglu(&self, x: &[f32], width: usize, out: &mut [f32]) {
        swiglu::swiglu(self.arch, x, width, out);
    }

    fn swiglu_backward(&self, x: &[f32], width: usize, d_out: &[f32], d_x: &mut [f32]) {
        swiglu::swiglu_backward(self.arch, x, width, d_out, d_x);
    }

    fn gelu(&self, x: &[f32], out: &mut [f32]) {
        gelu::gelu(self.arch, x, out);
    }

    fn gelu_backward(&self, x: &[f32], grad: &mut [f32]) {
        gelu::gelu_backward(self.arch, x, grad);
    }

    fn layer_norm(&self, op: LayerNorm<'_, f32>, out: ValuesMut<'_, f32>, stats: &mut [f32]) {
        layer_norm::layer_norm(self.arch, op, out, stats);
    }

    fn layer_norm_backward(
        &self,
        op: LayerNormBackward<'_, f32>,
        write: Write,
        d_x: &mut [f32],
        d_gamma: &mut [f32],
        d_beta: &mut [f32],
    ) {
        layer_norm::layer_norm_backward(self.arch, op, write, d_x, [d_gamma, d_beta]);
    }

    fn attention(&self, op: Attention<'_, f32>, out: &mut [f32], log_sum_exp: &mut [f32]) {
        attention::attention(self.arch, self.units, op, out, log_sum_exp);
    }

    fn attention_backward(&self, op: Attention<'_, f32>, saved: AttentionBackward<'_, f32>, d_qkv: ValuesMut<'_, f32>) {
        attention::attention_backward(self.arch, self.units, op, saved, d_qkv);
    }

    fn first_token_attention(&self, op: Attention<'_, f32>, out: &mut [f32]) {
        attention::first_token_attention(self.arch, op, out);
    }

    fn cross_covariance(&self, op: CrossCovariance<'_, f32>, out: &mut [f32]) {
        xca::cross_covariance((self.arch, self.units), op, out);
    }

    fn cross_covariance_backward(
        &self,
        op: CrossCovariance<'_, f32>,
        d_out: &[f32],
        d_qkv: ValuesMut<'_, f32>,
        d_temperature: Option<&mut [f32]>,
    ) {
        xca::cross_covariance_backward((self.arch, self.units), op, d_out, (d_qkv, d_temperature));
    }

    fn residual(&self, x: &[f32], op: Residual<'_, f32>, out: &mut [f32]) {
        residual::residual(self.arch, x, op, out);
    }

    fn residual_backward(
        &self,
        d_out: &[f32],
        op: Residual<'_, f32>,
        d_branch: &mut [f32],
        d_gamma: Option<&mut [f32]>,
    ) {
        residual::residual_backward(self.arch, d_out, op, d_branch, d_gamma);
    }

    fn gather_rows(&self, x: &[f32], op: Rows<'_>, out: &mut [f32]) {
        tokens::gather_rows(self.arch, x, op, out);
    }

    fn scatter_add_rows(&self, from: &[f32], op: Rows<'_>, to: &mut [f32]) {
        tokens::scatter_add_rows(self.arch, from, op, to);
    }

    fn tokens(&self, op: Tokens<'_, f32>, out: &mut [f32]) {
        tokens::tokens(self.arch, op, out);
    }

    fn tokens_backward(&self, d_out: &[f32], images: usize, grad: TokensGrad<'_, f32>) {
        tokens::tokens_backward(d_out, images, grad);
    }

    fn mix_rows(&self, x: &[f32], mix: &RowMix<f32>, width: usize, out: &mut [f32]) {
        tokens::mix_rows(self.arch, x, mix, width, out);
    }

    fn mix_rows_backward(&self, d_out: &[f32], mix: &RowMix<f32>, width: usize, d_x: &mut [f32]) {
        tokens::mix_rows_backward(self.arch, d_out, mix, width, d_x);
    }

    fn l2_normalize(&self, x: &[f32], eps: f64, out: &mut [f32], norms: &mut [f32]) {
        layer_norm::l2_normalize(self.arch, x, eps, out, norms);
    }

    fn l2_normalize_backward(&self, d_out: &[f32], out: &[f32], norms: &[f32], eps: f64, d_x: &mut [f32]) {
        layer_norm::l2_normalize_backward(self.arch, d_out, [out, norms], eps, d_x);
    }

    fn weight_norm_linear(&self, op: WeightNormLinear<'_, f32>, inverse_norms: &mut [f32], out: &mut [f32]) {
        weight_norm::weight_norm_linear(self.arch, op, inverse_norms, out);
    }

    fn weight_norm_linear_backward(
        &self,
        op: WeightNormLinear<'_, f32>,
        inverse_norms: &[f32],
        d_out: &mut [f32],
        grad: WeightNormLinearGrad<'_, f32>,
    ) {
        weight_norm::weight_norm_linear_backward(self.arch, op, inverse_norms, d_out, grad);
    }

    fn conv2d(&self, op: Conv<'_, f32>, out: ValuesMut<'_, f32>) {
        conv::conv2d(self.arch, self.units, op, out);
    }

    fn conv2d_input_grad(&self, d_out: Values<'_, f32>, weight: &[f32], size: ConvSize, write: Write, d_x: &mut [f32]) {
        conv::conv2d_input_grad((self.arch, self.units), d_out, weight, size, (write, d_x));
    }

    fn conv2d_weight_grad(
        &self,
        d_out: Values<'_, f32>,
        x: Values<'_, f32>,
        size: ConvSize,
        d_weight: &mut [f32],
        d_bias: Option<&mut [f32]>,
    ) {
        conv::conv2d_weight_grad((self.arch, self.units), d_out, x, size, (d_weight, d_bias));
    }

    fn depthwise(&self, op: Depthwise<'_, f32>, out: &mut [f32]) {
        depthwise::depthwise(self.arch, op, out);
    }

    fn depthwise_backward(&self, d_out: &[f32], op: Depthwise<'_, f32>, grad: DepthwiseGrad<'_, f32>) {
        depthwise::depthwise_backward(self.arch, d_out, op, grad);
    }

    fn max_pool(&self, x: &[f32], grid: Grid, window: Window, out: &mut [f32], taps: &mut [f32]) {
        pool::max_pool(self.arch, x, (grid, window), out, taps);
    }

    fn max_pool_backward(&self, d_out: &[f32], taps: &[f32], grid: Grid, window: Window, d_x: &mut [f32]) {
        pool::max_pool_backward(self.arch, [d_out, taps], (grid, window), d_x);
    }

    fn mean_pool(&self, x: &[f32], images: usize, width: usize, out: &mut [f32]) {
        pool::mean_pool(self.arch, x, [images, width], out);
    }

    fn mean_pool_backward(&self, d_out: &[f32], images: usize, width: usize, d_x: &mut [f32]) {
        pool::mean_pool_backward(self.arch, d_out, [images, width], d_x);
    }

    fn batch_norm(
        &self,
        op: BatchNormForward<'_, f32>,
        out: BatchNormOut<'_, f32>,
        mean: &mut [f32],
        variance: &mut [f32],
    ) {
        batch_norm::batch_norm(self.arch, op, out, [mean, variance]);
    }

    fn batch_norm_with(
        &self,
        op: BatchNormForward<'_, f32>,
        mean: &[f32],
        variance: &[f32],
        out: BatchNormOut<'_, f32>,
    ) {
        batch_norm::batch_norm_with(self.arch, op, [mean, variance], out);
    }

    fn batch_norm_backward(
        &self,
        op: BatchNormBackward<'_, f32>,
        grad: BatchNormGrad<'_, f32>,
        d_x: ValuesMut<'_, f32>,
    ) {
        batch_norm::batch_norm_backward(self.arch, op, grad, d_x);
    }

    fn targets(&self, op: Targets<'_, f32>, probs: &mut [f32]) -> f64 {
        loss::targets(self.arch, op, probs)
    }

    fn soft_cross_entropy(&self, op: SoftCrossEntropy<'_, f32>, log_sum_exp: &mut [f32]) -> f64 {
        loss::soft_cross_entropy(self.arch, op, log_sum_exp)
    }

    fn soft_cross_entropy_backward(
        &self,
        op: SoftCrossEntropy<'_, f32>,
        log_sum_exp: &[f32],
        scale: f64,
        d_logits: &mut [f32],
    ) {
        loss::soft_cross_entropy_backward(self.arch, op, log_sum_exp, scale, d_logits);
    }

    fn add_column_sums(&self, x: Values<'_, f32>, out: &mut [f32]) {
        dense::add_column_sums(self.arch, x, out);
    }

    fn add(&self, from: &[f32], to: &mut [f32]) {
        residual::add(self.arch, from, to);
    }

    fn sum_of_squares(&self, x: &[f32]) -> f64 {
        update::inner_product(self.arch, x, x)
    }

    fn dot(&self, x: &[f32], y: &[f32]) -> f64 {
        update::inner_product(self.arch, x, y)
    }

    fn adamw(&self, update: Update<'_, f32>, with: AdamW) {
        update::adamw(self.arch, update, with);
    }

    fn sgd(&self, update: Update<'_, f32>, with: Sgd) {
        update::sgd(self.arch, update, with);
    }

    fn average(&self, student: &[f32], momentum: f64, teacher: &mut [f32]) {
        update::average(self.arch, student, momentum, teacher);
    }
}
