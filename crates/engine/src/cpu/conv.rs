//! Convolutions as matrix products whose left operand is windows over images (`gemm`).
//!
//! The input's gradient is a convolution of the output's with the kernel turned by half a turn. Where the kernel moves by
//! several pixels, the pixels that the same taps reach are one convolution each, and no zeros are multiplied. The weight's
//! gradient is the transposed matrix of windows times that of the output.

use std::cell::Cell;

use pulp::Arch;
use rayon::prelude::*;

use super::cache::aligned;
use super::chunk::{CHUNK_LEN, check_len};
use super::dense;
use super::gemm::{self, Adjacent, Destination, Finish, Operand, Product, Start, Units, Windows};
use crate::kernels::{Conv, ConvSize, Grid, Linear, Window, Write};
use crate::team::for_each;
use crate::values::{Values, ValuesMut};

/// Outputs whose weights a task rearranges at a time: a cache line.
const OUTPUTS: usize = 16;
/// Values of sums that are spread at a time, if they are not of a single image: 4 MB.
const SPREAD: usize = 1 << 20;

thread_local! {
    /// A weight in the order of a window's values.
    static WEIGHT: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// Results of a product whose places are not those of the destination: as long as a weight, or about [`SPREAD`].
    static SUMS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// See [`crate::kernels::Kernels::conv2d`].
pub fn conv2d(arch: Arch, units: Units, op: Conv<'_, f32>, out: ValuesMut<'_, f32>) {
    let Conv { x, weight, bias, size } = op;
    if let Some(size) = size.as_linear() {
        let layer = dense::layer(Linear { x, weight, bias, size, packed: None }, Finish::Keep);
        return gemm::multiply(arch, units, layer, out);
    }
    let windows = windows(size);
    check_len("x", x.len(), size.grid.pixels() * size.inputs);
    check_len("weight", weight.len(), size.weight_len());
    let (inner, taps) = (windows.len(), size.window.kernel * size.window.kernel);
    let mut memory = WEIGHT.take();
    let ordered = aligned(&mut memory, size.outputs * inner);
    ordered.par_chunks_mut(OUTPUTS * inner).zip(weight.par_chunks(OUTPUTS * size.inputs * taps)).for_each(
        |(to, weight)| {
            for (to, weight) in to.chunks_exact_mut(inner).zip(weight.chunks_exact(size.inputs * taps)) {
                for (line, to) in to.chunks_exact_mut(windows.line()).enumerate() {
                    let (taps_of, padding) = to.split_at_mut(size.window.kernel * size.inputs);
                    for (column, to) in taps_of.chunks_exact_mut(size.inputs).enumerate() {
                        pick(weight, [taps, line * size.window.kernel + column], to);
                    }
                    padding.fill(0.0);
                }
            }
        },
    );
    let product = Product {
        left: Operand::windows(x, windows, Adjacent::Inner),
        right: Operand::rows(&*ordered, inner),
        packed: None,
        size: [windows.count(), size.outputs, inner],
        start: bias.map_or(Start::Zero, Start::Bias),
        finish: Finish::Keep,
        left_sums: None,
    };
    gemm::multiply(arch, units, product, out);
    WEIGHT.set(memory);
}

/// See [`crate::kernels::Kernels::conv2d_input_grad`].
pub fn conv2d_input_grad(
    (arch, units): (Arch, Units),
    d_out: Values<'_, f32>,
    weight: &[f32],
    size: ConvSize,
    (write, d_x): (Write, &mut [f32]),
) {
    let start = if write == Write::Add { Start::Out } else { Start::Zero };
    if let Some(size) = size.as_linear() {
        let product = dense::input_grad(d_out, weight, size, start, Finish::Keep);
        return gemm::multiply(arch, units, product, d_x.into());
    }
    check_len("d_out", d_out.len(), size.out_grid().pixels() * size.outputs);
    check_len("weight", weight.len(), size.weight_len());
    check_len("d_x", d_x.len(), size.grid.pixels() * size.inputs);
    if size.window.stride == 1 {
        let axes = [size.grid.height, size.grid.width].map(|side| Axis::new(side, size.window, 0));
        return phase((arch, units), (d_out, weight, size), axes, (start, d_x));
    }
    if size.window.stride > size.window.kernel && write == Write::Replace {
        // Pixels that no tap reaches.
        d_x.par_chunks_mut(CHUNK_LEN).for_each(|d_x| d_x.fill(0.0));
    }
    let out = size.out_grid();
    let [image, out_image] =
        [(size.grid, size.inputs), (out, size.outputs)].map(|(grid, channels)| grid.height * grid.width * channels);
    let stride = size.window.stride;
    let mut memory = SUMS.take();
    for [vertical, horizontal] in (0..stride * stride).map(|phase| [phase / stride, phase % stride]) {
        let axes =
            [Axis::new(size.grid.height, size.window, vertical), Axis::new(size.grid.width, size.window, horizontal)];
        let len = axes[0].count * axes[1].count * size.inputs;
        if len == 0 || axes.iter().any(|axis| axis.taps == 0) {
            continue;
        }
        let together = (SPREAD / len).max(1);
        for (index, d_x) in d_x.chunks_mut(together * image).enumerate() {
            let images = d_x.len() / image;
            let size = ConvSize { grid: Grid { images, ..size.grid }, ..size };
            let d_out = d_out.part(index * together * out_image..(index * together + images) * out_image);
            let sums = aligned(&mut memory, images * len);
            phase((arch, units), (d_out, weight, size), axes, (Start::Zero, sums));
            spread(sums, size, axes, (write, d_x));
        }
    }
    SUMS.set(memory);
}

/// Along one axis, the pixels of the input that the taps `tap`, `tap + stride` … of the kernel reach: every `stride`th one.
#[derive(Clone, Copy)]
struct Axis {
    /// The first of these pixels.
    first: usize,
    /// Their number.
    count: usize,
    /// The first tap.
    tap: usize,
    /// The number of taps.
    taps: usize,
    /// The first pixel of the output that the first of these pixels belongs to, by its last tap.
    from: isize,
}

impl Axis {
    fn new(side: usize, window: Window, tap: usize) -> Self {
        let Window { kernel, stride, padding } = window;
        let taps = kernel.saturating_sub(tap).div_ceil(stride);
        // Pixel `tap + stride·i − padding` is the one that `tap` reaches from the output's pixel i.
        let skipped = padding.saturating_sub(tap).div_ceil(stride);
        let first = tap + stride * skipped - padding;
        let count = side.saturating_sub(first).div_ceil(stride);
        Self { first, count, tap, taps, from: skipped as isize + 1 - taps as isize }
    }
}

/// The gradient of the pixels of two axes, dense.
fn phase(
    (arch, units): (Arch, Units),
    (d_out, weight, size): (Values<'_, f32>, &[f32], ConvSize),
    axes: [Axis; 2],
    (start, d_x): (Start<'_>, &mut [f32]),
) {
    let windows = Windows {
        grid: size.out_grid(),
        places: axes.map(|axis| axis.count),
        size: axes.map(|axis| axis.taps),
        stride: 1,
        first: axes.map(|axis| axis.from),
        channels: size.outputs,
    };
    let inner = windows.len();
    let mut memory = WEIGHT.take();
    let ordered = aligned(&mut memory, inner * size.inputs);
    turn(weight, size, axes, (windows.line(), &mut *ordered));
    let product = Product {
        left: Operand::windows(d_out, windows, Adjacent::Inner),
        right: Operand::columns(&*ordered, size.inputs),
        packed: None,
        size: [windows.count(), size.inputs, inner],
        start,
        finish: Finish::Keep,
        left_sums: None,
    };
    gemm::multiply(arch, units, product, d_x.into());
    WEIGHT.set(memory);
}

/// Writes the taps of two axes, the last ones first, each as a matrix `[O, C]`; `line` rows for each line of the kernel.
fn turn(weight: &[f32], size: ConvSize, axes: [Axis; 2], (line, to): (usize, &mut [f32])) {
    let ConvSize { inputs, outputs, window, .. } = size;
    let taps = window.kernel * window.kernel;
    assert!(to.len() >= axes[0].taps * line * inputs, "room for the taps of two axes");
    let rows_of_taps = axes[1].taps * outputs;
    to.chunks_exact_mut(line * inputs).for_each(|to| to[rows_of_taps * inputs..].fill(0.0));
    let rows = Destination::new(to, inputs);
    for_each(outputs.div_ceil(OUTPUTS), |block| {
        for output in block * OUTPUTS..outputs.min((block + 1) * OUTPUTS) {
            let weight = &weight[output * inputs * taps..(output + 1) * inputs * taps];
            for (i, j) in (0..axes[0].taps).flat_map(|i| (0..axes[1].taps).map(move |j| (i, j))) {
                let tap_of = |axis: Axis, index: usize| axis.tap + window.stride * (axis.taps - 1 - index);
                let tap = tap_of(axes[0], i) * window.kernel + tap_of(axes[1], j);
                // SAFETY: a row of the memory checked above, which this task alone writes.
                let row = unsafe { rows.line([i * line + j * outputs + output, 0], inputs) };
                pick(weight, [taps, tap], row);
            }
        }
    });
}

/// One tap of each input of one output's weights, `[C, taps]`.
fn pick(weight: &[f32], [taps, tap]: [usize; 2], to: &mut [f32]) {
    to.iter_mut().zip(weight.chunks_exact(taps)).for_each(|(to, weight)| *to = weight[tap]);
}

/// Puts the gradients of the pixels of two axes into their places.
fn spread(sums: &[f32], size: ConvSize, axes: [Axis; 2], (write, d_x): (Write, &mut [f32])) {
    let (channels, stride, [vertical, horizontal]) = (size.inputs, size.window.stride, axes);
    d_x.par_chunks_exact_mut((size.grid.width * channels).max(1)).enumerate().for_each(|(row, d_x)| {
        let (image, y) = (row / size.grid.height, row % size.grid.height);
        if y < vertical.first || !(y - vertical.first).is_multiple_of(stride) || horizontal.count == 0 {
            return;
        }
        let line = image * vertical.count + (y - vertical.first) / stride;
        let sums = &sums[line * horizontal.count * channels..][..horizontal.count * channels];
        let pixels = d_x.chunks_exact_mut(channels).skip(horizontal.first).step_by(stride);
        for (to, sums) in pixels.zip(sums.chunks_exact(channels)) {
            match write {
                Write::Replace => to.copy_from_slice(sums),
                Write::Add => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
            }
        }
    });
}

/// See [`crate::kernels::Kernels::conv2d_weight_grad`].
pub fn conv2d_weight_grad(
    (arch, units): (Arch, Units),
    d_out: Values<'_, f32>,
    x: Values<'_, f32>,
    size: ConvSize,
    (d_weight, d_bias): (&mut [f32], Option<&mut [f32]>),
) {
    if let Some(size) = size.as_linear() {
        let product = dense::weight_grad(d_out, x, size, d_bias);
        return gemm::multiply(arch, units, product, d_weight.into());
    }
    let windows = windows(size);
    check_len("x", x.len(), size.grid.pixels() * size.inputs);
    check_len("d_out", d_out.len(), windows.count() * size.outputs);
    check_len("d_weight", d_weight.len(), size.weight_len());
    if let Some(d_bias) = d_bias {
        check_len("d_bias", d_bias.len(), size.outputs);
        dense::add_column_sums(arch, d_out, d_bias);
    }
    let (inner, outputs) = (windows.len(), size.outputs);
    let mut memory = SUMS.take();
    let sums = aligned(&mut memory, inner * outputs);
    let product = Product {
        left: Operand::windows(x, windows, Adjacent::Vectors),
        right: Operand::columns(d_out, outputs),
        packed: None,
        size: [inner, outputs, windows.count()],
        start: Start::Zero,
        finish: Finish::Keep,
        left_sums: None,
    };
    gemm::multiply_turned(arch, units, product, sums);
    let taps = size.window.kernel * size.window.kernel;
    let tasks = d_weight.par_chunks_mut(OUTPUTS * size.inputs * taps).zip(sums.par_chunks(OUTPUTS * inner));
    tasks.for_each(|(d_weight, sums)| {
        for (d_weight, sums) in d_weight.chunks_exact_mut(size.inputs * taps).zip(sums.chunks_exact(inner)) {
            for (tap, sums) in by_tap(sums, size).enumerate() {
                let to = d_weight[tap..].iter_mut().step_by(taps);
                to.zip(sums).for_each(|(to, sum)| *to += sum);
            }
        }
    });
    SUMS.set(memory);
}

/// The values of a window, `[C]` for each tap.
fn by_tap(window: &[f32], size: ConvSize) -> impl Iterator<Item = &[f32]> {
    let kernel = size.window.kernel;
    let lines = window.chunks_exact((kernel * size.inputs).next_multiple_of(2));
    lines.flat_map(move |line| line.chunks_exact(size.inputs).take(kernel))
}

/// The windows of the output's pixels over the input.
fn windows(size: ConvSize) -> Windows {
    let (Window { kernel, stride, padding }, out) = (size.window, size.out_grid());
    Windows {
        grid: size.grid,
        places: [out.height, out.width],
        size: [kernel; 2],
        stride,
        first: [-(padding as isize); 2],
        channels: size.inputs,
    }
}
