//! DINO's projection head (`vision_transformer.py:DINOHead`): an MLP to a narrow bottleneck, L2 normalisation, and a
//! weight-normalised layer of `out_dim` prototypes.

use dinoxide_engine::params::{ParamId, Role};
use dinoxide_engine::tape::{BatchNorm, Dense, Tape};
use dinoxide_engine::tensor::Matrix;

use super::init::{Init, Registry};

/// Lower clamp of the norm in `torch.nn.functional.normalize`.
const NORMALIZE_EPS: f64 = 1e-12;
/// `torch.nn.BatchNorm1d`.
const BATCH_NORM_EPS: f64 = 1e-5;

/// Sizes and options of the head.
#[derive(Debug, Clone, PartialEq)]
pub struct DinoHeadConfig {
    /// Width of the backbone's features.
    pub in_dim: usize,
    /// Number of prototypes, K.
    pub out_dim: usize,
    /// Width of the hidden layers.
    pub hidden_dim: usize,
    /// Width of the normalised bottleneck.
    pub bottleneck_dim: usize,
    /// Linear layers before the prototypes, at least 1.
    pub layers: usize,
    /// Batch normalisation after the hidden layers or none.
    pub norm: HeadNorm,
    /// Whether the prototypes' lengths g are trained or stay 1 (`norm_last_layer`).
    pub last_layer: LastLayer,
}

/// Normalisation of the head's hidden layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadNorm {
    /// None: DINO's default for ViTs.
    None,
    /// Batch normalisation before each GELU (`use_bn_in_head`).
    Batch,
}

/// What happens to the prototypes' lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLayer {
    /// g stays 1: logits are cosines (`norm_last_layer = true`).
    Normalized,
    /// g is trained.
    Free,
}

#[derive(Debug, Clone)]
struct Layer {
    linear: Dense,
    norm: Option<BatchNorm>,
}

/// The head: names and sizes; the values live in the tape's parameters.
#[derive(Debug, Clone)]
pub struct DinoHead {
    hidden: Vec<Layer>,
    bottleneck: Dense,
    weight_g: ParamId,
    weight_v: ParamId,
}

impl DinoHead {
    /// Registers all tensors under `prefix` (for example `head.`), initialised as the reference does.
    pub fn new(config: &DinoHeadConfig, prefix: &str, registry: &mut Registry) -> Self {
        let mut index = 0;
        let mut width = config.in_dim;
        let mut hidden = Vec::new();
        for _ in 1..config.layers.max(1) {
            let linear = registry.linear(&format!("{prefix}mlp.{index}"), config.hidden_dim, width);
            let norm = (config.norm == HeadNorm::Batch)
                .then(|| registry.batch_norm(&format!("{prefix}mlp.{}", index + 1), config.hidden_dim));
            // A Sequential counts the linear layer, the norm if there is one, and the GELU.
            index += if norm.is_some() { 3 } else { 2 };
            width = config.hidden_dim;
            hidden.push(Layer { linear, norm });
        }
        let name = if hidden.is_empty() { format!("{prefix}mlp") } else { format!("{prefix}mlp.{index}") };
        let bottleneck = registry.linear(&name, config.bottleneck_dim, width);
        let (outputs, inputs) = (config.out_dim, config.bottleneck_dim);
        let role = match config.last_layer {
            LastLayer::Normalized => Role::Fixed,
            LastLayer::Free => Role::Trained,
        };
        let weight_g = registry.push(format!("{prefix}last_layer.weight_g"), &[outputs, 1], role, Init::Constant(1.0));
        // Made after the reference's own initialisation has run, so PyTorch's default stays.
        let fan_in = Init::FanIn(inputs);
        let weight_v = registry.trained(format!("{prefix}last_layer.weight_v"), &[outputs, inputs], fan_in);
        Self { hidden, bottleneck, weight_g, weight_v }
    }

    /// Features `[R, in_dim]` to logits `[R, K]`.
    pub fn forward(&self, tape: &mut Tape<'_>, features: &Matrix) -> Matrix {
        let bottleneck = self.bottleneck(tape, features);
        self.logits(tape, &bottleneck)
    }

    /// Features `[R, in_dim]` to the bottleneck before it is normalised, `[R, bottleneck_dim]`.
    pub fn bottleneck(&self, tape: &mut Tape<'_>, features: &Matrix) -> Matrix {
        let mut x = features.clone();
        // Layers with nothing but a GELU between them are one operation.
        let mut waiting = Vec::with_capacity(self.hidden.len());
        for layer in &self.hidden {
            match layer.norm {
                None => waiting.push(layer.linear),
                Some(norm) => {
                    let linear = tape.mlp(&x, None, &std::mem::take(&mut waiting), layer.linear);
                    let normed = tape.batch_norm(&linear, norm, BATCH_NORM_EPS);
                    x = tape.gelu(&normed);
                }
            }
        }
        tape.mlp(&x, None, &waiting, self.bottleneck)
    }

    /// The bottleneck `[R, bottleneck_dim]` to logits `[R, K]`.
    pub fn logits(&self, tape: &mut Tape<'_>, bottleneck: &Matrix) -> Matrix {
        let unit = tape.l2_normalize(bottleneck, NORMALIZE_EPS);
        tape.weight_norm_linear(&unit, self.weight_v, self.weight_g)
    }
}
