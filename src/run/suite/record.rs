//! Which evaluations are finished: the command, the model's files, and the version of the program beside the results.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::run::RunError;
use crate::run::look::write_file;
use crate::run::protocols::RESULTS_FILE;

/// The record beside the results.
const RECORD: &str = "finished.json";
/// Endings of files that decide what a model is.
const DECIDING: [&str; 6] = ["safetensors", "pth", "pt", "bin", "toml", "json"];
/// Files of a run that change while the model stays.
const CHANGING: [&str; 2] = ["status.json", "environment.json"];
/// Folders within folders that are looked into.
const DEPTH: usize = 3;

/// What a finished evaluation was of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The command without the program.
    command: Vec<String>,
    /// Digest of names, sizes and times of the model's files.
    model: String,
    /// Version of the program.
    version: String,
}

impl Record {
    pub fn of(model: &Path, command: &[String]) -> Self {
        let mut files = Vec::new();
        collect(model, DEPTH, &mut files);
        files.sort();
        let mut digest = Sha256::new();
        for path in files {
            let Ok(about) = std::fs::metadata(&path) else { continue };
            let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let changed = changed.map_or(0, |time| time.as_nanos());
            digest.update(format!("{}\0{}\0{changed}\n", path.display(), about.len()));
        }
        let model = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self { command: command.to_vec(), model, version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Whether the folder holds the results of the same.
    pub fn is_finished(&self, folder: &Path) -> bool {
        let stored = std::fs::read(folder.join(RECORD)).ok();
        let stored: Option<Self> = stored.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        stored.as_ref() == Some(self) && folder.join(RESULTS_FILE).is_file()
    }

    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), RunError> {
        let path = folder.join(RECORD);
        let json = serde_json::to_vec_pretty(self).map_err(|error| RunError::file("write", &path)(error.into()))?;
        write_file(&path, &json)
    }

    /// Results that are about to be replaced are no longer finished.
    ///
    /// # Errors
    /// If a record cannot be removed.
    pub fn remove(folder: &Path) -> Result<(), RunError> {
        let path = folder.join(RECORD);
        if path.exists() { std::fs::remove_file(&path).map_err(RunError::file("remove", &path)) } else { Ok(()) }
    }
}

/// The files below a path that decide what a model is; the path itself if it is a file.
fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    if path.is_file() {
        files.push(path.to_path_buf());
        return;
    }
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten().map(|entry| entry.path()) {
        let decides = entry.extension().is_some_and(|ending| DECIDING.iter().any(|known| ending == *known));
        let changes = entry.file_name().is_some_and(|name| CHANGING.iter().any(|known| name == *known));
        if entry.is_dir() && depth > 0 {
            collect(&entry, depth - 1, files);
        } else if decides && !changes && entry.is_file() {
            files.push(entry);
        }
    }
}
