//! Samples: the values of an image as they are stored, and how they become bytes of the form that is read.
use image::metadata::Orientation;

use crate::color::{LUMA, LUMA_BITS};
use crate::decode::Exif;
use crate::error::DecodeError;
use crate::pixel::{Image, MAX_CHANNELS};

/// How files become images of one form.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// What to do with the camera's orientation.
    pub exif: Exif,
    /// Values of a pixel, 1 to [`MAX_CHANNELS`]. Gray becomes color by repetition, color becomes gray as its luma, and alpha is
    /// dropped where one or three are read; apart from that a file has to have as many.
    pub channels: usize,
    /// What becomes 0 and 255 of values wider than 8 bits, linear in between: of every channel, or of all; empty for the
    /// whole range of a type of whole numbers, and 0 to 1 of fractions. Values of 8 bits stay as they are.
    pub range: Vec<[f32; 2]>,
}

impl Default for Reading {
    /// Red, green and blue, pixels as stored.
    fn default() -> Self {
        Self { exif: Exif::Ignore, channels: 3, range: Vec::new() }
    }
}

impl Reading {
    /// Returns the same for photos as their viewers turn them.
    pub fn upright() -> Self {
        Self { exif: Exif::Apply, ..Self::default() }
    }
}

/// An image as it is stored, rows from top to bottom, the values of a pixel side by side.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Values of a pixel, alpha among them.
    pub channels: usize,
    /// Whether the last value of a pixel says how opaque it is.
    pub alpha: Alpha,
    /// [H, W, C].
    pub values: Values,
}

/// What the last value of a pixel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpha {
    /// A value like the others.
    None,
    /// How opaque the pixel is.
    Last,
}

/// The values of an image in the smallest type that holds them.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 8 bits.
    U8(Vec<u8>),
    /// 16 bits.
    U16(Vec<u16>),
    /// Any other: more bits, signs, fractions.
    F32 {
        /// The values; wider ones are rounded.
        values: Vec<f32>,
        /// What becomes 0 and 255 if nothing else is said.
        whole: [f32; 2],
    },
}

impl Values {
    /// Returns the number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::U16(values) => values.len(),
            Self::F32 { values, .. } => values.len(),
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns planes, one channel after the other, as pixels.
    pub(crate) fn interleaved(self, channels: usize) -> Self {
        fn mixed<T: Copy + Default>(planes: &[T], channels: usize) -> Vec<T> {
            let mut pixels = vec![T::default(); planes.len()];
            for (channel, plane) in planes.chunks_exact((planes.len() / channels).max(1)).enumerate() {
                pixels[channel..].iter_mut().step_by(channels).zip(plane).for_each(|(to, value)| *to = *value);
            }
            pixels
        }
        match self {
            Self::U8(planes) => Self::U8(mixed(&planes, channels)),
            Self::U16(planes) => Self::U16(mixed(&planes, channels)),
            Self::F32 { values, whole } => Self::F32 { values: mixed(&values, channels), whole },
        }
    }

    /// Returns an image of another size whose pixels come from `index(x, y)`.
    fn moved(self, channels: usize, size: (usize, usize), index: impl Fn(usize, usize) -> usize) -> Self {
        fn pixels<T: Copy>(
            values: &[T],
            channels: usize,
            (width, height): (usize, usize),
            index: impl Fn(usize, usize) -> usize,
        ) -> Vec<T> {
            let mut moved = Vec::with_capacity(values.len());
            for y in 0..height {
                for x in 0..width {
                    moved.extend_from_slice(&values[index(x, y) * channels..][..channels]);
                }
            }
            moved
        }
        match self {
            Self::U8(values) => Self::U8(pixels(&values, channels, size, index)),
            Self::U16(values) => Self::U16(pixels(&values, channels, size, index)),
            Self::F32 { values, whole } => Self::F32 { values: pixels(&values, channels, size, index), whole },
        }
    }

    /// Returns one value.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn at(&self, index: usize) -> f32 {
        match self {
            Self::U8(values) => f32::from(values[index]),
            Self::U16(values) => f32::from(values[index]),
            Self::F32 { values, .. } => values[index],
        }
    }
}

/// A type of numbers wider than 8 and 16 bits without a sign.
pub(crate) trait Wide: Copy {
    /// What becomes 0 and 255 if nothing else is said: all whole numbers of the type, and 0 to 1 of fractions.
    const WHOLE: [f32; 2];

    /// The value, rounded if it has more digits.
    fn rounded(self) -> f32;
}

/// Implements [`Wide`].
macro_rules! wide {
    ($($type:ty: $low:expr, $high:expr);*) => {$(
        impl Wide for $type {
            const WHOLE: [f32; 2] = [$low as f32, $high as f32];

            fn rounded(self) -> f32 {
                self as f32
            }
        }
    )*};
}

wide!(u32: u32::MIN, u32::MAX; i8: i8::MIN, i8::MAX; i16: i16::MIN, i16::MAX; i32: i32::MIN, i32::MAX; f32: 0, 1; f64: 0, 1);

impl Values {
    /// Returns wide numbers as values.
    pub(crate) fn wide<T: Wide>(values: Vec<T>) -> Self {
        Self::F32 { values: values.into_iter().map(T::rounded).collect(), whole: T::WHOLE }
    }
}

impl Samples {
    /// Returns the values of a pixel without alpha.
    pub fn opaque_channels(&self) -> usize {
        self.channels - usize::from(self.alpha == Alpha::Last)
    }

    /// Returns the image turned as its orientation says.
    pub(crate) fn turned(self, orientation: Orientation) -> Self {
        let (width, height) = (self.width as usize, self.height as usize);
        let across = matches!(
            orientation,
            Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
        );
        if orientation == Orientation::NoTransforms {
            return self;
        }
        // Where the pixel at x, y of the turned image comes from.
        let (right, bottom) = (width - 1, height - 1);
        let from = move |x: usize, y: usize| match orientation {
            Orientation::NoTransforms => (x, y),
            Orientation::FlipHorizontal => (right - x, y),
            Orientation::FlipVertical => (x, bottom - y),
            Orientation::Rotate180 => (right - x, bottom - y),
            Orientation::Rotate90 => (y, bottom - x),
            Orientation::Rotate270 => (right - y, x),
            Orientation::Rotate90FlipH => (y, x),
            Orientation::Rotate270FlipH => (right - y, bottom - x),
        };
        let size = if across { (height, width) } else { (width, height) };
        let index = move |x: usize, y: usize| {
            let (x, y) = from(x, y);
            y * width + x
        };
        let values = self.values.moved(self.channels, size, index);
        Self { width: size.0 as u32, height: size.1 as u32, values, ..self }
    }

    /// Returns the image in the form that is read.
    ///
    /// # Errors
    /// [`DecodeError::Channels`] if it has another number of channels.
    pub fn into_image(self, reading: &Reading) -> Result<Image, DecodeError> {
        let (stored, opaque, wanted) = (self.channels, self.opaque_channels(), reading.channels);
        // Alpha counts where it is one of the channels that are read.
        let kept = if stored == wanted { stored } else { opaque };
        if !(kept == wanted || matches!((kept, wanted), (1, 3) | (3, 1))) || stored > MAX_CHANNELS {
            return Err(DecodeError::Channels { stored, wanted });
        }
        let (width, height) = (self.width, self.height);
        let bytes = to_bytes(self.values, stored, &reading.range);
        let pixels = match (stored, wanted) {
            (stored, wanted) if stored == wanted => bytes,
            (1, 3) => each(&bytes, |[gray]| [gray; 3]),
            (2, 3) => each(&bytes, |[gray, _]| [gray; 3]),
            (4, 3) => each(&bytes, |[red, green, blue, _]| [red, green, blue]),
            (3, 1) => each(&bytes, |color| [luma(color)]),
            (4, 1) => each(&bytes, |[red, green, blue, _]| [luma([red, green, blue])]),
            _ => bytes.chunks_exact(stored).flat_map(|pixel| &pixel[..wanted]).copied().collect(),
        };
        Ok(Image { width, height, channels: wanted, pixels })
    }
}

/// Converts every pixel.
fn each<const FROM: usize, const TO: usize>(bytes: &[u8], convert: impl Fn([u8; FROM]) -> [u8; TO]) -> Vec<u8> {
    let pixels: Vec<[u8; TO]> = bytes.as_chunks().0.iter().map(|&pixel| convert(pixel)).collect();
    pixels.into_flattened()
}

/// Pillow's `convert("L")`.
fn luma(color: [u8; 3]) -> u8 {
    let sum: u32 = color.iter().zip(LUMA).map(|(&value, share)| u32::from(value) * share).sum();
    ((sum + (1 << (LUMA_BITS - 1))) >> LUMA_BITS) as u8
}

fn to_bytes(values: Values, channels: usize, range: &[[f32; 2]]) -> Vec<u8> {
    match values {
        Values::U8(values) => values,
        // As Pillow cuts 16 bits to 8.
        Values::U16(values) if range.is_empty() => values.into_iter().map(|value| (value >> 8) as u8).collect(),
        Values::U16(values) => scaled(&values, channels, range),
        Values::F32 { values, whole } if range.is_empty() => scaled(&values, channels, &[whole]),
        Values::F32 { values, .. } => scaled(&values, channels, range),
    }
}

/// Maps the range of each channel, or of all, to 0..=255: rounded, clipped, 0 for what is no number.
fn scaled<T: Copy + Into<f64>>(values: &[T], channels: usize, range: &[[f32; 2]]) -> Vec<u8> {
    let of_channel = |channel: usize| {
        let [low, high] = range[channel.min(range.len() - 1)].map(f64::from);
        (low, 255.0 / (high - low))
    };
    let scales: Vec<(f64, f64)> = (0..channels).map(of_channel).collect();
    let mut bytes = vec![0; values.len()];
    for (bytes, values) in bytes.chunks_exact_mut(channels).zip(values.chunks_exact(channels)) {
        for ((byte, &value), (low, factor)) in bytes.iter_mut().zip(values).zip(&scales) {
            // The cast clips, and makes 0 of what is no number.
            *byte = ((value.into() - low) * factor + 0.5) as u8;
        }
    }
    bytes
}
