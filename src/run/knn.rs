//! `dinoxide eval knn`: accuracy of a weighted k-NN on frozen features.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use dinoxide_engine::tensor::Pool;
use dinoxide_views::Source;
use serde::Serialize;

use super::RunError;
use super::console::{Console, Figures, Verbosity};
use super::device::{among_threads, cpu};
use super::images::{introduce, loader, warn_of_skipped};
use super::input::{ImageSize, Network};
use super::model::Model;
use crate::config::Precision;
use crate::eval::features::extract;
use crate::eval::knn::{KnnBank, KnnScore};
use crate::eval::labels::Labels;

/// What to do.
#[derive(Debug, Clone)]
pub struct KnnRequest {
    /// A run folder, `.safetensors` or `.pth`.
    pub model: PathBuf,
    /// Labelled folder whose images vote.
    pub train: PathBuf,
    /// Labelled folder whose images are classified.
    pub val: PathBuf,
    /// Numbers of neighbours.
    pub k: Vec<usize>,
    /// Temperature of the votes.
    pub temperature: f64,
    /// Exact size to resize to; `None` for the model's own: shorter side 256, centre crop 224 unless it says otherwise.
    pub image_size: Option<ImageSize>,
    /// Which network.
    pub network: Network,
    /// What products multiply.
    pub precision: Precision,
}

/// The accuracies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnnReport {
    /// Top-1 by number of neighbours, percent.
    pub top1: BTreeMap<usize, f64>,
    /// Top-5 by number of neighbours, percent.
    pub top5: BTreeMap<usize, f64>,
    /// Images that voted.
    pub train: usize,
    /// Images that were classified.
    pub val: usize,
    /// Classes.
    pub classes: usize,
    /// Time taken.
    pub seconds: f64,
}

/// Classifies the validation images by their nearest training images (DINO, Caron et al. 2021, section 4.1).
///
/// # Errors
/// If the model or the images cannot be read, or the two folders do not have the same classes.
pub fn knn(request: &KnnRequest) -> Result<KnnReport, RunError> {
    among_threads(|| classify(request))
}

fn classify(request: &KnnRequest) -> Result<KnnReport, RunError> {
    let start = Instant::now();
    let console = Console::new(Verbosity::Normal, Figures::Talk);
    let model = Model::load(&request.model, request.network)?;
    let transform = model.transform(request.image_size)?;
    let (train, val) = (Source::labelled(&request.train)?, Source::labelled(&request.val)?);
    let labels = Labels::from_names(&class_names(&train), &class_names(&val))?;
    introduce(&console, &model, transform);
    if !labels.absent_in_val.is_empty() {
        let absent = labels.absent_in_val.len();
        console.say(&format!("{absent} of {} classes have no validation image", labels.classes.len()));
    }
    let (cpu, pool) = (cpu(request.precision, &console), Pool::new());
    let frozen = model.frozen(&cpu, &pool);
    let features = |source: Source, labels: &[u32]| -> Result<(Vec<f32>, Vec<u32>), RunError> {
        let mut images = loader(&model, &Arc::new(source), transform)?;
        let features = extract([&frozen], &mut images)?;
        warn_of_skipped(&console, images.skipped());
        let [values] = features.values;
        Ok((values, features.indices.iter().map(|index| labels[*index]).collect()))
    };
    let (bank, bank_labels) = features(train, &labels.train)?;
    let (queries, query_labels) = features(val, &labels.val)?;
    let bank = KnnBank::new(bank, bank_labels, labels.classes.len())?.with_temperature(request.temperature)?;
    let result = bank.evaluate(&queries, &query_labels, &request.k)?;
    for k in &result.clipped {
        console.say(&format!("k = {k}: there are only {} training images, so all of them vote", result.train));
    }
    // Every k that was asked for has its entry, so that scripts find it.
    let by_k = |score: fn(&KnnScore) -> f64| {
        request.k.iter().filter_map(|k| Some((*k, score(result.at(*k)?)))).collect::<BTreeMap<_, _>>()
    };
    Ok(KnnReport {
        top1: by_k(|score| score.top1),
        top5: by_k(|score| score.top5),
        train: result.train,
        val: result.val,
        classes: result.classes,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The class of every image.
fn class_names(source: &Source) -> Vec<&str> {
    let class = |label: Option<u32>| source.classes.get(label? as usize);
    source.images.iter().map(|image| class(image.label).map_or("", String::as_str)).collect()
}
