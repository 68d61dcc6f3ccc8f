//! Decoding: bytes of any known format to an image of the form that is read, in color as Pillow's `convert("RGB")` gives it.
//!
//! The content decides the format, not the name. Palettes are looked up, of animations the first frame is taken. What happens
//! to alpha, gray and wide numbers is said by [`Reading`]. A truncated file is an error.
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::error::{DecodeError, guard};
use crate::pixel::{Image, MAX_CHANNELS};
use crate::samples::{Alpha, Reading, Samples, Values};
use crate::{bands, dicom, jpeg, npy};

/// Largest file that is read.
pub const MAX_FILE_BYTES: u64 = 512 << 20;
/// Largest number of pixels that is decoded: twice Pillow's `MAX_IMAGE_PIXELS`, where Pillow refuses too.
pub const MAX_PIXELS: u64 = 178_956_970;
/// Longest side: rows are worked on whole, sixteen at a time.
pub const MAX_SIDE: u64 = 1 << 18;
/// Most values of a row: sixteen rows of them are held at a time.
const MAX_SIDE_VALUES: u64 = MAX_SIDE * 4;
/// Largest allocation of a decoder: sixteen bytes a pixel.
pub(crate) const MAX_DECODER_BYTES: u64 = MAX_PIXELS * 16;

/// What happens to the orientation that cameras write beside the pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exif {
    /// Pixels as stored: torchvision's behaviour.
    #[default]
    Ignore,
    /// Pixels as a photo viewer shows them.
    Apply,
}

/// Decodes a file.
///
/// # Errors
/// Says why the file gives no image; never panics.
pub fn decode_file(path: &Path, reading: &Reading) -> Result<Image, DecodeError> {
    decode_bytes(&read_limited(path)?, reading)
}

/// Decodes the content of a file.
///
/// # Errors
/// Says why the bytes give no image; never panics.
pub fn decode_bytes(bytes: &[u8], reading: &Reading) -> Result<Image, DecodeError> {
    guard(|| samples(bytes, reading)?.0.into_image(reading))
}

/// How an image was stored, as far as its decoder tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Name of the format, such as `JPEG`.
    pub format: &'static str,
    /// Values of a pixel: 1 for gray, 2 with alpha, 3 for color, 4 with alpha or for four inks. What a palette stands for;
    /// 3 for GIF.
    pub channels: usize,
    /// Bits of a value, at least 8.
    pub bits: u16,
}

/// Decodes the content of a file to the values that are stored, and says how.
///
/// # Errors
/// As [`decode_bytes`].
pub fn decode_samples(bytes: &[u8], reading: &Reading) -> Result<(Samples, Stored), DecodeError> {
    guard(|| samples(bytes, reading))
}

fn samples(bytes: &[u8], reading: &Reading) -> Result<(Samples, Stored), DecodeError> {
    if npy::is_npy(bytes) {
        return npy::decode(bytes, reading.channels);
    }
    if dicom::is_dicom(bytes) {
        return dicom::decode(bytes);
    }
    let format = image::guess_format(bytes).map_err(|_| DecodeError::NotAnImage)?;
    match format {
        ImageFormat::Jpeg => {
            let jpeg = jpeg::decode(bytes)?;
            let orientation = jpeg.exif.and_then(|block| Orientation::from_exif_chunk(&block));
            let stored = Stored { format: "JPEG", channels: jpeg.components.into(), bits: 8 };
            let turn = orientation.filter(|_| reading.exif == Exif::Apply).unwrap_or(Orientation::NoTransforms);
            Ok((color(jpeg.image).turned(turn), stored))
        }
        ImageFormat::Tiff => match bands::decode(bytes, reading)? {
            Some(found) => Ok(found),
            None => decode_other(bytes, format, reading.exif),
        },
        ImageFormat::Png | ImageFormat::Bmp | ImageFormat::Gif | ImageFormat::WebP | ImageFormat::Pnm => {
            decode_other(bytes, format, reading.exif)
        }
        _ => Err(DecodeError::NotAnImage),
    }
}

fn color(image: Image) -> Samples {
    let Image { width, height, channels, pixels } = image;
    Samples { width, height, channels, alpha: Alpha::None, values: Values::U8(pixels) }
}

pub(crate) fn check_pixels(width: u64, height: u64) -> Result<(), DecodeError> {
    match width.checked_mul(height) {
        Some(1..=MAX_PIXELS) if width.max(height) <= MAX_SIDE => Ok(()),
        _ => Err(DecodeError::PixelCount { width, height, limit: MAX_PIXELS, side: MAX_SIDE }),
    }
}

/// Checks the size of measurements: of values that take `bytes` each while they are read, and as much again when planes are mixed.
pub(crate) fn check_values((width, height): (u64, u64), channels: usize, bytes: u64) -> Result<(), DecodeError> {
    check_pixels(width, height)?;
    let most = MAX_DECODER_BYTES / (2 * bytes);
    let fits = |each: u64| width * height * each <= most && width.max(height) * each <= MAX_SIDE_VALUES;
    if (1..=MAX_CHANNELS).contains(&channels) && fits(channels as u64) {
        return Ok(());
    }
    Err(DecodeError::ValueCount { width, height, channels, row: MAX_SIDE_VALUES, limit: most })
}

pub(crate) fn read_limited(path: &Path) -> Result<Vec<u8>, DecodeError> {
    let io = |error: std::io::Error| DecodeError::Io(error.to_string());
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let mut bytes = Vec::with_capacity(size.min(MAX_FILE_BYTES) as usize);
    // One byte more than allowed tells a file that grew, or a pipe, from one that fits.
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(DecodeError::FileTooLarge { bytes: size, limit: MAX_FILE_BYTES });
    }
    Ok(bytes)
}

fn decode_other(bytes: &[u8], format: ImageFormat, exif: Exif) -> Result<(Samples, Stored), DecodeError> {
    let name = name_of(format);
    let broken = |error: image::ImageError| match &error {
        image::ImageError::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => DecodeError::Truncated,
        _ => DecodeError::Broken { format: name.to_string(), reason: error.to_string() },
    };
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    check_pixels(u64::from(width), u64::from(height))?;
    let orientation = if exif == Exif::Apply { decoder.orientation().ok() } else { None };
    let color = decoder.original_color_type();
    let bits = (color.bits_per_pixel() / u16::from(color.channel_count().max(1))).max(8);
    // Its decoder always adds alpha.
    let channels = if format == ImageFormat::Gif { 3 } else { color.channel_count().max(1).into() };
    let stored = Stored { format: name, channels, bits };
    let mut image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    if let Some(turn) = orientation {
        image.apply_orientation(turn);
    }
    Ok((from_dynamic(image), stored))
}

/// The format as people write it.
fn name_of(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        ImageFormat::WebP => "WebP",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Pnm => "PNM",
        _ => "image",
    }
}

fn from_dynamic(image: DynamicImage) -> Samples {
    let (width, height, color) = (image.width(), image.height(), image.color());
    let alpha = if color.has_alpha() { Alpha::Last } else { Alpha::None };
    let values = match image {
        DynamicImage::ImageLuma8(image) => Values::U8(image.into_raw()),
        DynamicImage::ImageLumaA8(image) => Values::U8(image.into_raw()),
        DynamicImage::ImageRgb8(image) => Values::U8(image.into_raw()),
        DynamicImage::ImageRgba8(image) => Values::U8(image.into_raw()),
        DynamicImage::ImageLuma16(image) => Values::U16(image.into_raw()),
        DynamicImage::ImageLumaA16(image) => Values::U16(image.into_raw()),
        DynamicImage::ImageRgb16(image) => Values::U16(image.into_raw()),
        DynamicImage::ImageRgba16(image) => Values::U16(image.into_raw()),
        DynamicImage::ImageRgba32F(image) => Values::F32 { values: image.into_raw(), whole: [0.0, 1.0] },
        other => {
            let values = other.into_rgb32f().into_raw();
            return Samples {
                width,
                height,
                channels: 3,
                alpha: Alpha::None,
                values: Values::F32 { values, whole: [0.0, 1.0] },
            };
        }
    };
    Samples { width, height, channels: color.channel_count().into(), alpha, values }
}
