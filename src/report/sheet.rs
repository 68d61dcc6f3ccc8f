//! Sheets: pictures side by side, with captions.

use super::glyph;
use super::picture::Picture;

/// Pixels around every cell.
const PADDING: u32 = 6;
/// A middle grey that sits well on light and dark pages.
pub(super) const GROUND: [u8; 3] = [43, 47, 56];

/// A sheet of cells in rows, every cell as large as the largest, with the columns' captions on top.
///
/// Cells keep their size and lie at the top left of their place. Captions are set in capitals and may be fewer
/// than the columns.
pub fn sheet(rows: &[Vec<Picture>], captions: &[String]) -> Picture {
    let cells = || rows.iter().flatten();
    let cell_width = cells().map(Picture::width).max().unwrap_or(1);
    let cell_height = cells().map(Picture::height).max().unwrap_or(1);
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let header = if captions.is_empty() { 0 } else { glyph::LINE_HEIGHT };
    let mut out = Picture::filled(
        PADDING + columns * (cell_width + PADDING),
        PADDING + header + rows.len() as u32 * (cell_height + PADDING),
        GROUND,
    );
    let left = |column: usize| PADDING + column as u32 * (cell_width + PADDING);
    for (column, caption) in captions.iter().enumerate().take(columns as usize) {
        glyph::write(&mut out, caption, (left(column), PADDING), cell_width);
    }
    for (row, cells) in rows.iter().enumerate() {
        let top = PADDING + header + row as u32 * (cell_height + PADDING);
        for (column, cell) in cells.iter().enumerate() {
            out.paste(cell, left(column), top);
        }
    }
    out
}
