//! Neighbour sheets: one row for each query with its nearest images, their similarity and, where known, their classes.

use super::picture::Picture;
use super::tiles::{GREEN, PALE, RED, Tile, tiles};

/// An image with those nearest to it.
#[derive(Debug, Clone)]
pub struct NeighborRow {
    /// What is looked for.
    pub query: Shown,
    /// The nearest images with their cosines, nearest first.
    pub nearest: Vec<(Shown, f32)>,
}

/// An image on the sheet.
#[derive(Debug, Clone)]
pub struct Shown {
    /// A copy no larger than a cell.
    pub picture: Picture,
    /// Its class, where classes are known.
    pub class: Option<String>,
}

/// A sheet in cells of `cell_px` pixels: neighbours of the query's class have a green edge, others a red one, and none where classes are
/// not known.
pub fn neighbor_sheet(rows: &[NeighborRow], cell_px: u32) -> Picture {
    let tile = |shown: &Shown, line: String, edge: Option<[u8; 3]>| Tile {
        picture: shown.picture.clone(),
        lines: std::iter::once(line).chain(shown.class.clone()).collect(),
        edge,
    };
    let row = |row: &NeighborRow| {
        let near = |(shown, similarity): &(Shown, f32)| {
            let known = row.query.class.is_some() && shown.class.is_some();
            let edge = if shown.class == row.query.class { GREEN } else { RED };
            tile(shown, format!("{similarity:.3}"), known.then_some(edge))
        };
        let query = tile(&row.query, "query".to_owned(), Some(PALE));
        std::iter::once(query).chain(row.nearest.iter().map(near)).collect::<Vec<_>>()
    };
    let cells: Vec<Vec<Tile>> = rows.iter().map(row).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(1);
    let ranks = (1..columns).map(|rank| rank.to_string());
    let captions: Vec<String> = std::iter::once("query".to_owned()).chain(ranks).collect();
    tiles(&cells, &captions, cell_px)
}
