//! Features of images that lie decoded in memory.

use dinoxide_engine::tensor::Pool;
use serde::Serialize;

use super::{Place, Terms, bytes, config_of, fits, median, on_threads, peak_gflops, times};
use crate::config::Precision;
use crate::eval::features::{Frozen, ImageBatch};
use crate::nn::backbone::Backbone;
use crate::nn::init::Registry;
use crate::run::RunError;
use crate::run::model::backbone_config;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InferRequest {
    /// Name of the backbone, such as `vit_small_patch16_224`; images have the size it names, or 224 pixels.
    pub model: String,
    /// Images of a forward pass.
    pub batch: usize,
    /// What products multiply.
    pub precision: Precision,
    /// Threads, forward passes.
    pub terms: Terms,
}

/// What was measured; the median over the forward passes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct InferReport {
    /// Images in a second.
    pub images_per_second: f64,
    /// Milliseconds of a forward pass.
    pub ms: f64,
    /// 10⁹ operations per second.
    pub gflops: f64,
    /// Ceiling of this machine, 10⁹ operations per second.
    pub peak_gflops: f64,
    /// What was asked for.
    pub request: InferRequest,
    /// Where.
    pub place: Place,
}

/// Measures class features.
///
/// # Errors
/// If the model is unknown, its sizes do not go together, the images do not fit into memory, or the threads cannot be
/// started.
pub fn infer(request: &InferRequest) -> Result<InferReport, RunError> {
    let config = config_of(&request.model)?;
    let side = config.model.image_size;
    let config = backbone_config(&config)?;
    fits("--batch", request.batch, side * side * 3)?;
    on_threads(request.terms, request.precision, |cpu| {
        let mut registry = Registry::new();
        let backbone = Backbone::new(config.clone(), "", &mut registry);
        let (params, pool) = (registry.finish(0), Pool::new());
        let pixels = bytes(request.batch * side * side * 3, 0);
        let mut frozen = Frozen::new(cpu, &pool, &backbone, &params);
        let batch = ImageBatch { pixels: &pixels, images: request.batch, height: side, width: side };
        let run = |frozen: &mut Frozen<'_>| {
            std::hint::black_box(frozen.class_features(batch));
            Ok(())
        };
        let seconds = median(times(request.terms.steps, &mut frozen, |_| (), run)?);
        let work = backbone.work(&[backbone.patches(request.batch, side, side)], 0.0);
        Ok(InferReport {
            images_per_second: request.batch as f64 / seconds,
            ms: seconds * 1e3,
            gflops: work.forward / seconds / 1e9,
            peak_gflops: peak_gflops(cpu),
            request: request.clone(),
            place: Place::of(cpu),
        })
    })
}
