//! Images as they enter a tape.

use std::rc::Rc;

use super::Tape;
use crate::kernels::{Normalize, Patches};
use crate::tensor::Matrix;

/// Images and their geometry, as they come from a loader.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    /// Their pixels, `[B, H, W, C]`.
    pub pixels: Pixels<'a>,
    /// Sizes.
    pub patches: Patches,
}

/// What images are made of, on the scale from 0 to 255.
#[derive(Debug, Clone, Copy)]
pub enum Pixels<'a> {
    /// As decoded.
    Bytes(&'a [u8]),
    /// As resized without rounding.
    Values(&'a [f32]),
}

impl<'a> Pixels<'a> {
    /// Equal parts of `len` pixel values each.
    pub fn parts(self, len: usize) -> Vec<Self> {
        match self {
            Self::Bytes(bytes) => bytes.chunks_exact(len).map(Self::Bytes).collect(),
            Self::Values(values) => values.chunks_exact(len).map(Self::Values).collect(),
        }
    }
}

impl<'a> From<&'a [u8]> for Pixels<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Pixels<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl Tape<'_> {
    /// Pixels to normalised patch rows, `[B·N, C·p²]`, each row ordered channel, y, x. Images have no gradient.
    ///
    /// # Panics
    /// If there are not as many pixels as the sizes say.
    pub fn patchify(&self, images: Images<'_>, normalize: &Normalize) -> Matrix {
        let patches = images.patches;
        let (rows, columns) = (patches.images * patches.per_image(), patches.patch_len());
        let mut out = self.pool.take(rows * columns);
        match images.pixels {
            Pixels::Bytes(bytes) => self.kernels.patchify(bytes, patches, normalize, &mut out),
            Pixels::Values(values) => cut(values, patches, normalize, &mut out),
        }
        Matrix { buffer: Rc::new(out), rounded: None, rows, columns, node: None }
    }
}

/// As [`crate::kernels::Kernels::patchify`], of values. Only a few evaluations show these, so that a plain loop does.
fn cut(values: &[f32], patches: Patches, normalize: &Normalize, out: &mut [f32]) {
    let Patches { images, height, width, channels, patch } = patches;
    let (_, columns) = patches.grid();
    assert_eq!(values.len(), images * height * width * channels, "images of these sizes have so many values");
    for (index, row) in out.chunks_exact_mut(patches.patch_len().max(1)).enumerate() {
        let (image, cell) = (index / patches.per_image(), index % patches.per_image());
        let (top, left) = (cell / columns * patch, cell % columns * patch);
        for (channel, plane) in row.chunks_exact_mut(patch * patch).enumerate() {
            let (mean, std) = (f64::from(normalize.mean[channel]), f64::from(normalize.std[channel]));
            for (place, out) in plane.iter_mut().enumerate() {
                let (y, x) = (top + place / patch, left + place % patch);
                let value = values[((image * height + y) * width + x) * channels + channel];
                *out = ((f64::from(value) / 255.0 - mean) / std) as f32; // 255 is the largest byte
            }
        }
    }
}
