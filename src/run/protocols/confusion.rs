//! Which classes are taken for which: two tables and a picture.

use super::Session;
use crate::eval::classifier::Confusion;
use crate::report::confusion_sheet::confusion_sheet;
use crate::run::RunError;
use crate::run::look::{picture_file, write_table};

/// Writes `classes.csv` (accuracy of each class), `confusion.csv` (a line for each pair of classes that occurs) and `confusion.png`.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn write_confusion(
    session: &mut Session<'_>,
    confusion: &Confusion,
    names: &[String],
) -> Result<(), RunError> {
    let classes = 0..confusion.classes();
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let lines = classes.clone().map(|class| {
        let accuracy = confusion.accuracy(class).map_or_else(String::new, |top1| format!("{top1:.2}"));
        [name(class), confusion.images(class).to_string(), accuracy]
    });
    write_table(&session.file("classes.csv"), ["class", "images", "top1"], lines)?;
    let pairs = classes.flat_map(|truth| {
        let found = confusion.row(truth).iter().enumerate().filter(|(_, count)| **count > 0);
        found.map(move |(predicted, count)| (truth, predicted, *count))
    });
    let lines = pairs.map(|(truth, predicted, count)| [name(truth), name(predicted), count.to_string()]);
    write_table(&session.file("confusion.csv"), ["class", "taken_for", "images"], lines)?;
    picture_file(&session.file("confusion.png"), &confusion_sheet(confusion, names))?;
    Ok(())
}
