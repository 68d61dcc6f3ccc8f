//! The evaluation loader: every image of a source once, in order, transformed, in batches.
use std::sync::Arc;

use crate::error::{DecodeError, Error, Result, Skipped, guard};
use crate::pixel::Image;
use crate::pool::{Pool, PoolConfig};
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
    transform: EvalTransform,
    batch: usize,
    pool: Pool<std::result::Result<Image, DecodeError>>,
    next: u32,
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
        let pool = PoolConfig {
            threads: config.workers,
            ahead: (config.batch + config.workers) as u64,
            first: 0,
            end: source.len() as u64,
        };
        let images = Arc::clone(&source);
        let pool = Pool::start(&pool, move |(): &mut (), number| {
            let image = &images.images[number as usize];
            guard(|| image.decode(&config.reading).map(|image| transform.apply(&image)))
        });
        Ok(Self { source, transform, batch: config.batch, pool, next: 0, skipped: Vec::new() })
    }

    /// Returns the unreadable files met so far, in order.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }
}

impl Iterator for EvalLoader {
    type Item = Result<EvalBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let (width, height) = self.transform.size();
        let mut batch = EvalBatch { samples: vec![], names: vec![], width, height, pixels: vec![] };
        while batch.samples.len() < self.batch && (self.next as usize) < self.source.len() {
            let Some(item) = self.pool.next() else {
                // A worker is gone; say so once, then end.
                self.next = self.source.len() as u32;
                return Some(Err(Error::Stopped));
            };
            let image = &self.source.images[self.next as usize];
            match item {
                Ok(transformed) => {
                    batch.samples.push(self.next);
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
