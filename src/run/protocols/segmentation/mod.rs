//! `dinoxide eval segmentation`: how well the attention of the class token outlines objects (DINO, Caron et al. 2021, figure 4).
//!
//! | file | does |
//! |---|---|
//! | `pairs.rs` | finds images and their masks |
//! | `truth.rs` | masks to objects |
//! | `scores.rs` | attention against objects, image after image |
//! | `pictures.rs` | heads of the best and worst images |

mod error;
pub mod pairs;
mod pictures;
mod scores;
pub mod truth;

use std::path::PathBuf;

use serde::Serialize;

pub use error::SegmentationError;

use self::pairs::{Shown, find};
use self::pictures::write_pictures;
use self::scores::{ImageScore, Reader, Scorer, Scores};
use self::truth::MaskReading;
use super::retrieval::Missing;
use super::{Outcome, ProtocolRequest, Session};
use crate::eval::attention::{MASS, mass_mask, mean_jaccard};
use crate::eval::published;
use crate::run::RunError;
use crate::run::device::among_threads;
use crate::run::images::introduce_as;
use crate::run::input::ImageSize;
use crate::run::look::write_table;
use crate::run::model::name_of;

/// Side of the images in `visualize_attention.py`.
const SIDE: usize = 480;
/// Tables in the folder of the results.
const PER_IMAGE: &str = "per-image.csv";
const PER_OBJECT: &str = "per-object.csv";

/// What to do.
#[derive(Debug, Clone)]
pub struct SegmentationRequest {
    /// Network, size, folder of the results.
    pub protocol: ProtocolRequest,
    /// Folder of images and masks.
    pub data: PathBuf,
    /// Share of the attention inside the masks.
    pub threshold: f64,
    /// What the masks mean.
    pub reading: MaskReading,
    /// What becomes of an image without a mask, or a mask without an image.
    pub missing: Missing,
}

/// The figures, percent where not said otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SegmentationReport {
    /// Jaccard index of the best head for each object: mean over the objects of an image, then over images. The paper's number.
    pub jaccard: f64,
    /// The same of the mean over heads, which needs no choice.
    pub jaccard_mean_heads: f64,
    /// The best head of the same network with random weights.
    pub untrained: f64,
    /// A centred ellipse of 0.7 of both sides.
    pub ellipse: f64,
    /// All pixels.
    pub foreground: f64,
    /// Images with an object.
    pub images: usize,
    /// Their objects.
    pub objects: usize,
    /// For how many objects each head was the best.
    pub best_heads: Vec<usize>,
    /// Share of the attention inside the masks, 0 to 1.
    pub threshold: f64,
    /// Width and height that images were resized to.
    pub image_size: String,
    /// Images whose mask shows no object.
    pub without_object: Vec<String>,
    /// Images that could not be read.
    pub left_out: Vec<String>,
    /// Files that were missing.
    pub missing: Vec<PathBuf>,
}

/// Compares the attention of the last block with masks of objects.
///
/// # Errors
/// If the model is no ViT, or images and masks cannot be read or do not fit each other.
pub fn segmentation(request: &SegmentationRequest) -> Result<Outcome<SegmentationReport>, RunError> {
    among_threads(|| measure(request))
}

fn measure(request: &SegmentationRequest) -> Result<Outcome<SegmentationReport>, RunError> {
    mass_mask(&[], request.threshold)?;
    let found = find(&request.data, request.missing)?;
    let mut session = Session::open(&request.protocol)?;
    let config = session.look.model.backbone.config();
    if session.look.model.backbone.vit().is_none() {
        return Err(RunError::NoAttention { model: name_of(&config) });
    }
    let size = size(&mut session)?;
    note(&mut session, request, found.shown);
    introduce_as(&session.look.console, &session.look.model, &format!("resized to {size}, bilinear"));
    if !found.missing.is_empty() {
        session.look.console.warn(&format!("{} files are missing: their images are left out", found.missing.len()));
    }
    let pairs = &found.pairs;
    let model = &session.look.model;
    let reader = Reader { images: &model.reading, masks: request.reading, size, stride: model.backbone.stride() };
    let scorer = Scorer { look: &session.look, reader, mass: request.threshold };
    let Scores { images, without_object, left_out } = scorer.scores(pairs)?;
    let report = SegmentationReport {
        image_size: size.to_string(),
        threshold: request.threshold,
        missing: found.missing,
        without_object,
        left_out,
        ..report(&images)?
    };
    let pictures = write_pictures(&scorer, pairs, &images, &request.protocol.out)?;
    session.files.extend(pictures);
    write_tables(&mut session, &images)?;
    session.finish("segmentation", report, &published::SEGMENTATION)
}

/// Width and height that images are resized to.
fn size(session: &mut Session<'_>) -> Result<ImageSize, RunError> {
    let own = ImageSize { width: SIDE, height: SIDE };
    let size = session.request.image_size.filter(|_| !session.is_reference()).unwrap_or(own);
    session.look.model.transform(Some(size))?;
    if size != own {
        session.deviates(format!("images resized to {size}; the original's figures: {own}"));
    }
    Ok(size)
}

fn note(session: &mut Session<'_>, request: &SegmentationRequest, shown: Shown) {
    if request.threshold != MASS {
        session.deviates(format!("masks of {} of the attention; the paper: {MASS}", request.threshold));
    }
    if shown == Shown::Classes {
        session.deviates("masks of classes, not of objects: all objects of a class count as one");
    }
}

fn report(images: &[ImageScore]) -> Result<SegmentationReport, RunError> {
    if images.is_empty() {
        return Err(SegmentationError::NoObjects.into());
    }
    let mean = mean_jaccard(&images.iter().map(|image| image.mean).collect::<Vec<_>>())?;
    let untrained = images.iter().map(|image| image.untrained).sum::<f64>() / images.len() as f64;
    let heads = images.iter().map(|image| image.heads).max().unwrap_or(0);
    let mut best_heads = vec![0; heads];
    images.iter().flat_map(|image| &image.objects).for_each(|(_, object)| best_heads[object.head] += 1);
    Ok(SegmentationReport {
        jaccard: 100.0 * mean.best_head,
        jaccard_mean_heads: 100.0 * mean.mean_heads,
        untrained: 100.0 * untrained,
        ellipse: 100.0 * mean.ellipse,
        foreground: 100.0 * mean.foreground,
        images: images.len(),
        objects: best_heads.iter().sum(),
        best_heads,
        threshold: MASS,
        image_size: String::new(),
        without_object: Vec::new(),
        left_out: Vec::new(),
        missing: Vec::new(),
    })
}

/// Writes the scores of every image and object, 0 to 1.
fn write_tables(session: &mut Session<'_>, images: &[ImageScore]) -> Result<(), RunError> {
    let short = |value: f64| format!("{value:.6}");
    let path = session.file(PER_IMAGE);
    let header = ["image", "objects", "jaccard", "jaccard_mean_heads", "untrained", "ellipse", "foreground"];
    let row = |image: &ImageScore| {
        let [best, mean, ellipse, foreground] =
            [image.mean.best_head, image.mean.mean_heads, image.mean.ellipse, image.mean.foreground].map(short);
        let objects = image.objects.len().to_string();
        [image.name.clone(), objects, best, mean, short(image.untrained), ellipse, foreground]
    };
    write_table(&path, header, images.iter().map(row))?;
    let path = session.file(PER_OBJECT);
    let header = ["image", "object", "head", "jaccard", "jaccard_mean_heads", "ellipse", "foreground"];
    let rows = images.iter().flat_map(|image| {
        image.objects.iter().map(|(index, object)| {
            let score = object.score;
            let [best, mean, ellipse, foreground] =
                [score.best_head, score.mean_heads, score.ellipse, score.foreground].map(short);
            let head = (object.head + 1).to_string();
            [image.name.clone(), index.to_string(), head, best, mean, ellipse, foreground]
        })
    });
    write_table(&path, header, rows)
}
