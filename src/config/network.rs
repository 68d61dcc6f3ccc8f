//! The networks that a configuration can name.

use dinoxide_engine::kernels::Normalize;

use super::ModelConfig;
use crate::nn::backbone::{Backbone, BackboneConfig, MOST_BLOCKS};
use crate::nn::init::Registry;
use crate::nn::pos_embed::Resampling;
use crate::nn::resnet::ResNetConfig;
use crate::nn::vit::{Extras, Ffn, LAYER_SCALE, MaskToken, VitConfig};
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

/// Named ViTs and their shapes (DINO, Caron et al. 2021, table 1; `vit_tiny` as in DeiT, the two largest as in DINOv2).
const VITS: [(&str, Shape); 5] = [
    ("vit_tiny", Shape { embed_dim: 192, depth: 12, num_heads: 3 }),
    ("vit_small", Shape { embed_dim: 384, depth: 12, num_heads: 6 }),
    ("vit_base", Shape { embed_dim: 768, depth: 12, num_heads: 12 }),
    ("vit_large", Shape { embed_dim: 1024, depth: 24, num_heads: 16 }),
    ("vit_giant", Shape { embed_dim: 1536, depth: 40, num_heads: 24 }),
];
/// Named networks of DINOv2 (Oquab et al. 2023): the ViT that each is, and what is between the layers of its second branch.
const DINOV2: [(&str, &str, Ffn); 8] = [
    ("dinov2_vits14", "vit_small", Ffn::Mlp),
    ("dinov2_vitb14", "vit_base", Ffn::Mlp),
    ("dinov2_vitl14", "vit_large", Ffn::Mlp),
    ("dinov2_vitg14", "vit_giant", Ffn::SwiGlu),
    ("dinov2_vits14_reg", "vit_small", Ffn::Mlp),
    ("dinov2_vitb14_reg", "vit_base", Ffn::Mlp),
    ("dinov2_vitl14_reg", "vit_large", Ffn::Mlp),
    ("dinov2_vitg14_reg", "vit_giant", Ffn::SwiGlu),
];
/// Side of their patches, pixels.
const DINOV2_PATCH: usize = 14;
/// How the names of those with registers end, and how many they have (Darcet et al. 2023).
const WITH_REGISTERS: (&str, usize) = ("_reg", 4);
/// Widths of SwiGLU's layers are multiples of this.
const SWIGLU_UNIT: usize = 8;
/// Named ResNets: torchvision's, and twice and four times as wide ones (BYOL, SimCLR, SwAV).
const RESNETS: [&str; 7] = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnet50w2", "resnet50w4"];

/// Wider blocks and larger images are a mistake.
pub(super) const LARGEST: usize = 1 << 16;

/// Largest hidden width of an MLP as a multiple of the width.
pub(super) const LARGEST_RATIO: f64 = 64.0;
/// More registers are a mistake.
pub(super) const MOST_REGISTERS: usize = 1 << 10;
/// Keys that a ResNet has no use for, and first of them those that an XCiT has none for either.
const FOREIGN: [&str; 13] = [
    "model.patch_size",
    "model.image_size",
    "model.embed_dim",
    "model.depth",
    "model.num_heads",
    "model.mlp_ratio",
    "model.layer_scale",
    "model.registers",
    "model.ffn",
    "model.mask_token",
    "model.resampling",
    "model.drop_path",
    "run.recompute",
];
/// How many of these only ViTs have a use for.
const ONLY_VITS: usize = 11;

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
        let extras = self.extras();
        Some(VitConfig { image_size, patch_size, embed_dim, depth, num_heads, mlp_ratio, normalize, extras }.into())
    }

    /// What it adds to a ViT of DINO.
    fn extras(&self) -> Extras {
        Extras {
            layer_scale: (self.layer_scale > 0.0).then_some(self.layer_scale),
            registers: self.registers,
            ffn: self.ffn,
            mask_token: if self.mask_token { MaskToken::Stored } else { MaskToken::Absent },
            resampling: self.resampling,
        }
    }

    /// The network of DINOv2 of this name, for images of 224 px, as it was before it was trained: without a mask token.
    pub fn dinov2(name: &str) -> Option<Self> {
        let (_, base, ffn) = DINOV2.into_iter().find(|(known, ..)| *known == name)?;
        let plain =
            Self { name: base.to_owned(), patch_size: DINOV2_PATCH, layer_scale: LAYER_SCALE, ..Self::default() };
        let width = plain.shape()?.embed_dim;
        let mlp_ratio = match ffn {
            Ffn::Mlp => plain.mlp_ratio,
            Ffn::SwiGlu => VitConfig::mlp_ratio_of((width * 8 / 3).next_multiple_of(SWIGLU_UNIT), width),
        };
        let (ending, registers) = WITH_REGISTERS;
        let (registers, resampling) = match name.ends_with(ending) {
            true => (registers, Resampling::Antialiased),
            false => (0, Resampling::Offset),
        };
        Some(Self { ffn, mlp_ratio, registers, resampling, ..plain })
    }

    /// The name that DINOv2 gave to this network, whatever the size of its images, if it is one of those.
    pub fn dinov2_name(&self) -> Option<&'static str> {
        let is_this = |named: &Self| {
            let layer_scale = if self.layer_scale > 0.0 { named.layer_scale } else { 0.0 };
            let Self { image_size, drop_path, init, init_partial, mask_token, .. } = named.clone();
            *named == Self { image_size, drop_path, init, init_partial, mask_token, layer_scale, ..self.clone() }
        };
        DINOV2.into_iter().map(|(name, ..)| name).find(|name| Self::dinov2(name).as_ref().is_some_and(is_this))
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
        let dinov2 = DINOV2.into_iter().map(|(name, ..)| name);
        VITS.into_iter().map(|(name, _)| name).chain(dinov2).chain(RESNETS).chain(XCITS)
    }

    /// Every named model, ViTs for images of 224 px, those of DINO in patches of 16.
    pub fn known() -> impl Iterator<Item = Self> {
        let plain = |name: &str| Self { name: name.to_owned(), ..Self::default() };
        Self::names().map(move |name| Self::dinov2(name).unwrap_or_else(|| plain(name)))
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
            layer_scale: config.extras.layer_scale.unwrap_or_default(),
            registers: config.extras.registers,
            ffn: config.extras.ffn,
            mask_token: config.extras.mask_token != MaskToken::Absent,
            resampling: config.extras.resampling,
            ..Self::default()
        }
    }

    /// Name in timm's spelling, such as `vit_tiny_patch16_96`, or DINOv2's, such as `dinov2_vits14`.
    pub fn full_name(&self) -> String {
        match (self.dinov2_name(), self.shape()) {
            (Some(name), _) => name.to_owned(),
            (None, Some(_)) => format!("{}_patch{}_{}", self.name, self.patch_size, self.image_size),
            (None, None) => self.name.clone(),
        }
    }

    /// Trained parameters of the backbone for images of so many channels; 0 if the name is unknown.
    pub fn parameters(&self, channels: usize) -> usize {
        self.sizes(channels).map_or(0, |config| config.parameters())
    }
}
