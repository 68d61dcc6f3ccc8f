//! Position embeddings for other image sizes: bicubic interpolation as a fixed sparse operator.
//!
//! Follows `vision_transformer.py:interpolate_pos_encoding` to the letter, because released weights depend on it: the scale
//! factor is `(grid + 0.1)/base`, PyTorch uses that factor (not out/in) for the source coordinate, A = −0.75, borders are
//! clamped, nothing is antialiased. Gradients flow through the operator's transpose.

use dinoxide_engine::kernels::RowMix;
use serde::{Deserialize, Serialize};

/// Added to the target grid by the reference to guard a floor against rounding; part of the definition since.
pub const OFFSET: f64 = 0.1;
/// PyTorch's cubic convolution coefficient.
pub const CUBIC: f64 = -0.75;

/// PyTorch's coefficient where it antialiases, which is Pillow's.
pub const ANTIALIASED_CUBIC: f64 = -0.5;
/// How far the kernels reach.
pub const REACH: f64 = 2.0;

/// How positions become those of another grid.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resampling {
    /// As DINO and the DINOv2 models without registers: by a factor with an offset, nothing antialiased.
    #[default]
    Offset,
    /// As the DINOv2 models with registers, and timm: by the sizes, antialiased.
    Antialiased,
}

/// The operator from a stored square grid of `base`×`base` positions to `rows`×`columns`, or nothing where the image is
/// square and has the stored number of patches.
pub fn position_mix(
    base: usize,
    [rows, columns]: [usize; 2],
    square_image: bool,
    resampling: Resampling,
) -> Option<RowMix<f32>> {
    if square_image && rows * columns == base * base {
        return None;
    }
    let [vertical, horizontal] = [rows, columns].map(|to| match resampling {
        Resampling::Offset => cubic_taps(base, to).into_iter().map(Vec::from).collect::<Vec<_>>(),
        Resampling::Antialiased => antialiased_taps(base, to),
    });
    let taps = vertical.first().map_or(0, Vec::len) * horizontal.first().map_or(0, Vec::len);
    let mut mix = RowMix { index: Vec::new(), weights: Vec::new(), taps };
    for y in &vertical {
        for x in &horizontal {
            for (row, weight_y) in y {
                for (column, weight_x) in x {
                    mix.index.push((row * base + column) as u32);
                    mix.weights.push((weight_y * weight_x) as f32);
                }
            }
        }
    }
    Some(mix)
}

/// For each of `to` outputs, the four source positions and their weights.
fn cubic_taps(from: usize, to: usize) -> Vec<[(usize, f64); 4]> {
    let scale = (to as f64 + OFFSET) / from as f64;
    (0..to)
        .map(|output| {
            let source = (output as f64 + 0.5) / scale - 0.5;
            let (first, t) = (source.floor(), source - source.floor());
            let weights = [outer(t + 1.0), inner(t), inner(1.0 - t), outer(2.0 - t)];
            std::array::from_fn(|tap| {
                let position = (first + tap as f64 - 1.0).clamp(0.0, (from - 1) as f64);
                (position as usize, weights[tap])
            })
        })
        .collect()
}

/// For each of `to` outputs the source positions that the kernel reaches, widened where the grid shrinks, and their weights, which
/// add up to 1; as many for each output, the rest of them with weight 0 (PyTorch's `_upsample_bicubic2d_aa`).
fn antialiased_taps(from: usize, to: usize) -> Vec<Vec<(usize, f64)>> {
    let scale = from as f64 / to as f64;
    let stretch = scale.max(1.0);
    let most = (REACH * stretch).ceil() as usize * 2 + 1;
    (0..to)
        .map(|output| {
            let centre = (output as f64 + 0.5) * scale;
            let first = (centre - REACH * stretch + 0.5).max(0.0) as usize;
            let last = ((centre + REACH * stretch + 0.5) as usize).min(from);
            let weight = |at: usize| cubic(((at as f64 - centre + 0.5) / stretch).abs());
            let total: f64 = (first..last).map(weight).sum();
            let mut taps: Vec<(usize, f64)> = (first..last).map(|at| (at, weight(at) / total)).collect();
            taps.resize(most, (first, 0.0));
            taps
        })
        .collect()
}

/// The antialiased kernel at a distance.
fn cubic(x: f64) -> f64 {
    const A: f64 = ANTIALIASED_CUBIC;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < REACH {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The kernel for distances up to 1.
fn inner(x: f64) -> f64 {
    const A: f64 = CUBIC;
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

/// The kernel for distances between 1 and 2.
fn outer(x: f64) -> f64 {
    const A: f64 = CUBIC;
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}
