//! k-NN while training: how well the frozen features of the moment tell labelled images apart.

use std::path::Path;
use std::sync::Arc;

use dinoxide_engine::params::Params;
use dinoxide_views::source::SourceImage;
use dinoxide_views::{EvalConfig, EvalLoader, EvalTransform, Exif, Reading, Source};

use super::RunError;
use super::console::Console;
use crate::config::{Config, ExifMode};
use crate::eval::features::{Frozen, extract};
use crate::eval::knn::KnnBank;
use crate::eval::labels::Labels;
use crate::eval::pixels::{pooled_pixels, subtract_train_mean};
use crate::methods::Device;
use crate::nn::backbone::Backbone;

/// Images per forward pass.
pub(super) const EVAL_BATCH: usize = 64;
/// Part of the images of an evaluation that are classified, where there are more than it may have; the others vote.
const CLASSIFIED_PART: usize = 4;

/// Labelled images that vote and labelled images that are classified.
pub struct Validation {
    bank: Split,
    queries: Split,
    classes: usize,
    k: usize,
    config: Config,
}

struct Split {
    source: Arc<Source>,
    /// Label of each image of the source; absent for images that are not used.
    labels: Vec<Option<u32>>,
}

impl Split {
    /// Images that are used.
    fn len(&self) -> usize {
        self.labels.iter().flatten().count()
    }

    /// Leaves at most so many images, at least one, evenly spread.
    fn thin_out(&mut self, most: usize) {
        let stride = self.len().div_ceil(most.max(1)).max(1);
        for (number, label) in self.labels.iter_mut().filter(|label| label.is_some()).enumerate() {
            if number % stride != 0 {
                *label = None;
            }
        }
    }
}

impl Validation {
    /// Prepares the evaluation `config` asks for; nothing without `data.val`.
    ///
    /// The training images vote if they lie in the same class folders; else every second image of the labelled folder.
    ///
    /// # Errors
    /// If the labelled folder cannot be used.
    pub fn open(config: &Config, train: &Arc<Source>, console: &Console) -> Result<Option<Self>, RunError> {
        let Some(val) = &config.data.val else { return Ok(None) };
        let val = Source::labelled(Path::new(val))?;
        let label = |index: usize| val.images[index].label.unwrap_or_default();
        let val_names: Vec<String> = (0..val.len()).map(|index| val.classes[label(index) as usize].clone()).collect();
        let train_names = class_folders(train);
        let of_train = Labels::from_names(&train_names, &val_names);
        let (mut bank, mut queries, classes) = match of_train {
            Ok(labels) => {
                let classes = labels.classes.len();
                let known = |labels: Vec<u32>| labels.into_iter().map(Some).collect();
                let bank = Split { source: Arc::clone(train), labels: known(labels.train) };
                (bank, Split { source: Arc::new(val), labels: known(labels.val) }, classes)
            }
            Err(_) => {
                console.say("k-NN: the training images have no classes; every second labelled image votes");
                let all = Arc::new(val);
                let half = |parity: usize| {
                    let labels = all.images.iter().enumerate();
                    let labels = labels.map(|(index, image)| image.label.filter(|_| index % 2 == parity)).collect();
                    Split { source: Arc::clone(&all), labels }
                };
                (half(0), half(1), all.classes.len())
            }
        };
        if bank.len() == 0 || queries.len() == 0 {
            let path = config.data.val.clone().unwrap_or_default();
            return Err(RunError::TooFewLabelled { path, images: bank.len() + queries.len() });
        }
        let most = config.eval.most_images;
        let classified = most / CLASSIFIED_PART;
        queries.thin_out(classified.max(most.saturating_sub(bank.len())));
        bank.thin_out(most.saturating_sub(queries.len()));
        Ok(Some(Self { bank, queries, classes, k: config.eval.knn_k, config: config.clone() }))
    }

    /// Images that vote or are classified.
    pub fn size(&self) -> usize {
        self.bank.len() + self.queries.len()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Top-1 accuracy in percent of the network `backbone` with each of two sets of parameters.
    ///
    /// # Errors
    /// If no image can be read.
    pub fn top1(&self, backbone: &Backbone, params: [&Params; 2], device: Device<'_>) -> Result<[f64; 2], RunError> {
        let networks = params.map(|params| Frozen::new(device.kernels, device.pool, backbone, params));
        let ([bank, other_bank], bank_labels) = self.features(&networks, &self.bank)?;
        let ([queries, other_queries], labels) = self.features(&networks, &self.queries)?;
        let top1 = |bank: Vec<f32>, queries: &[f32]| -> Result<f64, RunError> {
            let bank = KnnBank::new(bank, bank_labels.clone(), self.classes)?;
            let result = bank.evaluate(queries, &labels, &[self.k])?;
            Ok(result.per_k.first().map_or(0.0, |score| score.top1))
        };
        Ok([top1(bank, &queries)?, top1(other_bank, &other_queries)?])
    }

    /// Top-1 accuracy in percent of thumbnails of the same images: what needs no network.
    ///
    /// # Errors
    /// If no image can be read.
    pub fn pixel_top1(&self) -> Result<f64, RunError> {
        let (mut bank, bank_labels) = self.pixels(&self.bank)?;
        let (mut queries, labels) = self.pixels(&self.queries)?;
        subtract_train_mean(&mut bank, &mut queries, self.config.data.channels)?;
        let result = KnnBank::new(bank, bank_labels, self.classes)?.evaluate(&queries, &labels, &[self.k])?;
        Ok(result.per_k.first().map_or(0.0, |score| score.top1))
    }

    /// The images that are classified.
    pub fn queries(&self) -> impl ExactSizeIterator<Item = &SourceImage> {
        let used = self.queries.source.images.iter().zip(&self.queries.labels);
        used.filter(|(_, label)| label.is_some()).map(|(image, _)| image).collect::<Vec<_>>().into_iter()
    }

    /// Features of both networks, and the labels of the images that could be read.
    fn features(&self, networks: &[Frozen<'_>; 2], split: &Split) -> Result<([Vec<f32>; 2], Vec<u32>), RunError> {
        let (used, mut images) = self.images(split)?;
        let features = extract(networks.each_ref(), &mut images)?;
        let labels = features.indices.iter().filter_map(|index| split.labels[used[*index]]).collect();
        Ok((features.values, labels))
    }

    /// The indices of the labelled images of a split, and their loader.
    fn images(&self, split: &Split) -> Result<(Vec<usize>, EvalLoader), RunError> {
        let used: Vec<usize> = (0..split.labels.len()).filter(|index| split.labels[*index].is_some()).collect();
        let (workers, reading) = (self.config.data.workers, reading(&self.config));
        let images: Vec<SourceImage> = used.iter().map(|index| split.source.images[*index].clone()).collect();
        let inputs = vec![images.len() as u32];
        let source = Arc::new(Source { images, classes: split.source.classes.clone(), inputs });
        let config = EvalConfig { batch: EVAL_BATCH, workers, reading };
        Ok((used, EvalLoader::new(source, eval_transform(&self.config), config)?))
    }

    /// Thumbnails and labels of the images of a split that can be read.
    fn pixels(&self, split: &Split) -> Result<(Vec<f32>, Vec<u32>), RunError> {
        let channels = self.config.data.channels;
        let (used, images) = self.images(split)?;
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for batch in images {
            let batch = batch?;
            let size = (batch.height as usize, batch.width as usize);
            for (image, sample) in batch.pixels.chunks_exact(size.0 * size.1 * channels).zip(&batch.samples) {
                values.extend(pooled_pixels(image, size, channels)?);
                labels.extend(split.labels[used[*sample as usize]]);
            }
        }
        Ok((values, labels))
    }
}

/// How a run's images are shown to its network: small ones whole, photos with the margin of the official protocol
/// (shorter side 256, centre 224, in proportion to the size of the global crops).
pub fn eval_transform(config: &Config) -> EvalTransform {
    /// Global crops up to this side belong to images that are hardly larger.
    const SMALL_PX: u32 = 64;
    let crop = config.views.global.size;
    let resize = if crop <= SMALL_PX { crop } else { (crop * 256).div_ceil(224) };
    EvalTransform::ResizeCrop { resize, crop }
}

/// The form in which a run reads its images.
pub(super) fn reading(config: &Config) -> Reading {
    let exif = match config.data.exif {
        ExifMode::Apply => Exif::Apply,
        ExifMode::Ignore => Exif::Ignore,
    };
    Reading { exif, channels: config.data.channels, range: config.data.range.clone() }
}

/// The top folder each image lies in; empty where it lies in none.
fn class_folders(source: &Source) -> Vec<String> {
    let folder = |name: &str| name.split_once('/').map_or_else(String::new, |(folder, _)| folder.to_owned());
    source.images.iter().map(|image| folder(&image.name)).collect()
}
