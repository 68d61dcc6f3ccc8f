//! Networks from what is stored: a configuration, a run folder, a file of weights.

use dinoxide_engine::kernels::Normalize;

use super::RunError;
use crate::config::{Config, ConfigError, Origin};
use crate::methods::dino::DinoConfig;
use crate::nn::dino_head::{DinoHeadConfig, HeadNorm, LastLayer};
use crate::nn::vit::VitConfig;

/// What DINO is made of under this configuration.
///
/// # Errors
/// [`ConfigError::BadValue`] if the model's name is unknown; a checked configuration has a known one.
pub fn dino_config(config: &Config) -> Result<DinoConfig, RunError> {
    let (model, head) = (&config.model, &config.head);
    let shape = model.shape().ok_or_else(|| ConfigError::BadValue {
        origin: Origin::Derived,
        key: "model.name".to_owned(),
        value: model.name.clone(),
        allowed: "vit_tiny, vit_small, vit_base".to_owned(),
    })?;
    let backbone = VitConfig {
        image_size: model.image_size,
        patch_size: model.patch_size,
        embed_dim: shape.embed_dim,
        depth: shape.depth,
        num_heads: shape.num_heads,
        mlp_ratio: model.mlp_ratio,
        normalize: Normalize { mean: config.data.mean.to_vec(), std: config.data.std.to_vec() },
    };
    let head = DinoHeadConfig {
        in_dim: shape.embed_dim,
        out_dim: head.out_dim,
        hidden_dim: head.hidden_dim,
        bottleneck_dim: head.bottleneck_dim,
        layers: head.layers,
        norm: if head.use_bn { HeadNorm::Batch } else { HeadNorm::None },
        last_layer: if head.norm_last_layer { LastLayer::Normalized } else { LastLayer::Free },
    };
    Ok(DinoConfig {
        backbone,
        head,
        student_temp: config.dino.student_temp,
        center_momentum: config.dino.center_momentum,
        drop_path: model.drop_path,
        seed: config.run.seed,
    })
}

/// Loads weights into `student`.
pub fn initialise(_student: &mut dinoxide_engine::params::Params, _weights: &std::path::Path) -> Result<String, RunError> {
    Err(RunError::Unavailable { what: "--init" })
}
