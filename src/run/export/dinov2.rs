//! Networks of DINOv2 for timm and transformers, which keep its additions in ways of their own.

use serde_json::{Value, json};

use crate::checkpoint::NamedTensor;
use crate::checkpoint::names::is_mask_token;
use crate::nn::vit::{Ffn, LAYER_NORM_EPS, VitConfig};
use crate::run::RunError;

/// The networks of timm whose parts ours may have, whatever their sizes: with SwiGLU, and with registers.
const TIMM: [(Ffn, [&str; 2]); 2] = [
    (Ffn::Mlp, ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"]),
    (Ffn::SwiGlu, ["vit_giant_patch14_dinov2", "vit_giant_patch14_reg4_dinov2"]),
];

/// Whether a network is one of these.
pub fn is_dinov2(config: &VitConfig) -> bool {
    !config.extras.is_none()
}

/// timm's network and the arguments that make it ours.
pub fn timm_model(config: &VitConfig) -> (&'static str, Value) {
    let extras = config.extras;
    let names = TIMM.iter().find(|(ffn, _)| *ffn == extras.ffn).map_or(TIMM[0].1, |(_, names)| *names);
    // timm counts both halves of a SwiGLU, and cuts the product to an integer.
    let first = extras.ffn.outputs(config.hidden());
    let arguments = json!({
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "embed_dim": config.embed_dim,
        "depth": config.depth,
        "num_heads": config.num_heads,
        "mlp_ratio": (first as f64 + 0.5) / config.embed_dim as f64,
        "in_chans": config.normalize.mean.len(),
        "reg_tokens": extras.registers,
        "init_values": extras.layer_scale,
    });
    (names[usize::from(extras.registers > 0)], arguments)
}

/// The tensors as timm has them: no mask token, SwiGLU's layers under an MLP's names, and with registers the class token's
/// position added to the token.
pub fn for_timm(tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    let mut tensors: Vec<NamedTensor> = tensors.into_iter().filter(|tensor| !is_mask_token(&tensor.name)).collect();
    for tensor in &mut tensors {
        tensor.name = tensor.name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.");
    }
    let find = |tensors: &mut Vec<NamedTensor>, name: &str| tensors.iter().position(|tensor| tensor.name == name);
    if let Some(registers) = find(&mut tensors, "register_tokens") {
        tensors[registers].name = "reg_token".to_owned();
        if let (Some(positions), Some(class)) = (find(&mut tensors, "pos_embed"), find(&mut tensors, "cls_token")) {
            let width = tensors[class].values.len();
            let first: Vec<f32> = tensors[positions].values.drain(..width).collect();
            tensors[positions].shape[1] -= 1;
            tensors[class].values.iter_mut().zip(first).for_each(|(class, position)| *class += position);
        }
    }
    tensors
}

/// The `config.json` of `Dinov2Model` or `Dinov2WithRegistersModel`.
///
/// # Errors
/// [`RunError::NoHuggingFaceModel`] if SwiGLU's width is not the one that transformers derives.
pub fn hugging_face_model(config: &VitConfig) -> Result<Value, RunError> {
    let extras = config.extras;
    let (hidden, width) = (config.hidden(), config.embed_dim);
    let ratio = hidden / width;
    let ratio = match extras.ffn {
        Ffn::Mlp if ratio * width == hidden => ratio,
        Ffn::SwiGlu if hidden == (4 * width * 2 / 3).next_multiple_of(8) => 4,
        _ => return Err(RunError::NoHuggingFaceModel { hidden, width }),
    };
    let (class, kind) = match extras.registers {
        0 => ("Dinov2Model", "dinov2"),
        _ => ("Dinov2WithRegistersModel", "dinov2_with_registers"),
    };
    let mut description = json!({
        "architectures": [class],
        "model_type": kind,
        "hidden_size": width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "mlp_ratio": ratio,
        "use_swiglu_ffn": extras.ffn == Ffn::SwiGlu,
        "layerscale_value": extras.layer_scale.unwrap_or(1.0),
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.normalize.mean.len(),
        "qkv_bias": true,
        "hidden_act": "gelu",
        "layer_norm_eps": LAYER_NORM_EPS,
        "dtype": "float32",
    });
    if extras.registers > 0 {
        description["num_register_tokens"] = json!(extras.registers);
    }
    Ok(description)
}

/// The tensors that transformers expects: it has a mask token and LayerScale always.
pub fn for_hugging_face(mut tensors: Vec<NamedTensor>, config: &VitConfig) -> Vec<NamedTensor> {
    let width = config.embed_dim;
    if !tensors.iter().any(|tensor| tensor.name == "mask_token") {
        tensors.push(NamedTensor::new("mask_token", vec![1, width], vec![0.0; width]));
    }
    if config.extras.layer_scale.is_none() {
        let names = (0..config.depth).flat_map(|block| [1, 2].map(|branch| format!("blocks.{block}.ls{branch}.gamma")));
        tensors.extend(names.map(|name| NamedTensor::new(name, vec![width], vec![1.0; width])));
    }
    tensors
}
