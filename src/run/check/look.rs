//! A look at one image: how it is stored, what its values are, and what it resembles.

use dinoxide_views::pixel::RGB;
use dinoxide_views::resample::{Filter, resize};
use dinoxide_views::source::SourceImage;
use dinoxide_views::{DecodeError, Image, Reading, Stored, decode_samples};
use sha2::{Digest as _, Sha256};

use crate::run::values::{Form, Moments};

/// What is remembered of an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Look {
    pub stored: Stored,
    pub width: u32,
    pub height: u32,
    /// Bytes of the file.
    pub bytes: usize,
    /// How its values are stored.
    pub form: Form,
    /// What they are in the form that shows this image alone best.
    pub moments: Moments,
    /// The same for files of the same bytes only.
    pub digest: u128,
    /// Nearly the same for pictures that look alike; none if there is next to nothing to see.
    pub likeness: Option<u128>,
}

impl Look {
    /// Reads and decodes an image, of so many channels if a number is given.
    pub fn at(image: &SourceImage, channels: Option<usize>) -> Result<Self, DecodeError> {
        let bytes = image.read()?;
        let wanted = Reading { channels: channels.unwrap_or(RGB), ..Reading::default() };
        let (samples, stored) = decode_samples(&bytes, &wanted)?;
        let form = Form::of(&samples);
        let own = form.reading();
        let pixels = samples.into_image(&Reading { channels: channels.unwrap_or(own.channels), ..own })?;
        let moments = Moments::of(&pixels);
        let pixels = pixels.shown();
        let digest = Sha256::digest(&bytes).first_chunk().map_or(0, |first| u128::from_le_bytes(*first));
        let (width, height, bytes) = (pixels.width, pixels.height, bytes.len());
        Ok(Self { stored, width, height, bytes, form, moments, digest, likeness: likeness(&pixels) })
    }
}

/// Side of the picture that is compared: 8 × 8 differences in each direction.
const SIDE: usize = 9;
/// Least standard deviation of that picture's gray levels: below it the differences are noise.
const LEAST_CONTRAST: f64 = 4.0;

/// The signs of 128 differences of neighbouring gray levels in a tiny copy ("dHash", N. Krawetz 2013, in both directions).
fn likeness(image: &Image) -> Option<u128> {
    let tiny = resize(image, SIDE as u32, SIDE as u32, Filter::Bilinear);
    let gray =
        |pixel: &[u8; 3]| 0.299 * f64::from(pixel[0]) + 0.587 * f64::from(pixel[1]) + 0.114 * f64::from(pixel[2]);
    let gray: Vec<f64> = tiny.pixels.as_chunks::<3>().0.iter().map(gray).collect();
    let mean = gray.iter().sum::<f64>() / gray.len() as f64;
    let variance = gray.iter().map(|level| (level - mean).powi(2)).sum::<f64>() / gray.len() as f64;
    if variance.sqrt() < LEAST_CONTRAST {
        return None;
    }
    let mut signs = 0u128;
    for y in 0..SIDE - 1 {
        for x in 0..SIDE - 1 {
            let here = gray[y * SIDE + x];
            let [right, below] = [gray[y * SIDE + x + 1], gray[(y + 1) * SIDE + x]];
            signs = signs << 2 | u128::from(here < right) << 1 | u128::from(here < below);
        }
    }
    Some(signs)
}
