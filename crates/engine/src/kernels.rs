//! The kernel contract: every fused operation the engine knows, forward and backward, as one trait.
//!
//! `reference/` implements it in plain `f64` loops and is the definition; `cpu/` implements it in `f32`, and with products
//! of bf16, with SIMD and threads. Both are driven by the same tests. A device that implements this trait can train every network here.
//!
//! Conventions of all kernels:
//! - matrices are dense and row-major; the shape letters in each doc give the length of every slice;
//! - a destination called `out` is overwritten, whatever it holds; a destination whose doc says *adds* is added to;
//! - values that a branch hands from one operation to the next may be rounded to bf16 ([`Values`]), and products may round
//!   what they multiply ([`Kernels::precision`]); nothing else is rounded;
//! - gradients of parameters are always added, so that micro-batches accumulate;
//! - lengths that do not fit are a broken invariant of the caller and panic with both sizes.

use crate::team::Awake;
use crate::values::{Precision, Values, ValuesMut};

mod images;
mod operands;
pub use images::*;
pub use operands::*;

/// One method per fused operation. See the module documentation for the conventions.
pub trait Kernels<E>: Send + Sync {
    /// To be held while one kernel is called after the other: threads that help do not sleep in between.
    fn stay_awake(&self) -> Awake {
        Awake::default()
    }

    /// What products multiply, and what branches hand over between these kernels.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// A dense layer's weight `[outputs, inputs]` as [`Linear::packed`] takes it, for weights that serve many products; nothing
    /// if these kernels read it best as it is.
    fn pack(&self, weight: &[E], size: LinearSize) -> Option<Packed> {
        let _ = (weight, size);
        None
    }

    /// Cuts byte images `[B, H, W, C]` into normalised rows `[B·N, C·p²]`, patches in row-major order, each row ordered
    /// channel, y, x like a convolution kernel.
    fn patchify(&self, images: &[u8], patches: Patches, normalize: &Normalize, out: &mut [E]);

    /// `out = x·wᵀ + bias`, `[rows, outputs]`.
    fn linear(&self, op: Linear<'_, E>, out: ValuesMut<'_, E>);

    /// `pre = x·wᵀ + bias`, `out = gelu(pre)`, both `[rows, outputs]`; `pre` is left out where nobody needs it.
    /// Where `out` is rounded, the GELU is that of the rounded `pre`, kept or not.
    fn linear_gelu(&self, op: Linear<'_, E>, pre: Option<ValuesMut<'_, E>>, out: ValuesMut<'_, E>);

    /// `d_x (+)= d_out·w`, `[rows, inputs]`.
    fn linear_input_grad(&self, d_out: Values<'_, E>, weight: &[E], size: LinearSize, write: Write, d_x: &mut [E]);

    /// Gradient of a dense layer's input and of the GELU that made it: `d_x = (d_out·w) ⊙ gelu'(x)`, `[rows, inputs]`, for
    /// a layer whose input was `gelu(x)`. Then `x ← gelu(x)`: what the weight's gradient needs, computed again, not kept.
    fn gelu_linear_input_grad(
        &self,
        d_out: Values<'_, E>,
        weight: &[E],
        size: LinearSize,
        x: ValuesMut<'_, E>,
        d_x: ValuesMut<'_, E>,
    );

    /// Adds `d_outᵀ·x` to `d_weight` `[outputs, inputs]` and, if given, the column sums of `d_out` to `d_bias`, both of what
    /// products multiply: of `d_out` rounded, where that is bf16.
    fn linear_weight_grad(
        &self,
        d_out: Values<'_, E>,
        x: Values<'_, E>,
        size: LinearSize,
        d_weight: &mut [E],
        d_bias: Option<&mut [E]>,
    );

    /// `out = x·Φ(x)` with the exact error function.
    fn gelu(&self, x: &[E], out: &mut [E]);

    /// Turns the gradient of a GELU's output, in place, into that of its input `x`.
    fn gelu_backward(&self, x: &[E], grad: &mut [E]);

    /// `out = silu(a) ⊙ b` for rows `[a, b]` of `x` `[rows, 2·width]`, with `silu(a) = a/(1 + e^-a)` (Shazeer 2020, "GLU Variants
    /// Improve Transformer"); `out` is `[rows, width]`.
    fn swiglu(&self, x: &[E], width: usize, out: &mut [E]);

    /// Gradient of [`Kernels::swiglu`]: overwrites `d_x` `[rows, 2·width]`.
    fn swiglu_backward(&self, x: &[E], width: usize, d_out: &[E], d_x: &mut [E]);

    /// `out = (x − mean)/√(var + eps)·gamma + beta` row by row; writes mean and reciprocal deviation to `stats` `[rows, 2]`.
    fn layer_norm(&self, op: LayerNorm<'_, E>, out: ValuesMut<'_, E>, stats: &mut [E]);

    /// Gradient of [`Kernels::layer_norm`]: `d_x` as `write` says, `d_gamma` and `d_beta` added to.
    fn layer_norm_backward(
        &self,
        op: LayerNormBackward<'_, E>,
        write: Write,
        d_x: &mut [E],
        d_gamma: &mut [E],
        d_beta: &mut [E],
    );

    /// `out = softmax(q·kᵀ·d^-½)·v` per head and segment, `[T, heads·d]`; log-sum-exp of the scores to `[T, heads]`.
    /// Rows outside every segment, and of tokens that are no queries, are left as they are. No score matrix is kept.
    fn attention(&self, op: Attention<'_, E>, out: &mut [E], log_sum_exp: &mut [E]);

    /// Gradient of [`Kernels::attention`]: overwrites `d_qkv` `[T, 3·heads·d]` in the rows of the segments. Of
    /// `saved`, rows of tokens that were no queries are never read.
    fn attention_backward(&self, op: Attention<'_, E>, saved: AttentionBackward<'_, E>, d_qkv: ValuesMut<'_, E>);

    /// Attention of the first token of each segment to all its tokens, whatever `queries` says: for each segment in order `[heads, len]`.
    fn first_token_attention(&self, op: Attention<'_, E>, out: &mut [E]);

    /// See [`CrossCovariance`]; `out` is `[T, heads·d]`. Rows outside every segment are left as they are.
    fn cross_covariance(&self, op: CrossCovariance<'_, E>, out: &mut [E]);

    /// Gradient of [`Kernels::cross_covariance`] from that of its output, `[T, heads·d]`: overwrites `d_qkv` `[T, 3·heads·d]` in the
    /// rows of the segments, adds to `d_temperature` `[heads]`. Everything is computed again from `op`.
    fn cross_covariance_backward(
        &self,
        op: CrossCovariance<'_, E>,
        d_out: &[E],
        d_qkv: ValuesMut<'_, E>,
        d_temperature: Option<&mut [E]>,
    );

    /// `out = x + gamma⊙branch`, `[rows, width]`.
    fn residual(&self, x: &[E], op: Residual<'_, E>, out: &mut [E]);

    /// Gradient of the branch of [`Kernels::residual`] (that of `x` is `d_out` itself): overwrites `d_branch`, adds to
    /// `d_gamma`.
    fn residual_backward(&self, d_out: &[E], op: Residual<'_, E>, d_branch: &mut [E], d_gamma: Option<&mut [E]>);

    /// `out[i] = factor·x[rows[i]]`, rows of `width` values.
    fn gather_rows(&self, x: &[E], op: Rows<'_>, out: &mut [E]);

    /// Adds `factor·from[i]` to row `rows[i]` of `to`: each of the two is the other's gradient.
    fn scatter_add_rows(&self, from: &[E], op: Rows<'_>, to: &mut [E]);

    /// Each image's sequence: class token plus its position, then patches plus theirs. `[images·(patches + 1), width]`.
    fn tokens(&self, op: Tokens<'_, E>, out: &mut [E]);

    /// Gradient of [`Kernels::tokens`].
    fn tokens_backward(&self, d_out: &[E], images: usize, grad: TokensGrad<'_, E>);

    /// Applies a sparse row operator: `out` is `[outputs, width]`.
    fn mix_rows(&self, x: &[E], mix: &RowMix<E>, width: usize, out: &mut [E]);

    /// Adds the transposed operator's result to `d_x`.
    fn mix_rows_backward(&self, d_out: &[E], mix: &RowMix<E>, width: usize, d_x: &mut [E]);

    /// `out = x/max(‖x‖₂, eps)` row by row; the clamped norms go to `norms` `[rows]`.
    fn l2_normalize(&self, x: &[E], eps: f64, out: &mut [E], norms: &mut [E]);

    /// Gradient of [`Kernels::l2_normalize`] from its output: `(d − out·(out·d))/norm`; where the norm was clamped to
    /// `eps`, `d/eps`. Overwrites `d_x`.
    fn l2_normalize_backward(&self, d_out: &[E], out: &[E], norms: &[E], eps: f64, d_x: &mut [E]);

    /// See [`WeightNormLinear`]; `inverse_norms` `[outputs]` receives 1/‖v‖.
    fn weight_norm_linear(&self, op: WeightNormLinear<'_, E>, inverse_norms: &mut [E], out: &mut [E]);

    /// Gradient of [`Kernels::weight_norm_linear`]. `d_out` `[rows, outputs]` may be used as scratch.
    fn weight_norm_linear_backward(
        &self,
        op: WeightNormLinear<'_, E>,
        inverse_norms: &[E],
        d_out: &mut [E],
        grad: WeightNormLinearGrad<'_, E>,
    );

    /// See [`Conv`]; `out` is `[B·H'·W', O]`, the pixels of [`ConvSize::out_grid`].
    fn conv2d(&self, op: Conv<'_, E>, out: ValuesMut<'_, E>);

    /// Gradient of the input of [`Kernels::conv2d`], `[B·H·W, C]`.
    fn conv2d_input_grad(&self, d_out: Values<'_, E>, weight: &[E], size: ConvSize, write: Write, d_x: &mut [E]);

    /// Adds the gradients of [`Kernels::conv2d`] to `d_weight` `[O, C, k, k]` and, if given, `d_bias` `[O]`.
    fn conv2d_weight_grad(
        &self,
        d_out: Values<'_, E>,
        x: Values<'_, E>,
        size: ConvSize,
        d_weight: &mut [E],
        d_bias: Option<&mut [E]>,
    );

    /// See [`Depthwise`]; `out` is `[B·H·W, C]`.
    fn depthwise(&self, op: Depthwise<'_, E>, out: &mut [E]);

    /// Gradient of [`Kernels::depthwise`].
    fn depthwise_backward(&self, d_out: &[E], op: Depthwise<'_, E>, grad: DepthwiseGrad<'_, E>);

    /// The largest value of each window and channel, `[B·H'·W', C]`, where pixels beyond the image are `-∞`; to `taps`, of
    /// the same shape, which pixel of the window it is: the first one in row-major order. NaN is larger than any number, and of several NaN
    /// the last one is taken.
    ///
    /// # Panics
    /// If a window may lie beyond the image as a whole.
    fn max_pool(&self, x: &[E], grid: Grid, window: Window, out: &mut [E], taps: &mut [E]);

    /// Gradient of [`Kernels::max_pool`]: overwrites `d_x` `[B·H·W, C]`.
    fn max_pool_backward(&self, d_out: &[E], taps: &[E], grid: Grid, window: Window, d_x: &mut [E]);

    /// The mean of each image's rows: `[images·N, width]` to `[images, width]`.
    ///
    /// # Panics
    /// If an image has no row.
    fn mean_pool(&self, x: &[E], images: usize, width: usize, out: &mut [E]);

    /// Gradient of [`Kernels::mean_pool`]: overwrites `d_x` `[images·N, width]`.
    fn mean_pool_backward(&self, d_out: &[E], images: usize, width: usize, d_x: &mut [E]);

    /// See [`BatchNormForward`], with the batch's own statistics, which go to `mean` and (biased) `variance` `[width]`.
    fn batch_norm(&self, op: BatchNormForward<'_, E>, out: BatchNormOut<'_, E>, mean: &mut [E], variance: &mut [E]);

    /// See [`BatchNormForward`], with given statistics.
    fn batch_norm_with(&self, op: BatchNormForward<'_, E>, mean: &[E], variance: &[E], out: BatchNormOut<'_, E>);

    /// Gradient of [`Kernels::batch_norm`]: overwrites `d_x`.
    fn batch_norm_backward(&self, op: BatchNormBackward<'_, E>, grad: BatchNormGrad<'_, E>, d_x: ValuesMut<'_, E>);

    /// See [`Targets`]: overwrites `probs` `[rows, K]` and returns the mean entropy of the rows in nats.
    fn targets(&self, op: Targets<'_, E>, probs: &mut [E]) -> f64;

    /// The loss of [`SoftCrossEntropy`]; `log_sum_exp` `[student rows]` receives that of `logits/temp`.
    fn soft_cross_entropy(&self, op: SoftCrossEntropy<'_, E>, log_sum_exp: &mut [E]) -> f64;

    /// Gradient of the loss times `scale`: `(n_v·softmax(logits/temp) − Σ_{i≠v} targets_i)/(temp·images·terms)`.
    fn soft_cross_entropy_backward(
        &self,
        op: SoftCrossEntropy<'_, E>,
        log_sum_exp: &[E],
        scale: f64,
        d_logits: &mut [E],
    );

    /// Adds the column sums of `x` `[rows, out.len()]` to `out`.
    fn add_column_sums(&self, x: Values<'_, E>, out: &mut [E]);

    /// `to += from`.
    fn add(&self, from: &[E], to: &mut [E]);

    /// Σ x², accumulated in `f64` in a fixed order.
    fn sum_of_squares(&self, x: &[E]) -> f64;

    /// Σ x·y, accumulated in `f64` in a fixed order.
    fn dot(&self, x: &[E], y: &[E]) -> f64;

    /// One AdamW update, then the teacher's average, then the gradient is cleared: one pass over memory.
    fn adamw(&self, update: Update<'_, E>, with: AdamW);

    /// One SGD update, then the teacher's average, then the gradient is cleared.
    fn sgd(&self, update: Update<'_, E>, with: Sgd);

    /// `teacher ← momentum·teacher + (1 − momentum)·student` (DINO, section 3.1: the momentum encoder).
    fn average(&self, student: &[E], momentum: f64, teacher: &mut [E]);
}
