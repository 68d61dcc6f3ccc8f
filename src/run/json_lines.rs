//! Files of one JSON object per line, appended to as a run goes and cut back when it resumes.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::RunError;
use crate::checkpoint::atomic::write_atomic;

/// A file of one JSON object per line.
#[derive(Debug)]
pub struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens `path` for appending after dropping every line that `keep` refuses, and every torn one.
    /// A missing file is an empty one.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn open(path: &Path, keep: impl FnMut(&Value) -> bool) -> Result<Self, RunError> {
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(RunError::file("read", path)(error)),
        };
        let kept = kept_lines(&text, keep);
        if kept != text {
            write_atomic(path, |file| file.write_all(kept.as_bytes())).map_err(RunError::file("shorten", path))?;
        }
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(RunError::file("open", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends one object; it is in the file, not in a buffer, when this returns.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn append(&mut self, row: &impl Serialize) -> Result<(), RunError> {
        let mut line =
            serde_json::to_string(row).map_err(std::io::Error::from).map_err(RunError::file("write", &self.path))?;
        line.push('\n');
        // One call per line: a reader, or a kill, sees whole lines.
        self.file.write_all(line.as_bytes()).map_err(RunError::file("write", &self.path))
    }

    /// Makes the lines survive a power cut; called before a checkpoint counts on them.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn sync(&self) -> Result<(), RunError> {
        self.file.sync_data().map_err(RunError::file("write", &self.path))
    }

    /// Reads the objects of a file, skipping torn lines; a missing file has none.
    pub fn read(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

fn kept_lines(text: &str, mut keep: impl FnMut(&Value) -> bool) -> String {
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.filter(|line| serde_json::from_str::<Value>(line).is_ok_and(|row| keep(&row))).collect()
}
