//! Operations on images whose pixels are the rows of a matrix ("channels last"): convolutions and pooling.

use std::rc::Rc;

use super::batch_norm::{BatchNorm, Moments, Normed};
use super::{Backward, Record, Tape};
use crate::kernels::{Activation, BatchNormOut, Conv, ConvSize, Depthwise, DepthwiseGrad, Grid, Passed, Window, Write};
use crate::params::ParamId;
use crate::tensor::{Between, Buffer, Matrix};
use crate::values::{Values, ValuesMut};

/// A convolution's tensors and its window.
#[derive(Debug, Clone, Copy)]
pub struct Convolution {
    /// Weight, `[O, C, k, k]`.
    pub weight: ParamId,
    /// Bias, `[O]`.
    pub bias: Option<ParamId>,
    /// Where the kernel goes.
    pub window: Window,
}

/// A convolution, its batch normalisation, and what follows: `activation(norm(conv(x)) + skip)` (He et al. 2016).
#[derive(Debug, Clone, Copy)]
pub struct ConvNorm<'m> {
    /// The convolution.
    pub conv: Convolution,
    /// The normalisation of its output.
    pub norm: BatchNorm,
    /// Added to the variance before the root.
    pub eps: f64,
    /// Added to the normalised values.
    pub skip: Option<&'m Matrix>,
    /// What follows.
    pub activation: Activation,
}

impl<'a> Tape<'a> {
    /// A convolution of images of `grid`: `[B·H·W, C]` to `[B·H'·W', O]`, the pixels of [`Grid::windows`].
    pub fn conv2d(&mut self, x: &Matrix, grid: Grid, conv: Convolution) -> Matrix {
        let size = self.conv_size(grid, x.columns(), conv);
        let mut out = self.pool.take(size.out_grid().pixels() * size.outputs);
        self.convolve(x.factors(), size, conv, (&mut out[..]).into());
        let input = x.clone();
        self.push(out, size.outputs, move |back, d_out| back.conv2d(&input, size, conv, d_out[..].into()))
    }

    /// See [`ConvNorm`]; shapes as in [`Tape::conv2d`]. Statistics are those of all images of this call.
    ///
    /// # Panics
    /// If the skip connection has another shape than the output.
    pub fn conv_norm(&mut self, x: &Matrix, grid: Grid, op: ConvNorm<'_>) -> Matrix {
        self.conv_norms(x, grid, &[], op)
    }

    /// Several of [`Tape::conv_norm`], of which `last` alone may have a skip connection. What one hands to the next is kept as
    /// products read it.
    ///
    /// # Panics
    /// If the skip connection has another shape than the output.
    pub fn conv_norms(&mut self, x: &Matrix, mut grid: Grid, hidden: &[ConvNorm<'_>], last: ConvNorm<'_>) -> Matrix {
        let (mut kept, mut input, mut inputs) = (Vec::new(), None, x.columns());
        for op in hidden {
            let layer = self.layer(grid, inputs, op);
            let pre = self.pre(input.as_ref().map_or(x.factors(), Between::values), &layer);
            let mut out = self.run().between(pre.values().len());
            let moments = self.normed(pre.values(), layer.norm, None, only(&mut out));
            (grid, inputs) = (layer.size.out_grid(), layer.size.outputs);
            let input = input.replace(out);
            kept.extend((self.record == Record::Gradients).then_some(Kept { layer, input, pre, moments }));
        }
        let layer = self.layer(grid, inputs, &last);
        let (pixels, columns) = (layer.size.out_grid().pixels(), layer.size.outputs);
        if let Some(skip) = last.skip {
            let shape = (skip.rows(), skip.columns());
            assert_eq!(shape, (pixels, columns), "both sides of a skip connection have one shape");
        }
        let pre = self.pre(input.as_ref().map_or(x.factors(), Between::values), &layer);
        let mut out = self.pool.take(pre.values().len());
        // What a residual block gives is read by the convolutions of the next one, and in full by its skip connection.
        let twice = last.skip.is_some() && matches!(pre, Between::Half(..));
        let mut rounded = twice.then(|| self.run().between(out.len()));
        let half = rounded.as_mut().and_then(|rounded| only(rounded).half);
        let to = BatchNormOut { full: Some(&mut out), half };
        let moments = self.normed(pre.values(), layer.norm, last.skip.map(Matrix::values), to);
        let (out, x, skip) = (Rc::new(out), x.clone(), last.skip.map(Matrix::slot));
        let positive = skip.map(|_| Rc::clone(&out));
        kept.push(Kept { layer, input, pre, moments });
        let matrix = self.push_shared(out, columns, move |back, d_out| {
            let mut d_out = back.own(d_out);
            let (mut positive, mut skip) = (positive, skip);
            for layer in kept.into_iter().rev() {
                let (layer, d_pre) = back.conv_normed(layer, positive.take(), &mut d_out);
                if let Some(skip) = skip.take() {
                    back.give(skip, Rc::new(d_out));
                }
                let Some(next) = back.convolved(&x, layer, d_pre) else { return };
                d_out = next;
            }
        });
        Matrix { rounded: rounded.map(Rc::new), ..matrix }
    }

    /// See [`Depthwise`]: `[B·H·W, C]` to the same shape, with a weight `[C, 1, 3, 3]` and a bias `[C]`.
    pub fn depthwise(&mut self, x: &Matrix, grid: Grid, (weight, bias): (ParamId, ParamId)) -> Matrix {
        let params = self.params;
        let mut out = self.pool.take(x.values().len());
        let op = Depthwise { x: x.values(), weight: params.get(weight), bias: params.get(bias), grid };
        self.kernels.depthwise(op, &mut out);
        let input = x.clone();
        self.push(out, x.columns(), move |back, d_out| {
            let (kernels, params, mut d_x) = (back.kernels, back.params, back.pool.take(d_out.len()));
            let op = Depthwise { x: input.values(), weight: params.get(weight), bias: params.get(bias), grid };
            let (weight, bias) = back.two_grads(weight, bias);
            kernels.depthwise_backward(&d_out, op, DepthwiseGrad { x: &mut d_x, weight, bias });
            back.give(input.slot(), Rc::new(d_x));
        })
    }

    /// The largest value of each window and channel: `[B·H·W, C]` to `[B·H'·W', C]`, the pixels of [`Grid::windows`].
    pub fn max_pool(&mut self, x: &Matrix, grid: Grid, window: Window) -> Matrix {
        let len = grid.windows(window).pixels() * x.columns();
        let [mut out, mut taps] = [len; 2].map(|len| self.pool.take(len));
        self.kernels.max_pool(x.values(), grid, window, &mut out, &mut taps);
        let (slot, len) = (x.slot(), x.values().len());
        self.push(out, x.columns(), move |back, d_out| {
            let mut d_x = back.pool.take(len);
            back.kernels.max_pool_backward(&d_out, &taps, grid, window, &mut d_x);
            back.give(slot, Rc::new(d_x));
        })
    }

    /// The mean of each image's rows: `[images·N, C]` to `[images, C]`.
    pub fn mean_pool(&mut self, x: &Matrix, images: usize) -> Matrix {
        let width = x.columns();
        let mut out = self.pool.take(images * width);
        self.kernels.mean_pool(x.values(), images, width, &mut out);
        let (slot, len) = (x.slot(), x.values().len());
        self.push(out, width, move |back, d_out| {
            let mut d_x = back.pool.take(len);
            back.kernels.mean_pool_backward(&d_out, images, width, &mut d_x);
            back.give(slot, Rc::new(d_x));
        })
    }

    fn conv_size(&self, grid: Grid, inputs: usize, conv: Convolution) -> ConvSize {
        let window = conv.window;
        let outputs = self.params.get(conv.weight).len() / (inputs * window.kernel * window.kernel);
        ConvSize { grid, inputs, outputs, window }
    }

    fn layer(&self, grid: Grid, inputs: usize, op: &ConvNorm<'_>) -> Layer {
        let ConvNorm { conv, norm, eps, activation, .. } = *op;
        Layer { conv, size: self.conv_size(grid, inputs, conv), norm: Normed { norm, eps, activation } }
    }

    /// What a layer normalises.
    fn pre(&self, x: Values<'_, f32>, layer: &Layer) -> Between {
        let size = layer.size;
        let mut pre = self.run().between(size.out_grid().pixels() * size.outputs);
        self.convolve(x, size, layer.conv, pre.values_mut());
        pre
    }

    fn convolve(&self, x: Values<'_, f32>, size: ConvSize, conv: Convolution, out: ValuesMut<'_, f32>) {
        assert_eq!(x.len(), size.grid.pixels() * size.inputs, "images have a row for each pixel");
        let (weight, bias) = (self.params.get(conv.weight), conv.bias.map(|id| self.params.get(id)));
        match size.as_linear() {
            // Its weight may be packed.
            Some(size) => {
                let shape = [size.rows, size.inputs];
                self.kernels.linear(self.run().dense(x, shape, conv.weight, conv.bias), out);
            }
            None => self.kernels.conv2d(Conv { x, weight, bias, size }, out),
        }
    }
}

/// A layer of [`Tape::conv_norms`].
struct Layer {
    conv: Convolution,
    size: ConvSize,
    norm: Normed,
}

/// What its gradient needs.
struct Kept {
    layer: Layer,
    /// What went in, if that was not the input of all layers.
    input: Option<Between>,
    /// What was normalised.
    pre: Between,
    moments: Moments,
}

/// A normalisation's destination in the precision of what it is handed on in.
fn only(out: &mut Between) -> BatchNormOut<'_, f32> {
    match out.values_mut() {
        ValuesMut::Full(full) => BatchNormOut { full: Some(full), half: None },
        ValuesMut::Half(half) => BatchNormOut { full: None, half: Some(half) },
    }
}

impl Backward<'_, '_> {
    /// The gradient of what a layer normalised; `d_out` becomes what passes its activation. `positive` is its output if that had
    /// a skip connection.
    fn conv_normed(
        &mut self,
        kept: Kept,
        positive: Option<Rc<Buffer>>,
        d_out: &mut [f32],
    ) -> ((Layer, Option<Between>), Between) {
        let Kept { layer, input, pre, moments } = kept;
        let mut d_pre = self.run().between(pre.values().len());
        let passed = match (layer.norm.activation, &positive) {
            (Activation::Identity, _) => Passed::All,
            (Activation::Relu, None) => Passed::Normed,
            (Activation::Relu, Some(out)) => Passed::Positive(out),
        };
        self.normed(pre.values(), (layer.norm, &moments, passed), d_out, d_pre.values_mut());
        ((layer, input), d_pre)
    }

    /// Gradients of a layer's convolution: those of its own tensors, and of its input, which is handed on if it is not `x`.
    fn convolved(&mut self, x: &Matrix, (layer, input): (Layer, Option<Between>), d_pre: Between) -> Option<Buffer> {
        let Layer { conv, size, .. } = layer;
        let Some(input) = input else {
            self.conv2d(x, size, conv, d_pre.values());
            return None;
        };
        let mut d_x = self.pool.take(input.values().len());
        self.kernels.conv2d_input_grad(d_pre.values(), self.params.get(conv.weight), size, Write::Replace, &mut d_x);
        self.conv2d_weight(input.values(), size, conv, d_pre.values());
        Some(d_x)
    }

    fn conv2d(&mut self, x: &Matrix, size: ConvSize, conv: Convolution, d_out: Values<'_, f32>) {
        let kernels = self.kernels;
        if x.slot().is_some() {
            let (mut d_x, write) = self.destination(x.slot(), x.values().len());
            kernels.conv2d_input_grad(d_out, self.params.get(conv.weight), size, write, &mut d_x);
            self.put(x.slot(), d_x);
        }
        self.conv2d_weight(x.factors(), size, conv, d_out);
    }

    fn conv2d_weight(&mut self, x: Values<'_, f32>, size: ConvSize, conv: Convolution, d_out: Values<'_, f32>) {
        let kernels = self.kernels;
        match self.layer_grads(conv.weight, conv.bias) {
            (Some(d_weight), d_bias) => kernels.conv2d_weight_grad(d_out, x, size, d_weight, d_bias),
            (None, Some(d_bias)) => kernels.add_column_sums(d_out, d_bias),
            (None, None) => {}
        }
    }
}
