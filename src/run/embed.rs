//! `dinoxide embed`: frozen features of a folder of images.

use std::path::PathBuf;
use std::sync::Arc;

use dinoxide_engine::tensor::Pool;
use dinoxide_views::{EvalTransform, Source};
use serde::Serialize;

use super::RunError;
use super::console::{Console, Figures, Verbosity};
use super::device::{among_threads, cpu};
use super::images::{introduce, loader, warn_of_skipped};
use super::input::{ImageSize, Network};
use super::model::{Model, name_of};
use crate::config::Precision;
use crate::eval::EvalError;
use crate::eval::embedding::{FeatureKind, FeatureWriter};
use crate::eval::features::{Frozen, ImageBatch};

/// What to do.
#[derive(Debug, Clone)]
pub struct EmbedRequest {
    /// A run folder, `.safetensors` or `.pth`.
    pub model: PathBuf,
    /// Folders, files, lists, tables, archives or globs.
    pub data: Vec<String>,
    /// `.npz` or `.csv`.
    pub out: PathBuf,
    /// Which features.
    pub what: EmbedWhat,
    /// Exact size to resize to; `None` for the model's own: shorter side 256, centre crop 224 unless it says otherwise.
    pub image_size: Option<ImageSize>,
    /// Which network.
    pub network: Network,
    /// What products multiply.
    pub precision: Precision,
}

/// Which features are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum EmbedWhat {
    /// The CLS token, of a ResNet the mean over places: (N, D).
    #[default]
    Cls,
    /// The same and then the features of every place: (N, 1 + places, D).
    Tokens,
    /// The last attention of a ViT's CLS token over the patches: (N, heads, places).
    Attention,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EmbedReport {
    /// Images written.
    pub images: usize,
    /// Images that could not be read.
    pub skipped: usize,
    /// Shape of the array.
    pub shape: Vec<usize>,
    /// The file.
    pub out: PathBuf,
}

impl EmbedWhat {
    fn kind(self) -> FeatureKind {
        match self {
            Self::Cls => FeatureKind::Embeddings,
            Self::Tokens => FeatureKind::Tokens,
            Self::Attention => FeatureKind::Attention,
        }
    }

    /// Shape of one image's features.
    fn row_shape(self, model: &Model, transform: EvalTransform) -> Result<Vec<usize>, RunError> {
        let (width, height) = transform.size();
        let (rows, columns) = model.backbone.grid(height as usize, width as usize);
        let (places, dim) = (rows * columns, model.backbone.dim());
        let config = model.backbone.config();
        match (self, config.vit()) {
            (Self::Cls, _) => Ok(vec![dim]),
            (Self::Tokens, _) => Ok(vec![places + 1, dim]),
            (Self::Attention, Some(vit)) => Ok(vec![vit.num_heads, places]),
            (Self::Attention, None) => Err(RunError::NoAttention { model: name_of(&config) }),
        }
    }

    fn compute(self, frozen: &Frozen<'_>, batch: ImageBatch<'_>) -> Vec<f32> {
        match self {
            Self::Cls => frozen.class_features(batch),
            Self::Tokens => frozen.tokens(batch),
            Self::Attention => frozen.class_attention(batch).unwrap_or_default(),
        }
    }
}

/// Writes features image by image, as they are computed: memory does not grow with the number of images.
///
/// # Errors
/// If the model or the images cannot be read, or the file cannot be written.
pub fn embed(request: &EmbedRequest) -> Result<EmbedReport, RunError> {
    among_threads(|| write(request))
}

fn write(request: &EmbedRequest) -> Result<EmbedReport, RunError> {
    let console = Console::new(Verbosity::Normal, Figures::Talk);
    let model = Model::load(&request.model, request.network)?;
    let transform = model.transform(request.image_size)?;
    let row_shape = request.what.row_shape(&model, transform)?;
    let row_len: usize = row_shape.iter().product();
    let source = Arc::new(Source::open(&request.data)?);
    let mut writer = FeatureWriter::create(&request.out, request.what.kind(), &row_shape)?;
    introduce(&console, &model, transform);
    let mut images = loader(&model, &source, transform)?;
    let (cpu, pool) = (cpu(request.precision, &console), Pool::new());
    let frozen = model.frozen(&cpu, &pool);
    let mut written = 0;
    for batch in &mut images {
        let batch = batch?;
        let (height, width) = (batch.height as usize, batch.width as usize);
        let images = ImageBatch { pixels: &batch.pixels, images: batch.names.len(), height, width };
        let features = request.what.compute(&frozen, images);
        for (name, row) in batch.names.iter().zip(features.chunks_exact(row_len)) {
            writer.push(name, row)?;
        }
        written += batch.names.len();
    }
    warn_of_skipped(&console, images.skipped());
    if written == 0 {
        return Err(EvalError::NoImages.into());
    }
    writer.finish()?;
    let shape = std::iter::once(written).chain(row_shape).collect();
    Ok(EmbedReport { images: written, skipped: images.skipped().len(), shape, out: request.out.clone() })
}
