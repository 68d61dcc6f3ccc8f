//! How often the classifier of a method is right on labelled images.

use std::path::Path;
use std::sync::Arc;

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Images, Statistics, Tape};
use dinoxide_views::{EvalConfig, EvalLoader, Source};

use super::RunError;
use super::console::Console;
use super::validation::{EVAL_BATCH, eval_transform, reading};
use crate::config::Config;
use crate::eval::EvalError;
use crate::eval::classifier::{Accuracy, best, rank};
use crate::eval::labels::Labels;
use crate::loss::classification::{Target, cross_entropy_of_row};
use crate::methods::{Device, Method};

/// Labelled images that a classifier is tried on.
pub struct Judge {
    source: Arc<Source>,
    /// Class of each image.
    labels: Vec<u32>,
    config: Config,
}

/// How a classifier did.
#[derive(Debug, Clone, PartialEq)]
pub struct Judged {
    /// How often it is right.
    pub accuracy: Accuracy,
    /// Mean cross-entropy, nats.
    pub loss: f64,
    /// Class of every image that could be read.
    pub truths: Vec<u32>,
    /// The class that each was taken for.
    pub predictions: Vec<u32>,
}

impl Judge {
    /// Prepares the images of `data.val` for the classes of `train`; nothing without the one, or for a method without classifier.
    ///
    /// # Errors
    /// If the images cannot be used, or are of classes that `train` does not have.
    pub fn open(config: &Config, train: &Source, console: &Console) -> Result<Option<Self>, RunError> {
        let labelled = config.data.val.as_ref().filter(|_| config.method.name.learns_from_labels());
        let Some(val) = labelled else { return Ok(None) };
        let source = Source::labelled(Path::new(val))?;
        let labels = Labels::from_names(&names(train), &names(&source))?;
        if !labels.absent_in_val.is_empty() {
            let (absent, classes) = (labels.absent_in_val.len(), labels.classes.len());
            console.say(&format!("{absent} of {classes} classes have no validation image"));
        }
        Ok(Some(Self { source: Arc::new(source), labels: labels.val, config: config.clone() }))
    }

    /// Tries the classifier of `method` with these parameters.
    ///
    /// # Errors
    /// If no image can be read.
    pub fn judge(&self, method: &dyn Method, params: &Params, device: Device<'_>) -> Result<Judged, RunError> {
        let (workers, reading) = (self.config.data.workers, reading(&self.config));
        let config = EvalConfig { batch: EVAL_BATCH, workers, reading };
        let (mut ranks, mut loss) = (Vec::new(), 0.0);
        let (mut truths, mut predictions) = (Vec::new(), Vec::new());
        for batch in EvalLoader::new(Arc::clone(&self.source), eval_transform(&self.config), config)? {
            let batch = batch?;
            let (images, height, width) = (batch.samples.len(), batch.height as usize, batch.width as usize);
            let patches = method.backbone().0.patches(images, height, width);
            let mut tape = Tape::infer(device.kernels, params, device.pool);
            tape.normalize_by(Statistics::Running);
            let images = [Images { pixels: batch.pixels[..].into(), patches }];
            let Some(scores) = method.scores(&mut tape, &images) else { continue };
            for (row, sample) in scores.values().chunks_exact(scores.columns()).zip(&batch.samples) {
                let truth = self.labels[*sample as usize];
                let target = Target { class: truth as usize, other: truth as usize, share: 1.0 };
                let logits: Vec<f64> = row.iter().map(|logit| f64::from(*logit)).collect();
                loss += cross_entropy_of_row(&logits, &target, 0.0).0;
                ranks.push(rank(row, truth));
                truths.push(truth);
                predictions.push(best(row));
            }
        }
        if truths.is_empty() {
            return Err(EvalError::NoImages.into());
        }
        let accuracy = Accuracy::of(ranks.into_iter());
        Ok(Judged { accuracy, loss: loss / truths.len() as f64, truths, predictions })
    }
}

/// The class name of every image.
fn names(source: &Source) -> Vec<&str> {
    let class = |label: Option<u32>| source.classes.get(label? as usize);
    source.images.iter().map(|image| class(image.label).map_or("", String::as_str)).collect()
}
