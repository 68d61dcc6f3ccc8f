//! What timm is told about an XCiT.

use serde_json::{Value, json};

use crate::nn::xcit::XcitConfig;
use crate::run::RunError;

/// The `config.json` of a timm folder.
///
/// # Errors
/// [`RunError::NoSuchNetwork`] for other sizes than the released ones.
pub fn timm(config: &XcitConfig, images: Value) -> Result<Value, RunError> {
    let name = config.name();
    if XcitConfig::named(&name, config.normalize.clone()).is_none() {
        return Err(RunError::NoSuchNetwork { format: "timm", network: name });
    }
    let mut description = json!({
        "architecture": format!("{name}_224"),
        "num_classes": 0,
        "num_features": config.embed_dim,
        "global_pool": "token",
        "pretrained_cfg": images,
    });
    let channels = config.normalize.mean.len();
    if channels != 3 {
        description["model_args"] = json!({ "in_chans": channels });
    }
    description["pretrained_cfg"]["first_conv"] = json!("patch_embed.proj.0.0");
    description["pretrained_cfg"]["fixed_input_size"] = json!(false);
    Ok(description)
}
