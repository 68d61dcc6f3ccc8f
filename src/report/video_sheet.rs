//! Videos with the masks of their objects in colours: frames side by side, predicted above true, and frames for a film.

use super::picture::Picture;
use super::sheet::sheet;
use crate::eval::video::Mask;

/// Colours of the objects 1, 2, …, told apart on any ground; more objects begin again.
const COLOURS: [[u8; 3]; 8] = [
    [255, 64, 64],
    [64, 200, 80],
    [70, 130, 255],
    [255, 200, 40],
    [220, 90, 230],
    [60, 210, 220],
    [255, 140, 50],
    [170, 120, 80],
];
/// Opacity of an object, in 256ths.
const OPACITY: u16 = 120;

/// A frame of a sheet.
#[derive(Debug, Clone)]
pub struct VideoCell {
    /// With the predicted objects.
    pub predicted: Picture,
    /// With the annotated ones, where they are known.
    pub truth: Option<Picture>,
    /// What stands above, in capitals.
    pub caption: String,
}

/// A picture with the objects of a mask in their colours, half transparent with a contour; the mask is brought to its size.
pub fn with_objects(picture: &Picture, mask: &Mask) -> Picture {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let mask = mask.resized(width, height);
    let label = |column: usize, row: usize| mask.labels()[row * width + column];
    Picture::from_fn(picture.width(), picture.height(), |column, row| {
        let own = picture.pixel(column, row);
        let (column, row) = (column as usize, row as usize);
        let object = label(column, row);
        if object == 0 {
            return own;
        }
        let colour = COLOURS[(usize::from(object) - 1) % COLOURS.len()];
        let neighbours = [
            (column.saturating_sub(1), row),
            ((column + 1).min(width - 1), row),
            (column, row.saturating_sub(1)),
            (column, (row + 1).min(height - 1)),
        ];
        if neighbours.iter().any(|&(column, row)| label(column, row) != object) {
            return colour;
        }
        let mix = |own: u8, colour: u8| (u16::from(own) * (256 - OPACITY) + u16::from(colour) * OPACITY) >> 8;
        std::array::from_fn(|channel| mix(own[channel], colour[channel]) as u8)
    })
}

/// Frames from left to right, predicted above true; the lower row is left away where nothing is known.
pub fn video_sheet(cells: &[VideoCell]) -> Picture {
    let captions: Vec<String> = cells.iter().map(|cell| cell.caption.clone()).collect();
    let mut rows = vec![cells.iter().map(|cell| cell.predicted.clone()).collect::<Vec<_>>()];
    if cells.iter().filter(|cell| cell.truth.is_some()).count() > 1 {
        let unknown = |cell: &VideoCell| Picture::filled(cell.predicted.width(), cell.predicted.height(), [20, 22, 27]);
        rows.push(cells.iter().map(|cell| cell.truth.clone().unwrap_or_else(|| unknown(cell))).collect());
    }
    sheet(&rows, &captions)
}
