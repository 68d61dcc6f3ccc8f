//! Masks as they are stored, to the objects they show.

use std::path::Path;
use std::str::FromStr;

use super::SegmentationError;
use crate::eval::attention::{Truth, TruthMask};
use crate::eval::video::Mask;
use crate::run::RunError;
use crate::run::protocols::video::VideoDataError;
use crate::run::protocols::video::mask_file::read_mask;

/// Levels above this one are the object of a gray mask; GrabCut gives it itself to what nobody could tell.
const MIDDLE: u8 = 128;
/// PASCAL VOC gives this index to borders and to what is too difficult.
const VOID: u8 = 255;
/// More objects are no objects but levels of gray.
const MOST_OBJECTS: usize = 100;

/// How masks say what is an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum MaskKind {
    /// Those with a palette are indices, others gray.
    #[default]
    Auto,
    /// One object: levels above 128.
    Gray,
    /// An object for each index but 0.
    Indices,
}

/// The level of pixels that nobody could tell, which are not judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// 128 of gray masks, 255 of indexed ones.
    #[default]
    Usual,
    /// All pixels are judged.
    None,
    /// This one.
    Level(u8),
}

impl FromStr for Unknown {
    type Err = SegmentationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "none" => Ok(Self::None),
            number => match number.parse() {
                Ok(level @ 1..) => Ok(Self::Level(level)),
                _ => Err(SegmentationError::Level { text: text.to_owned() }),
            },
        }
    }
}

/// How masks are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MaskReading {
    /// How they say what is an object.
    pub kind: MaskKind,
    /// The level that is not judged.
    pub unknown: Unknown,
}

/// A mask with what its values mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredMask {
    values: Mask,
    indexed: bool,
    unknown: Option<u8>,
}

/// An object of a mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TruthObject {
    /// Its index; 1 of a gray mask.
    pub index: u8,
    /// Its pixels.
    pub truth: TruthMask,
}

impl StoredMask {
    /// Reads a mask.
    ///
    /// # Errors
    /// If the file is none.
    pub fn read(path: &Path, reading: MaskReading) -> Result<Self, RunError> {
        let is_png = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("png"));
        let (values, palette) = if is_png {
            let file = read_mask(path)?;
            (file.mask, file.palette.is_some())
        } else {
            (read_gray(path)?, false)
        };
        let indexed = match reading.kind {
            MaskKind::Auto => palette,
            MaskKind::Gray => false,
            MaskKind::Indices => true,
        };
        let unknown = match reading.unknown {
            Unknown::Usual => Some(if indexed { VOID } else { MIDDLE }),
            Unknown::None => None,
            Unknown::Level(level) => Some(level),
        };
        Ok(Self { values, indexed, unknown })
    }

    /// Width and height.
    pub fn size(&self) -> (usize, usize) {
        (self.values.width(), self.values.height())
    }

    /// The mask at another size: the value below the centre of each new pixel.
    pub fn resized(&self, width: usize, height: usize) -> Self {
        Self { values: self.values.resized(width, height), ..*self }
    }

    /// Which object a value belongs to; 0 for none.
    fn object_of(&self, value: u8) -> u8 {
        match (self.indexed, Some(value) == self.unknown) {
            (_, true) => 0,
            (true, false) => value,
            (false, false) => u8::from(value > MIDDLE),
        }
    }

    /// Every object by its index: its pixels, those that nobody could tell, and all others as background.
    ///
    /// # Errors
    /// [`SegmentationError::TooManyObjects`].
    pub fn objects(&self, path: &Path) -> Result<Vec<TruthObject>, RunError> {
        let mut indices: Vec<u8> = self.values.labels().iter().map(|value| self.object_of(*value)).collect();
        indices.sort_unstable();
        indices.dedup();
        indices.retain(|index| *index > 0);
        if indices.len() > MOST_OBJECTS {
            return Err(SegmentationError::TooManyObjects { path: path.to_path_buf(), found: indices.len() }.into());
        }
        let truth = |index: u8| Ok(TruthObject { index, truth: self.truth(|object| object == index)? });
        indices.into_iter().map(truth).collect()
    }

    /// All objects as one.
    ///
    /// # Errors
    /// None for a mask that was read.
    pub fn whole(&self) -> Result<TruthMask, RunError> {
        self.truth(|object| object > 0)
    }

    /// The objects as labels, for pictures.
    pub fn labels(&self) -> Mask {
        self.values.mapped(|value| self.object_of(value))
    }

    fn truth(&self, is_object: impl Fn(u8) -> bool) -> Result<TruthMask, RunError> {
        let truth = |value: &u8| match is_object(self.object_of(*value)) {
            _ if Some(*value) == self.unknown => Truth::Ignored,
            true => Truth::Object,
            false => Truth::Background,
        };
        let pixels = self.values.labels().iter().map(truth).collect();
        Ok(TruthMask::new(pixels, (self.values.height(), self.values.width()))?)
    }
}

/// Levels of gray of a picture of any format.
///
/// # Errors
/// If it cannot be read.
pub fn read_gray(path: &Path) -> Result<Mask, RunError> {
    let picture = image::open(path).map_err(SegmentationError::picture(path))?.into_luma8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mask = Mask::new(width, height, picture.into_raw());
    Ok(mask.map_err(|source| VideoDataError::Score { path: path.to_path_buf(), source })?)
}
