//! Files of a run folder, and only those.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Serialize;

/// How much of the end of a log is shown, bytes.
const TAIL: u64 = 64 << 10;

/// The file `name` of the run at `run`, an address without links; `None` if there is none, or if it leads out of the folder.
pub(super) fn inside(run: &Path, name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    if !name.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let run = run.canonicalize().ok()?;
    let file = run.join(name).canonicalize().ok()?;
    // The first part of the name has to be there after links are followed too: no link from `pictures` to `checkpoints`.
    let first = run.join(name.components().next()?);
    // Nothing that waits, such as a pipe.
    (file.starts_with(first) && file.metadata().ok()?.is_file()).then_some(file)
}

/// Changes when a file or a folder does; empty if it is missing.
pub(super) fn mark(path: &Path) -> String {
    let Ok(metadata) = path.metadata() else { return String::new() };
    let time = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    format!("{:x}-{:x}", time.map_or(0, |time| time.as_nanos()), metadata.len())
}

/// The folders in a folder, by name; links are none.
pub(super) fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let mut paths: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// The end of a log.
#[derive(Debug, Default, Serialize)]
pub(super) struct Tail {
    /// Whole lines.
    pub text: String,
    /// Bytes before them.
    pub left_out: u64,
}

/// The end of the file at `path`; an empty one if it cannot be read.
pub(super) fn tail(path: &Path) -> Tail {
    read_tail(path).unwrap_or_default()
}

fn read_tail(path: &Path) -> std::io::Result<Tail> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let cut = match start {
        0 => 0,
        _ => bytes.iter().position(|byte| *byte == b'\n').map_or(0, |newline| newline + 1),
    };
    Ok(Tail { text: String::from_utf8_lossy(&bytes[cut..]).into_owned(), left_out: start + cut as u64 })
}
