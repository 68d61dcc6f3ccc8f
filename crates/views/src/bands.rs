//! TIFF files of measurements: any number of channels, wide numbers and fractions, planes one after the other, pages.
use std::io::Cursor;

use image::metadata::Orientation;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;

use crate::decode::{Exif, MAX_DECODER_BYTES, Stored, check_values};
use crate::error::DecodeError;
use crate::samples::{Alpha, Reading, Samples, Values};

/// `ExtraSamples` that say how opaque a pixel is.
const ASSOCIATED_ALPHA: u16 = 1;
const UNASSOCIATED_ALPHA: u16 = 2;
/// `SampleFormat` of whole numbers without a sign.
const UNSIGNED: u16 = 1;
/// `PlanarConfiguration` of channels in planes of their own.
const PLANES: u16 = 2;

type File<'a> = Decoder<Cursor<&'a [u8]>>;

/// Decodes what the general decoder does not: none if that is the one to do it. A file of gray pages gives as many
/// channels, unless one or three are read.
pub(crate) fn decode(bytes: &[u8], reading: &Reading) -> Result<Option<(Samples, Stored)>, DecodeError> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_DECODER_BYTES as usize;
    limits.intermediate_buffer_size = MAX_DECODER_BYTES as usize;
    let mut file = Decoder::new(Cursor::new(bytes)).map_err(broken)?.with_limits(limits);
    let (color, (width, height)) = (file.colortype().map_err(broken)?, file.dimensions().map_err(broken)?);
    let samples = last(&mut file, Tag::SamplesPerPixel)?.unwrap_or(1);
    let format = last(&mut file, Tag::SampleFormat)?.unwrap_or(UNSIGNED);
    let planes = last(&mut file, Tag::PlanarConfiguration)? == Some(PLANES) && samples > 1;
    let pages = samples == 1 && !matches!(reading.channels, 1 | 3) && file.more_images();
    let usual =
        !matches!(color, ColorType::Multiband { .. }) && samples == color.num_samples() && color.bit_depth() <= 16;
    if usual && format == UNSIGNED && !planes && !pages {
        return Ok(None);
    }
    if matches!(
        color,
        ColorType::Palette(_) | ColorType::CMYK(_) | ColorType::CMYKA(_) | ColorType::YCbCr(_) | ColorType::Lab(_)
    ) {
        return Err(broken(format!("{color:?} in this layout is not read; save it as RGB")));
    }
    let small = format == UNSIGNED && color.bit_depth() <= 16;
    let channels = if pages { reading.channels } else { usize::from(samples) };
    check_values((width.into(), height.into()), channels, if small { 2 } else { 8 })?;
    let alpha = matches!(last(&mut file, Tag::ExtraSamples)?, Some(ASSOCIATED_ALPHA | UNASSOCIATED_ALPHA));
    let turn = last(&mut file, Tag::Orientation)?.filter(|_| reading.exif == Exif::Apply);
    let values = if pages { read_pages(&mut file, channels)? } else { read(&mut file)? };
    // Of red, green, blue and something that is no alpha the reader gives the colors alone.
    let pixels = width as usize * height as usize;
    let (channels, alpha) = match values.len() / pixels {
        _ if values.len() == pixels * channels => (channels, alpha),
        read if values.len() == pixels * usize::from(color.num_samples()) && read > 0 => (read, false),
        _ => {
            return Err(broken(format!(
                "its {channels} values a pixel cannot all be read; save it without a color model"
            )));
        }
    };
    let values = if planes || pages { values.interleaved(channels) } else { values };
    let alpha = if alpha { Alpha::Last } else { Alpha::None };
    let stored = Stored { format: "TIFF", channels, bits: color.bit_depth().max(8).into() };
    let samples = Samples { width, height, channels, alpha, values };
    let turn = turn.and_then(|turn| u8::try_from(turn).ok()).and_then(Orientation::from_exif);
    Ok(Some((samples.turned(turn.unwrap_or(Orientation::NoTransforms)), stored)))
}

/// The value of a tag, of several the last.
fn last(file: &mut File<'_>, tag: Tag) -> Result<Option<u16>, DecodeError> {
    let values: Option<Vec<u16>> = file.find_tag_unsigned_vec(tag).map_err(broken)?;
    Ok(values.and_then(|values| values.last().copied()))
}

/// The next `pages` pages, one after the other.
fn read_pages(file: &mut File<'_>, pages: usize) -> Result<Values, DecodeError> {
    let size = file.dimensions().map_err(broken)?;
    let mut all = read(file)?;
    for page in 1..pages {
        if !file.more_images() {
            return Err(DecodeError::Channels { stored: page, wanted: pages });
        }
        file.next_image().map_err(broken)?;
        if file.dimensions().map_err(broken)? != size {
            return Err(broken("its pages differ in size"));
        }
        all = match (all, read(file)?) {
            (Values::U8(all), Values::U8(page)) => Values::U8([all, page].concat()),
            (Values::U16(all), Values::U16(page)) => Values::U16([all, page].concat()),
            (Values::F32 { values: all, whole }, Values::F32 { values: page, whole: other }) if whole == other => {
                Values::F32 { values: [all, page].concat(), whole }
            }
            _ => return Err(broken("its pages differ in the type of their numbers")),
        };
    }
    if file.more_images() {
        return Err(broken(format!("it has more than the {pages} pages that are read as channels")));
    }
    Ok(all)
}

fn read(file: &mut File<'_>) -> Result<Values, DecodeError> {
    let mut found = DecodingResult::U8(Vec::new());
    file.read_image_to_buffer(&mut found).map_err(broken)?;
    Ok(match found {
        DecodingResult::U8(values) => Values::U8(values),
        DecodingResult::U16(values) => Values::U16(values),
        DecodingResult::U32(values) => Values::wide(values),
        DecodingResult::I8(values) => Values::wide(values),
        DecodingResult::I16(values) => Values::wide(values),
        DecodingResult::I32(values) => Values::wide(values),
        DecodingResult::F16(values) => Values::wide(Vec::from_iter(values.iter().map(|value| value.to_f32()))),
        DecodingResult::F32(values) => Values::wide(values),
        DecodingResult::F64(values) => Values::wide(values),
        DecodingResult::U64(_) | DecodingResult::I64(_) => return Err(broken("whole numbers of 64 bits are not read")),
    })
}

fn broken(reason: impl std::fmt::Display) -> DecodeError {
    DecodeError::Broken { format: "TIFF".to_string(), reason: reason.to_string() }
}
