//! Evaluation transforms: the one deterministic view of an image that frozen features are made of.
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::pixel::{Crop, Image};
use crate::resample::{Filter, Window, resize, resize_window};

/// How an image becomes the input of a frozen network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvalTransform {
    /// Shorter side to `resize`, then the central square of `crop`: torchvision's `Resize` and `CenterCrop`.
    ResizeCrop {
        /// Shorter side in pixels.
        resize: u32,
        /// Side of the square in pixels; what lies outside the image is black.
        crop: u32,
    },
    /// Exactly this size, whatever the aspect.
    Exact {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
}

impl Default for EvalTransform {
    /// DINO's protocol: 256, then 224.
    fn default() -> Self {
        Self::ResizeCrop { resize: 256, crop: 224 }
    }
}

/// Largest side of an evaluation image.
pub const MAX_SIZE: u32 = 16_384;

impl FromStr for EvalTransform {
    type Err = Error;

    /// Reads `224` (a square) or `480x320` (width x height).
    fn from_str(text: &str) -> Result<Self> {
        let (width, height) = text.split_once(['x', 'X']).unwrap_or((text, text));
        let side = |part: &str| part.trim().parse().ok().filter(|side| (1..=MAX_SIZE).contains(side));
        match (side(width), side(height)) {
            (Some(width), Some(height)) => Ok(Self::Exact { width, height }),
            _ => Err(Error::Value {
                key: "image-size".to_string(),
                problem: format!("`{text}`; one number such as 224, or width x height such as 480x320"),
            }),
        }
    }
}

impl EvalTransform {
    /// Returns the size of every transformed image, `(width, height)`.
    pub fn size(&self) -> (u32, u32) {
        match *self {
            Self::ResizeCrop { crop, .. } => (crop, crop),
            Self::Exact { width, height } => (width, height),
        }
    }

    /// Returns the transformed image. Resizing is bicubic.
    pub fn apply(&self, image: &Image) -> Image {
        match *self {
            Self::ResizeCrop { resize, crop } => resize_crop(image, resize, crop),
            Self::Exact { width, height } => resize(image, width, height, Filter::Bicubic),
        }
    }
}

fn resize_crop(image: &Image, shorter: u32, crop: u32) -> Image {
    let (width, height) = resized(image.width, image.height, shorter);
    let (columns, rows) = (Span::new(width, crop), Span::new(height, crop));
    let rectangle = Crop { x: columns.from, y: rows.from, width: columns.length, height: rows.length };
    // Only the square is computed: a panorama's resized form may not fit in memory.
    let window = Window { rectangle, filter: Filter::Bicubic };
    let center = resize_window(image, image.bounds(), (width, height), window);
    if (center.width, center.height) == (crop, crop) {
        return center;
    }
    let mut padded = Image::black(crop, crop, image.channels);
    for y in 0..center.height {
        let start = ((rows.to + y) * crop + columns.to) as usize * image.channels;
        padded.pixels[start..][..center.stride()].copy_from_slice(center.row(y));
    }
    padded
}

/// Returns the size with the shorter side at `shorter`; the longer side is cut to an integer.
fn resized(width: u32, height: u32, shorter: u32) -> (u32, u32) {
    let (short, long) = (width.min(height), width.max(height));
    let long = (u64::from(shorter) * u64::from(long) / u64::from(short)) as u32;
    if width <= height { (shorter, long) } else { (long, shorter) }
}

/// The central part of one axis.
struct Span {
    /// First pixel taken.
    from: u32,
    /// Where it lands.
    to: u32,
    /// Pixels taken.
    length: u32,
}

impl Span {
    fn new(side: u32, crop: u32) -> Self {
        if side < crop {
            return Self { from: 0, to: (crop - side) / 2, length: side };
        }
        // Python's `round`: half to even.
        let from = (f64::from(side - crop) / 2.0).round_ties_even() as u32;
        Self { from, to: 0, length: crop }
    }
}
