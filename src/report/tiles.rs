//! Sheets of small pictures with words below them and, where there is something to tell apart, a coloured edge.

use super::glyph;
use super::picture::Picture;
use super::sheet::{GROUND, sheet};

/// Right, belonging together.
pub const GREEN: [u8; 3] = [63, 185, 102];
/// Wrong.
pub const RED: [u8; 3] = [235, 87, 70];
/// Neither: what others are compared with.
pub const PALE: [u8; 3] = [200, 205, 216];
/// Pixels of an edge.
const EDGE: u32 = 4;
/// Pixels between a picture and its words.
const GAP: u32 = 4;

/// A picture with its words.
#[derive(Debug, Clone)]
pub struct Tile {
    /// The picture, no larger than a cell.
    pub picture: Picture,
    /// Lines below it.
    pub lines: Vec<String>,
    /// Colour of its edge.
    pub edge: Option<[u8; 3]>,
}

/// A sheet of tiles in square cells of `cell_px` pixels, with the columns' captions on top.
pub fn tiles(rows: &[Vec<Tile>], captions: &[String], cell_px: u32) -> Picture {
    let lines = rows.iter().flatten().map(|tile| tile.lines.len()).max().unwrap_or(0) as u32;
    let cell = |tile: &Tile| cell(tile, cell_px, lines);
    let cells: Vec<Vec<Picture>> = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    sheet(&cells, captions)
}

fn cell(tile: &Tile, cell_px: u32, lines: u32) -> Picture {
    let side = cell_px + 2 * EDGE;
    let below = if lines > 0 { GAP + lines * glyph::LINE_HEIGHT } else { 0 };
    let mut cell = Picture::filled(side, side + below, GROUND);
    let (width, height) = (tile.picture.width().min(cell_px), tile.picture.height().min(cell_px));
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    if let Some(edge) = tile.edge {
        cell.paste(&Picture::filled(width + 2 * EDGE, height + 2 * EDGE, edge), left - EDGE, top - EDGE);
    }
    cell.paste(&tile.picture, left, top);
    for (number, line) in (0..).zip(&tile.lines) {
        glyph::write(&mut cell, line, (left, side + GAP + number * glyph::LINE_HEIGHT), side - left);
    }
    cell
}
