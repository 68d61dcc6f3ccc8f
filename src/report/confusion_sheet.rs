//! Confusion tables as pictures: a row for each true class, a column for each predicted one, bright where many images are.

use super::glyph;
use super::picture::{ColourMap, Picture};
use super::sheet::GROUND;
use crate::eval::classifier::Confusion;

/// Classes whose names and shares are written; more are shown as colours alone.
const MOST_NAMED: usize = 40;
/// Side of a cell with its share, and of the smallest one without.
const NAMED_CELL: u32 = 30;
/// Longer side of the table where no names are written, about.
const SIDE: usize = 1000;
/// Classes of the largest picture: at a pixel a cell it is as large as a screen.
pub const MOST_CLASSES: usize = 2000;
/// Pixels for the class names.
const NAME_WIDTH: u32 = 160;
/// Pixels between cells that are named, and around the table.
const GAP: u32 = 2;
const MARGIN: u32 = 8;
/// Colour of a row without images.
const ABSENT: [u8; 3] = [64, 68, 78];

/// The picture of a confusion table. A cell's colour is its share of the row's images; where there are few classes, the share is written into it
/// in percent, the name of each class stands on the left, and its number on the left and above. None above [`MOST_CLASSES`].
pub fn confusion_sheet(confusion: &Confusion, names: &[String]) -> Option<Picture> {
    let classes = confusion.classes();
    if classes > MOST_CLASSES {
        return None;
    }
    let named = classes <= MOST_NAMED;
    let cell = if named { NAMED_CELL } else { (SIDE / classes).max(1) as u32 };
    let (left, top) = if named { (MARGIN + NAME_WIDTH, MARGIN + glyph::LINE_HEIGHT) } else { (MARGIN, MARGIN) };
    let side = classes as u32 * cell;
    let mut picture = Picture::filled(left + side + MARGIN, top + side + MARGIN, GROUND);
    let edge = cell - if named { GAP } else { 0 };
    for truth in 0..classes as u32 {
        let mut row = vec![0; classes];
        confusion.row(truth as usize).for_each(|(predicted, count)| row[predicted] = count);
        let images: u32 = row.iter().sum();
        let corner = top + truth * cell;
        for (predicted, count) in (0..).zip(row) {
            let share = count as f32 / images.max(1) as f32;
            let colour = if images == 0 { ABSENT } else { ColourMap::Inferno.colour(0.85 * share.sqrt()) };
            let place = (left + predicted * cell, corner);
            picture.paste(&Picture::filled(edge, edge, colour), place.0, place.1);
            let percent = (100.0 * share).round();
            if named && percent > 0.0 {
                glyph::write(&mut picture, &format!("{percent}"), (place.0 + 3, place.1 + 9), edge);
            }
        }
        if named {
            let name = names.get(truth as usize).map_or("", String::as_str);
            glyph::write(&mut picture, &format!("{truth} {name}"), (MARGIN, corner + 9), NAME_WIDTH - MARGIN);
            glyph::write(&mut picture, &truth.to_string(), (left + truth * cell + 3, MARGIN), cell);
        }
    }
    Some(picture)
}
