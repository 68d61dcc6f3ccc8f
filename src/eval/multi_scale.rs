//! Features of an image at several scales: `utils.py:multi_scale` of DINO, which its image retrieval uses.
//!
//! The program resizes normalised pixels; the mean and deviation of a channel do not depend on the place, so resizing what they are
//! made of gives the same up to rounding. Nothing is rounded to bytes on the way.

use super::features::{Frozen, ImageBatch, ScaledImages};
use super::unit::to_unit_length;

/// The scales at which the program looks.
pub const THREE_SCALES: [f64; 3] = [1.0, std::f64::consts::FRAC_1_SQRT_2, 0.5];

/// Mean over the scales of an image's class features, then scaled to unit length: `[images, D]`. A single scale of 1 shows the bytes
/// as they are.
pub fn multi_scale(frozen: &Frozen<'_>, batch: ImageBatch<'_>, scales: &[f64]) -> Vec<f32> {
    let mut sums = Vec::new();
    for &scale in scales {
        let features = if scale == 1.0 {
            frozen.class_features(batch)
        } else {
            frozen.class_features_of(&scaled(batch, scale), batch.images)
        };
        if sums.is_empty() {
            sums = features;
        } else {
            sums.iter_mut().zip(features).for_each(|(sum, value)| *sum += value);
        }
    }
    for row in sums.chunks_exact_mut(frozen.backbone.dim()) {
        // What is not finite stays as it is, and is named where the rows are compared.
        to_unit_length(row).ok();
    }
    sums
}

/// A side at a scale, cut to an integer as `torch.nn.functional.interpolate` does.
pub fn scaled_side(side: usize, scale: f64) -> usize {
    (side as f64 * scale).floor() as usize
}

/// Images at a scale, as `torch.nn.functional.interpolate(mode="bilinear", scale_factor=scale, align_corners=False)`: no antialias, and places
/// follow from the scale, not from the sizes.
pub fn scaled(batch: ImageBatch<'_>, scale: f64) -> ScaledImages {
    let ImageBatch { pixels, images, height, width } = batch;
    let channels = pixels.len() / (images * height * width).max(1);
    let [rows, columns] = [height, width].map(|side| places(side, scale));
    let mut values = Vec::with_capacity(images * rows.len() * columns.len() * channels);
    for image in pixels.chunks_exact((height * width * channels).max(1)) {
        for row in &rows {
            for column in &columns {
                for channel in 0..channels {
                    let at = |y: usize, x: usize| f32::from(image[(y * width + x) * channels + channel]);
                    let above = column.between(at(row.first, column.first), at(row.first, column.second));
                    let below = column.between(at(row.second, column.first), at(row.second, column.second));
                    values.push(row.between(above, below));
                }
            }
        }
    }
    ScaledImages { values, height: rows.len(), width: columns.len() }
}

/// Two pixels of an axis and how far the new one is on the way from the first to the second.
struct Place {
    first: usize,
    second: usize,
    way: f32,
}

impl Place {
    fn between(&self, first: f32, second: f32) -> f32 {
        first * (1.0 - self.way) + second * self.way
    }
}

fn places(side: usize, scale: f64) -> Vec<Place> {
    // In f32, as there: at the end of a large image its rounding shows.
    let step = (1.0 / scale) as f32;
    let place = |at: usize| {
        let exact = (step * (at as f32 + 0.5) - 0.5).max(0.0);
        let first = (exact as usize).min(side - 1);
        Place { first, second: (first + 1).min(side - 1), way: exact - first as f32 }
    };
    (0..scaled_side(side, scale)).map(place).collect()
}
