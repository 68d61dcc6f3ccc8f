//! The attention sheet of a run: the same few images every time, through the teacher.

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use dinoxide_views::Image;
use dinoxide_views::source::SourceImage;

use super::picture_of;
use crate::eval::attention::{AttentionMaps, MASS, mass_mask};
use crate::eval::features::{Frozen, ImageBatch};
use crate::report::attention_sheet::AttentionRow;
use crate::run::RunError;
use crate::run::trained::Trained;
use crate::run::validation::{eval_transform, reading};

/// Images on the sheet.
const IMAGES: usize = 6;

/// An image with what a network attends to in it.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The image as the network saw it.
    pub image: Image,
    /// Where it looks.
    pub maps: AttentionMaps,
}

/// The attention to an image whose sides are whole patches; nothing if the network is no ViT.
///
/// # Errors
/// If the network's attention is not finite.
pub fn attention_maps(frozen: &Frozen<'_>, image: &Image) -> Result<Option<AttentionMaps>, RunError> {
    let (height, width) = (image.height as usize, image.width as usize);
    let values = frozen.class_attention(ImageBatch { pixels: &image.pixels, images: 1, height, width });
    let maps = values.map(|values| AttentionMaps::new(values, frozen.backbone.grid(height, width)));
    Ok(maps.transpose()?)
}

/// A row of the sheet; `truth` is the true object, above 127 inside, where it is known.
///
/// # Errors
/// If the image has no pixel.
pub fn attention_row(sight: &Sight, truth: Option<Vec<u8>>) -> Result<AttentionRow, RunError> {
    let image = picture_of(&sight.image)?;
    let kept = mass_mask(&sight.maps.mean(), MASS)?;
    Ok(AttentionRow { image, maps: sight.maps.clone(), kept, truth })
}

/// Rows for a ViT's images spread over the labelled images, or over the training images if there are none.
pub(super) fn rows(trained: &Trained<'_>) -> Result<Vec<AttentionRow>, RunError> {
    let config = &trained.folder.config;
    let images: Vec<&SourceImage> = match &trained.validation {
        Some(validation) => validation.queries().collect(),
        None => trained.source.images.iter().collect(),
    };
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let (backbone, params) = trained.state.method.backbone();
    let frozen = Frozen::new(&cpu, &pool, backbone, params);
    let count = if backbone.vit().is_some() { images.len().min(IMAGES) } else { 0 };
    let mut rows = Vec::new();
    for place in 0..count {
        let Ok(image) = images[place * images.len() / count].decode(&reading(config)) else { continue };
        let image = eval_transform(config).apply(&image);
        let Some(maps) = attention_maps(&frozen, &image)? else { continue };
        rows.push(attention_row(&Sight { image, maps }, None)?);
    }
    Ok(rows)
}
