//! The networks that a configuration can name.

use dinoxide_engine::kernels::Normalize;

use super::ModelConfig;
use crate::nn::backbone::{Backbone, BackboneConfig, MOST_BLOCKS};
use crate::nn::init::Registry;
use crate::nn::resnet::ResNetConfig;
use crate::nn::vit::{Extras, VitConfig};
use crate::nn::xcit::XcitConfig;

/// Sizes of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width.
    pub embed_dim: usize,
    /// Blocks.
    pub depth: usize,
    /// Attention heads.
    pub num_heads: usize,
}

/// Named ViTs and their shapes (DINO, Caron et al. 2021, table 1; `vit_tiny` as in DeiT).
const VITS: [(&str, Shape); 3] = [
    ("vit_tiny", Shape { embed_dim: 192, depth: 12, num_heads: 3 }),
    ("vit_small", Shape { embed_dim: 384, depth: 12, num_heads: 6 }),
    ("vit_base", Shape { embed_dim: 768, depth: 12, num_heads: 12 }),
];
/// Named ResNets: torchvision's, and twice and four times as wide ones (BYOL, SimCLR, SwAV).
const RESNETS: [&str; 7] = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50w2", "resnet50w4"];

/// Wider blocks and larger images are a mistake.
pub(super) const LARGEST: usize = 1 << 16;

/// Largest hidden width of an MLP as a multiple of the width.
pub(super) const LARGEST_RATIO: f64 = 64.0;
/// Keys that a ResNet has no use for, and first of them those that an XCiT has none for either.
const FOREIGN: [&str; 8] = [
    "model.patch_size",
    "model.image_size",
    "model.embed_dim",
    "model.depth",
    "model.num_heads",
    "model.mlp_ratio",
    "model.drop_path",
    "run.recompute",
];
/// How many of these only ViTs have a use for.
const ONLY_VITS: usize = 6;

/// Named XCiTs (El-Nouby et al. 2021), those that DINO was released with.
const XCITS: [&str; 4] = ["xcit_small_12_p16", "xcit_small_12_p8", "xcit_medium_24_p16", "xcit_medium_24_p8"];

impl ModelConfig {
    /// Width, depth and heads of a ViT after overrides; `None` for another network, or if the name is unknown.
    pub fn shape(&self) -> Option<Shape> {
        let (_, named) = VITS.iter().find(|(name, _)| *name == self.name)?;
        Some(Shape {
            embed_dim: self.embed_dim.unwrap_or(named.embed_dim),
            depth: self.depth.unwrap_or(named.depth),
            num_heads: self.num_heads.unwrap_or(named.num_heads),
        })
    }

    /// The network for images with this mean and deviation of each channel; `None` if the name is unknown or a size is none.
    pub fn backbone(&self, normalize: Normalize) -> Option<BackboneConfig> {
        let Some(Shape { embed_dim, depth, num_heads }) = self.shape() else {
            let xcit = XcitConfig::named(&self.name, normalize.clone()).map(BackboneConfig::from);
            return xcit.or_else(|| Some(ResNetConfig::named(&self.name, normalize)?.into()));
        };
        let (image_size, patch_size, mlp_ratio) = (self.image_size, self.patch_size, self.mlp_ratio);
        let sizes = [image_size, patch_size, embed_dim, num_heads];
        if depth > MOST_BLOCKS
            || mlp_ratio > LARGEST_RATIO
            || !sizes.into_iter().all(|size| (1..=LARGEST).contains(&size))
        {
            return None;
        }
        let extras = Extras::default();
        Some(VitConfig { image_size, patch_size, embed_dim, depth, num_heads, mlp_ratio, normalize, extras }.into())
    }

    /// The sizes for images of so many channels, where their values do not matter.
    fn sizes(&self, channels: usize) -> Option<BackboneConfig> {
        self.backbone(Normalize { mean: vec![0.0; channels], std: vec![1.0; channels] })
    }

    /// The same as a network, to count what it costs.
    pub(super) fn plain(&self, channels: usize) -> Option<Backbone> {
        Some(Backbone::new(self.sizes(channels)?, "", &mut Registry::new()))
    }

    /// Width of the features, D; 0 if the name is unknown.
    pub fn dim(&self) -> usize {
        self.sizes(1).map_or(0, |config| config.dim())
    }

    /// Crops have sides of whole multiples of this, pixels.
    pub fn unit(&self) -> usize {
        match self.sizes(1) {
            Some(BackboneConfig::Vit(config)) => config.patch_size,
            Some(BackboneConfig::Xcit(config)) => config.patch_size,
            Some(BackboneConfig::ResNet(_)) | None => 1,
        }
    }

    /// Whether it normalises batches, so that a micro-batch is not a part of the batch alone.
    pub fn has_batch_norm(&self) -> bool {
        self.sizes(1).is_some_and(|config| config.has_batch_norm())
    }

    /// Keys that this network has no use for.
    pub(super) fn foreign_keys(&self) -> &'static [&'static str] {
        match self.sizes(1) {
            Some(BackboneConfig::Vit(_)) | None => &[],
            Some(BackboneConfig::Xcit(_)) => &FOREIGN[..ONLY_VITS],
            Some(BackboneConfig::ResNet(_)) => &FOREIGN,
        }
    }

    /// All names.
    pub fn names() -> impl Iterator<Item = &'static str> {
        VITS.into_iter().map(|(name, _)| name).chain(RESNETS).chain(XCITS)
    }

    /// Every named model, ViTs for images of 224 px in patches of 16.
    pub fn known() -> impl Iterator<Item = Self> {
        Self::names().map(|name| Self { name: name.to_owned(), ..Self::default() })
    }

    /// The model that gives this network; a ViT under the name of the model of the nearest width, with what differs from it.
    pub fn of(network: &BackboneConfig) -> Self {
        let config = match network {
            BackboneConfig::Vit(config) => config,
            BackboneConfig::ResNet(config) => return Self { name: config.name(), ..Self::default() },
            BackboneConfig::Xcit(config) => return Self { name: config.name(), ..Self::default() },
        };
        let [first, ..] = VITS;
        let nearest = VITS.into_iter().min_by_key(|(_, named)| named.embed_dim.abs_diff(config.embed_dim));
        let (name, named) = nearest.unwrap_or(first);
        let other = |value: usize, named: usize| (value != named).then_some(value);
        Self {
            name: name.to_owned(),
            patch_size: config.patch_size,
            image_size: config.image_size,
            mlp_ratio: config.mlp_ratio,
            embed_dim: other(config.embed_dim, named.embed_dim),
            depth: other(config.depth, named.depth),
            num_heads: other(config.num_heads, named.num_heads),
            ..Self::default()
        }
    }

    /// Name in timm's spelling, such as `vit_tiny_patch16_96`.
    pub fn full_name(&self) -> String {
        match self.shape() {
            Some(_) => format!("{}_patch{}_{}", self.name, self.patch_size, self.image_size),
            None => self.name.clone(),
        }
    }

    /// Trained parameters of the backbone for images of so many channels; 0 if the name is unknown.
    pub fn parameters(&self, channels: usize) -> usize {
        self.sizes(channels).map_or(0, |config| config.parameters())
    }
}
