//! Attention against objects, image after image: a batch is decoded while nothing else is kept than scores.

use std::path::Path;

use dinoxide_engine::tensor::Pool;
use dinoxide_views::resample::{Filter, resize};
use dinoxide_views::{Crop, EvalTransform, Image, Reading, Skipped, decode_file};
use rayon::prelude::*;

use super::SegmentationError;
use super::pairs::Pair;
use super::truth::{MaskReading, StoredMask, TruthObject};
use crate::eval::attention::{AttentionMaps, AttentionScore, ObjectScore, Truth, mean_jaccard, object_jaccard};
use crate::eval::features::{Frozen, ImageBatch};
use crate::nn::backbone::Backbone;
use crate::nn::init::Registry;
use crate::run::RunError;
use crate::run::counter::Counter;
use crate::run::images::warn_of_skipped;
use crate::run::input::ImageSize;
use crate::run::look::Look;

/// Seed of the untrained network.
const SEED: u64 = 0;
/// How much the two aspects of an image and its mask may differ: their sides are rounded where they are of several sizes.
const ASPECT: f64 = 0.02;

/// The scores of one image.
#[derive(Debug, Clone)]
pub(super) struct ImageScore {
    /// Its place among all.
    pub place: usize,
    pub name: String,
    /// Index and scores of each object.
    pub objects: Vec<(u8, ObjectScore)>,
    /// Their mean.
    pub mean: AttentionScore,
    /// The mean of the untrained network's best heads.
    pub untrained: f64,
    /// Heads of the network.
    pub heads: usize,
}

/// The scores of all images.
#[derive(Debug, Default)]
pub(super) struct Scores {
    pub images: Vec<ImageScore>,
    /// Names of images without an object.
    pub without_object: Vec<String>,
    /// Images that could not be read.
    pub left_out: Vec<String>,
}

/// What scores are computed with.
pub(super) struct Scorer<'a> {
    pub look: &'a Look,
    pub reader: Reader<'a>,
    pub mass: f64,
}

/// How images and masks are read, by any thread.
pub(super) struct Reader<'a> {
    pub images: &'a Reading,
    pub masks: MaskReading,
    /// What images are resized to.
    pub size: ImageSize,
    /// Side of a patch.
    pub stride: usize,
}

/// An image as the network sees it, with its mask at that size.
pub(super) struct Seen {
    pub image: Image,
    pub mask: StoredMask,
}

impl Scorer<'_> {
    /// Scores of all images that can be read and show an object.
    ///
    /// # Errors
    /// If masks cannot be read or do not fit their images.
    pub fn scores(&self, pairs: &[Pair]) -> Result<Scores, RunError> {
        let model = &self.look.model;
        let mut registry = Registry::new();
        let untrained = Backbone::new(model.backbone.config(), "", &mut registry);
        let params = registry.finish(SEED);
        let pool = Pool::new();
        let networks = [model.frozen(&self.look.cpu, &pool), Frozen::new(&self.look.cpu, &pool, &untrained, &params)];
        let (width, height) = (self.reader.size.width as u32, self.reader.size.height as u32);
        let at_once = model.images_at_once(EvalTransform::Exact { width, height });
        let counter = Counter::start(pairs.len());
        let (mut scores, mut skipped) = (Scores::default(), Vec::new());
        for (batch, pairs) in pairs.chunks(at_once).enumerate() {
            let reader = &self.reader;
            let read = pairs.par_iter().map(|pair| reader.read(pair)).collect::<Vec<_>>();
            for (place, (pair, seen)) in (batch * at_once..).zip(pairs.iter().zip(read)) {
                counter.one();
                let seen = match seen? {
                    Ok(seen) => seen,
                    Err(reason) => {
                        scores.left_out.push(pair.image.display().to_string());
                        skipped.push(Skipped { path: pair.image.clone(), reason });
                        continue;
                    }
                };
                match self.score(&networks, &seen, &pair.mask)? {
                    Some(score) => scores.images.push(ImageScore { place, name: pair.name.clone(), ..score }),
                    None => scores.without_object.push(pair.name.clone()),
                }
            }
        }
        drop(counter);
        warn_of_skipped(&self.look.console, &skipped);
        Ok(scores)
    }

    /// What a network attends to.
    ///
    /// # Errors
    /// If its weights are damaged.
    pub fn maps(&self, network: &Frozen<'_>, image: &Image) -> Result<AttentionMaps, RunError> {
        let (height, width) = (image.height as usize, image.width as usize);
        let values = network.class_attention(ImageBatch { pixels: &image.pixels, images: 1, height, width });
        Ok(AttentionMaps::new(values.unwrap_or_default(), network.backbone.grid(height, width))?)
    }

    /// The scores of an image without its name; none if its mask shows no object.
    fn score(&self, networks: &[Frozen<'_>; 2], seen: &Seen, path: &Path) -> Result<Option<ImageScore>, RunError> {
        let stride = self.look.model.backbone.stride();
        let covered = (seen.image.height as usize, seen.image.width as usize);
        let objects = seen.mask.objects(path)?.into_iter();
        let (indices, truths): (Vec<u8>, Vec<_>) = objects
            .filter(|TruthObject { truth, .. }| {
                let rows = truth.pixels().chunks(truth.size().1.max(1)).take(covered.0);
                let mut seen = rows.flat_map(|row| &row[..covered.1.min(row.len())]);
                seen.any(|pixel| *pixel == Truth::Object)
            })
            .map(|TruthObject { index, truth }| (index, truth))
            .unzip();
        if truths.is_empty() {
            return Ok(None);
        }
        let maps = self.maps(&networks[0], &seen.image)?;
        let of_trained = object_jaccard(&maps, stride, self.mass, &truths)?;
        let of_untrained = object_jaccard(&self.maps(&networks[1], &seen.image)?, stride, self.mass, &truths)?;
        let mean = |scores: &[ObjectScore]| mean_jaccard(&scores.iter().map(|one| one.score).collect::<Vec<_>>());
        Ok(Some(ImageScore {
            place: 0,
            name: String::new(),
            mean: mean(&of_trained)?,
            untrained: mean(&of_untrained)?.best_head,
            objects: indices.into_iter().zip(of_trained).collect(),
            heads: maps.heads().len(),
        }))
    }
}

impl Reader<'_> {
    /// Reads an image and its mask; or says why the image cannot be read.
    ///
    /// # Errors
    /// If the mask cannot be read, or is not of the image's shape.
    pub fn read(&self, pair: &Pair) -> Result<Result<Seen, String>, RunError> {
        let decoded = match decode_file(&pair.image, self.images) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mask = StoredMask::read(&pair.mask, self.masks)?;
        let image = (decoded.width as usize, decoded.height as usize);
        if !same_shape(mask.size(), image) {
            return Err(SegmentationError::Shape { path: pair.mask.clone(), mask: mask.size(), image }.into());
        }
        // As `visualize_attention.py`: both sides to this size, then what no whole patch covers is cut.
        let ImageSize { width, height } = self.size;
        let whole = |side: usize| (side - side % self.stride) as u32;
        let cut = Crop { x: 0, y: 0, width: whole(width), height: whole(height) };
        let image = resize(&decoded, width as u32, height as u32, Filter::Bilinear).crop(cut);
        Ok(Ok(Seen { image, mask: mask.resized(width, height) }))
    }
}

/// Whether two sizes are those of one picture.
fn same_shape(a: (usize, usize), b: (usize, usize)) -> bool {
    let aspect = |size: (usize, usize)| size.0 as f64 / size.1 as f64;
    a == b || (aspect(a) / aspect(b) - 1.0).abs() <= ASPECT
}
