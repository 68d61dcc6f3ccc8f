//! The pictures of a page: what the networks attend to and see alike, how that came about, and the augmentations.

use std::path::Path;

use super::films::{Sheet, sheets, write_film};
use super::{AUGMENTATIONS, PICTURES, attention, augmentation_sheet, write_file};
use crate::report::attention_sheet::{AttentionRow, SheetStyle, attention_sheet};
use crate::report::page::{Figure, Film};
use crate::report::picture::Picture;
use crate::run::RunError;
use crate::run::trained::Trained;
use crate::train::End;

/// A kind of sheet that every evaluation draws.
struct Kind {
    /// Name of its folder and of its film.
    name: &'static str,
    title: &'static str,
    caption: &'static str,
    /// What to see in its film; empty for none.
    film: &'static str,
}

/// What to see in the film of the attention, whose picture is drawn anew.
const ATTENTION: Kind = Kind {
    name: "attention",
    title: "Attention of the class token",
    caption: "",
    film: "At first the heads look everywhere, or at edges and corners alike. As the network learns they settle on things, each \
           head on other parts.",
};

/// Those that are shown as the last evaluation drew them.
const KINDS: [Kind; 3] = [
    Kind {
        name: "pca",
        title: "Components of the patches",
        caption: "The first three principal components of the teacher's patch tokens as red, green and blue, over all images \
                  together: equal colours mean alike patches.",
        film: "Colours keep their meaning from epoch to epoch as far as that is possible. Speckles that become patches of one \
               colour are parts that the network has learnt to tell apart.",
    },
    Kind {
        name: "neighbors",
        title: "Nearest images",
        caption: "Each row: an image of the probe, and those of the probe that are nearest to the teacher, with their cosine.",
        film: "",
    },
    Kind {
        name: "map",
        title: "Map of the images",
        caption: "The images of the probe by t-SNE of the teacher's class tokens: near ones are alike to it; distances between \
                  far groups mean little. Edges have the colour of the class (folder) or, without classes, of a group (k-means).",
        film: "At first images lie by colour and brightness. As the network learns, images of one kind gather; where edges of one \
               colour do too, it tells the classes apart without having been told them.",
    },
];

/// All pictures of a page; `rows` in place of the run's own attention sheet, if there are any.
///
/// # Errors
/// If the network's values are not finite, or a file cannot be written.
pub(super) fn figures(
    trained: &Trained<'_>,
    rows: Vec<AttentionRow>,
    pictures: &Path,
) -> Result<Vec<Figure>, RunError> {
    let rows = if rows.is_empty() { attention::rows(trained)? } else { rows };
    let mut figures = Vec::new();
    if let Some(first) = rows.first() {
        let (rows_of_patches, columns) = first.maps.grid();
        let truth = if first.truth.is_some() { "; on the right the true object" } else { "" };
        let sheet = attention_sheet(&rows, &SheetStyle::default())?;
        write_file(&pictures.join("attention.png"), &sheet.to_png()?)?;
        figures.push(Figure {
            title: ATTENTION.title.to_owned(),
            caption: format!(
                "Last block of the teacher, {columns} × {rows_of_patches} patches. Each map is scaled to its own range; the \
                 mask holds 60 % of the mean's mass{truth}."
            ),
            file: smaller(&sheet)?,
            film: film(trained, &ATTENTION, pictures)?,
        });
    }
    for kind in &KINDS {
        let Some((epoch, file)) = last(pictures, kind.name) else { continue };
        figures.push(Figure {
            title: kind.title.to_owned(),
            caption: format!("{} After epoch {epoch}.", kind.caption),
            file,
            film: film(trained, kind, pictures)?,
        });
    }
    if let Some(sheet) = augmentation_sheet(&trained.folder.config, &trained.source) {
        write_file(&pictures.join(AUGMENTATIONS), &sheet.to_png()?)?;
        figures.push(Figure {
            title: "Augmentations".to_owned(),
            caption: "What the networks saw in the first epoch: the image, the global crops that both see, and the \
                      local crops that only the student sees. If the object cannot be told any more, weaken them."
                .to_owned(),
            file: smaller(&sheet)?,
            film: None,
        });
    }
    Ok(figures)
}

/// The last sheet of a kind that can be read, for the page, and its epoch.
fn last(pictures: &Path, kind: &str) -> Option<(usize, Vec<u8>)> {
    let read = |sheet: &Sheet| {
        let file = sheet.file()?;
        let picture = Picture::from_file(&file).ok()?;
        // A photograph is not compressed twice.
        if image::guess_format(&file).ok()? == image::ImageFormat::Jpeg { Some(file) } else { smaller(&picture).ok() }
    };
    sheets(pictures, kind).iter().rev().find_map(|sheet| Some((sheet.epoch, read(sheet)?)))
}

/// The film of a kind. Making one is nothing to wait for after Ctrl-C.
fn film(trained: &Trained<'_>, kind: &Kind, pictures: &Path) -> Result<Option<Film>, RunError> {
    if kind.film.is_empty() || trained.end == End::Stopped {
        return Ok(None);
    }
    let name = format!("{}.gif", kind.name);
    let file = write_film(&pictures.join(&name), &sheets(pictures, kind.name))?;
    Ok(file.map(|file| Film { caption: kind.film.to_owned(), place: format!("{PICTURES}/{name}"), file }))
}

/// The smaller of a picture's PNG and JPEG files.
fn smaller(picture: &Picture) -> Result<Vec<u8>, RunError> {
    let (png, jpeg) = (picture.to_png()?, picture.to_jpeg()?);
    Ok(if jpeg.len() < png.len() { jpeg } else { png })
}
