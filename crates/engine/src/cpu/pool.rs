//! Pooling of images whose pixels are rows: the largest value of a window, the mean of an image.

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{check_len, rows_of};
use super::math::vectorised;
use crate::kernels::{Grid, Window};

/// See [`crate::kernels::Kernels::max_pool`].
pub fn max_pool(arch: Arch, x: &[f32], (grid, window): (Grid, Window), out: &mut [f32], taps: &mut [f32]) {
    window.assert_reaches_pixels();
    if grid.pixels() == 0 {
        assert!(out.is_empty(), "`out` has {} values, images without pixels have none", out.len());
        return;
    }
    let channels = rows_of("x", x.len(), grid.pixels()).max(1);
    let to = grid.windows(window);
    check_len("out", out.len(), to.pixels() * channels);
    check_len("taps", taps.len(), out.len());
    let line = (to.width * channels).max(1);
    out.par_chunks_exact_mut(line).zip(taps.par_chunks_exact_mut(line)).enumerate().for_each(|(row, (out, taps))| {
        let (image, y) = (row / to.height, row % to.height);
        vectorised(
            arch,
            #[inline(always)]
            || {
                let places = out.chunks_exact_mut(channels).zip(taps.chunks_exact_mut(channels));
                for (column, (out, taps)) in places.enumerate() {
                    out.fill(f32::NEG_INFINITY);
                    taps.fill(-1.0);
                    for (tap, pixel) in window_pixels(grid, window, [image, y, column]) {
                        larger(&x[pixel * channels..(pixel + 1) * channels], tap as f32, out, taps);
                    }
                }
            },
        );
    });
}

/// Keeps the larger values and where they were: the first of equal ones, the last of several NaN.
#[inline(always)]
fn larger(x: &[f32], tap: f32, out: &mut [f32], taps: &mut [f32]) {
    for ((&x, out), chosen) in x.iter().zip(out).zip(taps) {
        let better = (x > *out) | x.is_nan() | (*chosen < 0.0);
        *out = if better { x } else { *out };
        *chosen = if better { tap } else { *chosen };
    }
}

/// The taps of the window at `y` and `x` of an image that lie in it, and their pixels.
#[inline(always)]
pub fn window_pixels(grid: Grid, window: Window, [image, y, x]: [usize; 3]) -> impl Iterator<Item = (usize, usize)> {
    let Window { kernel, stride, padding } = window;
    (0..kernel * kernel).filter_map(
        #[inline(always)]
        move |tap| {
            let y = (y * stride + tap / kernel).checked_sub(padding).filter(|&y| y < grid.height)?;
            let x = (x * stride + tap % kernel).checked_sub(padding).filter(|&x| x < grid.width)?;
            Some((tap, (image * grid.height + y) * grid.width + x))
        },
    )
}

/// See [`crate::kernels::Kernels::max_pool_backward`].
pub fn max_pool_backward(arch: Arch, [d_out, taps]: [&[f32]; 2], (grid, window): (Grid, Window), d_x: &mut [f32]) {
    if grid.pixels() == 0 {
        return;
    }
    let channels = rows_of("d_x", d_x.len(), grid.pixels()).max(1);
    check_len("d_out", d_out.len(), grid.windows(window).pixels() * channels);
    check_len("taps", taps.len(), d_out.len());
    d_x.par_chunks_exact_mut(grid.width * channels).enumerate().for_each(|(row, d_x)| {
        let (image, y) = (row / grid.height, row % grid.height);
        d_x.fill(0.0);
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (column, d_x) in d_x.chunks_exact_mut(channels).enumerate() {
                    for (tap, place) in places(grid, window, [image, y, column]) {
                        let from = place * channels..(place + 1) * channels;
                        for ((to, &d), &chosen) in d_x.iter_mut().zip(&d_out[from.clone()]).zip(&taps[from]) {
                            *to += if chosen == tap as f32 { d } else { 0.0 };
                        }
                    }
                }
            },
        );
    });
}

/// The windows that a pixel lies in, and which of their taps it is.
#[inline(always)]
fn places(grid: Grid, window: Window, [image, y, x]: [usize; 3]) -> impl Iterator<Item = (usize, usize)> {
    let (kernel, to) = (window.kernel, grid.windows(window));
    (0..kernel * kernel).filter_map(
        #[inline(always)]
        move |tap| {
            let (y, x) = (place(window, y, tap / kernel)?, place(window, x, tap % kernel)?);
            (y < to.height && x < to.width).then_some((tap, (image * to.height + y) * to.width + x))
        },
    )
}

/// Along one side, the window whose tap `tap` is the pixel `at`.
#[inline(always)]
fn place(window: Window, at: usize, tap: usize) -> Option<usize> {
    let first = (at + window.padding).checked_sub(tap)?;
    first.is_multiple_of(window.stride).then_some(first / window.stride)
}

/// See [`crate::kernels::Kernels::mean_pool`].
pub fn mean_pool(arch: Arch, x: &[f32], [images, width]: [usize; 2], out: &mut [f32]) {
    check_len("out", out.len(), images * width);
    if out.is_empty() {
        return;
    }
    let len = rows_of("x", x.len(), images * width) * width;
    assert!(len > 0, "`x` has no row for each of {images} images, and no mean");
    out.par_chunks_exact_mut(width).zip(x.par_chunks_exact(len)).for_each(|(out, x)| {
        let factor = width as f32 / x.len() as f32;
        vectorised(
            arch,
            #[inline(always)]
            || {
                out.fill(0.0);
                for row in x.chunks_exact(width) {
                    for (sum, &x) in out.iter_mut().zip(row) {
                        *sum += x;
                    }
                }
                for sum in out.iter_mut() {
                    *sum *= factor;
                }
            },
        );
    });
}

/// See [`crate::kernels::Kernels::mean_pool_backward`].
pub fn mean_pool_backward(arch: Arch, d_out: &[f32], [images, width]: [usize; 2], d_x: &mut [f32]) {
    check_len("d_out", d_out.len(), images * width);
    if d_x.is_empty() {
        return;
    }
    let len = rows_of("d_x", d_x.len(), images * width) * width;
    d_x.par_chunks_exact_mut(len).zip(d_out.par_chunks_exact(width)).for_each(|(d_x, d_out)| {
        let factor = width as f32 / d_x.len() as f32;
        vectorised(
            arch,
            #[inline(always)]
            || {
                for row in d_x.chunks_exact_mut(width) {
                    for (to, &d) in row.iter_mut().zip(d_out) {
                        *to = d * factor;
                    }
                }
            },
        );
    });
}
