//! Features of images at their own aspect: each brought to fit a box, a batch for every size that occurs.

use std::path::Path;

use dinoxide_engine::tensor::Pool;
use dinoxide_views::thumbnail::{fitting, thumbnail};
use dinoxide_views::{Crop, EvalTransform, Image, Reading, decode_file};
use rayon::prelude::*;

use super::super::Session;
use super::Missing;
use crate::eval::features::{Frozen, ImageBatch};
use crate::eval::multi_scale::{multi_scale, scaled_side};
use crate::nn::backbone::Backbone;
use crate::run::counter::Counter;

/// Images that are decoded before the network sees them.
const AT_ONCE: usize = 64;

/// How images are shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Showing {
    /// Width and height of the box they are made to fit.
    pub within: (u32, u32),
    /// Scales of which the mean is taken.
    pub scales: Vec<f64>,
    /// Whether the first image that cannot be shown ends it.
    pub missing: Missing,
}

/// An image to show, perhaps only a part of it: left, upper, right and lower edge.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    pub path: &'a Path,
    pub edges: Option<[f64; 4]>,
}

/// Features of the images that could be shown.
#[derive(Debug, Default)]
pub struct Shown {
    /// `[N, D]`
    pub features: Vec<f32>,
    /// Which images these are.
    pub places: Vec<usize>,
    /// The others, with the reason.
    pub failed: Vec<(usize, String)>,
}

/// Features of images, in their order.
pub fn features(session: &Session<'_>, parts: &[Part<'_>], showing: &Showing) -> Shown {
    let model = &session.look.model;
    let reading = &model.reading;
    let least = if matches!(model.backbone, Backbone::ResNet(_)) { 1 } else { model.backbone.stride() };
    let pool = Pool::new();
    let frozen = model.frozen(&session.look.cpu, &pool);
    let counter = Counter::start(parts.len());
    let mut shown = Shown::default();
    for (number, chunk) in parts.chunks(AT_ONCE).enumerate() {
        let images: Vec<Result<Image, String>> =
            chunk.par_iter().map(|part| prepared(*part, (reading, least), showing)).collect();
        let mut rows: Vec<Option<Vec<f32>>> = vec![None; chunk.len()];
        for group in by_size(&images) {
            for (place, features) in batch_features(session, &frozen, &group, &showing.scales) {
                rows[place] = Some(features);
            }
        }
        for (place, (row, image)) in (number * AT_ONCE..).zip(rows.into_iter().zip(images)) {
            match (row, image) {
                (Some(row), _) => {
                    shown.features.extend(row);
                    shown.places.push(place);
                }
                (None, image) => shown.failed.push((place, image.err().unwrap_or_default())),
            }
        }
        counter.add(chunk.len());
        if showing.missing == Missing::Error && !shown.failed.is_empty() {
            break;
        }
    }
    shown
}

/// Decodes an image, cuts its part out and makes it fit; its shorter side is to have at least so many pixels at every scale.
fn prepared(part: Part<'_>, (reading, least): (&Reading, usize), showing: &Showing) -> Result<Image, String> {
    let image = decode_file(part.path, reading).map_err(|error| error.to_string())?;
    let image = match part.edges {
        Some(edges) => image.crop(inside(&image, edges)?),
        None => image,
    };
    let (width, height) = fitting((image.width, image.height), showing.within);
    let smallest = showing.scales.iter().copied().fold(1.0, f64::min);
    if scaled_side(width.min(height) as usize, smallest) < least {
        let scale = if smallest < 1.0 { format!(" at scale {smallest:.2}") } else { String::new() };
        return Err(format!("brought to {width}x{height} it is{scale} smaller than a patch of {least} pixels"));
    }
    Ok(thumbnail(&image, showing.within))
}

/// The part of an image within these edges, rounded as Python rounds, what lies outside of the image left out.
fn inside(image: &Image, edges: [f64; 4]) -> Result<Crop, String> {
    let [left, top, right, bottom] = edges.map(f64::round_ties_even);
    // The casts saturate.
    let (x, y) = (left as u32, top as u32);
    let (right, bottom) = ((right as u32).min(image.width), (bottom as u32).min(image.height));
    if x >= right || y >= bottom {
        return Err(format!("the box {edges:?} is outside of its {} x {} pixels", image.width, image.height));
    }
    Ok(Crop { x, y, width: right - x, height: bottom - y })
}

/// Images of one size with their places, the sizes in the order in which they occur.
fn by_size(images: &[Result<Image, String>]) -> Vec<Vec<(usize, &Image)>> {
    let mut groups: Vec<Vec<(usize, &Image)>> = Vec::new();
    for (place, image) in images.iter().enumerate() {
        let Ok(image) = image else { continue };
        let same = |group: &&mut Vec<(usize, &Image)>| {
            group.first().is_some_and(|(_, first)| (first.width, first.height) == (image.width, image.height))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push((place, image)),
            None => groups.push(vec![(place, image)]),
        }
    }
    groups
}

fn batch_features(
    session: &Session<'_>,
    frozen: &Frozen<'_>,
    group: &[(usize, &Image)],
    scales: &[f64],
) -> Vec<(usize, Vec<f32>)> {
    let mut rows = Vec::with_capacity(group.len());
    let Some((width, height)) = group.first().map(|(_, image)| (image.width, image.height)) else { return rows };
    let at_once = session.look.model.images_at_once(EvalTransform::Exact { width, height });
    for batch in group.chunks(at_once) {
        let pixels: Vec<u8> = batch.iter().flat_map(|(_, image)| &image.pixels).copied().collect();
        let (height, width) = (height as usize, width as usize);
        let images = ImageBatch { pixels: &pixels, images: batch.len(), height, width };
        let features = multi_scale(frozen, images, scales);
        let dim = features.len() / batch.len();
        rows.extend(batch.iter().zip(features.chunks_exact(dim)).map(|((place, _), row)| (*place, row.to_vec())));
    }
    rows
}
