//! What the kernels are given: shapes, inputs, and constants of an operation.

use std::ops::Range;

use crate::tensor::{LINE, line_start};
use crate::values::Values;

/// Whether a kernel overwrites its destination or adds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// The destination is overwritten; its old contents are never read.
    Replace,
    /// The result is added to the destination.
    Add,
}

/// Geometry of a batch of images cut into square patches. Sides that are not a multiple of the patch are cropped at the
/// right and at the bottom, as a strided convolution does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patches {
    /// Number of images, B.
    pub images: usize,
    /// Image height in pixels.
    pub height: usize,
    /// Image width in pixels.
    pub width: usize,
    /// Channels per pixel, C.
    pub channels: usize,
    /// Side of a patch in pixels, p.
    pub patch: usize,
}

impl Patches {
    /// Patches along the height and along the width.
    pub fn grid(&self) -> (usize, usize) {
        (self.height / self.patch, self.width / self.patch)
    }

    /// Patches of one image, N.
    pub fn per_image(&self) -> usize {
        let (rows, columns) = self.grid();
        rows * columns
    }

    /// Values of one patch, C·p².
    pub fn patch_len(&self) -> usize {
        self.channels * self.patch * self.patch
    }
}

/// Per-channel normalisation: a byte v becomes `(v/255 − mean)/std`.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalize {
    /// Mean of each channel in 0..1, length C.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel in 0..1, length C.
    pub std: Vec<f32>,
}

/// A dense layer `x·wᵀ + bias`.
#[derive(Debug, Clone, Copy)]
pub struct Linear<'a, E> {
    /// Input, `[rows, inputs]`.
    pub x: Values<'a, E>,
    /// Weight, `[outputs, inputs]` as PyTorch stores it.
    pub weight: &'a [E],
    /// Bias, `[outputs]`.
    pub bias: Option<&'a [E]>,
    /// Sizes of the product.
    pub size: LinearSize,
    /// What [`super::Kernels::pack`] made of this weight; without it, kernels copy what they need each time.
    pub packed: Option<&'a Packed>,
}

/// A weight as the products of those kernels read it that made it.
#[derive(Debug, Clone)]
pub struct Packed {
    memory: Vec<f32>,
    words: Range<usize>,
}

impl Packed {
    /// Memory of `len` words, filled by `fill`, that begins a cache line.
    pub(crate) fn new(len: usize, fill: impl FnOnce(&mut [f32])) -> Self {
        let mut memory = vec![0.0; len + LINE];
        let first = line_start(&memory);
        fill(&mut memory[first..first + len]);
        Self { memory, words: first..first + len }
    }

    pub(crate) fn words(&self) -> &[f32] {
        &self.memory[self.words.clone()]
    }
}

/// Sizes of a dense layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearSize {
    /// Rows of the input and of the output.
    pub rows: usize,
    /// Columns of the input.
    pub inputs: usize,
    /// Columns of the output.
    pub outputs: usize,
}

/// Input of a LayerNorm over the last axis.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm<'a, E> {
    /// Input, `[rows, width]`.
    pub x: &'a [E],
    /// Scale, `[width]`.
    pub gamma: &'a [E],
    /// Shift, `[width]`.
    pub beta: &'a [E],
    /// Added to the variance before the root.
    pub eps: f64,
}

/// What the backward pass of a LayerNorm needs.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormBackward<'a, E> {
    /// Gradient of the output, `[rows, width]`.
    pub d_out: &'a [E],
    /// The forward input, `[rows, width]`.
    pub x: &'a [E],
    /// Scale, `[width]`.
    pub gamma: &'a [E],
    /// Mean and reciprocal standard deviation of each row, interleaved, `[rows, 2]`.
    pub stats: &'a [E],
}

/// One sequence inside a packed token matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// First row of the sequence.
    pub start: usize,
    /// Number of rows (tokens), N.
    pub len: usize,
}

/// Multi-head self-attention within each segment of a packed token matrix.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a, E> {
    /// Queries, keys and values of T tokens, `[T, 3·heads·head_dim]`: q of all heads, then k, then v.
    pub qkv: Values<'a, E>,
    /// Number of heads.
    pub heads: usize,
    /// Width of one head, d. Scores are scaled by d^-½.
    pub head_dim: usize,
    /// The sequences; they do not overlap.
    pub segments: &'a [Segment],
    /// How many tokens of each sequence are queries, the first ones; the others are only attended to.
    pub queries: usize,
}

/// What the backward pass of attention needs besides its input.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackward<'a, E> {
    /// Gradient of the output, `[T, heads·head_dim]`.
    pub d_out: &'a [E],
    /// Log-sum-exp of the scaled scores, `[T, heads]`.
    pub log_sum_exp: &'a [E],
}

/// Cross-covariance attention within each segment of a packed token matrix (XCiT, El-Nouby et al. 2021, section 3.2): channels
/// attend to channels. For each head, with q, k, v `[N, d]` and each column of q and k divided by its length:
/// `probs = softmax(temperature·q̂ᵀ·k̂)` over the columns of k, `out[n, i] = Σ_j probs[i, j]·v[n, j]`.
#[derive(Debug, Clone, Copy)]
pub struct CrossCovariance<'a, E> {
    /// Queries, keys and values of T tokens, `[T, 3·heads·head_dim]`: q of all heads, then k, then v.
    pub qkv: Values<'a, E>,
    /// Number of heads.
    pub heads: usize,
    /// Width of one head, d.
    pub head_dim: usize,
    /// The sequences; they do not overlap.
    pub segments: &'a [Segment],
    /// What the cosines of each head are multiplied by, `[heads]`.
    pub temperature: &'a [E],
    /// The least that a column is divided by.
    pub eps: f64,
}

/// A residual connection `x + gamma ⊙ branch`.
#[derive(Debug, Clone, Copy)]
pub struct Residual<'a, E> {
    /// The branch's output, `[rows, width]`.
    pub branch: &'a [E],
    /// LayerScale vector, `[width]`; absent means 1.
    pub gamma: Option<&'a [E]>,
    /// Columns.
    pub width: usize,
}

/// Some rows of a matrix, and a factor on them.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Their numbers, distinct.
    pub rows: &'a [u32],
    /// Columns.
    pub width: usize,
    /// What the values are multiplied by on their way.
    pub factor: f64,
}

/// Tokens of one group of equally sized images.
#[derive(Debug, Clone, Copy)]
pub struct Tokens<'a, E> {
    /// Embedded patches, `[images·patches, width]`.
    pub patches: &'a [E],
    /// The class token, `[width]`.
    pub cls: &'a [E],
    /// Position of the class token, `[width]`.
    pub cls_position: &'a [E],
    /// Positions of the patches, already interpolated to this grid, `[patches, width]`.
    pub positions: &'a [E],
    /// Number of images.
    pub images: usize,
}

/// Destinations of the gradients of [`Tokens`].
#[derive(Debug)]
pub struct TokensGrad<'a, E> {
    /// Overwritten, `[images·patches, width]`.
    pub patches: &'a mut [E],
    /// Added to, `[width]`.
    pub cls: &'a mut [E],
    /// Added to, `[width]`.
    pub cls_position: &'a mut [E],
    /// Overwritten with the sum over the images, `[patches, width]`.
    pub positions: &'a mut [E],
}

/// A fixed sparse operator on rows: output row i is `Σ_j weights[i·taps + j] · x[index[i·taps + j]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct RowMix<E> {
    /// Source rows, `[outputs, taps]`.
    pub index: Vec<u32>,
    /// Weights, `[outputs, taps]`.
    pub weights: Vec<E>,
    /// Terms of each output row (16 for bicubic).
    pub taps: usize,
}

impl<E> RowMix<E> {
    /// Number of output rows.
    pub fn outputs(&self) -> usize {
        self.index.len() / self.taps
    }
}

/// A weight-normalised layer without bias: `out[r,k] = g[k] · (x[r]·v[k]) / ‖v[k]‖`.
#[derive(Debug, Clone, Copy)]
pub struct WeightNormLinear<'a, E> {
    /// Input, `[rows, inputs]`.
    pub x: &'a [E],
    /// Directions, `[outputs, inputs]`.
    pub v: &'a [E],
    /// Lengths, `[outputs]`.
    pub g: &'a [E],
    /// Sizes of the product.
    pub size: LinearSize,
}

/// Destinations of the gradients of [`WeightNormLinear`]; an absent one is not computed.
#[derive(Debug)]
pub struct WeightNormLinearGrad<'a, E> {
    /// Overwritten, `[rows, inputs]`.
    pub x: Option<&'a mut [E]>,
    /// Added to, `[outputs, inputs]`.
    pub v: Option<&'a mut [E]>,
    /// Added to, `[outputs]`.
    pub g: Option<&'a mut [E]>,
}

/// DINO's targets: `softmax((logits − center)/temp)` row by row. DINO (Caron et al. 2021), eq. 1 and section 3.1.
#[derive(Debug, Clone, Copy)]
pub struct Targets<'a, E> {
    /// Teacher logits, `[rows, K]`.
    pub logits: &'a [E],
    /// The centre, `[K]`.
    pub center: &'a [E],
    /// Teacher temperature.
    pub temp: f64,
}

/// Cross-entropy of every student view against every other teacher view. DINO (Caron et al. 2021), eq. 3.
///
/// Rows are crop-major: row `v·images + b` is view v of image b. The first `teacher_views` student views show the same
/// crops as the teacher's, and the pairs of a crop with itself are left out:
/// `loss = 1/terms · Σ_{i} Σ_{v≠i} mean_b( −Σ_k targets[i,b,k] · log softmax(logits[v,b]/temp)[k] )` with
/// `terms = teacher_views·student_views − min(teacher_views, student_views)`.
#[derive(Debug, Clone, Copy)]
pub struct SoftCrossEntropy<'a, E> {
    /// Student logits, `[student_views·images, K]`.
    pub logits: &'a [E],
    /// Teacher probabilities, `[teacher_views·images, K]`.
    pub targets: &'a [E],
    /// Student temperature.
    pub temp: f64,
    /// Number of images in the batch, B.
    pub images: usize,
    /// Teacher views of each image (2 in DINO).
    pub teacher_views: usize,
    /// Student views of each image, global and local.
    pub student_views: usize,
}

impl<E> SoftCrossEntropy<'_, E> {
    /// Number of pairs of different views the loss is averaged over: 18 for 2 + 8 crops.
    pub fn terms(&self) -> usize {
        self.teacher_views * self.student_views - self.teacher_views.min(self.student_views)
    }
}

/// One parameter tensor on its way through the optimizer. All slices have the tensor's length.
#[derive(Debug)]
pub struct Update<'a, E> {
    /// The student's values, changed in place.
    pub value: &'a mut [E],
    /// The gradient; read, then set to zero for the next step.
    pub grad: &'a mut [E],
    /// First moment (or momentum buffer).
    pub first: &'a mut [E],
    /// Second moment; empty for optimizers without one.
    pub second: &'a mut [E],
    /// The teacher's values and its momentum m: after the update, `teacher ← m·teacher + (1 − m)·value`.
    pub teacher: Option<(&'a mut [E], f64)>,
}

/// AdamW with decoupled weight decay, as `torch.optim.AdamW`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f64,
    /// Weight decay of this step.
    pub weight_decay: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// How many updates this tensor has had, this one included (1 for the first).
    pub step: u64,
    /// Factor on the gradient (clipping and averaging over micro-batches).
    pub grad_scale: f64,
}

/// SGD with momentum: `g ← grad_scale·grad + weight_decay·p; g ← trust·g; μ ← momentum·μ + g; p ← p − lr·μ`.
///
/// `trust` is 1 for plain SGD and the layer's trust ratio for LARS.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sgd {
    /// Learning rate of this step.
    pub lr: f64,
    /// Coupled weight decay of this step.
    pub weight_decay: f64,
    /// Momentum.
    pub momentum: f64,
    /// Factor on the decayed gradient (LARS); 1 for SGD.
    pub trust: f64,
    /// Factor on the gradient (clipping and averaging over micro-batches).
    pub grad_scale: f64,
}
