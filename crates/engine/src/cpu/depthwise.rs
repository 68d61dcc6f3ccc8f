//! Depthwise convolutions of 3 × 3 pixels on images whose pixels are rows.

use std::cell::Cell;

use pulp::Arch;
use rayon::prelude::*;

use super::cache::aligned;
use super::chunk::{check_len, reduce_chunks};
use super::math::vectorised;
use super::pool::window_pixels;
use crate::kernels::{Depthwise, DepthwiseGrad, Grid, Window};

/// Where the kernel goes.
const WINDOW: Window = Depthwise::<f32>::WINDOW;
/// Taps of the kernel.
const TAPS: usize = WINDOW.kernel * WINDOW.kernel;
/// Values of the images whose products with the gradient form one partial of the weight's.
const PARTIAL_LEN: usize = 1 << 17;

thread_local! {
    /// The weight, and sums of its gradient, tap by tap.
    static TAPWISE: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// See [`crate::kernels::Kernels::depthwise`].
pub fn depthwise(arch: Arch, op: Depthwise<'_, f32>, out: &mut [f32]) {
    let channels = op.bias.len();
    check_len("x", op.x.len(), op.grid.pixels() * channels);
    check_len("out", out.len(), op.x.len());
    check_len("weight", op.weight.len(), TAPS * channels);
    let mut memory = TAPWISE.take();
    let weight = aligned(&mut memory, op.weight.len());
    by_tap(op.weight, |tap| tap, weight);
    convolve(arch, op.x, (op.grid, weight), Some(op.bias), out);
    TAPWISE.set(memory);
}

/// See [`crate::kernels::Kernels::depthwise_backward`].
pub fn depthwise_backward(arch: Arch, d_out: &[f32], op: Depthwise<'_, f32>, grad: DepthwiseGrad<'_, f32>) {
    let (channels, grid) = (op.bias.len(), op.grid);
    check_len("x", op.x.len(), grid.pixels() * channels);
    check_len("d_out", d_out.len(), op.x.len());
    check_len("d_x", grad.x.len(), op.x.len());
    check_len("weight", op.weight.len(), TAPS * channels);
    if d_out.is_empty() {
        return;
    }
    let mut memory = TAPWISE.take();
    let tapwise = aligned(&mut memory, (TAPS + 1) * channels);
    // The gradient of the input is that of the output under the kernel turned by half a turn.
    let turned = &mut tapwise[..TAPS * channels];
    by_tap(op.weight, |tap| TAPS - 1 - tap, turned);
    convolve(arch, d_out, (grid, turned), None, grad.x);
    if grad.weight.is_some() || grad.bias.is_some() {
        tapwise.fill(0.0);
        weight_sums(arch, d_out, op, tapwise);
        let (weight, bias) = tapwise.split_at(TAPS * channels);
        if let Some(d_weight) = grad.weight {
            check_len("d_weight", d_weight.len(), op.weight.len());
            for (channel, d_weight) in d_weight.chunks_exact_mut(TAPS).enumerate() {
                d_weight.iter_mut().enumerate().for_each(|(tap, to)| *to += weight[tap * channels + channel]);
            }
        }
        if let Some(d_bias) = grad.bias {
            check_len("d_bias", d_bias.len(), channels);
            d_bias.iter_mut().zip(bias).for_each(|(to, sum)| *to += sum);
        }
    }
    TAPWISE.set(memory);
}

/// Adds the gradients of the weight, a row for each tap, and then that of the bias to `sums`.
fn weight_sums(arch: Arch, d_out: &[f32], op: Depthwise<'_, f32>, sums: &mut [f32]) {
    let (channels, grid) = (op.bias.len(), op.grid);
    let (line, all) = (grid.width * channels, grid.images * grid.height);
    let lines = (PARTIAL_LEN / line).max(1);
    reduce_chunks(all.div_ceil(lines), sums, |index, partial| {
        let (weight, bias) = partial.split_at_mut(TAPS * channels);
        for row in index * lines..all.min((index + 1) * lines) {
            let place = |column| [row / grid.height, row % grid.height, column];
            for (column, d) in d_out[row * line..(row + 1) * line].chunks_exact(channels).enumerate() {
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        bias.iter_mut().zip(d).for_each(
                            #[inline(always)]
                            |(sum, d)| *sum += d,
                        );
                        for (tap, pixel) in window_pixels(grid, WINDOW, place(column)) {
                            let sums = &mut weight[tap * channels..(tap + 1) * channels];
                            multiply_add(&op.x[pixel * channels..(pixel + 1) * channels], d, sums);
                        }
                    },
                );
            }
        }
    });
}

/// The weight `[C, 9]` as a row `[C]` for each tap, the rows in the order that `place` says.
fn by_tap(weight: &[f32], place: fn(usize) -> usize, to: &mut [f32]) {
    let channels = weight.len() / TAPS;
    for (channel, weight) in weight.chunks_exact(TAPS).enumerate() {
        weight.iter().enumerate().for_each(|(tap, weight)| to[place(tap) * channels + channel] = *weight);
    }
}

/// The convolution of `x` with a row of factors for each tap.
fn convolve(arch: Arch, x: &[f32], (grid, weight): (Grid, &[f32]), bias: Option<&[f32]>, out: &mut [f32]) {
    let channels = weight.len() / TAPS;
    out.par_chunks_exact_mut((grid.width * channels).max(1)).enumerate().for_each(|(row, out)| {
        let place = |column| [row / grid.height, row % grid.height, column];
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            vectorised(
                arch,
                #[inline(always)]
                || {
                    match bias {
                        Some(bias) => out.copy_from_slice(bias),
                        None => out.fill(0.0),
                    }
                    for (tap, pixel) in window_pixels(grid, WINDOW, place(column)) {
                        let factors = &weight[tap * channels..(tap + 1) * channels];
                        multiply_add(&x[pixel * channels..(pixel + 1) * channels], factors, out);
                    }
                },
            );
        }
    });
}

#[inline(always)]
fn multiply_add(x: &[f32], factors: &[f32], sums: &mut [f32]) {
    for ((sum, &x), &factor) in sums.iter_mut().zip(x).zip(factors) {
        *sum = x.mul_add(factor, *sum);
    }
}
