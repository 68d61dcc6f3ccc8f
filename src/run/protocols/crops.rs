//! A linear layer that learns from random crops: what `eval_linear.py` shows to the frozen network.
//!
//! Every epoch decodes each image once and computes the features of one crop of it, so that an epoch costs as much as features of all images.

use std::sync::Arc;

use dinoxide_engine::tensor::Pool;
use dinoxide_views::recipe::{CropFilter, CropRecipe, JitterRecipe};
use dinoxide_views::{EpochViews, EvalConfig, EvalLoader, EvalTransform, Source, ViewRecipe};

use super::{Labelled, Session};
use crate::eval::EvalError;
use crate::eval::classifier::LabelledRows;
use crate::eval::features::ImageBatch;
use crate::eval::linear::{Course, Fitted, LinearProbe, fit};
use crate::eval::readout::Readout;
use crate::run::RunError;
use crate::run::counter::Counter;
use crate::run::images::warn_of_skipped;
use crate::run::machine;

/// Area of a training crop (torchvision's default).
const CROP_SCALE: [f64; 2] = [0.08, 1.0];

/// Random crops as large as what `transform` gives: `RandomResizedCrop` and `RandomHorizontalFlip` of torchvision with their defaults.
///
/// # Errors
/// If that is no square.
pub(super) fn crops(transform: EvalTransform) -> Result<ViewRecipe, RunError> {
    let (width, height) = transform.size();
    if width != height {
        let problem = format!("{width}x{height}; random crops are square, so give one number");
        return Err(dinoxide_views::Error::Value { key: "image-size".to_owned(), problem }.into());
    }
    Ok(ViewRecipe {
        filter: CropFilter::Bilinear,
        global: CropRecipe { size: width, scale: CROP_SCALE, count: 1 },
        local: CropRecipe { size: width, scale: CROP_SCALE, count: 0 },
        color_jitter: JitterRecipe { p: 0.0, ..JitterRecipe::default() },
        gray: 0.0,
        blur: [0.0; 3],
        solarize: [0.0; 3],
        ..ViewRecipe::default()
    })
}

/// Training images of which every epoch sees other crops.
pub(super) struct Crops<'a> {
    pub session: &'a Session<'a>,
    pub readout: Readout,
    pub recipe: ViewRecipe,
    pub source: Arc<Source>,
    pub labels: &'a [u32],
}

impl Crops<'_> {
    /// Trains for all epochs; returns how many images could not be read, too.
    ///
    /// # Errors
    /// If no image can be read, or features are not numbers.
    pub fn fit(
        &self,
        probe: &mut LinearProbe<'_>,
        course: &Course,
        val: LabelledRows<'_>,
    ) -> Result<(Fitted, usize), RunError> {
        let counter = Counter::start(course.epochs.saturating_mul(self.source.len()));
        let mut skipped = 0;
        let sizes = (val.dim(), val.classes());
        let epoch = |probe: &mut LinearProbe<'_>, number: usize, factor: f64| {
            let (losses, unread) = self.epoch(course, number, &counter, |waiting| {
                let rows = LabelledRows::new(&waiting.features, &waiting.labels, sizes, "the training features")?;
                Ok(probe.step(rows, factor))
            })?;
            skipped = unread;
            Ok::<_, RunError>(losses)
        };
        let fitted = fit(probe, course, val, epoch, |_, _| {})?;
        Ok((fitted, skipped))
    }

    /// Shows all images once, a step's at a time; returns the mean losses, and how many images could not be read.
    fn epoch(
        &self,
        course: &Course,
        number: usize,
        counter: &Counter,
        mut step: impl FnMut(&Labelled) -> Result<Vec<f64>, RunError>,
    ) -> Result<(Vec<f64>, usize), RunError> {
        let model = &self.session.look.model;
        let views = EpochViews {
            recipe: self.recipe.clone(),
            seed: course.seed,
            epoch: number as u64,
            order: course.order(number, self.source.len()),
        };
        let side = self.recipe.global.size;
        let at_once = model.images_at_once(EvalTransform::Exact { width: side, height: side }).min(course.batch);
        let config = EvalConfig { batch: at_once, workers: machine::cores(), reading: model.reading.clone() };
        let mut loader = EvalLoader::of_epoch(Arc::clone(&self.source), views, config)?;
        let pool = Pool::new();
        let frozen = model.frozen(&self.session.look.cpu, &pool);
        let mut waiting = Labelled { features: Vec::new(), labels: Vec::new() };
        let (mut losses, mut seen) = (vec![0.0; course.rates.len()], 0);
        let mut learn = |waiting: &mut Labelled, images: usize| {
            let dim = waiting.features.len() / waiting.labels.len();
            let rest = Labelled {
                features: waiting.features.split_off(images * dim),
                labels: waiting.labels.split_off(images),
            };
            let sums = step(waiting)?;
            losses.iter_mut().zip(sums).for_each(|(loss, sum)| *loss += sum);
            seen += images;
            *waiting = rest;
            Ok::<(), RunError>(())
        };
        for batch in &mut loader {
            let batch = batch?;
            let (height, width) = (batch.height as usize, batch.width as usize);
            let images = ImageBatch { pixels: &batch.pixels, images: batch.samples.len(), height, width };
            waiting.features.extend(frozen.read(self.readout, images));
            waiting.labels.extend(batch.samples.iter().map(|sample| self.labels[*sample as usize]));
            counter.add(batch.samples.len());
            while waiting.labels.len() >= course.batch {
                learn(&mut waiting, course.batch)?;
            }
        }
        let rest = waiting.labels.len();
        if rest > 0 {
            learn(&mut waiting, rest)?;
        }
        if number == 0 {
            warn_of_skipped(&self.session.look.console, loader.skipped());
        }
        if seen == 0 {
            return Err(EvalError::NoImages.into());
        }
        losses.iter_mut().for_each(|loss| *loss /= seen as f64);
        Ok((losses, loader.skipped().len()))
    }
}
