//! Which classes are taken for which: two tables and a picture.

use super::Session;
use crate::eval::classifier::Confusion;
use crate::report::confusion_sheet::{MOST_CLASSES, confusion_sheet};
use crate::run::RunError;
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
    let classes = 0..confusion.classes();
    let name = |class: usize| names.get(class).cloned().unwrap_or_else(|| class.to_string());
    let lines = classes.clone().map(|class| {
        let accuracy = confusion.accuracy(class).map_or_else(String::new, |top1| format!("{top1:.2}"));
        [name(class), confusion.images(class).to_string(), accuracy]
    });
    write_table(&session.file("classes.csv"), ["class", "images", "top1"], lines)?;
    let pairs = classes.flat_map(|truth| confusion.row(truth).map(move |(predicted, count)| (truth, predicted, count)));
    let lines = pairs.map(|(truth, predicted, count)| [name(truth), name(predicted), count.to_string()]);
    write_table(&session.file("confusion.csv"), ["class", "taken_for", "images"], lines)?;
    match confusion_sheet(confusion, names) {
        Some(sheet) => picture_file(&session.file("confusion.png"), &sheet).map(drop),
        None => {
            let words =
                format!("no confusion.png: {} classes, and pictures have at most {MOST_CLASSES}", confusion.classes());
            session.look.console.say(&words);
            Ok(())
        }
    }
}
