//! `dinoxide attention --video`: what the class token attends to, frame by frame.

use dinoxide_engine::tensor::Pool;
use dinoxide_views::Image;

use super::{Studio, VideoReport, VideoRequest, fitted};
use crate::eval::attention::{AttentionMaps, mass_mask};
use crate::eval::features::ImageBatch;
use crate::report::attention_sheet::OVERLAY_OPACITY;
use crate::report::picture::{ColourMap, Grid, Picture};
use crate::report::sheet::sheet;
use crate::run::RunError;
use crate::run::device::among_threads;
use crate::run::model::name_of;
use crate::run::report::picture_of;

/// Colours of the maps, the original program's.
const MAP: ColourMap = ColourMap::Inferno;
/// Longer side of a picture, and of one of many, pixels.
const SIDE: u32 = 480;
const SMALL_SIDE: u32 = 240;
/// Pictures in a row.
const IN_A_ROW: usize = 7;

/// What of the attention is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum AttentionView {
    /// The mean over heads, as the original program.
    #[default]
    Mean,
    /// The same over the frame.
    Overlay,
    /// The frame and every head.
    Heads,
    /// The mask that holds most of the mean, over the frame.
    Mask,
}

/// Writes a video of the attention; `mass` is its share inside the masks.
///
/// # Errors
/// If the model is no ViT, or the frames cannot be read, or the video cannot be written.
pub fn attention_video(request: &VideoRequest, view: AttentionView, mass: f64) -> Result<VideoReport, RunError> {
    among_threads(|| film(request, view, mass))
}

fn film(request: &VideoRequest, view: AttentionView, mass: f64) -> Result<VideoReport, RunError> {
    mass_mask(&[], mass)?;
    let studio = Studio::open(request)?;
    let no_attention = || RunError::NoAttention { model: name_of(&studio.model.backbone.config()) };
    if studio.model.backbone.vit().is_none() {
        return Err(no_attention());
    }
    let pool = Pool::new();
    let frozen = studio.frozen(&pool);
    let side = request.side.unwrap_or(if view == AttentionView::Heads { SMALL_SIDE } else { SIDE });
    studio.film(|image| {
        let (height, width) = (image.height as usize, image.width as usize);
        let values = frozen.class_attention(ImageBatch { pixels: &image.pixels, images: 1, height, width });
        let maps = AttentionMaps::new(values.ok_or_else(no_attention)?, studio.model.backbone.grid(height, width))?;
        draw(image, &maps, view, (mass, side))
    })
}

fn draw(
    image: &Image,
    maps: &AttentionMaps,
    view: AttentionView,
    (mass, side): (f64, u32),
) -> Result<Picture, RunError> {
    let picture = fitted(&picture_of(image)?, side);
    let (rows, columns) = maps.grid();
    let grid = |values: Vec<f32>| Grid::new(columns, rows, values);
    let mean = maps.mean();
    let heat = |map: &[f32]| -> Result<Picture, RunError> {
        Ok(grid(map.to_vec())?.normalised().to_picture(MAP, picture.width(), picture.height()))
    };
    match view {
        AttentionView::Mean => heat(&mean),
        AttentionView::Overlay => Ok(picture.with_heat(&grid(mean)?, MAP, OVERLAY_OPACITY)),
        AttentionView::Mask => {
            let kept = mass_mask(&mean, mass)?.into_iter().map(|kept| f32::from(u8::from(kept)));
            Ok(picture.with_mask(&grid(kept.collect())?))
        }
        AttentionView::Heads => {
            let mut cells = vec![picture.clone()];
            for head in maps.heads() {
                cells.push(heat(head)?);
            }
            let rows: Vec<Vec<Picture>> = cells.chunks(IN_A_ROW).map(<[Picture]>::to_vec).collect();
            // Captions stand above columns, so that several rows have none.
            let names =
                || std::iter::once("frame".to_owned()).chain((1..cells.len()).map(|head| format!("head {head}")));
            let captions: Vec<String> = if rows.len() == 1 { names().collect() } else { Vec::new() };
            Ok(sheet(&rows, &captions))
        }
    }
}
