//! The sheets of all evaluations: the last of each kind for the page, and films of all.

use std::path::{Path, PathBuf};

use super::write_file;
use crate::report::film::{FilmFrame, film, spread};
use crate::report::page::RunPage;
use crate::report::picture::Picture;
use crate::run::RunError;

/// Frames of a film at most; of more evaluations evenly spread ones are shown.
const FRAMES: usize = 40;
/// Bytes of a page at most. Films that would make it larger stay files.
const PAGE_BYTES: usize = 5_000_000;

/// A sheet that an evaluation left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sheet {
    /// Epochs done.
    pub epoch: usize,
    path: PathBuf,
}

impl Sheet {
    /// The file.
    pub fn file(&self) -> Option<Vec<u8>> {
        std::fs::read(&self.path).ok()
    }

    /// The picture, if it can be read.
    pub fn picture(&self) -> Option<Picture> {
        Picture::from_file(&self.file()?).ok()
    }
}

/// The sheets of one kind in `pictures/KIND`, by epoch.
pub(super) fn sheets(pictures: &Path, kind: &str) -> Vec<Sheet> {
    let entries = std::fs::read_dir(pictures.join(kind)).into_iter().flatten().filter_map(Result::ok);
    let sheet = |path: PathBuf| {
        let epoch = path.file_stem()?.to_str()?.strip_prefix("epoch-")?.parse().ok()?;
        Some(Sheet { epoch, path })
    };
    let mut sheets: Vec<Sheet> = entries.filter_map(|entry| sheet(entry.path())).collect();
    sheets.sort_by_key(|sheet| sheet.epoch);
    sheets
}

/// Writes the film of some sheets; nothing if there are fewer than two.
///
/// # Errors
/// If it cannot be encoded or written.
pub(super) fn write_film(path: &Path, sheets: &[Sheet]) -> Result<Option<Vec<u8>>, RunError> {
    let frame = |sheet: &Sheet| {
        let picture = sheet.picture()?;
        Some(FilmFrame { picture, caption: format!("epoch {}", sheet.epoch) })
    };
    let frames: Vec<FilmFrame> = spread(sheets, FRAMES).into_iter().filter_map(frame).collect();
    if frames.len() < 2 {
        return Ok(None);
    }
    let file = film(&frames)?;
    write_file(path, &file)?;
    Ok(Some(file))
}

/// Takes those films out of a page that would make it too large.
pub(super) fn fit(page: &mut RunPage) {
    let films = page.figures.iter_mut().map(|figure| figure.film.as_mut().map(|film| std::mem::take(&mut film.file)));
    let films: Vec<Option<Vec<u8>>> = films.collect();
    let mut bytes = page.to_html().len();
    for (figure, file) in page.figures.iter_mut().zip(films) {
        let (Some(film), Some(file)) = (figure.film.as_mut(), file) else { continue };
        // Base64 makes four bytes of three.
        let more = file.len().div_ceil(3) * 4;
        if bytes + more <= PAGE_BYTES {
            bytes += more;
            film.file = file;
        }
    }
}
