//! What the protocols share that rank images for queries: files of images, and the table and the sheet of what ranks first.

use std::path::PathBuf;

use dinoxide_views::decode_file;

use super::Session;
use crate::eval::nearest::Neighbour;
use crate::eval::retrieval::Mark;
use crate::report::picture::Picture;
use crate::report::ranking_sheet::{RankingRow, ranking_sheet};
use crate::run::RunError;
use crate::run::look::{picture_file, write_table};
use crate::run::neighbors::drawn;
use crate::run::report::scaled;

/// Images of a ranking that are kept.
pub(super) const KEPT: usize = 10;
/// Longer side of a picture on the sheet.
const CELL_PX: u32 = 112;

/// An image in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageFile {
    /// As tables call it.
    pub name: String,
    pub path: PathBuf,
}

/// A query and what ranks first for it.
#[derive(Debug, Clone)]
pub(super) struct Ranking {
    pub query: ImageFile,
    /// Words below the query on the sheet.
    pub words: Vec<String>,
    /// The first images with what they are to the query.
    pub first: Vec<(Neighbour, Mark)>,
}

/// Writes `retrieved.csv` with all rankings and `retrieved.png` with some; indices of neighbours are those of `database`.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn publish(session: &mut Session<'_>, database: &[ImageFile], rankings: &[Ranking]) -> Result<(), RunError> {
    let table = session.file("retrieved.csv");
    let lines = rankings.iter().flat_map(|ranking| {
        (1..).zip(&ranking.first).map(|(rank, (near, mark)): (usize, _)| {
            let (query, image) = (ranking.query.name.clone(), database[near.index].name.clone());
            [query, rank.to_string(), image, near.similarity.to_string(), word(*mark).to_owned()]
        })
    });
    write_table(&table, ["query", "rank", "image", "similarity", "mark"], lines)?;
    let row = |place: usize| {
        let Ranking { query, words, first } = &rankings[place];
        let shown = |(near, mark): &(Neighbour, Mark)| (small(session, &database[near.index]), near.similarity, *mark);
        RankingRow {
            query: small(session, query),
            words: words.clone(),
            first: first.iter().take(KEPT).map(shown).collect(),
        }
    };
    let rows: Vec<RankingRow> = drawn(rankings.len()).into_iter().map(row).collect();
    let sheet = session.file("retrieved.png");
    picture_file(&sheet, &ranking_sheet(&rows, CELL_PX)).map(drop)
}

fn word(mark: Mark) -> &'static str {
    match mark {
        Mark::Right => "right",
        Mark::Wrong => "wrong",
        Mark::Junk => "junk",
    }
}

/// A small copy; gray if the file cannot be read any more.
fn small(session: &Session<'_>, image: &ImageFile) -> Picture {
    let copy = |image: dinoxide_views::Image| {
        scaled(&image, f64::from(CELL_PX) / f64::from(image.width.max(image.height))).ok()
    };
    let decoded = decode_file(&image.path, &session.look.model.reading).ok();
    decoded.and_then(copy).unwrap_or_else(|| Picture::filled(CELL_PX, CELL_PX, [128; 3]))
}
