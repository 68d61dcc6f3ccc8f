//! The pictures of a run, by kind: `pictures/KIND.png`, over epochs `pictures/KIND/epoch-0010.png`, and as films `pictures/KIND.gif`, a kind
//! of their own.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::files;
use crate::run::report::{PICTURES, REPORT_FILE};

/// What a film is.
const FILM: &str = "image/gif";
/// Endings of files that are shown, and what they are.
const MEDIA: [(&str, &str); 7] = [
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("gif", FILM),
    ("webp", "image/webp"),
    ("html", "text/html; charset=utf-8"),
];

/// The pictures of a run.
#[derive(Debug, Serialize)]
pub(super) struct Gallery {
    /// Changes with the page of the run; `None` if there is none.
    report: Option<String>,
    kinds: Vec<Kind>,
}

/// Pictures of one kind.
#[derive(Debug, Default, Serialize)]
struct Kind {
    kind: String,
    /// The one that is replaced as the run goes on.
    latest: Option<Picture>,
    /// Those that are kept, by epoch.
    epochs: Vec<Picture>,
}

/// A picture, or a page that is one.
#[derive(Debug, Serialize)]
struct Picture {
    /// Path below the run's address.
    path: String,
    /// Changes with the file.
    mark: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    /// Pixels, where the file tells quickly.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<(u32, u32)>,
}

/// The kind of file that a name stands for; `None` if it is not shown.
pub(super) fn media_type(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    MEDIA.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending)).map(|(_, kind)| *kind)
}

/// The pictures of the run at `run`.
pub(super) fn gallery(run: &Path) -> Gallery {
    let mut kinds: BTreeMap<String, Kind> = BTreeMap::new();
    for (stem, picture) in pictures(run, PICTURES) {
        let film = media_type(&picture.path) == Some(FILM);
        kinds.entry(if film { format!("{stem}_film") } else { stem }).or_default().latest = Some(picture);
    }
    for folder in files::folders_in(&run.join(PICTURES)) {
        let Some(kind) = folder.file_name().and_then(|name| name.to_str()) else { continue };
        let numbered = pictures(run, &format!("{PICTURES}/{kind}")).into_iter().filter_map(|(stem, picture)| {
            let epoch = stem.strip_prefix("epoch-")?.parse().ok()?;
            Some(Picture { epoch: Some(epoch), ..picture })
        });
        let mut epochs: Vec<Picture> = numbered.collect();
        epochs.sort_by_key(|picture| picture.epoch);
        if !epochs.is_empty() {
            kinds.entry(kind.to_owned()).or_default().epochs = epochs;
        }
    }
    let kinds = kinds.into_iter().map(|(kind, pictures)| Kind { kind, ..pictures }).collect();
    Gallery { report: files::inside(run, REPORT_FILE).map(|report| files::mark(&report)), kinds }
}

/// The pictures in a folder of the run, with their names without ending.
fn pictures(run: &Path, folder: &str) -> Vec<(String, Picture)> {
    let entries = std::fs::read_dir(run.join(folder)).into_iter().flatten().filter_map(Result::ok);
    let picture = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        media_type(&name).filter(|_| !name.starts_with('.'))?;
        let path = format!("{folder}/{name}");
        let file = files::inside(run, &path)?;
        let size = image::ImageReader::open(&file).ok().and_then(|reader| reader.into_dimensions().ok());
        let (stem, _) = name.rsplit_once('.')?;
        Some((stem.to_owned(), Picture { path, mark: files::mark(&file), epoch: None, size }))
    };
    entries.filter_map(picture).collect()
}
