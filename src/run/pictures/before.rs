//! What an evaluation leaves for the next one, so that its pictures follow on: `NAME-STEP.json` beside them.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::run::RunError;
use crate::run::look::write_file;

/// Keeps `value` for the evaluations after `step`.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn keep(folder: &Path, name: &str, step: usize, value: &impl Serialize) -> Result<(), RunError> {
    std::fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
    write_file(&folder.join(format!("{name}-{step}.json")), &serde_json::to_vec(value).unwrap_or_default())
}

/// What the last evaluation before `step` kept: a run that goes on from an earlier checkpoint draws what it would have drawn.
pub(super) fn before<T: DeserializeOwned>(folder: &Path, name: &str, step: usize) -> Option<T> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let step_of = |file: &str| file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".json")?.parse::<usize>().ok();
    let steps = entries.filter_map(|entry| step_of(&entry.file_name().to_string_lossy()));
    let last = steps.filter(|earlier| *earlier < step).max()?;
    serde_json::from_slice(&std::fs::read(folder.join(format!("{name}-{last}.json"))).ok()?).ok()
}
