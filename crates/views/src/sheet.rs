//! Contact sheets: rows of images on one picture, to look at what the network will see.
use crate::pixel::Rgb8;
use crate::resample::{Filter, resize};

/// How a sheet is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SheetStyle {
    /// Space around and between images, in pixels.
    pub padding: u32,
    /// Color behind the images.
    pub background: [u8; 3],
}

impl Default for SheetStyle {
    fn default() -> Self {
        Self { padding: 4, background: [255; 3] }
    }
}

/// Returns all images on one picture: columns as wide as their widest image, rows as high as their highest,
/// images centered in their cells.
pub fn compose(rows: &[Vec<Rgb8>], style: SheetStyle) -> Rgb8 {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|image| image.width).max();
    let widths: Vec<u32> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
    let heights: Vec<u32> = rows.iter().map(|row| row.iter().map(|image| image.height).max().unwrap_or(0)).collect();
    let total = |sides: &[u32]| sides.iter().sum::<u32>() + style.padding * (sides.len() as u32 + 1);
    let mut sheet = Rgb8::filled(total(&widths), total(&heights), style.background);
    let mut top = style.padding;
    for (row, height) in rows.iter().zip(&heights) {
        let mut left = style.padding;
        for (image, width) in row.iter().zip(&widths) {
            paste(&mut sheet, image, left + (width - image.width) / 2, top + (height - image.height) / 2);
            left += width + style.padding;
        }
        top += height + style.padding;
    }
    sheet
}

/// Returns the image shrunk, if needed, until its longer side is at most `side`; its aspect is kept.
pub fn fit(image: &Rgb8, side: u32) -> Rgb8 {
    let longer = image.width.max(image.height);
    if longer <= side {
        return image.clone();
    }
    let scaled = |length: u32| (u64::from(length) * u64::from(side) / u64::from(longer)).max(1) as u32;
    resize(image, scaled(image.width), scaled(image.height), Filter::Bicubic)
}

fn paste(sheet: &mut Rgb8, image: &Rgb8, left: u32, top: u32) {
    let stride = sheet.width as usize * 3;
    for y in 0..image.height {
        let start = (top + y) as usize * stride + left as usize * 3;
        sheet.pixels[start..][..image.width as usize * 3].copy_from_slice(image.row(y));
    }
}
