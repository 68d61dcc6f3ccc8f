//! What one looks at: a sheet and a film of every sequence, with its objects in colours.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dinoxide_views::Image;

use crate::eval::video::{FrameScore, Mask};
use crate::report::film::{FilmFrame, FilmStyle, film_as, spread};
use crate::report::video_sheet::{VideoCell, video_sheet, with_objects};
use crate::run::RunError;
use crate::run::look::write_file;
use crate::run::report::scaled;

/// Frames of a sheet, and the longer side of each, pixels.
const SHEET_FRAMES: usize = 5;
const CELL_PX: u32 = 320;
/// Frames of a film at most: more would be too large to keep in memory, and to send.
const FILM_FRAMES: usize = 60;

/// The pictures of a sequence under way; their number does not grow with its length.
pub(super) struct Pictures {
    /// Frames to keep.
    sheet: Vec<usize>,
    film: Vec<usize>,
    cells: BTreeMap<usize, VideoCell>,
    shown: Vec<FilmFrame>,
}

/// A frame with what is known of it.
pub(super) struct Shown<'a> {
    pub name: &'a str,
    pub image: &'a Image,
    pub predicted: &'a Mask,
    pub truth: Option<&'a Mask>,
    pub scores: &'a [FrameScore],
}

impl Pictures {
    pub fn new(frames: usize) -> Self {
        let places: Vec<usize> = (0..frames).collect();
        let some = |most: usize| spread(&places, most).into_iter().copied().collect();
        Self { sheet: some(SHEET_FRAMES), film: some(FILM_FRAMES), cells: BTreeMap::new(), shown: Vec::new() }
    }

    /// Whether the frame at this place is wanted.
    pub fn wants(&self, place: usize) -> bool {
        self.sheet.contains(&place) || self.film.contains(&place)
    }

    pub fn add(&mut self, place: usize, shown: &Shown<'_>) -> Result<(), RunError> {
        let caption = caption(shown);
        let longer = shown.image.width.max(shown.image.height);
        let at = |longest: u32| scaled(shown.image, (f64::from(longest) / f64::from(longer)).min(1.0));
        if self.sheet.contains(&place) {
            let small = at(CELL_PX)?;
            let predicted = with_objects(&small, shown.predicted);
            let truth = shown.truth.map(|truth| with_objects(&small, truth));
            self.cells.insert(place, VideoCell { predicted, truth, caption: caption.clone() });
        }
        if self.film.contains(&place) {
            let picture = with_objects(&at(FilmStyle::VIDEO.longest_px)?, shown.predicted);
            self.shown.push(FilmFrame { picture, caption });
        }
        Ok(())
    }

    /// Writes the sheet and, if anything moves, the film.
    pub fn write(self, folder: &Path, name: &str) -> Result<Vec<PathBuf>, RunError> {
        let cells: Vec<VideoCell> = self.cells.into_values().collect();
        let mut files = vec![folder.join(format!("{name}.png"))];
        if let Some(parent) = files[0].parent() {
            std::fs::create_dir_all(parent).map_err(RunError::file("create", parent))?;
        }
        write_file(&files[0], &video_sheet(&cells).to_png()?)?;
        if self.shown.len() > 1 {
            let path = folder.join(format!("{name}.gif"));
            write_file(&path, &film_as(&self.shown, FilmStyle::VIDEO)?)?;
            files.push(path);
        }
        Ok(files)
    }
}

fn caption(shown: &Shown<'_>) -> String {
    let mean =
        |value: fn(&FrameScore) -> f64| 100.0 * shown.scores.iter().map(value).sum::<f64>() / shown.scores.len() as f64;
    match shown.scores.is_empty() {
        true => shown.name.to_owned(),
        false => format!("{}  J {:.0}  F {:.0}", shown.name, mean(|score| score.j), mean(|score| score.f)),
    }
}
