//! What lies in the folders that a protocol is given, without the results that it writes into one of them.

use std::path::{Path, PathBuf};

use dinoxide_views::Source;

use crate::eval::EvalError;
use crate::run::RunError;

/// What is in a folder, sorted, without hidden entries.
///
/// # Errors
/// If it cannot be listed.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let entries = std::fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut entries: Vec<PathBuf> = entries.map_err(RunError::file("list", folder))?;
    entries.retain(|path| !file_name(path).starts_with('.'));
    entries.sort();
    Ok(entries)
}

/// The last part of a path.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Where below `data` the folder of the results lies; none if it is not there. An earlier call has left its pictures in it, and they are no data.
pub(super) fn results_within(data: &Path, out: &Path) -> Option<PathBuf> {
    let (data, out) = (data.canonicalize().ok()?, out.canonicalize().ok()?);
    let below = out.strip_prefix(&data).ok()?;
    (!below.as_os_str().is_empty()).then(|| below.to_path_buf())
}

/// A source of the folder `data` without what lies in the folder of the results.
///
/// # Errors
/// If nothing is left.
pub(super) fn without_results(mut source: Source, data: &Path, out: &Path) -> Result<Source, RunError> {
    let Some(results) = results_within(data, out) else { return Ok(source) };
    source.images.retain(|image| !Path::new(&*image.name).starts_with(&results));
    // A class of its own name is none either.
    if let Some(class) = source.classes.iter().position(|class| Path::new(class) == results) {
        source.classes.remove(class);
        let later = source.images.iter_mut().filter_map(|image| image.label.as_mut());
        later.filter(|label| **label as usize > class).for_each(|label| *label -= 1);
    }
    source.inputs = vec![source.images.len() as u32];
    if source.images.is_empty() { Err(EvalError::NoImages.into()) } else { Ok(source) }
}
