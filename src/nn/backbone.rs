//! The networks that methods train, behind the questions that methods, evaluations and reports ask of any of them.
//!
//! A new network is a file of its own and a variant here.

use dinoxide_engine::kernels::{Normalize, Patches};
use dinoxide_engine::params::Role;
use dinoxide_engine::tape::{Images, Keep, Tape};
use dinoxide_engine::tensor::Matrix;

use super::drop_path::{DropPath, KeptBranches};
use super::init::Registry;
use super::resnet::{ResNet, ResNetConfig};
use super::vit::{Vit, VitConfig};
use super::work::Work;
use super::xcit::{Xcit, XcitConfig};

/// Sizes of a network.
#[derive(Debug, Clone, PartialEq)]
pub enum BackboneConfig {
    /// A Vision Transformer.
    Vit(VitConfig),
    /// A residual network.
    ResNet(ResNetConfig),
    /// A cross-covariance image transformer.
    Xcit(XcitConfig),
}

/// A network: names and sizes; the values live in the tape's parameters.
#[derive(Debug, Clone)]
pub enum Backbone {
    /// A Vision Transformer.
    Vit(Vit),
    /// A residual network.
    ResNet(ResNet),
    /// A cross-covariance image transformer.
    Xcit(Xcit),
}

/// More blocks than any network has.
pub const MOST_BLOCKS: usize = 1 << 10;
/// Side in pixels of what a value of a ResNet's last stage stands for.
const RESNET_STRIDE: usize = 32;

impl BackboneConfig {
    /// Width of the features, D.
    pub fn dim(&self) -> usize {
        match self {
            Self::Vit(config) => config.embed_dim,
            Self::ResNet(config) => config.features(),
            Self::Xcit(config) => config.embed_dim,
        }
    }

    /// Mean and deviation of the pixel channels.
    pub fn normalize(&self) -> &Normalize {
        match self {
            Self::Vit(config) => &config.normalize,
            Self::ResNet(config) => &config.normalize,
            Self::Xcit(config) => &config.normalize,
        }
    }

    /// The same network for pixels of another mean and deviation.
    pub fn with_normalize(mut self, normalize: Normalize) -> Self {
        match &mut self {
            Self::Vit(config) => config.normalize = normalize,
            Self::ResNet(config) => config.normalize = normalize,
            Self::Xcit(config) => config.normalize = normalize,
        }
        self
    }

    /// The sizes of a ViT, if it is one.
    pub fn vit(&self) -> Option<&VitConfig> {
        match self {
            Self::Vit(config) => Some(config),
            Self::ResNet(_) | Self::Xcit(_) => None,
        }
    }

    /// Whether a batch is normalised by its own statistics, so that images change each other's features in training.
    pub fn has_batch_norm(&self) -> bool {
        self.vit().is_none()
    }

    /// Parameters that are trained.
    pub fn parameters(&self) -> usize {
        let mut registry = Registry::new();
        Backbone::new(self.clone(), "", &mut registry);
        let layout = registry.into_layout();
        layout.specs().iter().filter(|spec| spec.role == Role::Trained).map(|spec| spec.len).sum()
    }
}

impl From<VitConfig> for BackboneConfig {
    fn from(config: VitConfig) -> Self {
        Self::Vit(config)
    }
}

impl From<ResNetConfig> for BackboneConfig {
    fn from(config: ResNetConfig) -> Self {
        Self::ResNet(config)
    }
}

impl From<XcitConfig> for BackboneConfig {
    fn from(config: XcitConfig) -> Self {
        Self::Xcit(config)
    }
}

impl Backbone {
    /// Registers all tensors under `prefix` (for example `backbone.`), initialised as the network's reference does.
    pub fn new(config: BackboneConfig, prefix: &str, registry: &mut Registry) -> Self {
        match config {
            BackboneConfig::Vit(config) => Self::Vit(Vit::new(config, prefix, registry)),
            BackboneConfig::ResNet(config) => Self::ResNet(ResNet::new(config, prefix, registry)),
            BackboneConfig::Xcit(config) => Self::Xcit(Xcit::new(config, prefix, registry)),
        }
    }

    /// The sizes.
    pub fn config(&self) -> BackboneConfig {
        match self {
            Self::Vit(network) => network.config().clone().into(),
            Self::ResNet(network) => network.config().clone().into(),
            Self::Xcit(network) => network.config().clone().into(),
        }
    }

    /// The ViT, if it is one: only these have patches that attend to each other.
    pub fn vit(&self) -> Option<&Vit> {
        match self {
            Self::Vit(network) => Some(network),
            Self::ResNet(_) | Self::Xcit(_) => None,
        }
    }

    /// Width of the features, D.
    pub fn dim(&self) -> usize {
        self.config().dim()
    }

    /// Channels of the images.
    pub fn channels(&self) -> usize {
        self.config().normalize().mean.len()
    }

    /// Features of groups of equally sized images, one row for each image in the order of the groups: `[Σ images, D]`. Those of a ViT
    /// and an XCiT are class tokens, those of a ResNet means over the last stage.
    pub fn features(&self, tape: &mut Tape<'_>, groups: &[Images<'_>], drop: Option<&KeptBranches>) -> Matrix {
        match self {
            Self::Vit(network) => network.class_tokens(tape, groups, drop),
            Self::ResNet(network) => network.features(tape, groups),
            Self::Xcit(network) => network.class_tokens(tape, groups, drop),
        }
    }

    /// For each image the features, and then those of every place of [`Backbone::grid`]: `[images, 1 + N, D]`.
    pub fn tokens(&self, tape: &mut Tape<'_>, images: Images<'_>) -> Vec<f32> {
        match self {
            Self::Vit(network) => network.tokens(tape, images),
            Self::ResNet(network) => network.tokens(tape, images),
            Self::Xcit(network) => network.tokens(tape, images),
        }
    }

    /// Rows and columns of the places in an image that have features of their own.
    pub fn grid(&self, height: usize, width: usize) -> (usize, usize) {
        match self {
            Self::Vit(network) => network.patches(1, height, width).grid(),
            Self::ResNet(network) => network.grid(height, width),
            Self::Xcit(network) => network.grid(height, width),
        }
    }

    /// Side in pixels of what such a place stands for.
    pub fn stride(&self) -> usize {
        match self {
            Self::Vit(network) => network.config().patch_size,
            Self::ResNet(_) => RESNET_STRIDE,
            Self::Xcit(network) => network.config().patch_size,
        }
    }

    /// The geometry of a batch of byte images for this network.
    pub fn patches(&self, images: usize, height: usize, width: usize) -> Patches {
        match self {
            Self::Vit(network) => network.patches(images, height, width),
            Self::ResNet(network) => network.patches(images, height, width),
            Self::Xcit(network) => network.patches(images, height, width),
        }
    }

    /// Draws the stochastic depth of one step for `views` views of `images` images; a ResNet has none.
    pub fn drop_path(&self, draw: &DropPath, views: usize, images: usize) -> Option<KeptBranches> {
        match self {
            Self::Vit(network) => network.drop_path(draw, views, images),
            Self::ResNet(_) => None,
            Self::Xcit(network) => network.drop_path(draw, views, images),
        }
    }

    /// How many layers are above the tensor `name` (without a prefix), as learning rates that decay by layers count them.
    pub fn layers_above(&self, name: &str) -> usize {
        match self {
            Self::Vit(network) => network.layers_above(name),
            Self::ResNet(network) => network.layers_above(name),
            Self::Xcit(network) => network.layers_above(name),
        }
    }

    /// Operations of the features of groups of equally sized images, of which drop path of this rate leaves out its share.
    pub fn work(&self, groups: &[Patches], drop_path: f64) -> Work {
        let draw = DropPath { rate: drop_path, seed: 0, step: 0, first_image: 0 };
        match self {
            Self::Vit(network) => network.work(groups, |block| 1.0 - draw.block_rate(block, network.config().depth)),
            Self::ResNet(network) => network.work(groups),
            Self::Xcit(network) => network.work(groups, 1.0 - drop_path),
        }
    }

    /// Values that the gradient of these images keeps, about.
    pub fn kept_values(&self, groups: &[Patches], keep: Keep) -> f64 {
        match self {
            Self::Vit(network) => network.kept_values(groups, keep),
            Self::ResNet(network) => network.kept_values(groups),
            Self::Xcit(network) => network.kept_values(groups, keep),
        }
    }
}
