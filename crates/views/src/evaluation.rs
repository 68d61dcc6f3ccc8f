//! The evaluation loader: every image of a source once, transformed, in batches: in order, or for a classifier that learns in the order
//! of an epoch and as one random view.
use std::sync::Arc;

use crate::draw::draw;
use crate::error::{DecodeError, Error, Result, Skipped, guard};
use crate::pixel::Image;
use crate::pool::{Pool, PoolConfig};
use crate::random::Key;
use crate::recipe::ViewRecipe;
use crate::render::render;
use crate::samples::Reading;
use crate::source::Source;
use crate::transform::EvalTransform;

/// How images are read for evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct EvalConfig {
    /// Images of a batch.
    pub batch: usize,
    /// Worker threads.
    pub workers: usize,
    /// The form of the images.
    pub reading: Reading,
}

/// One random view of every image, for a classifier that learns.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochViews {
    /// How views are drawn; the first view is used.
    pub recipe: ViewRecipe,
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Indices in the source, in the order in which the images come.
    pub order: Vec<u32>,
}

/// Some images, all of one size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalBatch {
    /// Index in the source of every image.
    pub samples: Vec<u32>,
    /// Name of every image in the source.
    pub names: Vec<String>,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// [images, height, width, channels].
    pub pixels: Vec<u8>,
}

/// A running evaluation loader: an iterator over batches; dropping it stops its threads.
pub struct EvalLoader {
    source: Arc<Source>,
    order: Arc<[u32]>,
    size: (u32, u32),
    batch: usize,
    pool: Pool<std::result::Result<Image, DecodeError>>,
    next: usize,
    skipped: Vec<Skipped>,
}

impl EvalLoader {
    /// Starts the workers.
    ///
    /// # Errors
    /// [`Error::Value`] if the batch is empty or the transform gives no pixels.
    pub fn new(source: Arc<Source>, transform: EvalTransform, config: EvalConfig) -> Result<Self> {
        let (width, height) = transform.size();
        let resize = if let EvalTransform::ResizeCrop { resize, .. } = transform { resize } else { 1 };
        if config.batch == 0 || width == 0 || height == 0 || resize == 0 {
            let problem = format!("{} images of {width} x {height}; all at least 1", config.batch);
            return Err(Error::Value { key: "batch".to_string(), problem });
        }
        let order = (0..source.len() as u32).collect();
        Ok(Self::start(source, order, (width, height), config, move |_, image| transform.apply(image)))
    }

    /// The same for the random views of an epoch.
    ///
    /// # Errors
    /// [`Error::Value`] if the batch is empty, the recipe makes no sense, or the order names an image that is not there.
    pub fn of_epoch(source: Arc<Source>, views: EpochViews, config: EvalConfig) -> Result<Self> {
        let EpochViews { recipe, seed, epoch, order } = views;
        recipe.validate()?;
        let beyond = order.iter().any(|sample| *sample as usize >= source.len());
        if config.batch == 0 || beyond {
            let problem = format!("{} images of {}; at least 1, and each of the source", config.batch, source.len());
            return Err(Error::Value { key: "batch".to_string(), problem });
        }
        let side = recipe.crops(0).size;
        Ok(Self::start(source, order.into(), (side, side), config, move |sample, image| {
            let key = Key { seed, epoch, sample: u64::from(sample) };
            render(image, &draw(&recipe, &key, 0, (image.width, image.height)), side)
        }))
    }

    fn start(
        source: Arc<Source>,
        order: Arc<[u32]>,
        size: (u32, u32),
        config: EvalConfig,
        show: impl Fn(u32, &Image) -> Image + Send + Sync + 'static,
    ) -> Self {
        let pool = PoolConfig {
            threads: config.workers,
            ahead: (config.batch + config.workers) as u64,
            first: 0,
            end: order.len() as u64,
        };
        let (images, samples) = (Arc::clone(&source), Arc::clone(&order));
        let pool = Pool::start(&pool, move |(): &mut (), number| {
            let sample = samples[number as usize];
            let image = &images.images[sample as usize];
            guard(|| image.decode(&config.reading).map(|image| show(sample, &image)))
        });
        Self { source, order, size, batch: config.batch, pool, next: 0, skipped: Vec::new() }
    }

    /// Returns the unreadable files met so far, in order.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

impl Iterator for EvalLoader {
    type Item = Result<EvalBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let (width, height) = self.size;
        let mut batch = EvalBatch { samples: vec![], names: vec![], width, height, pixels: vec![] };
        while batch.samples.len() < self.batch && self.next < self.order.len() {
            let Some(item) = self.pool.next() else {
                // A worker is gone; say so once, then end.
                self.next = self.order.len();
                return Some(Err(Error::Stopped));
            };
            let sample = self.order[self.next];
            let image = &self.source.images[sample as usize];
            match item {
                Ok(transformed) => {
                    batch.samples.push(sample);
                    batch.names.push(image.name.to_string());
                    batch.pixels.extend_from_slice(&transformed.pixels);
                }
                Err(error) => self.skipped.push(Skipped { path: image.path(), reason: error.to_string() }),
            }
            self.next += 1;
        }
        (!batch.samples.is_empty()).then_some(Ok(batch))
    }
}
