//! Depthwise convolutions of 3 × 3 pixels on images whose pixels are rows.

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{check_len, reduce_chunks};
use super::math::vectorised;
use crate::kernels::{Depthwise, DepthwiseGrad, Grid};

/// Taps of the kernel.
const TAPS: usize = 9;
/// Values of the images whose products with the gradient form one partial of the weight's.
const PARTIAL_LEN: usize = 1 << 17;

/// See [`crate::kernels::Kernels::depthwise`].
pub fn depthwise(arch: Arch, op: Depthwise<'_, f32>, out: &mut [f32]) {
    let channels = op.bias.len();
    check_len("x", op.x.len(), op.grid.pixels() * channels);
    check_len("out", out.len(), op.x.len());
    check_len("weight", op.weight.len(), TAPS * channels);
    let weight = by_tap(op.weight);
    convolve(arch, op.x, (op.grid, &weight), Some(op.bias), out);
}

/// See [`crate::kernels::Kernels::depthwise_backward`].
pub fn depthwise_backward(arch: Arch, d_out: &[f32], op: Depthwise<'_, f32>, grad: DepthwiseGrad<'_, f32>) {
    let (channels, grid) = (op.bias.len(), op.grid);
    check_len("x", op.x.len(), grid.pixels() * channels);
    check_len("d_out", d_out.len(), op.x.len());
    check_len("d_x", grad.x.len(), op.x.len());
    check_len("weight", op.weight.len(), TAPS * channels);
    check_len("d_weight", grad.weight.len(), op.weight.len());
    check_len("d_bias", grad.bias.len(), channels);
    if d_out.is_empty() {
        return;
    }
    // The gradient of the input is that of the output under the kernel turned by half a turn.
    let mut turned = by_tap(op.weight);
    turned.reverse();
    convolve(arch, d_out, (grid, &turned), None, grad.x);
    let (line, all) = (grid.width * channels, grid.images * grid.height);
    let lines = (PARTIAL_LEN / line).max(1);
    let mut sums = vec![0.0; (TAPS + 1) * channels];
    reduce_chunks(all.div_ceil(lines), &mut sums, |index, partial| {
        let (weight, bias) = partial.split_at_mut(TAPS * channels);
        for row in index * lines..all.min((index + 1) * lines) {
            for (column, d) in d_out[row * line..(row + 1) * line].chunks_exact(channels).enumerate() {
                vectorised(
                    arch,
                    #[inline(always)]
                    || {
                        bias.iter_mut().zip(d).for_each(
                            #[inline(always)]
                            |(sum, d)| *sum += d,
                        );
                        for (tap, pixel) in pixels(grid, [row, column]) {
                            let sums = &mut weight[tap * channels..(tap + 1) * channels];
                            multiply_add(&op.x[pixel * channels..(pixel + 1) * channels], d, sums);
                        }
                    },
                );
            }
        }
    });
    let (weight, bias) = sums.split_at(TAPS * channels);
    for (channel, d_weight) in grad.weight.chunks_exact_mut(TAPS).enumerate() {
        d_weight.iter_mut().enumerate().for_each(|(tap, to)| *to += weight[tap * channels + channel]);
    }
    grad.bias.iter_mut().zip(bias).for_each(|(to, sum)| *to += sum);
}

/// The weight `[C, 9]` as a row `[C]` for each tap.
fn by_tap(weight: &[f32]) -> Vec<Vec<f32>> {
    (0..TAPS).map(|tap| weight.iter().skip(tap).step_by(TAPS).copied().collect()).collect()
}

/// The convolution of `x` with a row of factors for each tap.
fn convolve(arch: Arch, x: &[f32], (grid, weight): (Grid, &[Vec<f32>]), bias: Option<&[f32]>, out: &mut [f32]) {
    let channels = weight[0].len();
    out.par_chunks_exact_mut((grid.width * channels).max(1)).enumerate().for_each(|(row, out)| {
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            vectorised(
                arch,
                #[inline(always)]
                || {
                    match bias {
                        Some(bias) => out.copy_from_slice(bias),
                        None => out.fill(0.0),
                    }
                    for (tap, pixel) in pixels(grid, [row, column]) {
                        multiply_add(&x[pixel * channels..(pixel + 1) * channels], &weight[tap], out);
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

/// The taps around a pixel that lie in its image, and their pixels; `row` counts the lines of all images.
#[inline(always)]
fn pixels(grid: Grid, [row, column]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    let y = row % grid.height;
    (0..TAPS).filter_map(
        #[inline(always)]
        move |tap| {
            let (down, right) = (tap / 3, tap % 3);
            let inside = (1..=grid.height).contains(&(y + down)) && (1..=grid.width).contains(&(column + right));
            inside.then(|| (tap, (row + down - 1) * grid.width + column + right - 1))
        },
    )
}
