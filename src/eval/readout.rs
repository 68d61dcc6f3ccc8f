//! What of a network describes an image to a linear classifier: `eval_linear.py:ViTLinearEval`, and DINOv2's variant of it.
//!
//! With class tokens c₁ … c_n of the last n blocks after the final norm, oldest first, and the mean m of the last block's patches:
//!
//! | [`PatchMean`] | features | who |
//! |---|---|---|
//! | `None` | c₁, …, c_n | DINO's ViT-S, n = 4 |
//! | `Interleaved` | `c[0], m[0], c[1], m[1], …` for n = 1 | DINO's ViT-B: its program stacks the two on a new last axis |
//! | `Appended` | c₁, …, c_n, m | DINOv2 |
//!
//! A ResNet has its pooled features and an XCiT its class token, as `c` for n = 1.

use dinoxide_engine::tape::{Images, Tape};
use serde::Serialize;

use crate::nn::backbone::{Backbone, BackboneConfig};
use crate::nn::vit::{Extras, VitConfig};

/// Blocks of DINO's small ViTs, and of DINOv2's.
const SEVERAL: usize = 4;
/// Width up to which a ViT is a small one: that of ViT-S.
const SMALL: usize = 384;

/// What of a network describes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Readout {
    /// Last blocks whose class token is taken.
    pub blocks: usize,
    /// What is done with the mean of the last block's patches.
    pub patches: PatchMean,
}

/// What is done with the mean of the last block's patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum PatchMean {
    /// It is not used.
    #[default]
    None,
    /// Its values alternate with those of the one class token, as DINO's released heads of ViT-B expect.
    Interleaved,
    /// It follows the class tokens, as DINOv2's released heads expect.
    Appended,
}

/// Features that a network does not have.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ReadoutError {
    /// More blocks than there are, or none.
    #[error("class tokens of {asked} blocks were asked for, and the network has {depth}; choose 1 to {depth}")]
    Blocks {
        /// Blocks asked for.
        asked: usize,
        /// Blocks of the network.
        depth: usize,
    },
    /// Only one class token can alternate with the mean.
    #[error("patches are interleaved with the class token of 1 block, not of {blocks}; use `appended`, or 1 block")]
    Interleaved {
        /// Blocks asked for.
        blocks: usize,
    },
    /// Neither a ResNet nor an XCiT has more than its features.
    #[error(
        "only a ViT has class tokens of several blocks and a mean of patches; leave `--blocks` and `--patches` away"
    )]
    NotAVit,
}

impl Readout {
    /// The features that k-NN uses: one class token, or what the network has in its place.
    pub const CLASS: Self = Self { blocks: 1, patches: PatchMean::None };

    /// What the official programs use for a network: DINO's for one of DINO, DINOv2's for one of DINOv2.
    pub fn usual(config: &BackboneConfig) -> Self {
        let Some(vit) = config.vit() else { return Self::CLASS };
        let several = vit.depth.min(SEVERAL);
        match vit {
            VitConfig { extras, .. } if *extras != Extras::default() => {
                Self { blocks: several, patches: PatchMean::Appended }
            }
            VitConfig { embed_dim: ..=SMALL, .. } => Self { blocks: several, patches: PatchMean::None },
            _ => Self { blocks: 1, patches: PatchMean::Interleaved },
        }
    }

    /// Whether a network has such features.
    ///
    /// # Errors
    /// [`ReadoutError`] if not.
    pub fn check(self, config: &BackboneConfig) -> Result<(), ReadoutError> {
        let Some(vit) = config.vit() else {
            return if self == Self::CLASS { Ok(()) } else { Err(ReadoutError::NotAVit) };
        };
        if !(1..=vit.depth).contains(&self.blocks) {
            return Err(ReadoutError::Blocks { asked: self.blocks, depth: vit.depth });
        }
        if self.patches == PatchMean::Interleaved && self.blocks > 1 {
            return Err(ReadoutError::Interleaved { blocks: self.blocks });
        }
        Ok(())
    }

    /// Values of an image.
    pub fn dim(self, config: &BackboneConfig) -> usize {
        config.dim() * (self.blocks + usize::from(self.patches != PatchMean::None))
    }

    /// In words.
    pub fn words(self, config: &BackboneConfig) -> String {
        let class = match (config.vit(), self.blocks) {
            (None, _) => return format!("features of width {}", config.dim()),
            (_, 1) => "class token".to_owned(),
            (_, blocks) => format!("class tokens of the last {blocks} blocks"),
        };
        let mean = match self.patches {
            PatchMean::None => "",
            PatchMean::Interleaved => ", interleaved with the mean of the patches",
            PatchMean::Appended => ", and the mean of the patches",
        };
        format!("{class}{mean}: {} values", self.dim(config))
    }

    /// The features of images, `[images, dim]`. The readout is one that [`Readout::check`] accepts for this network.
    pub(super) fn of(self, backbone: &Backbone, tape: &mut Tape<'_>, images: Images<'_>) -> Vec<f32> {
        let Some(vit) = backbone.vit().filter(|_| self != Self::CLASS) else {
            return backbone.features(tape, &[images], None).values().to_vec();
        };
        let (width, leading) = (backbone.dim(), vit.config().leading_tokens());
        let layers = vit.intermediate_layers(tape, &[images], self.blocks);
        let sequence = |layer: usize, image: usize| {
            let segment = layers[layer].heads.segments[image];
            &layers[layer].tokens.values()[segment.start * width..(segment.start + segment.len) * width]
        };
        let mut features = Vec::new();
        for image in 0..images.patches.images {
            let class = (0..layers.len()).flat_map(|layer| &sequence(layer, image)[..width]);
            let patches = sequence(layers.len() - 1, image)[leading * width..].chunks_exact(width);
            match self.patches {
                PatchMean::None => features.extend(class),
                PatchMean::Interleaved => {
                    features.extend(class.zip(mean(patches, width)).flat_map(|(class, mean)| [*class, mean]));
                }
                PatchMean::Appended => {
                    features.extend(class);
                    features.extend(mean(patches, width));
                }
            }
        }
        features
    }
}

/// The mean of rows.
fn mean<'a>(rows: impl ExactSizeIterator<Item = &'a [f32]>, width: usize) -> Vec<f32> {
    let count = rows.len() as f64;
    let mut sums = vec![0.0_f64; width];
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    sums.into_iter().map(|sum| (sum / count) as f32).collect()
}
