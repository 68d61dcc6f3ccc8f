//! What timm and transformers are told about a network, and how its images are made.

use dinoxide_engine::kernels::Normalize;
use dinoxide_views::EvalTransform;
use serde_json::{Map, Value, json};

use super::Model;
use super::dinov2::{is_dinov2, timm_model};
use crate::nn::vit::{LAYER_NORM_EPS, VitConfig};

/// Pillow's number of the bicubic filter.
const BICUBIC: u32 = 3;
/// The networks of timm that a ViT may be a variant of: name without sizes, width, blocks, heads.
const TIMM: [(&str, usize, usize, usize); 4] =
    [("vit_tiny", 192, 12, 3), ("vit_small", 384, 12, 6), ("vit_base", 768, 12, 12), ("vit_large", 1024, 24, 16)];
/// The sizes of those.
const TIMM_PATCH: usize = 16;
const TIMM_IMAGE: usize = 224;
const TIMM_MLP_RATIO: f64 = 4.0;

/// The `config.json` of a timm folder. timm's own mean and deviation of a ViT are 0.5, so that ours are written.
pub fn timm(config: &VitConfig, images: Value) -> Value {
    if is_dinov2(config) {
        let (architecture, arguments) = timm_model(config);
        return of_timm(architecture, [config.embed_dim.into(), "token".into()], arguments, images);
    }
    let sizes = (config.embed_dim, config.depth, config.num_heads);
    let known = TIMM.into_iter().find(|(_, width, depth, heads)| (*width, *depth, *heads) == sizes);
    let mut arguments = Map::new();
    let name = known.map_or(TIMM[0].0, |(name, ..)| name);
    let mut differ = |key: &str, value: Value, usual: Value| {
        if value != usual {
            arguments.insert(key.to_owned(), value);
        }
    };
    differ("img_size", json!(config.image_size), json!(TIMM_IMAGE));
    differ("patch_size", json!(config.patch_size), json!(TIMM_PATCH));
    differ("mlp_ratio", json!(config.mlp_ratio), json!(TIMM_MLP_RATIO));
    differ("in_chans", json!(config.normalize.mean.len()), json!(3));
    if known.is_none() {
        arguments.insert("embed_dim".to_owned(), json!(config.embed_dim));
        arguments.insert("depth".to_owned(), json!(config.depth));
        arguments.insert("num_heads".to_owned(), json!(config.num_heads));
    }
    let name = format!("{name}_patch{TIMM_PATCH}_{TIMM_IMAGE}");
    of_timm(&name, [config.embed_dim.into(), "token".into()], Value::Object(arguments), images)
}

/// timm's `config.json`: the network, the width of its features and how they come about, arguments if there are any, and images.
pub fn of_timm(architecture: &str, [width, pool]: [Value; 2], arguments: Value, images: Value) -> Value {
    let mut description = json!({
        "architecture": architecture,
        "num_classes": 0,
        "num_features": width,
        "global_pool": pool,
        "pretrained_cfg": images,
    });
    if arguments.as_object().is_some_and(|arguments| !arguments.is_empty()) {
        description["model_args"] = arguments;
    }
    description
}

/// The argument for images of other channels than three; none otherwise.
pub fn channels_of_timm(normalize: &Normalize) -> Value {
    match normalize.mean.len() {
        3 => json!({}),
        channels => json!({ "in_chans": channels }),
    }
}

/// How timm is to bring images to size, as its `pretrained_cfg` has it.
pub fn images_of_timm(model: &Model) -> Value {
    let config = model.backbone.config();
    let normalize = config.normalize();
    let (size, share, mode) = match model.transform {
        EvalTransform::ResizeCrop { resize, crop } => ((crop, crop), share_of_timm(resize, crop), "center"),
        EvalTransform::Exact { width, height } => ((height, width), 1.0, "squash"),
    };
    json!({
        "tag": "dinoxide",
        "custom_load": false,
        "input_size": [normalize.mean.len(), size.0, size.1],
        "fixed_input_size": true,
        "interpolation": "bicubic",
        "crop_pct": share,
        "crop_mode": mode,
        "mean": decimals(&normalize.mean),
        "std": decimals(&normalize.std),
        "num_classes": 0,
        "pool_size": null,
        "first_conv": "patch_embed.proj",
        "classifier": "head",
    })
}

/// Numbers as they were written, 0.485 and not 0.48500001430511475.
fn decimals(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| value.to_string().parse().unwrap_or_else(|_| f64::from(*value))).collect()
}

/// The share of an image that timm is told to keep: it resizes to `crop` divided by the share, rounded down.
fn share_of_timm(resize: u32, crop: u32) -> f64 {
    let (resize, crop) = (f64::from(resize), f64::from(crop));
    let share = crop / resize;
    if (crop / share).floor() == resize { share } else { crop / (resize + 0.25) }
}

/// The `config.json` of a `ViTModel`, whose own epsilon would be 1e-12.
pub fn vit_model(config: &VitConfig) -> Value {
    json!({
        "architectures": ["ViTModel"],
        "model_type": "vit",
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.hidden(),
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "num_channels": config.normalize.mean.len(),
        "qkv_bias": true,
        "hidden_act": "gelu",
        "layer_norm_eps": LAYER_NORM_EPS,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "dtype": "float32",
    })
}

/// The `preprocessor_config.json`: `BitImageProcessor` resizes and cuts as torchvision does.
pub fn processor(model: &Model) -> Value {
    let config = model.backbone.config();
    let normalize = config.normalize();
    let mut description = json!({
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": true,
        "do_resize": true,
        "resample": BICUBIC,
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": decimals(&normalize.mean),
        "image_std": decimals(&normalize.std),
    });
    let (size, crop) = match model.transform {
        EvalTransform::ResizeCrop { resize, crop } => {
            (json!({ "shortest_edge": resize }), Some(json!({ "height": crop, "width": crop })))
        }
        EvalTransform::Exact { width, height } => (json!({ "height": height, "width": width }), None),
    };
    description["size"] = size;
    description["do_center_crop"] = json!(crop.is_some());
    if let Some(crop) = crop {
        description["crop_size"] = crop;
    }
    description
}
