//! From bytes to patches to token sequences, and operators that move whole rows.

use super::dense::{add, row};
use crate::kernels::{Normalize, Patches, RowMix, Rows, Tokens, TokensGrad};

/// Row r of a row-major matrix, to be written.
fn row_mut(matrix: &mut [f64], r: usize, width: usize) -> &mut [f64] {
    &mut matrix[r * width..(r + 1) * width]
}

pub(super) fn patchify(images: &[u8], patches: Patches, normalize: &Normalize, out: &mut [f64]) {
    let Patches { images: count, height, width, channels, patch } = patches;
    let (grid_rows, grid_columns) = patches.grid();
    assert_eq!(images.len(), count * height * width * channels, "patchify: length of images, B·H·W·C");
    assert_eq!(out.len(), count * patches.per_image() * patches.patch_len(), "patchify: length of out, B·N·C·p²");
    assert_eq!(normalize.mean.len(), channels, "patchify: length of mean, channels");
    assert_eq!(normalize.std.len(), channels, "patchify: length of std, channels");
    for (i, out) in out.iter_mut().enumerate() {
        // i counts image, patch row, patch column, channel, y, x; x is the fastest.
        let (rest, x) = (i / patch, i % patch);
        let (rest, y) = (rest / patch, rest % patch);
        let (rest, channel) = (rest / channels, rest % channels);
        let (rest, patch_column) = (rest / grid_columns, rest % grid_columns);
        let (image, patch_row) = (rest / grid_rows, rest % grid_rows);
        let (y, x) = (patch_row * patch + y, patch_column * patch + x);
        let byte = images[((image * height + y) * width + x) * channels + channel];
        let (mean, std) = (f64::from(normalize.mean[channel]), f64::from(normalize.std[channel]));
        *out = (f64::from(byte) / 255.0 - mean) / std; // 255 is the largest byte
    }
}

pub(super) fn gather_rows(x: &[f64], op: Rows<'_>, out: &mut [f64]) {
    assert_eq!(out.len(), op.rows.len() * op.width, "gather_rows: length of out, rows·width");
    for (i, &r) in op.rows.iter().enumerate() {
        for (out, x) in row_mut(out, i, op.width).iter_mut().zip(row(x, r as usize, op.width)) {
            *out = op.factor * x;
        }
    }
}

pub(super) fn scatter_add_rows(from: &[f64], op: Rows<'_>, to: &mut [f64]) {
    assert_eq!(from.len(), op.rows.len() * op.width, "scatter_add_rows: length of from, rows·width");
    for (i, &r) in op.rows.iter().enumerate() {
        for (to, from) in row_mut(to, r as usize, op.width).iter_mut().zip(row(from, i, op.width)) {
            *to += op.factor * from;
        }
    }
}

pub(super) fn tokens(op: Tokens<'_, f64>, out: &mut [f64]) {
    let width = op.cls.len();
    let patches = op.positions.len() / width;
    assert_eq!(op.positions.len(), patches * width, "tokens: length of positions, patches·width");
    assert_eq!(op.cls_position.len(), width, "tokens: lengths of cls_position and cls");
    assert_eq!(op.patches.len(), op.images * patches * width, "tokens: length of patches, images·patches·width");
    assert_eq!(out.len(), op.images * (patches + 1) * width, "tokens: length of out, images·(patches + 1)·width");
    for image in 0..op.images {
        let first = image * (patches + 1);
        let out_cls = row_mut(out, first, width);
        out_cls.copy_from_slice(op.cls);
        add(op.cls_position, out_cls);
        for patch in 0..patches {
            let out_patch = row_mut(out, first + 1 + patch, width);
            out_patch.copy_from_slice(row(op.patches, image * patches + patch, width));
            add(row(op.positions, patch, width), out_patch);
        }
    }
}

pub(super) fn tokens_backward(d_out: &[f64], images: usize, grad: TokensGrad<'_, f64>) {
    let width = grad.cls.len();
    let patches = grad.positions.len() / width;
    assert_eq!(d_out.len(), images * (patches + 1) * width, "tokens_backward: length of d_out");
    assert_eq!(grad.patches.len(), images * patches * width, "tokens_backward: length of the patches' gradient");
    assert_eq!(grad.cls_position.len(), width, "tokens_backward: length of the class position's gradient, width");
    grad.positions.fill(0.0);
    for image in 0..images {
        let first = image * (patches + 1);
        let d_cls = row(d_out, first, width);
        add(d_cls, grad.cls);
        add(d_cls, grad.cls_position);
        for patch in 0..patches {
            let d_patch = row(d_out, first + 1 + patch, width);
            row_mut(grad.patches, image * patches + patch, width).copy_from_slice(d_patch);
            add(d_patch, row_mut(grad.positions, patch, width));
        }
    }
}

fn check_mix(mix: &RowMix<f64>, outputs: usize) {
    assert_eq!(mix.index.len(), outputs * mix.taps, "mix_rows: length of index, outputs·taps");
    assert_eq!(mix.weights.len(), outputs * mix.taps, "mix_rows: length of weights, outputs·taps");
}

pub(super) fn mix_rows(x: &[f64], mix: &RowMix<f64>, width: usize, out: &mut [f64]) {
    check_mix(mix, out.len() / width);
    out.fill(0.0);
    for (term, (&source, weight)) in mix.index.iter().zip(&mix.weights).enumerate() {
        let out = row_mut(out, term / mix.taps, width);
        for (out, x) in out.iter_mut().zip(row(x, source as usize, width)) {
            *out += weight * x;
        }
    }
}

pub(super) fn mix_rows_backward(d_out: &[f64], mix: &RowMix<f64>, width: usize, d_x: &mut [f64]) {
    check_mix(mix, d_out.len() / width);
    for (term, (&source, weight)) in mix.index.iter().zip(&mix.weights).enumerate() {
        let d_x = row_mut(d_x, source as usize, width);
        for (d_x, d) in d_x.iter_mut().zip(row(d_out, term / mix.taps, width)) {
            *d_x += weight * d;
        }
    }
}
