//! Features of images that lie decoded in memory.

use std::path::Path;

use dinoxide_engine::params::Params;
use dinoxide_engine::tensor::Pool;
use serde::Serialize;

use super::{Place, Terms, bytes, config_of, fits, median, on_threads, peak_gflops, times};
use crate::config::Precision;
use crate::eval::features::{Frozen, ImageBatch};
use crate::nn::backbone::Backbone;
use crate::nn::init::Registry;
use crate::run::RunError;
use crate::run::input::{ImageSize, Network};
use crate::run::model::{Model, backbone_config};

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InferRequest {
    /// Name of the backbone, such as `vit_small_patch16_224`, or a run folder, or a file or folder of weights.
    pub model: String,
    /// Size of the images; `None` for that which the name has, or in which the model is shown images.
    #[serde(skip)]
    pub image_size: Option<ImageSize>,
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
    /// Width and height of the images.
    pub image_size: String,
    /// Parameters of the backbone.
    pub parameters: usize,
    /// What was asked for.
    pub request: InferRequest,
    /// Where.
    pub place: Place,
}

/// A network and the size of its images.
struct Subject {
    backbone: Backbone,
    params: Params,
    size: ImageSize,
}

impl Subject {
    fn of(request: &InferRequest) -> Result<Self, RunError> {
        let path = Path::new(&request.model);
        if path.exists() {
            let model = Model::load(path, Network::Teacher)?;
            let (width, height) = model.transform(request.image_size)?.size();
            let size = ImageSize { width: width as usize, height: height as usize };
            return Ok(Self { backbone: model.backbone, params: model.params, size });
        }
        let config = config_of(&request.model)?;
        let side = config.model.image_size;
        let size = request.image_size.unwrap_or(ImageSize { width: side, height: side });
        let mut registry = Registry::new();
        let backbone = Backbone::new(backbone_config(&config)?, "", &mut registry);
        if backbone.vit().is_some() && size.width.min(size.height) < backbone.stride() {
            let patch_size = backbone.stride();
            return Err(RunError::SmallerThanPatch { size: size.to_string(), patch_size });
        }
        Ok(Self { backbone, params: registry.finish(0), size })
    }
}

/// Measures class features.
///
/// # Errors
/// If the model is unknown or cannot be loaded, its sizes do not go together, the images do not fit into memory, or the threads
/// cannot be started.
pub fn infer(request: &InferRequest) -> Result<InferReport, RunError> {
    on_threads(request.terms, request.precision, |cpu| {
        let Subject { backbone, params, size } = Subject::of(request)?;
        let ImageSize { width, height } = size;
        let each = width * height * backbone.channels();
        fits("--batch", request.batch, each)?;
        let pool = Pool::new();
        let pixels = bytes(request.batch * each, 0);
        let mut frozen = Frozen::new(cpu, &pool, &backbone, &params);
        let batch = ImageBatch { pixels: &pixels, images: request.batch, height, width };
        let run = |frozen: &mut Frozen<'_>| {
            std::hint::black_box(frozen.class_features(batch));
            Ok(())
        };
        let seconds = median(times(request.terms.steps, &mut frozen, |_| (), run)?);
        let work = backbone.work(&[backbone.patches(request.batch, height, width)], 0.0);
        Ok(InferReport {
            images_per_second: request.batch as f64 / seconds,
            ms: seconds * 1e3,
            gflops: work.forward / seconds / 1e9,
            peak_gflops: peak_gflops(cpu),
            image_size: size.to_string(),
            parameters: params.values().len(),
            request: request.clone(),
            place: Place::of(cpu),
        })
    })
}
