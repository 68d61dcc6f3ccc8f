//! Frozen features: images through a network that no longer learns.

use dinoxide_engine::kernels::Kernels;
use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{FrozenParams, Images, Pixels, Statistics, Tape};
use dinoxide_engine::tensor::Pool;
use dinoxide_views::EvalBatch;

use super::EvalError;
use super::readout::Readout;
use crate::nn::backbone::Backbone;

/// A network that no longer learns, and what it runs on.
pub struct Frozen<'a> {
    /// Where memory comes from.
    pool: &'a Pool,
    /// The network.
    pub backbone: &'a Backbone,
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

/// Images of one size that were resized without rounding: values from 0 to 255.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaledImages {
    /// `[images, height, width, channels]`
    pub values: Vec<f32>,
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
    pub fn new(kernels: &'a dyn Kernels<f32>, pool: &'a Pool, backbone: &'a Backbone, params: &'a Params) -> Self {
        Self { pool, backbone, params: FrozenParams::new(kernels, params) }
    }

    /// A ViT's class tokens after the final norm, a ResNet's means over the last stage: `[images, D]`.
    pub fn class_features(&self, batch: ImageBatch<'_>) -> Vec<f32> {
        let mut tape = self.tape();
        self.backbone.features(&mut tape, &[self.images(batch)], None).values().to_vec()
    }

    /// The same of `images` images that were resized without rounding.
    pub fn class_features_of(&self, scaled: &ScaledImages, images: usize) -> Vec<f32> {
        let patches = self.backbone.patches(images, scaled.height, scaled.width);
        let group = Images { pixels: Pixels::Values(&scaled.values), patches };
        self.backbone.features(&mut self.tape(), &[group], None).values().to_vec()
    }

    /// For each image its features and those of every place of the backbone's grid, `[images, 1 + N, D]`.
    pub fn tokens(&self, batch: ImageBatch<'_>) -> Vec<f32> {
        self.backbone.tokens(&mut self.tape(), self.images(batch))
    }

    /// Attention of the class token to the patches in the last block, `[images, heads, N]`; only a ViT has it.
    pub fn class_attention(&self, batch: ImageBatch<'_>) -> Option<Vec<f32>> {
        let (vit, images) = (self.backbone.vit()?, self.images(batch));
        let rows = vit.last_class_attention(&mut self.tape(), &[images]);
        // The first keys of each row are the class token itself and registers.
        let leading = vit.config().leading_tokens();
        let rows = rows.chunks_exact(images.patches.per_image() + leading);
        Some(rows.flat_map(|row| &row[leading..]).copied().collect())
    }

    /// What `readout` takes of the network for each image, `[images, readout.dim]`.
    pub fn read(&self, readout: Readout, batch: ImageBatch<'_>) -> Vec<f32> {
        readout.of(self.backbone, &mut self.tape(), self.images(batch))
    }

    fn tape(&self) -> Tape<'_> {
        let mut tape = Tape::frozen(&self.params, self.pool);
        tape.normalize_by(Statistics::Running);
        tape
    }

    fn images<'x>(&self, batch: ImageBatch<'x>) -> Images<'x> {
        let patches = self.backbone.patches(batch.images, batch.height, batch.width);
        Images { pixels: batch.pixels.into(), patches }
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
    extract_as(Readout::CLASS, networks, batches)
}

/// The same of what `readout` takes of the networks.
///
/// # Errors
/// As [`extract`].
pub fn extract_as<const NETWORKS: usize>(
    readout: Readout,
    networks: [&Frozen<'_>; NETWORKS],
    batches: impl Iterator<Item = Result<EvalBatch, dinoxide_views::Error>>,
) -> Result<Features<NETWORKS>, EvalError> {
    let mut features = Features { values: [const { Vec::new() }; NETWORKS], indices: Vec::new() };
    for batch in batches {
        let batch = batch?;
        let (height, width) = (batch.height as usize, batch.width as usize);
        let images = ImageBatch { pixels: &batch.pixels, images: batch.samples.len(), height, width };
        for (network, values) in networks.iter().zip(&mut features.values) {
            values.extend(network.read(readout, images));
        }
        features.indices.extend(batch.samples.iter().map(|sample| *sample as usize));
    }
    if features.indices.is_empty() { Err(EvalError::NoImages) } else { Ok(features) }
}
