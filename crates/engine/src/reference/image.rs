//! Convolutions and pooling on images whose pixels are rows.

use super::dense::{add_column_sums, row};
use super::rounded::full;
use crate::kernels::{Conv, ConvSize, Depthwise, DepthwiseGrad, Grid, Window, Write};
use crate::values::Values;

/// Calls `each(window, pixel, tap)` for every window and every pixel of the image in it, tap by tap in row-major order.
fn taps(grid: Grid, window: Window, mut each: impl FnMut(usize, usize, usize)) {
    let Window { kernel, stride, padding } = window;
    let out = grid.windows(window);
    for to in 0..out.pixels() {
        let (image, y, x) = (to / (out.height * out.width), to / out.width % out.height, to % out.width);
        for tap in 0..kernel * kernel {
            let (y, x) = (y * stride + tap / kernel, x * stride + tap % kernel);
            let inside = |at: usize, side: usize| (padding..padding + side).contains(&at);
            if inside(y, grid.height) && inside(x, grid.width) {
                each(to, (image * grid.height + y - padding) * grid.width + x - padding, tap);
            }
        }
    }
}

/// Checks the lengths of input, weight and output.
fn check(size: ConvSize, [x, weight, out]: [usize; 3]) {
    assert_eq!(x, size.grid.pixels() * size.inputs, "conv2d: length of x, B·H·W·C");
    assert_eq!(weight, size.weight_len(), "conv2d: length of weight, O·C·k²");
    assert_eq!(out, size.out_grid().pixels() * size.outputs, "conv2d: length of out, B·H'·W'·O");
}

/// Place of a weight: `[O, C, k²]`.
fn at(size: ConvSize, output: usize, input: usize, tap: usize) -> usize {
    (output * size.inputs + input) * size.window.kernel * size.window.kernel + tap
}

pub(super) fn conv2d(op: Conv<'_, f64>, out: &mut [f64]) {
    let (x, size) = (full(op.x), op.size);
    check(size, [x.len(), op.weight.len(), out.len()]);
    for (i, out) in out.iter_mut().enumerate() {
        *out = op.bias.map_or(0.0, |bias| bias[i % size.outputs]);
    }
    taps(size.grid, size.window, |to, pixel, tap| {
        for o in 0..size.outputs {
            for c in 0..size.inputs {
                out[to * size.outputs + o] += x[pixel * size.inputs + c] * op.weight[at(size, o, c, tap)];
            }
        }
    });
}

pub(super) fn conv2d_input_grad(d_out: Values<'_, f64>, weight: &[f64], size: ConvSize, write: Write, d_x: &mut [f64]) {
    let d_out = full(d_out);
    check(size, [d_x.len(), weight.len(), d_out.len()]);
    if write == Write::Replace {
        d_x.fill(0.0);
    }
    taps(size.grid, size.window, |to, pixel, tap| {
        for o in 0..size.outputs {
            for c in 0..size.inputs {
                d_x[pixel * size.inputs + c] += d_out[to * size.outputs + o] * weight[at(size, o, c, tap)];
            }
        }
    });
}

pub(super) fn conv2d_weight_grad(
    d_out: Values<'_, f64>,
    x: Values<'_, f64>,
    size: ConvSize,
    d_weight: &mut [f64],
    d_bias: Option<&mut [f64]>,
) {
    let (d_out, x) = (full(d_out), full(x));
    check(size, [x.len(), d_weight.len(), d_out.len()]);
    taps(size.grid, size.window, |to, pixel, tap| {
        for o in 0..size.outputs {
            for c in 0..size.inputs {
                d_weight[at(size, o, c, tap)] += d_out[to * size.outputs + o] * x[pixel * size.inputs + c];
            }
        }
    });
    if let Some(d_bias) = d_bias {
        assert_eq!(d_bias.len(), size.outputs, "conv2d_weight_grad: length of d_bias, O");
        add_column_sums(&d_out, d_bias);
    }
}

pub(super) fn depthwise(op: Depthwise<'_, f64>, out: &mut [f64]) {
    let channels = op.bias.len();
    assert_eq!(op.x.len(), op.grid.pixels() * channels, "depthwise: length of x, B·H·W·C");
    assert_eq!(op.weight.len(), 9 * channels, "depthwise: length of weight, C·3·3");
    assert_eq!(out.len(), op.x.len(), "depthwise: lengths of out and x");
    out.chunks_exact_mut(channels).for_each(|out| out.copy_from_slice(op.bias));
    taps(op.grid, Depthwise::<f64>::WINDOW, |to, pixel, tap| {
        for c in 0..channels {
            out[to * channels + c] += op.x[pixel * channels + c] * op.weight[9 * c + tap];
        }
    });
}

pub(super) fn depthwise_backward(d_out: &[f64], op: Depthwise<'_, f64>, mut grad: DepthwiseGrad<'_, f64>) {
    let channels = op.bias.len();
    assert_eq!(d_out.len(), op.x.len(), "depthwise_backward: lengths of d_out and x");
    assert_eq!(grad.x.len(), op.x.len(), "depthwise_backward: lengths of d_x and x");
    grad.x.fill(0.0);
    taps(op.grid, Depthwise::<f64>::WINDOW, |to, pixel, tap| {
        for c in 0..channels {
            let d = d_out[to * channels + c];
            grad.x[pixel * channels + c] += d * op.weight[9 * c + tap];
            if let Some(d_weight) = &mut grad.weight {
                d_weight[9 * c + tap] += d * op.x[pixel * channels + c];
            }
        }
    });
    if let Some(d_bias) = grad.bias {
        add_column_sums(d_out, d_bias);
    }
}

pub(super) fn max_pool(x: &[f64], grid: Grid, window: Window, out: &mut [f64], chosen: &mut [f64]) {
    window.assert_reaches_pixels();
    let channels = x.len() / grid.pixels();
    assert_eq!(x.len(), grid.pixels() * channels, "max_pool: length of x, B·H·W·C");
    assert_eq!(out.len(), grid.windows(window).pixels() * channels, "max_pool: length of out, B·H'·W'·C");
    assert_eq!(chosen.len(), out.len(), "max_pool: lengths of taps and out");
    out.fill(f64::NEG_INFINITY);
    chosen.fill(-1.0);
    taps(grid, window, |to, pixel, tap| {
        for (c, &x) in row(x, pixel, channels).iter().enumerate() {
            let i = to * channels + c;
            if x > out[i] || x.is_nan() || chosen[i] < 0.0 {
                (out[i], chosen[i]) = (x, tap as f64);
            }
        }
    });
}

pub(super) fn max_pool_backward(d_out: &[f64], chosen: &[f64], grid: Grid, window: Window, d_x: &mut [f64]) {
    let channels = d_x.len() / grid.pixels();
    assert_eq!(d_out.len(), grid.windows(window).pixels() * channels, "max_pool_backward: length of d_out, B·H'·W'·C");
    assert_eq!(chosen.len(), d_out.len(), "max_pool_backward: lengths of taps and d_out");
    d_x.fill(0.0);
    taps(grid, window, |to, pixel, tap| {
        for i in to * channels..(to + 1) * channels {
            if chosen[i] == tap as f64 {
                d_x[pixel * channels + i % channels] += d_out[i];
            }
        }
    });
}

pub(super) fn mean_pool(x: &[f64], images: usize, width: usize, out: &mut [f64]) {
    let rows = x.len() / (images * width);
    assert!(rows > 0, "mean_pool: {} values, no row for each of {images} images of width {width}", x.len());
    assert_eq!(x.len(), images * rows * width, "mean_pool: length of x, images·N·width");
    assert_eq!(out.len(), images * width, "mean_pool: length of out, images·width");
    for (i, out) in out.iter_mut().enumerate() {
        let (image, c) = (i / width, i % width);
        *out = (0..rows).map(|r| x[(image * rows + r) * width + c]).sum::<f64>() / rows as f64;
    }
}

pub(super) fn mean_pool_backward(d_out: &[f64], images: usize, width: usize, d_x: &mut [f64]) {
    let rows = d_x.len() / (images * width);
    assert_eq!(d_x.len(), images * rows * width, "mean_pool_backward: length of d_x, images·N·width");
    assert_eq!(d_out.len(), images * width, "mean_pool_backward: length of d_out, images·width");
    for (i, d_x) in d_x.iter_mut().enumerate() {
        *d_x = d_out[i / width / rows * width + i % width] / rows as f64;
    }
}
