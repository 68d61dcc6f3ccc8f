//! RGB pictures and what is painted on them: colour maps, heat maps, masks, sheets of cells.

use std::io::Cursor;

use image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};
use thiserror::Error;

/// An RGB picture, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

/// Numbers on a grid of patches, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Grid {
    columns: usize,
    rows: usize,
    values: Vec<f32>,
}

/// Why a picture could not be made.
#[derive(Debug, Error)]
pub enum PictureError {
    /// The values do not fill the stated size.
    #[error("{what} of {width} x {height} needs {expected} values, got {found}; check the order of width and height")]
    Size {
        /// Which input.
        what: &'static str,
        /// Stated width or number of columns.
        width: usize,
        /// Stated height or number of rows.
        height: usize,
        /// What the stated size needs.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// The encoder refused the picture.
    #[error("cannot encode a picture of {width} x {height}: {source}; make it smaller")]
    Encode {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What the encoder said.
        source: image::ImageError,
    },
    /// A file is no picture.
    #[error("cannot read a picture: {source}")]
    Decode {
        /// What the decoder said.
        source: image::ImageError,
    },
    /// The encoder refused a film.
    #[error("cannot encode a film of {width} x {height}: {source}")]
    Film {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// What the encoder said.
        source: gif::EncodingError,
    },
}

/// A colour map from 0..1 to colours that grow brighter evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColourMap {
    /// Purple to green to yellow.
    Viridis,
    /// Black to red to pale yellow.
    Inferno,
}

/// Opacity of a mask, as in the reference program's figures.
const MASK_OPACITY: f32 = 0.5;
const MASK_COLOUR: [u8; 3] = [255, 0, 0];
const CONTOUR_COLOUR: [u8; 3] = [160, 0, 0];
/// JPEG quality of pictures on pages.
const JPEG_QUALITY: u8 = 88;

impl ColourMap {
    /// Colours at equal distances from 0 to 1; in between they are mixed.
    fn stops(self) -> [[u8; 3]; 9] {
        match self {
            ColourMap::Viridis => [
                [68, 1, 84],
                [71, 44, 122],
                [59, 81, 139],
                [44, 113, 142],
                [33, 144, 141],
                [39, 173, 129],
                [92, 200, 99],
                [170, 220, 50],
                [253, 231, 37],
            ],
            ColourMap::Inferno => [
                [0, 0, 4],
                [31, 12, 72],
                [85, 15, 109],
                [136, 34, 106],
                [186, 54, 85],
                [227, 89, 51],
                [249, 140, 10],
                [249, 201, 50],
                [252, 255, 164],
            ],
        }
    }

    /// Colour of a value; values outside 0..1 get the end colours, NaN the first.
    pub fn colour(self, value: f32) -> [u8; 3] {
        let stops = self.stops();
        let last = stops.len() - 1;
        let value = if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
        let place = value * last as f32;
        let below = (place as usize).min(last - 1);
        mix(stops[below], stops[below + 1], place - below as f32)
    }
}

impl Grid {
    /// A grid from its rows of values.
    ///
    /// # Errors
    /// If `values` does not hold `columns · rows` numbers, or holds none.
    pub fn new(columns: usize, rows: usize, values: Vec<f32>) -> Result<Self, PictureError> {
        let expected = (columns * rows).max(1);
        if values.len() != expected {
            let found = values.len();
            return Err(PictureError::Size { what: "a grid", width: columns, height: rows, expected, found });
        }
        Ok(Self { columns, rows, values })
    }

    /// The values scaled so that the smallest finite one is 0 and the largest 1; a constant grid becomes 0.
    pub fn normalised(&self) -> Self {
        Self { values: min_max(&self.values), ..*self }
    }

    /// The value above a pixel of a picture of the given size: nearest up-sampling.
    fn at(&self, (column, row): (u32, u32), (width, height): (u32, u32)) -> f32 {
        let x = column as usize * self.columns / width as usize;
        let y = row as usize * self.rows / height as usize;
        self.values[y * self.columns + x]
    }

    /// The values as colours, each as a block of a picture of the given size.
    pub fn to_picture(&self, map: ColourMap, width: u32, height: u32) -> Picture {
        Picture::from_fn(width, height, |column, row| map.colour(self.at((column, row), (width, height))))
    }

    /// The values repeated to `width · height`, row by row.
    pub fn upsampled(&self, width: u32, height: u32) -> Vec<f32> {
        let places = (0..height).flat_map(|row| (0..width).map(move |column| (column, row)));
        places.map(|place| self.at(place, (width, height))).collect()
    }
}

/// Values scaled to 0..1 by their finite extent; those that are not finite, and constants, become 0.
pub fn min_max(values: &[f32]) -> Vec<f32> {
    let finite = || values.iter().copied().filter(|value| value.is_finite());
    let (low, high) = (finite().fold(f32::MAX, f32::min), finite().fold(f32::MIN, f32::max));
    let scaled = |value: f32| if value.is_finite() && high > low { (value - low) / (high - low) } else { 0.0 };
    values.iter().map(|&value| scaled(value)).collect()
}

impl Picture {
    /// A picture from RGB bytes.
    ///
    /// # Errors
    /// If `rgb` does not hold `width · height · 3` bytes, or the picture has no pixel.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, PictureError> {
        let (columns, rows) = (width as usize, height as usize);
        let expected = (columns * rows * 3).max(1);
        if rgb.len() != expected {
            let found = rgb.len();
            return Err(PictureError::Size { what: "an RGB picture", width: columns, height: rows, expected, found });
        }
        Ok(Self { width, height, rgb })
    }

    /// A picture from a PNG or JPEG file.
    ///
    /// # Errors
    /// If it is none.
    pub fn from_file(bytes: &[u8]) -> Result<Self, PictureError> {
        let read = image::load_from_memory(bytes).map_err(|source| PictureError::Decode { source })?.into_rgb8();
        Ok(Self { width: read.width(), height: read.height(), rgb: read.into_raw() })
    }

    /// A picture of one colour.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Self {
        Self::from_fn(width, height, |_, _| colour)
    }

    /// A picture from a function of column and row.
    pub fn from_fn(width: u32, height: u32, colour: impl Fn(u32, u32) -> [u8; 3]) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        let places = (0..height).flat_map(|row| (0..width).map(move |column| (column, row)));
        let rgb = places.flat_map(|(column, row)| colour(column, row)).collect();
        Self { width, height, rgb }
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// RGB bytes, row by row.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// Colour of one pixel.
    ///
    /// # Panics
    /// If the pixel lies outside the picture.
    pub fn pixel(&self, column: u32, row: u32) -> [u8; 3] {
        let at = self.offset(column, row);
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    fn offset(&self, column: u32, row: u32) -> usize {
        assert!(
            column < self.width && row < self.height,
            "pixel ({column}, {row}) lies outside a picture of {} x {}",
            self.width,
            self.height
        );
        3 * (row as usize * self.width as usize + column as usize)
    }

    pub(super) fn set_pixel(&mut self, column: u32, row: u32, colour: [u8; 3]) {
        let at = self.offset(column, row);
        self.rgb[at..at + 3].copy_from_slice(&colour);
    }

    /// The picture at another size: smooth in both directions.
    pub fn resized(&self, width: u32, height: u32) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let Some(source) = RgbImage::from_raw(self.width, self.height, self.rgb.clone()) else {
            return Self::filled(width, height, [0; 3]);
        };
        let resized = imageops::resize(&source, width, height, imageops::FilterType::CatmullRom);
        Self { width, height, rgb: resized.into_raw() }
    }

    /// The picture at another size, every pixel a block.
    pub fn enlarged(&self, width: u32, height: u32) -> Self {
        let place = |at: u32, side: u32, own: u32| (u64::from(at) * u64::from(own) / u64::from(side.max(1))) as u32;
        Self::from_fn(width, height, |column, row| {
            self.pixel(place(column, width, self.width), place(row, height, self.height))
        })
    }

    /// The picture under a heat map of the grid, min-max normalised; `opacity` 0 shows the picture alone.
    pub fn with_heat(&self, grid: &Grid, map: ColourMap, opacity: f32) -> Self {
        let heat = grid.normalised();
        Self::from_fn(self.width, self.height, |column, row| {
            let colour = map.colour(heat.at((column, row), (self.width, self.height)));
            mix(self.pixel(column, row), colour, opacity)
        })
    }

    /// The picture with the places where the grid is above 0.5 in red, half transparent, and their contour.
    pub fn with_mask(&self, mask: &Grid) -> Self {
        let size = (self.width, self.height);
        let inside = |column: u32, row: u32| mask.at((column, row), size) > 0.5;
        Self::from_fn(self.width, self.height, |column, row| {
            let colour = self.pixel(column, row);
            if !inside(column, row) {
                return colour;
            }
            let neighbours = [
                (column.saturating_sub(1), row),
                ((column + 1).min(self.width - 1), row),
                (column, row.saturating_sub(1)),
                (column, (row + 1).min(self.height - 1)),
            ];
            let on_contour = neighbours.iter().any(|&(column, row)| !inside(column, row));
            if on_contour { CONTOUR_COLOUR } else { mix(colour, MASK_COLOUR, MASK_OPACITY) }
        })
    }

    /// Copies another picture onto this one; what lies outside is cut off.
    pub fn paste(&mut self, other: &Picture, left: u32, top: u32) {
        for row in 0..other.height.min(self.height.saturating_sub(top)) {
            for column in 0..other.width.min(self.width.saturating_sub(left)) {
                self.set_pixel(left + column, top + row, other.pixel(column, row));
            }
        }
    }

    /// The picture as a PNG file.
    ///
    /// # Errors
    /// If the encoder refuses the size.
    pub fn to_png(&self) -> Result<Vec<u8>, PictureError> {
        let mut bytes = Vec::new();
        image::codecs::png::PngEncoder::new(&mut bytes)
            .write_image(&self.rgb, self.width, self.height, ExtendedColorType::Rgb8)
            .map_err(|source| self.encode_error(source))?;
        Ok(bytes)
    }

    /// The picture as a JPEG file: smaller than PNG for photographs.
    ///
    /// # Errors
    /// If the encoder refuses the size (above 65,535 pixels a side).
    pub fn to_jpeg(&self) -> Result<Vec<u8>, PictureError> {
        self.to_jpeg_of(JPEG_QUALITY)
    }

    /// The picture as a JPEG file of a quality from 1 to 100.
    ///
    /// # Errors
    /// If the encoder refuses the size (above 65,535 pixels a side).
    pub fn to_jpeg_of(&self, quality: u8) -> Result<Vec<u8>, PictureError> {
        let mut bytes = Cursor::new(Vec::new());
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, quality)
            .write_image(&self.rgb, self.width, self.height, ExtendedColorType::Rgb8)
            .map_err(|source| self.encode_error(source))?;
        Ok(bytes.into_inner())
    }

    fn encode_error(&self, source: image::ImageError) -> PictureError {
        PictureError::Encode { width: self.width, height: self.height, source }
    }
}

/// From `a` at 0 to `b` at 1, channel by channel.
fn mix(a: [u8; 3], b: [u8; 3], share: f32) -> [u8; 3] {
    std::array::from_fn(|channel| {
        let (from, to) = (f32::from(a[channel]), f32::from(b[channel]));
        (from + (to - from) * share).round().clamp(0.0, 255.0) as u8
    })
}
