//! What timm and transformers are told about a ResNet.

use serde_json::{Value, json};

use super::describe::{channels_of_timm, of_timm};
use crate::nn::resnet::{Kind, ResNetConfig, STEM};
use crate::run::RunError;

/// The `config.json` of a timm folder.
///
/// # Errors
/// [`RunError::NoSuchNetwork`] for layers twice as wide and wider: timm's wide networks are others.
pub fn timm(config: &ResNetConfig, images: Value) -> Result<Value, RunError> {
    let name = config.name();
    let is_table = ResNetConfig::named(&name, config.normalize.clone()).is_some();
    if config.width != 1 || !is_table {
        return Err(RunError::NoSuchNetwork { format: "timm", network: name });
    }
    let arguments = channels_of_timm(&config.normalize);
    let mut description = of_timm(&name, [config.features().into(), "avg".into()], arguments, images);
    description["pretrained_cfg"]["first_conv"] = json!("conv1");
    description["pretrained_cfg"]["classifier"] = json!("fc");
    description["pretrained_cfg"]["fixed_input_size"] = json!(false);
    Ok(description)
}

/// The `config.json` of a `ResNetModel`.
pub fn hugging_face_model(config: &ResNetConfig) -> Value {
    let widths = [0, 1, 2, 3].map(|stage| config.features() >> (3 - stage));
    json!({
        "architectures": ["ResNetModel"],
        "model_type": "resnet",
        "num_channels": config.normalize.mean.len(),
        "embedding_size": STEM * config.width,
        "hidden_sizes": widths,
        "depths": config.blocks,
        "layer_type": if config.kind == Kind::Bottleneck { "bottleneck" } else { "basic" },
        "hidden_act": "relu",
        "downsample_in_first_stage": false,
        "downsample_in_bottleneck": false,
        "dtype": "float32",
    })
}
