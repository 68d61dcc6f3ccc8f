//! What timm is told about an XCiT.

use serde_json::{Value, json};

use super::describe::{channels_of_timm, of_timm};
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
    let (name, arguments) = (format!("{name}_224"), channels_of_timm(&config.normalize));
    let mut description = of_timm(&name, [config.embed_dim.into(), "token".into()], arguments, images);
    description["pretrained_cfg"]["first_conv"] = json!("patch_embed.proj.0.0");
    description["pretrained_cfg"]["fixed_input_size"] = json!(false);
    Ok(description)
}
