//! The methods, their options, and what these are in the papers.
//!
//! DINO's options are the sections `[dino]` and `[head]`; all others share the section `[method]`, in which a method has the options that
//! [`MethodName::paper`] gives it.

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, DinoObjective, write};

mod name;

pub use name::MethodName;

/// Sections of DINO, which iBOT and DINOv2 share.
const OF_DINO: [&str; 2] = ["dino.", "head."];
/// Keys in them that only DINO has.
const OF_DINO_ALONE: [&str; 3] = ["dino.teacher", "dino.loss", "dino.predictor"];
/// Section of all other methods, and the key in it that DINO has too.
const OF_OTHERS: (&str, &str) = ("method.", "method.name");

/// Which method, and its options where it is not DINO.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MethodConfig {
    /// The method.
    pub name: MethodName,
    /// Share of the average kept at each step: first, last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<[f64; 2]>,
    /// Width of the hidden layers of projector and predictor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden_dim: Option<usize>,
    /// Width of what the loss compares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub out_dim: Option<usize>,
    /// Linear layers of the projector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<usize>,
    /// Temperature of the softmax.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Number of prototypes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prototypes: Option<usize>,
    /// Clusterings, each with so many prototypes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heads: Option<usize>,
    /// Number of images that are remembered, those of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// Temperature of the assignments to prototypes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f64>,
    /// Rows of earlier batches that are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<usize>,
    /// Epoch from which on they are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_from_epoch: Option<usize>,
    /// Steps during which the prototypes do not learn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_prototypes_steps: Option<usize>,
    /// Share of the loss that a jigsaw of the first view has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jigsaw: Option<f64>,
    /// Weight of the correlations between different outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_diagonal: Option<f64>,
    /// Number of classes, that of the folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Share of a target that is spread over all classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_smoothing: Option<f64>,
    /// Share of the global crops of which patches are masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_probability: Option<f64>,
    /// Smallest and largest share of such a crop's patches that are masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask_ratio: Option<[f64; 2]>,
    /// Weight of the loss of masked patches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_weight: Option<f64>,
    /// Prototypes of a head for patches alone; 0 where they share the head of class tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_out_dim: Option<usize>,
    /// Weight of KoLeo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub koleo: Option<f64>,
}

/// No options.
const NONE: MethodConfig = MethodConfig {
    name: MethodName::Dino,
    momentum: None,
    hidden_dim: None,
    out_dim: None,
    layers: None,
    temperature: None,
    prototypes: None,
    heads: None,
    images: None,
    epsilon: None,
    queue: None,
    queue_from_epoch: None,
    freeze_prototypes_steps: None,
    jigsaw: None,
    off_diagonal: None,
    classes: None,
    label_smoothing: None,
    mask_probability: None,
    mask_ratio: None,
    patch_weight: None,
    patch_out_dim: None,
    koleo: None,
};

impl Config {
    /// Number of prototypes, K, that targets are probabilities of; `None` where they are none.
    pub fn prototypes(&self) -> Option<usize> {
        match self.method.name {
            name if name.has_dino_head() => {
                (self.dino.loss == DinoObjective::CrossEntropy).then_some(self.head.out_dim)
            }
            _ => self.method.prototypes,
        }
    }

    /// Share of the average kept at each step: first, last.
    pub fn momentum(&self) -> [f64; 2] {
        if self.method.name.has_dino_head() { self.dino.momentum } else { self.method.momentum.unwrap_or_default() }
    }

    /// Steps during which the prototypes do not learn.
    pub fn freeze_prototypes_steps(&self) -> usize {
        match self.method.name {
            name if name.has_dino_head() => self.dino.freeze_last_layer_steps,
            _ => self.method.freeze_prototypes_steps.unwrap_or(0),
        }
    }

    /// Whether images of a micro-batch act on each other, so that accumulating is not the large batch.
    pub fn mixes_images(&self) -> bool {
        let in_dino = self.head.use_bn || self.dino.predictor || self.dino.centering.looks_at_batch();
        let in_head = self.method.name.normalises_in_head();
        self.model.has_batch_norm() || in_head || in_dino || self.method.name.masks_patches()
    }

    /// Masked patches of an image in all its global crops, on average; 0 for a method without masks.
    pub(crate) fn masked_patches(&self) -> f64 {
        let (Some(probability), Some([low, high])) = (self.method.mask_probability, self.method.mask_ratio) else {
            return 0.0;
        };
        let side = (self.views.global.size as usize / self.model.patch_size.max(1)) as f64;
        f64::from(self.views.global.count) * probability * (low + high) / 2.0 * side * side
    }

    /// Whether the method has the option `key`.
    ///
    /// # Errors
    /// [`ConfigError::Write`], which no configuration made by this program causes.
    pub fn uses(&self, key: &str) -> Result<bool, ConfigError> {
        let (section, name) = OF_OTHERS;
        if OF_DINO.iter().any(|section| key.starts_with(section)) {
            let alone = OF_DINO_ALONE.contains(&key);
            let name = self.method.name;
            return Ok(name.has_dino_head() && !(alone && name.has_options()));
        }
        if !key.starts_with(section) || key == name {
            return Ok(true);
        }
        let paper = Self { method: self.method.name.paper(), ..Self::default() };
        Ok(write::leaves(&paper)?.contains_key(key))
    }
}
