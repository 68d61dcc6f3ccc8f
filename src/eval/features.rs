//! Frozen features: images through a network that no longer learns.

use dinoxide_engine::kernels::Kernels;
use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{FrozenParams, Images, Tape};
use dinoxide_engine::tensor::Pool;
use dinoxide_views::EvalBatch;

use super::EvalError;
use crate::nn::vit::Vit;

/// A network that no longer learns, and what it runs on.
pub struct Frozen<'a> {
    /// Where memory comes from.
    pool: &'a Pool,
    /// The network.
    pub backbone: &'a Vit,
    /// Its parameters.
    params: FrozenParams<'a>,
}

/// Byte images of one size, `[images, height, width, 3]`.
#[derive(Debug, Clone, Copy)]
pub struct ImageBatch<'a> {
    /// The bytes.
    pub pixels: &'a [u8],
    /// Number of images.
    pub images: usize,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
}

/// One row of features for each image that could be read, from each of several networks.
#[derive(Debug, Clone, PartialEq)]
pub struct Features<const NETWORKS: usize> {
    /// `[N, D]` of each network.
    pub values: [Vec<f32>; NETWORKS],
    /// Index in the source of each row's image.
    pub indices: Vec<usize>,
}

impl<'a> Frozen<'a> {
    /// The network `backbone` with these parameters on these kernels.
    pub fn new(kernels: &'a dyn Kernels<f32>, pool: &'a Pool, backbone: &'a Vit, params: &'a Params) -> Self {
        Self { pool, backbone, params: FrozenParams::new(kernels, params) }
    }

    /// Class tokens after the final norm, `[images, D]`.
    pub fn class_features(&self, batch: ImageBatch<'_>) -> Vec<f32> {
        let mut tape = Tape::frozen(&self.params, self.pool);
        self.backbone.class_tokens(&mut tape, &[self.images(batch)], None).values().to_vec()
    }

    /// Class token and patches of the last block after the final norm, `[images, T, D]`, the class token first; no registers.
    pub fn tokens(&self, batch: ImageBatch<'_>) -> Vec<f32> {
        let mut tape = Tape::frozen(&self.params, self.pool);
        let layers = self.backbone.intermediate_layers(&mut tape, &[self.images(batch)], 1);
        let (width, registers) = (self.backbone.config().embed_dim, self.backbone.config().extras.registers);
        let mut tokens = Vec::new();
        for layer in &layers {
            let values = layer.tokens.values();
            for segment in layer.heads.segments.iter() {
                let sequence = &values[segment.start * width..(segment.start + segment.len) * width];
                tokens.extend_from_slice(&sequence[..width]);
                tokens.extend_from_slice(&sequence[(1 + registers) * width..]);
            }
        }
        tokens
    }

    /// Attention of the class token to the patches in the last block, `[images, heads, T − 1]`.
    pub fn class_attention(&self, batch: ImageBatch<'_>) -> Vec<f32> {
        let images = self.images(batch);
        let mut tape = Tape::frozen(&self.params, self.pool);
        let rows = self.backbone.last_class_attention(&mut tape, &[images]);
        // The first keys of each row are the class token itself and registers.
        let leading = self.backbone.config().leading_tokens();
        rows.chunks_exact(images.patches.per_image() + leading).flat_map(|row| &row[leading..]).copied().collect()
    }

    fn images<'x>(&self, batch: ImageBatch<'x>) -> Images<'x> {
        let patches = self.backbone.patches(batch.images, batch.height, batch.width);
        Images { pixels: batch.pixels, patches }
    }
}

/// Class features of all readable images, in order: those of an evaluation loader, which decodes each image once for all networks
/// while earlier ones are computed.
///
/// # Errors
/// If the loader fails or no image can be read.
pub fn extract<const NETWORKS: usize>(
    networks: [&Frozen<'_>; NETWORKS],
    batches: impl Iterator<Item = Result<EvalBatch, dinoxide_views::Error>>,
) -> Result<Features<NETWORKS>, EvalError> {
    let mut features = Features { values: [const { Vec::new() }; NETWORKS], indices: Vec::new() };
    for batch in batches {
        let batch = batch?;
        let (height, width) = (batch.height as usize, batch.width as usize);
        let images = ImageBatch { pixels: &batch.pixels, images: batch.samples.len(), height, width };
        for (network, values) in networks.iter().zip(&mut features.values) {
            values.extend(network.class_features(images));
        }
        features.indices.extend(batch.samples.iter().map(|sample| *sample as usize));
    }
    if features.indices.is_empty() { Err(EvalError::NoImages) } else { Ok(features) }
}
