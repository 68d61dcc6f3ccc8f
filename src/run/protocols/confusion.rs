//! Which classes are taken for which: two tables and a picture.

use std::path::{Path, PathBuf};

use super::Session;
use crate::eval::classifier::Confusion;
use crate::report::confusion_sheet::{MOST_CLASSES, confusion_sheet};
use crate::run::RunError;
use crate::run::console::Console;
use crate::run::look::{picture_file, write_table};

/// Writes `classes.csv` (accuracy of each class), `confusion.csv` (a line for each pair of classes that occurs) and, unless there are
/// too many classes to see, `confusion.png`.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn write_confusion(
    session: &mut Session<'_>,
    confusion: &Confusion,
    names: &[String],
) -> Result<(), RunError> {
    let files = confusion_files(&session.request.out, &session.look.console, confusion, names)?;
    session.files.extend(files);
    Ok(())
}

/// The same into a folder; returns the files.
///
/// # Errors
/// As [`write_confusion`].
pub(super) fn confusion_files(
    out: &Path,
    console: &Console,
    confusion: &Confusion,
    names: &[String],
) -> Result<Vec<PathBuf>, RunError> {
    let mut files = ["classes.csv", "confusion.csv"].map(|name| out.join(name)).to_vec();
    let classes = 0..confusion.classes();
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let lines = classes.clone().map(|class| {
        let accuracy = confusion.accuracy(class).map_or_else(String::new, |top1| format!("{top1:.2}"));
        [name(class), confusion.images(class).to_string(), accuracy]
    });
    write_table(&files[0], ["class", "images", "top1"], lines)?;
    let pairs = classes.flat_map(|truth| confusion.row(truth).map(move |(predicted, count)| (truth, predicted, count)));
    let lines = pairs.map(|(truth, predicted, count)| [name(truth), name(predicted), count.to_string()]);
    write_table(&files[1], ["class", "taken_for", "images"], lines)?;
    match confusion_sheet(confusion, names) {
        Some(sheet) => {
            files.push(out.join("confusion.png"));
            picture_file(&files[2], &sheet)?;
        }
        None => {
            let words =
                format!("no confusion.png: {} classes, and pictures have at most {MOST_CLASSES}", confusion.classes());
            console.say(&words);
        }
    }
    Ok(files)
}
