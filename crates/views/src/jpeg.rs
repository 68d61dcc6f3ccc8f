//! JPEG: what the general decoder does not do — truncation is an error, and CMYK is converted as Pillow converts it.
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::decode::check_pixels;
use crate::error::DecodeError;
use crate::pixel::Image;

const START_OF_SCAN: u8 = 0xDA;
const END_OF_IMAGE: u8 = 0xD9;
const ADOBE: u8 = 0xEE;
/// Side of a block. At full resolution each one takes at least a bit of the scan; a decoder that makes up for missing data
/// would fill hundreds of megapixels from a few hundred bytes.
const BLOCK: u64 = 8;

/// A decoded file.
pub(crate) struct Jpeg {
    pub image: Image,
    pub exif: Option<Vec<u8>>,
    /// Values of a pixel as stored.
    pub components: u8,
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Jpeg, DecodeError> {
    let markers = scan_markers(bytes)?;
    // Broken entropy-coded data is tolerated, as libjpeg tolerates it; missing data is not.
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(broken)?;
    let info = decoder.info().ok_or(DecodeError::Truncated)?;
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    check_pixels(u64::from(width), u64::from(height))?;
    let blocks = u64::from(width).div_ceil(BLOCK) * u64::from(height).div_ceil(BLOCK);
    if (markers.scan_bytes as u64) * 8 < blocks {
        return Err(DecodeError::Truncated);
    }
    let output = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => ColorSpace::Luma,
        // One component after an Adobe marker is reported as CMYK.
        Some(ColorSpace::CMYK) if info.components == 1 => ColorSpace::Luma,
        Some(ColorSpace::CMYK) => ColorSpace::CMYK,
        _ => ColorSpace::RGB,
    };
    decoder.set_options(options.jpeg_set_out_colorspace(output));
    let samples = decoder.decode().map_err(broken)?;
    let pixels = match output {
        ColorSpace::Luma => samples.iter().flat_map(|&gray| [gray; 3]).collect(),
        ColorSpace::CMYK => samples.as_chunks().0.iter().flat_map(|&ink| cmyk_to_rgb(ink, markers.adobe)).collect(),
        _ => samples,
    };
    if pixels.len() != width as usize * height as usize * 3 {
        return Err(broken("the decoder returned another number of pixels than the header states"));
    }
    Ok(Jpeg {
        image: Image { width, height, channels: 3, pixels },
        exif: decoder.exif().cloned(),
        components: info.components,
    })
}

/// Converts with Pillow's `cmyk2rgb`. Files with an Adobe marker store the inks inverted.
fn cmyk_to_rgb(inks: [u8; 4], order: InkOrder) -> [u8; 3] {
    let inks = if order == InkOrder::Inverted { inks.map(|ink| 255 - ink) } else { inks };
    let [cyan, magenta, yellow, black] = inks;
    let white = 255 - black;
    [cyan, magenta, yellow].map(|ink| {
        // Product over 255, rounded, without a division.
        let product = u32::from(ink) * u32::from(white) + 128;
        white.saturating_sub(((product + (product >> 8)) >> 8) as u8)
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InkOrder {
    Plain,
    Inverted,
}

struct Markers {
    adobe: InkOrder,
    /// Bytes from the first scan on.
    scan_bytes: usize,
}

/// Walks the header segments and checks that the scan data ends: inside it a 0xFF byte is always stuffed, so the
/// end marker cannot occur by chance, while thumbnails in the header have end markers of their own.
fn scan_markers(bytes: &[u8]) -> Result<Markers, DecodeError> {
    let mut markers = Markers { adobe: InkOrder::Plain, scan_bytes: 0 };
    let mut at = 2;
    loop {
        let Some(&[fill, marker]) = bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()) else {
            return Err(DecodeError::Truncated);
        };
        if fill != 0xFF || matches!(marker, 0xFF | 0x00 | 0x01 | 0xD0..=0xD8) {
            // Padding or a marker without a length.
            at += 1;
            continue;
        }
        let Some(&length) = bytes.get(at + 2..).and_then(|rest| rest.first_chunk::<2>()) else {
            return Err(DecodeError::Truncated);
        };
        if marker == ADOBE && bytes[at + 4..].starts_with(b"Adobe") {
            markers.adobe = InkOrder::Inverted;
        }
        at += 2 + usize::from(u16::from_be_bytes(length));
        if marker == START_OF_SCAN {
            break;
        }
    }
    let scan = bytes.get(at..).unwrap_or_default();
    markers.scan_bytes = scan.len();
    let ends = scan.windows(2).rev().any(|pair| pair == [0xFF, END_OF_IMAGE]);
    if ends { Ok(markers) } else { Err(DecodeError::Truncated) }
}

fn broken(reason: impl std::fmt::Display) -> DecodeError {
    DecodeError::Broken { format: "JPEG".to_string(), reason: reason.to_string() }
}
