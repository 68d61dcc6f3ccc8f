//! Ranking sheets: one row for each query with the images that rank first, framed by whether they belong to it.

use super::picture::Picture;
use super::tiles::{GREEN, PALE, RED, Tile, tiles};
use crate::eval::retrieval::Mark;

/// A query with the images that rank first.
#[derive(Debug, Clone)]
pub struct RankingRow {
    /// A copy of the query no larger than a cell.
    pub query: Picture,
    /// Lines below it.
    pub words: Vec<String>,
    /// Copies of the first images with their cosines and what they are to the query, best first.
    pub first: Vec<(Picture, f32, Mark)>,
}

/// A sheet in cells of `cell_px` pixels: right images have a green edge, wrong ones a red one, and those that do not count have none.
pub fn ranking_sheet(rows: &[RankingRow], cell_px: u32) -> Picture {
    let row = |row: &RankingRow| {
        let query = Tile { picture: row.query.clone(), lines: row.words.clone(), edge: Some(PALE) };
        let image = |(picture, similarity, mark): &(Picture, f32, Mark)| {
            let edge = match mark {
                Mark::Right => Some(GREEN),
                Mark::Wrong => Some(RED),
                Mark::Junk => None,
            };
            Tile { picture: picture.clone(), lines: vec![format!("{similarity:.3}")], edge }
        };
        std::iter::once(query).chain(row.first.iter().map(image)).collect::<Vec<_>>()
    };
    let cells: Vec<Vec<Tile>> = rows.iter().map(row).collect();
    let columns = cells.iter().map(Vec::len).max().unwrap_or(1);
    let ranks = (1..columns).map(|rank| rank.to_string());
    let captions: Vec<String> = std::iter::once("query".to_owned()).chain(ranks).collect();
    tiles(&cells, &captions, cell_px)
}
