//! Operations on images whose pixels are the rows of a matrix ("channels last"): convolutions and pooling.

use std::rc::Rc;

use super::batch_norm::{BatchNorm, Normed};
use super::{Backward, Tape};
use crate::kernels::{Activation, Conv, ConvSize, Depthwise, DepthwiseGrad, Grid, Passed, Window};
use crate::params::ParamId;
use crate::tensor::Matrix;
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
        let size = self.conv_size(x, grid, conv);
        let mut out = self.pool.take(size.out_grid().pixels() * size.outputs);
        self.convolve(x, size, conv, (&mut out[..]).into());
        let input = x.clone();
        self.push(out, size.outputs, move |back, d_out| back.conv2d(&input, size, conv, d_out[..].into()))
    }

    /// See [`ConvNorm`]; shapes as in [`Tape::conv2d`]. Statistics are those of all images of this call.
    ///
    /// # Panics
    /// If the skip connection has another shape than the output.
    pub fn conv_norm(&mut self, x: &Matrix, grid: Grid, op: ConvNorm<'_>) -> Matrix {
        let ConvNorm { conv, norm, eps, skip, activation } = op;
        let (size, norm) = (self.conv_size(x, grid, conv), Normed { norm, eps, activation });
        let (rows, columns) = (size.out_grid().pixels(), size.outputs);
        if let Some(skip) = skip {
            assert_eq!(
                (skip.rows(), skip.columns()),
                (rows, columns),
                "both sides of a skip connection have one shape"
            );
        }
        let mut pre = self.run().between(rows * columns);
        self.convolve(x, size, conv, pre.values_mut());
        let (out, moments) = self.normed(pre.values(), norm, skip.map(Matrix::values));
        let out = Rc::new(out);
        let (input, skip, kept) = (x.clone(), skip.map(Matrix::slot), skip.map(|_| Rc::clone(&out)));
        self.push_shared(out, columns, move |back, d_out| {
            let (mut d_out, mut d_pre) = (back.own(d_out), back.run().between(pre.values().len()));
            let passed = match (activation, &kept) {
                (Activation::Identity, _) => Passed::All,
                (Activation::Relu, None) => Passed::Normed,
                (Activation::Relu, Some(out)) => Passed::Positive(out),
            };
            back.normed(pre.values(), (norm, &moments, passed), &mut d_out, d_pre.values_mut());
            drop((pre, kept));
            if let Some(skip) = skip {
                back.give(skip, Rc::new(d_out));
            }
            back.conv2d(&input, size, conv, d_pre.values());
        })
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

    fn conv_size(&self, x: &Matrix, grid: Grid, conv: Convolution) -> ConvSize {
        assert_eq!(x.rows(), grid.pixels(), "images have a row for each pixel");
        let (inputs, window) = (x.columns(), conv.window);
        let outputs = self.params.get(conv.weight).len() / (inputs * window.kernel * window.kernel);
        ConvSize { grid, inputs, outputs, window }
    }

    fn convolve(&self, x: &Matrix, size: ConvSize, conv: Convolution, out: ValuesMut<'_, f32>) {
        let (weight, bias) = (self.params.get(conv.weight), conv.bias.map(|id| self.params.get(id)));
        match size.as_linear() {
            // Its weight may be packed.
            Some(_) => {
                let shape = [x.rows(), x.columns()];
                self.kernels.linear(self.run().dense(x.values().into(), shape, conv.weight, conv.bias), out);
            }
            None => self.kernels.conv2d(Conv { x: x.values().into(), weight, bias, size }, out),
        }
    }
}

impl Backward<'_, '_> {
    fn conv2d(&mut self, x: &Matrix, size: ConvSize, conv: Convolution, d_out: Values<'_, f32>) {
        let kernels = self.kernels;
        if x.slot().is_some() {
            let (mut d_x, write) = self.destination(x.slot(), x.values().len());
            kernels.conv2d_input_grad(d_out, self.params.get(conv.weight), size, write, &mut d_x);
            self.put(x.slot(), d_x);
        }
        match self.layer_grads(conv.weight, conv.bias) {
            (Some(d_weight), d_bias) => {
                kernels.conv2d_weight_grad(d_out, x.values().into(), size, d_weight, d_bias);
            }
            (None, Some(d_bias)) => kernels.add_column_sums(d_out, d_bias),
            (None, None) => {}
        }
    }
}
