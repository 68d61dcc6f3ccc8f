//! From pixels to token sequences: patches, class tokens, positions, and rows picked from or put back into a matrix.

use pulp::Arch;
use rayon::prelude::*;

use super::chunk::{check_len, rows_of, rows_per_chunk};
use super::math::vectorised;
use crate::kernels::{Normalize, Patches, RowMix, Rows, Tokens, TokensGrad};

/// See [`crate::kernels::Kernels::patchify`].
pub fn patchify(images: &[u8], patches: Patches, normalize: &Normalize, out: &mut [f32]) {
    let Patches { height, width, channels, patch, .. } = patches;
    let (_, columns) = patches.grid();
    let (per_image, len) = (patches.per_image(), patches.patch_len());
    check_len("images", images.len(), patches.images * height * width * channels);
    check_len("out", out.len(), patches.images * per_image * len);
    check_len("mean", normalize.mean.len(), channels);
    check_len("std", normalize.std.len(), channels);
    if out.is_empty() {
        return;
    }
    let tables = byte_tables(normalize);
    if patch == 1 {
        return pixels(images, &tables, out);
    }
    out.par_chunks_exact_mut(len).with_min_len(rows_per_chunk(len)).enumerate().for_each(|(index, out)| {
        let (image, cell) = (index / per_image, index % per_image);
        let (top, left) = (cell / columns * patch, cell % columns * patch);
        for (channel, plane) in out.chunks_exact_mut(patch * patch).enumerate() {
            for (y, row) in plane.chunks_exact_mut(patch).enumerate() {
                let first = ((image * height + top + y) * width + left) * channels;
                let pixels = images[first..first + patch * channels].chunks_exact(channels);
                for (out, pixel) in row.iter_mut().zip(pixels) {
                    *out = tables[channel][usize::from(pixel[channel])];
                }
            }
        }
    });
}

/// Patches of one pixel: every byte's own value.
fn pixels(images: &[u8], tables: &[[f32; 256]], out: &mut [f32]) {
    let chunk = rows_per_chunk(tables.len()) * tables.len();
    out.par_chunks_mut(chunk).zip(images.par_chunks(chunk)).for_each(|(out, images)| {
        for (out, pixel) in out.chunks_exact_mut(tables.len()).zip(images.chunks_exact(tables.len())) {
            for ((out, &byte), table) in out.iter_mut().zip(pixel).zip(tables) {
                *out = table[usize::from(byte)];
            }
        }
    });
}

/// The normalised value of every byte in each channel, rounded once.
fn byte_tables(normalize: &Normalize) -> Vec<[f32; 256]> {
    let channels = normalize.mean.iter().zip(&normalize.std);
    channels
        .map(|(&mean, &std)| {
            std::array::from_fn(|byte| ((byte as f64 / 255.0 - f64::from(mean)) / f64::from(std)) as f32)
        })
        .collect()
}

/// See [`crate::kernels::Kernels::tokens`].
pub fn tokens(arch: Arch, op: Tokens<'_, f32>, out: &mut [f32]) {
    let width = op.cls.len();
    check_len("cls_position", op.cls_position.len(), width);
    let sequence = op.positions.len() + width;
    check_len("patches", op.patches.len(), op.images * op.positions.len());
    check_len("out", out.len(), op.images * sequence);
    if width == 0 {
        return;
    }
    out.par_chunks_exact_mut(sequence).enumerate().for_each(|(image, out)| {
        let patches = &op.patches[image * op.positions.len()..][..op.positions.len()];
        let (first, rest) = out.split_at_mut(width);
        vectorised(
            arch,
            #[inline(always)]
            || {
                for ((out, &cls), &position) in first.iter_mut().zip(op.cls).zip(op.cls_position) {
                    *out = cls + position;
                }
                for ((out, &patch), &position) in rest.iter_mut().zip(patches).zip(op.positions) {
                    *out = patch + position;
                }
            },
        );
    });
}

/// See [`crate::kernels::Kernels::tokens_backward`].
pub fn tokens_backward(d_out: &[f32], images: usize, grad: TokensGrad<'_, f32>) {
    let width = grad.cls.len();
    let sequence = grad.positions.len() + width;
    let patches_len = grad.positions.len();
    check_len("cls_position", grad.cls_position.len(), width);
    check_len("d_out", d_out.len(), images * sequence);
    check_len("patches", grad.patches.len(), images * patches_len);
    for row in d_out.chunks_exact(sequence.max(1)) {
        for ((cls, position), &d) in grad.cls.iter_mut().zip(grad.cls_position.iter_mut()).zip(row) {
            *cls += d;
            *position += d;
        }
    }
    if patches_len == 0 {
        return;
    }
    let copies = grad.patches.par_chunks_exact_mut(patches_len).zip(d_out.par_chunks_exact(sequence));
    copies.for_each(|(patches, d_out)| patches.copy_from_slice(&d_out[width..]));
    let patches: &[f32] = grad.patches;
    let chunk = rows_per_chunk(width) * width;
    grad.positions.par_chunks_mut(chunk).enumerate().for_each(|(index, positions)| {
        positions.fill(0.0);
        for image in patches.chunks_exact(patches_len) {
            for (sum, &d) in positions.iter_mut().zip(&image[index * chunk..]) {
                *sum += d;
            }
        }
    });
}

/// See [`crate::kernels::Kernels::gather_rows`].
pub fn gather_rows(arch: Arch, x: &[f32], op: Rows<'_>, out: &mut [f32]) {
    let Rows { rows, width, factor } = op;
    rows_of("x", x.len(), width);
    check_len("out", out.len(), rows.len() * width);
    let chunk = rows_per_chunk(width);
    out.par_chunks_mut(chunk * width).zip(rows.par_chunks(chunk)).for_each(|(out, rows)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (out, &row) in out.chunks_exact_mut(width).zip(rows) {
                    for (out, &x) in out.iter_mut().zip(&x[row as usize * width..][..width]) {
                        *out = x * factor as f32;
                    }
                }
            },
        );
    });
}

/// See [`crate::kernels::Kernels::scatter_add_rows`].
pub fn scatter_add_rows(arch: Arch, from: &[f32], op: Rows<'_>, to: &mut [f32]) {
    let Rows { rows, width, .. } = op;
    rows_of("to", to.len(), width);
    check_len("from", from.len(), rows.len() * width);
    if !rows.is_sorted_by(
        #[inline(always)]
        |a, b| a < b,
    ) {
        return add_rows(arch, from, op, (to, 0));
    }
    // In ascending order, the rows of each chunk lie in a piece of `to` of their own.
    let chunk = rows_per_chunk(width);
    let (mut rest, mut start) = (to, 0);
    let mut tasks = Vec::with_capacity(rows.len().div_ceil(chunk));
    for (rows, from) in rows.chunks(chunk).zip(from.chunks(chunk * width)) {
        let end = rows.last().map_or(start, |&last| last as usize + 1);
        let (piece, after) = std::mem::take(&mut rest).split_at_mut((end - start) * width);
        tasks.push((Rows { rows, ..op }, from, piece, start));
        (rest, start) = (after, end);
    }
    tasks.into_par_iter().for_each(|(op, from, piece, first)| add_rows(arch, from, op, (piece, first)));
}

/// Adds rows to a piece of a matrix that begins with its row `first`.
fn add_rows(arch: Arch, from: &[f32], op: Rows<'_>, (piece, first): (&mut [f32], usize)) {
    let factor = op.factor as f32;
    vectorised(
        arch,
        #[inline(always)]
        || {
            for (from, &row) in from.chunks_exact(op.width).zip(op.rows) {
                let to = &mut piece[(row as usize - first) * op.width..][..op.width];
                for (to, &from) in to.iter_mut().zip(from) {
                    *to = from.mul_add(factor, *to);
                }
            }
        },
    );
}

/// See [`crate::kernels::Kernels::mix_rows`].
pub fn mix_rows(arch: Arch, x: &[f32], mix: &RowMix<f32>, width: usize, out: &mut [f32]) {
    rows_of("x", x.len(), width);
    check_mix(mix, out.len(), width);
    let chunk = rows_per_chunk(width * mix.taps);
    out.par_chunks_mut(chunk * width).enumerate().for_each(|(index, out)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (row, out) in out.chunks_exact_mut(width).enumerate() {
                    out.fill(0.0);
                    let first = (index * chunk + row) * mix.taps;
                    for tap in first..first + mix.taps {
                        let (from, weight) = (mix.index[tap] as usize, mix.weights[tap]);
                        for (sum, &x) in out.iter_mut().zip(&x[from * width..][..width]) {
                            *sum = weight.mul_add(x, *sum);
                        }
                    }
                }
            },
        );
    });
}

/// See [`crate::kernels::Kernels::mix_rows_backward`]. Runs once per step on one grid, so one thread is enough.
pub fn mix_rows_backward(arch: Arch, d_out: &[f32], mix: &RowMix<f32>, width: usize, d_x: &mut [f32]) {
    rows_of("d_x", d_x.len(), width);
    check_mix(mix, d_out.len(), width);
    vectorised(
        arch,
        #[inline(always)]
        || {
            for (row, d_out) in d_out.chunks_exact(width).enumerate() {
                for tap in row * mix.taps..(row + 1) * mix.taps {
                    let (to, weight) = (mix.index[tap] as usize, mix.weights[tap]);
                    for (sum, &d) in d_x[to * width..][..width].iter_mut().zip(d_out) {
                        *sum = weight.mul_add(d, *sum);
                    }
                }
            }
        },
    );
}

fn check_mix(mix: &RowMix<f32>, out_len: usize, width: usize) {
    check_len("index", mix.index.len(), mix.weights.len());
    check_len("weights", mix.weights.len(), rows_of("out", out_len, width) * mix.taps);
}
