//! Masks in PNG files: indexed with a palette, as DAVIS has them and its evaluator reads them, or black and white.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use dinoxide_views::decode::MAX_PIXELS;
use png::{BitDepth, ColorType};

use super::VideoDataError;
use crate::eval::video::Mask;

/// The label that means "do not judge" beside others, and the object in black and white masks.
const WHITE: u8 = 255;
/// More objects are no objects but levels of gray.
const MOST_OBJECTS: usize = 100;
/// Colours of a palette.
const COLOURS: usize = 256;

/// A mask as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaskFile {
    /// Indices or levels, as they are.
    pub mask: Mask,
    /// Red, green and blue of each index, if there is a palette.
    pub palette: Option<Vec<u8>>,
}

/// What the labels of a sequence mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labelling {
    /// Black and white masks: one object, which is white.
    white_object: bool,
    /// Objects of the first mask.
    pub objects: usize,
    /// Red, green and blue of each label.
    palette: Vec<u8>,
}

impl Labelling {
    /// What the labels mean whose first mask this is.
    ///
    /// # Errors
    /// [`VideoDataError::Mask`] if it has too many objects to be one.
    pub fn of(first: &MaskFile, path: &Path) -> Result<Self, VideoDataError> {
        let others = first.mask.labels().iter().copied().filter(|label| *label != WHITE).max().unwrap_or(0);
        let white_object = others == 0 && first.mask.labels().contains(&WHITE);
        let objects = if white_object { 1 } else { usize::from(others) };
        if objects > MOST_OBJECTS {
            let problem = format!(
                "its highest label is {objects}; write indices 0, 1, 2, … of an indexed PNG, or 0 and 255 alone, without soft edges"
            );
            return Err(VideoDataError::mask(path, problem));
        }
        let palette = first.palette.clone().unwrap_or_default();
        Ok(Self { white_object, objects, palette: completed(palette) })
    }

    /// The objects of an annotation; what is not to be judged counts as background, as in the official evaluator.
    pub fn truth(&self, file: &MaskFile) -> Mask {
        relabelled(&file.mask, u8::from(self.white_object))
    }

    /// The objects of a prediction, which may be black and white where the annotation is.
    pub fn prediction(&self, file: &MaskFile) -> Mask {
        if self.white_object { relabelled(&file.mask, 1) } else { file.mask.clone() }
    }

    /// An indexed PNG of the labels with the palette of the sequence.
    ///
    /// # Errors
    /// If the encoder refuses it.
    pub fn to_png(&self, mask: &Mask) -> Result<Vec<u8>, png::EncodingError> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, mask.width() as u32, mask.height() as u32);
        encoder.set_color(ColorType::Indexed);
        encoder.set_depth(BitDepth::Eight);
        encoder.set_palette(self.palette.as_slice());
        let mut writer = encoder.write_header()?;
        writer.write_image_data(mask.labels())?;
        writer.finish()?;
        Ok(bytes)
    }
}

/// The mask with another label for white.
fn relabelled(mask: &Mask, white: u8) -> Mask {
    mask.mapped(|label| if label == WHITE { white } else { label })
}

/// A palette of 256 colours that begins with this one; further ones are those of DAVIS and PASCAL VOC, whose bits go from label to colour
/// three by three, highest first.
fn completed(mut palette: Vec<u8>) -> Vec<u8> {
    for label in palette.len() / 3..COLOURS {
        let colour =
            |channel: usize| (0..8).map(|bit| ((label >> (3 * bit + channel)) & 1) << (7 - bit)).sum::<usize>();
        palette.extend((0..3).map(|channel| colour(channel) as u8));
    }
    palette
}

/// Reads a mask.
///
/// # Errors
/// [`VideoDataError::Mask`] if it is no PNG of indices or levels of gray.
pub fn read_mask(path: &Path) -> Result<MaskFile, VideoDataError> {
    let wrong = |problem: &dyn std::fmt::Display| VideoDataError::mask(path, problem);
    let file = File::open(path).map_err(|error| wrong(&error))?;
    let mut reader = png::Decoder::new(BufReader::new(file)).read_info().map_err(|error| wrong(&error))?;
    // A header of a few bytes can promise any size.
    let (width, height) = reader.info().size();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(wrong(&format!("its header says {width}x{height} pixels, and at most {MAX_PIXELS} are read")));
    }
    let size = reader.output_buffer_size().ok_or_else(|| wrong(&"it is too large"))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(|error| wrong(&error))?;
    let (width, height) = (frame.width as usize, frame.height as usize);
    let rows = bytes.chunks_exact(frame.line_size.max(1)).take(height);
    let values = |row: &[u8]| unpacked(row, frame.bit_depth, width * frame.color_type.samples());
    let mut values: Vec<u8> = match frame.bit_depth {
        BitDepth::Sixteen => return Err(wrong(&"it has 16 bits a pixel; write 8")),
        _ => rows.flat_map(values).collect(),
    };
    match frame.color_type {
        ColorType::Indexed => {}
        ColorType::Grayscale => {
            // Fewer bits are levels from black to white.
            let white = (1_u32 << (frame.bit_depth as u32)) - 1;
            values.iter_mut().for_each(|value| *value = (u32::from(*value) * u32::from(WHITE) / white) as u8);
        }
        color => {
            let (samples, colours) = (color.samples(), if color == ColorType::GrayscaleAlpha { 1 } else { 3 });
            let gray = |pixel: &[u8]| pixel[..colours].iter().all(|value| *value == pixel[0]);
            if !values.chunks_exact(samples).all(gray) {
                return Err(wrong(&"it has colours and no palette; write an indexed PNG, or a black and white one"));
            }
            values = values.chunks_exact(samples).map(|pixel| pixel[0]).collect();
        }
    }
    let palette = reader.info().palette.as_ref().filter(|_| frame.color_type == ColorType::Indexed);
    let palette = palette.map(|palette| palette.to_vec());
    let mask = Mask::new(width, height, values).map_err(|error| wrong(&error))?;
    Ok(MaskFile { mask, palette })
}

/// The samples of a row.
fn unpacked(row: &[u8], depth: BitDepth, samples: usize) -> Vec<u8> {
    let bits = depth as usize;
    if bits == 8 {
        return row[..samples].to_vec();
    }
    let in_byte = 8 / bits;
    let sample = |at: usize| row[at / in_byte] >> (8 - bits * (at % in_byte + 1)) & ((1 << bits) - 1);
    (0..samples).map(sample).collect()
}
