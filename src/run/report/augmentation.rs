//! The augmentation sheet: what the networks see of an image, by the code and the draws of the training itself.

use dinoxide_views::random::Key;
use dinoxide_views::{Image, Source, render_views};

use crate::config::Config;
use crate::report::picture::{Picture, PictureError};
use crate::report::sheet::sheet;
use crate::run::validation::reading;

/// Images on the sheet.
const IMAGES: usize = 8;
/// Side of the largest cells; small crops keep their size relative to large ones.
const CELL_PX: u32 = 96;

/// The first epoch's views of up to eight images, one row each; `None` if no image can be read.
pub fn augmentation_sheet(config: &Config, source: &Source) -> Option<Picture> {
    let recipe = &config.views;
    let count = source.len().min(IMAGES);
    let mut rows = Vec::new();
    for place in 0..count {
        let index = place * source.len() / count;
        let Ok(image) = source.images[index].decode(&reading(config)) else { continue };
        let key = Key { seed: config.run.seed, epoch: 0, sample: index as u64 };
        let views = render_views(&image, recipe, &key);
        let largest = recipe.global.size.max(recipe.local.size).max(1);
        let view = |view: &Image| scaled(view, f64::from(CELL_PX) / f64::from(largest));
        let whole = scaled(&image, f64::from(CELL_PX) / f64::from(image.width.max(image.height)));
        let row = std::iter::once(whole).chain(views.iter().map(view)).collect::<Result<Vec<_>, _>>();
        rows.extend(row.ok());
    }
    let numbered = |name: &'static str, count: u32| (1..=count).map(move |number| format!("{name} {number}"));
    let captions = std::iter::once("image".to_owned())
        .chain(numbered("global", recipe.global.count))
        .chain(numbered("local", recipe.local.count));
    (!rows.is_empty()).then(|| sheet(&rows, &captions.collect::<Vec<_>>()))
}

/// The picture that people are shown of an image.
///
/// # Errors
/// If the image has no pixel.
pub fn picture_of(image: &Image) -> Result<Picture, PictureError> {
    Picture::new(image.width, image.height, image.shown().pixels)
}

/// A smaller or larger copy, as people are shown it.
///
/// # Errors
/// If the image has no pixel.
pub fn scaled(image: &Image, factor: f64) -> Result<Picture, PictureError> {
    let side = |side: u32| (f64::from(side) * factor).round().max(1.0) as u32;
    let (width, height) = (side(image.width), side(image.height));
    Ok(picture_of(image)?.resized(width, height))
}
