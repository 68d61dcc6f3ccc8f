//! DICOM files: the first frame, gray values after the modality's rescaling (Hounsfield units of a CT), or color.
#[cfg(not(feature = "dicom"))]
use crate::{decode::Stored, samples::Samples};

use crate::error::DecodeError;

/// Where the mark of a file stands, behind a preamble of anything.
const MAGIC: (usize, &[u8]) = (128, b"DICM");

pub(crate) fn is_dicom(bytes: &[u8]) -> bool {
    bytes.get(MAGIC.0..).is_some_and(|rest| rest.starts_with(MAGIC.1))
}

fn broken(reason: impl std::fmt::Display) -> DecodeError {
    DecodeError::Broken { format: "DICOM".to_string(), reason: reason.to_string() }
}

/// Says how to get a program that can.
#[cfg(not(feature = "dicom"))]
pub(crate) fn decode(_: &[u8]) -> Result<(Samples, Stored), DecodeError> {
    Err(broken("this program was built without DICOM; build it with `cargo build --release --features dicom`"))
}

#[cfg(feature = "dicom")]
pub(crate) use with_crate::decode;

#[cfg(feature = "dicom")]
mod with_crate {
    use dicom_object::{DefaultDicomObject, from_reader};
    use dicom_pixeldata::{
        DecodedPixelData, PhotometricInterpretation, PixelDecoder as _, PixelRepresentation, Rescale,
    };

    use super::broken;
    use crate::decode::{Stored, check_pixels};
    use crate::error::DecodeError;
    use crate::samples::{Alpha, Samples, Values};

    /// Most pixels that a byte stands for: a JPEG takes a bit for eight by eight of them.
    const PIXELS_OF_A_BYTE: u64 = 512;

    pub(crate) fn decode(bytes: &[u8]) -> Result<(Samples, Stored), DecodeError> {
        let object = from_reader(bytes).map_err(broken)?;
        let (width, height) = (side(&object, "Columns")?, side(&object, "Rows")?);
        check_pixels(width.into(), height.into())?;
        if u64::from(width) * u64::from(height) > bytes.len() as u64 * PIXELS_OF_A_BYTE {
            return Err(DecodeError::Truncated);
        }
        let pixels = object.decode_pixel_data_frame(0).map_err(broken)?;
        let channels = usize::from(pixels.samples_per_pixel());
        let (values, bits) = match pixels.photometric_interpretation() {
            PhotometricInterpretation::Monochrome1 => (inverted(gray(&pixels)?), pixels.bits_stored()),
            PhotometricInterpretation::Monochrome2 => (gray(&pixels)?, pixels.bits_stored()),
            PhotometricInterpretation::Rgb
            | PhotometricInterpretation::YbrFull
            | PhotometricInterpretation::YbrFull422 => {
                (Values::U8(pixels.to_dynamic_image(0).map_err(broken)?.into_rgb8().into_raw()), 8)
            }
            other => return Err(broken(format!("colors of the kind {other} are not read"))),
        };
        if values.len() != width as usize * height as usize * channels {
            return Err(broken("it holds another number of pixels than it states"));
        }
        let stored = Stored { format: "DICOM", channels, bits: bits.max(8) };
        Ok((Samples { width, height, channels, alpha: Alpha::None, values }, stored))
    }

    fn side(object: &DefaultDicomObject, name: &str) -> Result<u32, DecodeError> {
        object.element_by_name(name).map_err(broken)?.to_int().map_err(broken)
    }

    /// Values after slope and intercept; 8 bits that have none as they are.
    fn gray(pixels: &DecodedPixelData<'_>) -> Result<Values, DecodeError> {
        let rescale = pixels.rescale().map_err(broken)?.first().copied().unwrap_or(Rescale::new(1.0, 0.0));
        let signed = pixels.pixel_representation() == PixelRepresentation::Signed;
        let bits = u32::from(pixels.bits_stored());
        let words: Vec<u16> = match pixels.bits_allocated() {
            8 if !signed && rescale == Rescale::new(1.0, 0.0) => {
                return Ok(Values::U8(pixels.frame_data(0).map_err(broken)?.to_vec()));
            }
            8 => pixels.frame_data(0).map_err(broken)?.iter().map(|&byte| byte.into()).collect(),
            16 => pixels.frame_data_ow(0).map_err(broken)?,
            other => return Err(broken(format!("{other} bits a value are not read"))),
        };
        if !(1..=u32::from(pixels.bits_allocated())).contains(&bits) {
            return Err(broken(format!("{bits} bits of {} are used", pixels.bits_allocated())));
        }
        // What stands above the bits that are used is something else, or repeats the sign.
        let above = u16::BITS - bits;
        let value = |word: u16| match signed {
            true => f64::from((word << above) as i16 >> above),
            false => f64::from(word << above >> above),
        };
        let all = f64::from(bits).exp2();
        let (low, high) = if signed { (-all / 2.0, all / 2.0 - 1.0) } else { (0.0, all - 1.0) };
        let (low, high) = (rescale.apply(low) as f32, rescale.apply(high) as f32);
        let values = words.into_iter().map(|word| rescale.apply(value(word)) as f32).collect();
        Ok(Values::F32 { values, whole: [low.min(high), low.max(high)] })
    }

    /// Bright where the values are small, as the file asks for.
    fn inverted(values: Values) -> Values {
        match values {
            Values::U8(values) => Values::U8(values.into_iter().map(|value| 255 - value).collect()),
            Values::U16(values) => Values::U16(values.into_iter().map(|value| u16::MAX - value).collect()),
            Values::F32 { values, whole: [low, high] } => {
                Values::F32 { values: values.into_iter().map(|value| low + high - value).collect(), whole: [low, high] }
            }
        }
    }
}
