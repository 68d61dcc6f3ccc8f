//! Position embeddings for other image sizes: bicubic interpolation as a fixed sparse operator.
//!
//! Follows `vision_transformer.py:interpolate_pos_encoding` to the letter, because released weights depend on it: the scale
//! factor is `(grid + 0.1)/base`, PyTorch uses that factor (not out/in) for the source coordinate, A = −0.75, borders are
//! clamped, nothing is antialiased. Gradients flow through the operator's transpose.

use dinoxide_engine::kernels::RowMix;

/// Added to the target grid by the reference to guard a floor against rounding; part of the definition since.
const OFFSET: f64 = 0.1;
/// PyTorch's cubic convolution coefficient.
const A: f64 = -0.75;

/// The operator from a stored square grid of `base`×`base` positions to `rows`×`columns`, or nothing where the image is
/// square and has the stored number of patches.
pub fn position_mix(base: usize, rows: usize, columns: usize, square_image: bool) -> Option<RowMix<f32>> {
    if square_image && rows * columns == base * base {
        return None;
    }
    let (vertical, horizontal) = (cubic_taps(base, rows), cubic_taps(base, columns));
    let mut mix = RowMix { index: Vec::new(), weights: Vec::new(), taps: 16 };
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

/// The kernel for distances up to 1.
fn inner(x: f64) -> f64 {
    ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
}

/// The kernel for distances between 1 and 2.
fn outer(x: f64) -> f64 {
    ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
}
