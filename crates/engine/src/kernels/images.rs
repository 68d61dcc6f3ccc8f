//! What kernels on images are given: matrices whose rows are pixels ("channels last"), and windows over them.

use half::bf16;

use super::operands::LinearSize;
use crate::values::Values;

/// Images whose pixels are the rows of a matrix: row `(image·height + y)·width + x`, one column for each channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// Number of images, B.
    pub images: usize,
    /// Pixels along the height, H.
    pub height: usize,
    /// Pixels along the width, W.
    pub width: usize,
}

impl Grid {
    /// Pixels of all images, B·H·W.
    pub fn pixels(&self) -> usize {
        self.images * self.height * self.width
    }

    /// One pixel for each place of `window`.
    pub fn windows(&self, window: Window) -> Self {
        let [height, width] = [self.height, self.width].map(|side| {
            let padded = side + 2 * window.padding;
            if padded < window.kernel { 0 } else { (padded - window.kernel) / window.stride + 1 }
        });
        Self { images: self.images, height, width }
    }
}

/// A square that moves over an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its side in pixels, k.
    pub kernel: usize,
    /// By how many pixels it moves.
    pub stride: usize,
    /// How many pixels it may reach beyond each side of the image.
    pub padding: usize,
}

impl Window {
    /// # Panics
    /// If a window may lie beyond the image as a whole: it has no largest value.
    pub(crate) fn assert_reaches_pixels(&self) {
        let Self { kernel, stride, padding } = *self;
        assert!(padding < kernel && stride > 0, "windows of {kernel} pixels in a padding of {padding} hold no pixel");
    }
}

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSize {
    /// Pixels of the input.
    pub grid: Grid,
    /// Channels of the input, C.
    pub inputs: usize,
    /// Channels of the output, O.
    pub outputs: usize,
    /// The kernel's window.
    pub window: Window,
}

impl ConvSize {
    /// Pixels of the output.
    pub fn out_grid(&self) -> Grid {
        self.grid.windows(self.window)
    }

    /// Values of the weight, O·C·k².
    pub fn weight_len(&self) -> usize {
        self.outputs * self.inputs * self.window.kernel * self.window.kernel
    }

    /// The dense layer on pixels that this convolution is, if each window is one pixel and each pixel a window.
    pub fn as_linear(&self) -> Option<LinearSize> {
        let pixelwise = Window { kernel: 1, stride: 1, padding: 0 };
        let size = LinearSize { rows: self.grid.pixels(), inputs: self.inputs, outputs: self.outputs };
        (self.window == pixelwise).then_some(size)
    }
}

/// A convolution: `out[y, x, o] = bias[o] + Σ_{i, j, c} x[y·stride + i − padding, x·stride + j − padding, c]·weight[o, c, i, j]`,
/// where pixels beyond the image are zero.
#[derive(Debug, Clone, Copy)]
pub struct Conv<'a, E> {
    /// Input, `[B·H·W, C]`.
    pub x: Values<'a, E>,
    /// Weight, `[O, C, k, k]` as PyTorch stores it.
    pub weight: &'a [E],
    /// Bias, `[O]`.
    pub bias: Option<&'a [E]>,
    /// Sizes.
    pub size: ConvSize,
}

/// A convolution of each channel alone, 3 × 3, stride 1, padding 1 (XCiT's local patch interaction, El-Nouby et al. 2021).
#[derive(Debug, Clone, Copy)]
pub struct Depthwise<'a, E> {
    /// Input, `[B·H·W, C]`.
    pub x: &'a [E],
    /// Weight, `[C, 1, 3, 3]` as PyTorch stores it.
    pub weight: &'a [E],
    /// Bias, `[C]`.
    pub bias: &'a [E],
    /// Pixels of input and output.
    pub grid: Grid,
}

impl<E> Depthwise<'_, E> {
    /// The kernel's window.
    pub const WINDOW: Window = Window { kernel: 3, stride: 1, padding: 1 };
}

/// Destinations of the gradients of [`Depthwise`].
#[derive(Debug)]
pub struct DepthwiseGrad<'a, E> {
    /// Overwritten, `[B·H·W, C]`.
    pub x: &'a mut [E],
    /// Added to, `[C, 1, 3, 3]`; absent if not wanted.
    pub weight: Option<&'a mut [E]>,
    /// Added to, `[C]`; absent if not wanted.
    pub bias: Option<&'a mut [E]>,
}

/// What follows a normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// `max(x, 0)`.
    Relu,
}

/// Batch normalisation over rows (Ioffe and Szegedy 2015), and what follows it in a residual network (He et al. 2016):
/// `out = activation((x − mean)/√(variance + eps)·gamma + beta + skip)`.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormForward<'a, E> {
    /// Input, `[rows, width]`.
    pub x: Values<'a, E>,
    /// Scale, `[width]`.
    pub gamma: &'a [E],
    /// Shift, `[width]`.
    pub beta: &'a [E],
    /// Added to the variance before the root.
    pub eps: f64,
    /// Added to the normalised values, `[rows, width]`.
    pub skip: Option<&'a [E]>,
    /// What follows.
    pub activation: Activation,
}

/// Where batch normalisation goes: in full precision, rounded, or both, `[rows, width]` each.
#[derive(Debug, Default)]
pub struct BatchNormOut<'a, E> {
    /// In full precision.
    pub full: Option<&'a mut [E]>,
    /// Rounded, as products read it.
    pub half: Option<&'a mut [bf16]>,
}

impl<E> BatchNormOut<'_, E> {
    /// The lengths of what there is.
    pub(crate) fn lens(&self) -> impl Iterator<Item = usize> {
        let full = self.full.as_ref().map(|full| full.len());
        full.into_iter().chain(self.half.as_ref().map(|half| half.len()))
    }
}

impl<'a, E> From<&'a mut Vec<E>> for BatchNormOut<'a, E> {
    fn from(full: &'a mut Vec<E>) -> Self {
        Self { full: Some(full), half: None }
    }
}

/// What the backward pass of batch normalisation needs besides the gradient of its output.
#[derive(Debug, Clone, Copy)]
pub struct BatchNormBackward<'a, E> {
    /// The forward input, `[rows, width]`.
    pub x: Values<'a, E>,
    /// Scale, `[width]`.
    pub gamma: &'a [E],
    /// Shift, `[width]`.
    pub beta: &'a [E],
    /// Mean of each column, `[width]`.
    pub mean: &'a [E],
    /// Biased variance of each column, `[width]`.
    pub variance: &'a [E],
    /// Added to the variance before the root.
    pub eps: f64,
    /// What followed.
    pub passed: Passed<'a, E>,
}

/// Which gradients an [`Activation`] lets pass.
#[derive(Debug, Clone, Copy)]
pub enum Passed<'a, E> {
    /// All: the identity.
    All,
    /// Those of a ReLU of the normalised values, where these are positive.
    Normed,
    /// Those of a ReLU with this output, `[rows, width]`, where that is positive. For outputs with a skip connection.
    Positive(&'a [E]),
}

/// Destinations of the gradients of [`BatchNormForward`].
#[derive(Debug)]
pub struct BatchNormGrad<'a, E> {
    /// The gradient of the output, `[rows, width]`; what passes the activation is left, the gradient of a skip connection.
    pub d_out: &'a mut [E],
    /// Added to, `[width]`; absent if not wanted.
    pub gamma: Option<&'a mut [E]>,
    /// Added to, `[width]`; absent if not wanted.
    pub beta: Option<&'a mut [E]>,
}
