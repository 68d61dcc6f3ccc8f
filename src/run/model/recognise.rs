//! The sizes of a network from the names and shapes of its tensors, and the text entries that state what shapes do not show.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dinoxide_engine::kernels::Normalize;
use dinoxide_views::pixel::{MAX_CHANNELS, RGB};
use dinoxide_views::{EvalTransform, Exif, MAX_SIZE, Reading};

use super::Model;
use super::convnet::{self, Shapes};
use crate::checkpoint::NamedTensor;
use crate::checkpoint::family::family;
use crate::config::DataConfig;
use crate::nn::backbone::{BackboneConfig, MOST_BLOCKS};
use crate::nn::pos_embed::Resampling;
use crate::nn::vit::{Extras, Ffn, LAYER_NORM_EPS, LAYER_SCALE, MaskToken, VitConfig};
use crate::run::RunError;

/// Text entries of a safetensors file.
pub type Metadata = BTreeMap<String, String>;

/// How a file states that positions are resampled by the sizes and antialiased.
const ANTIALIASED: &str = "antialiased";
/// Width of a head in every published ViT; what is assumed where a file does not state the number of heads.
const HEAD_DIM: usize = 64;
/// Patch and grid that are expected where the tensors that show them are missing, so that these are listed as missing.
const USUAL_PATCH: usize = 16;
const USUAL_GRID: usize = 14;
/// Mean and standard deviation of other channels than red, green and blue where a file does not state them: the middle of 0 to 1.
const MIDDLE: (f32, f32) = (0.5, 0.25);
const USUAL_MLP_RATIO: usize = 4;

/// The sizes of the network that these tensors belong to.
///
/// Those of a ResNet and an XCiT follow from the shapes. Of a ViT width, depth, patch, stored grid and MLP
/// do; the number of heads is read from `texts`, or is the one that gives heads of 64.
///
/// # Errors
/// If the tensors are those of none of the three, or of a ViT without a square position grid, or the number of heads cannot be told.
pub fn recognise(tensors: &[NamedTensor], texts: &Metadata, path: &Path) -> Result<BackboneConfig, RunError> {
    let shapes: Shapes<'_> = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())).collect();
    if let Some(config) = convnet::resnet(&shapes, |channels| normalize(texts, channels)) {
        return Ok(config.into());
    }
    if let Some(config) = convnet::xcit(&shapes, |channels| normalize(texts, channels)) {
        return Ok(config.into());
    }
    vit(tensors, &shapes, texts, path).map(BackboneConfig::from)
}

fn vit(tensors: &[NamedTensor], shapes: &Shapes<'_>, texts: &Metadata, path: &Path) -> Result<VitConfig, RunError> {
    let wrong = |reason: String| RunError::NotAVit { path: path.to_path_buf(), reason };
    let patches = shapes.get("patch_embed.proj.weight").copied();
    let (embed_dim, channels, patch_size) = match (patches, shapes.get("cls_token").copied()) {
        (Some(&[width, channels @ 1..=MAX_CHANNELS, rows, columns]), _) if rows == columns && rows > 0 => {
            (width, channels, rows)
        }
        (Some(shape), _) => {
            let wanted = format!("[width, channels up to {MAX_CHANNELS}, patch, patch]");
            return Err(wrong(format!("`patch_embed.proj.weight` is {shape:?}, not {wanted}")));
        }
        (None, Some(&[1, 1, width])) => (width, RGB, USUAL_PATCH),
        _ => {
            let (family, some) = (family(tensors), tensors.first().map_or("none at all", |tensor| &tensor.name));
            return Err(wrong(format!(
                "it holds {family}, with neither `patch_embed.proj.weight` nor `cls_token` among its {} tensors (the first \
                 is `{some}`)",
                tensors.len()
            )));
        }
    };
    if embed_dim == 0 {
        return Err(wrong("its tokens have no width".to_owned()));
    }
    let grid = match shapes.get("pos_embed") {
        Some(&&[1, positions, _]) => square_root(positions.saturating_sub(1))
            .ok_or_else(|| wrong(format!("`pos_embed` has {positions} rows: one more than no square grid has")))?,
        Some(shape) => return Err(wrong(format!("`pos_embed` is {shape:?}, not [1, 1 + positions, width]"))),
        None => USUAL_GRID,
    };
    let extras = extras(shapes, texts);
    let hidden = match (shapes.get("blocks.0.mlp.fc1.weight"), shapes.get("blocks.0.mlp.w3.weight")) {
        (Some(&&[hidden, _]), _) | (None, Some(&&[_, hidden])) => hidden,
        _ => USUAL_MLP_RATIO * embed_dim,
    };
    if hidden == 0 {
        return Err(wrong("its MLPs have no width".to_owned()));
    }
    let depth = block_count(shapes);
    if depth == 0 {
        return Err(wrong("it has no `blocks.0`".to_owned()));
    }
    if depth > MOST_BLOCKS {
        return Err(wrong(format!("it has {depth} blocks, more than {MOST_BLOCKS}")));
    }
    Ok(VitConfig {
        image_size: grid * patch_size,
        patch_size,
        embed_dim,
        depth,
        num_heads: num_heads(embed_dim, texts, path)?,
        mlp_ratio: VitConfig::mlp_ratio_of(hidden, embed_dim),
        normalize: normalize(texts, channels),
        extras,
    })
}

/// What the tensors show of DINOv2. Positions are resampled as its models with registers do if there are registers, unless
/// `resampling` states it.
fn extras(shapes: &Shapes<'_>, texts: &Metadata) -> Extras {
    let registers = match shapes.get("register_tokens") {
        Some(&&[1, registers, _]) => registers,
        _ => 0,
    };
    let has = |name: &str| shapes.contains_key(name);
    let resampling = match texts.get("resampling").map(String::as_str) {
        Some(ANTIALIASED) => Resampling::Antialiased,
        None if registers > 0 => Resampling::Antialiased,
        _ => Resampling::Offset,
    };
    Extras {
        // The file's own values take the place of these.
        layer_scale: has("blocks.0.ls1.gamma").then_some(LAYER_SCALE),
        registers,
        ffn: if has("blocks.0.mlp.w12.weight") { Ffn::SwiGlu } else { Ffn::Mlp },
        mask_token: if has("mask_token") { MaskToken::Stored } else { MaskToken::Absent },
        resampling,
    }
}

/// The name of a network as timm forms it, such as `vit_small_patch16_224`.
pub(in crate::run) fn name_of(config: &BackboneConfig) -> String {
    let config = match config {
        BackboneConfig::Vit(config) => config,
        BackboneConfig::ResNet(config) => return config.name(),
        BackboneConfig::Xcit(config) => return config.name(),
    };
    let name = match config.embed_dim {
        192 => "vit_tiny",
        384 => "vit_small",
        768 => "vit_base",
        1024 => "vit_large",
        1536 => "vit_giant",
        _ => "vit",
    };
    let registers =
        if config.extras.registers > 0 { format!("_reg{}", config.extras.registers) } else { String::new() };
    format!("{name}_patch{}{registers}_{}", config.patch_size, config.image_size)
}

/// What a file of this model says about it, for [`recognise`] and for other programs.
pub fn metadata(model: &Model) -> Metadata {
    let config = model.backbone.config();
    let normalize = config.normalize();
    let mut texts = Metadata::from([
        // Readers of other programs expect this entry.
        ("format".to_owned(), "pt".to_owned()),
        ("architecture".to_owned(), name_of(&config)),
        ("mean".to_owned(), format!("{:?}", normalize.mean)),
        ("std".to_owned(), format!("{:?}", normalize.std)),
        ("exif".to_owned(), if model.reading.exif == Exif::Apply { "apply" } else { "ignore" }.to_owned()),
        ("range".to_owned(), format!("{:?}", model.reading.range)),
    ]);
    let mut numbers = vec![("embed_dim", config.dim()), ("in_chans", normalize.mean.len())];
    if let Some(vit) = config.vit() {
        texts.insert("mlp_ratio".to_owned(), vit.mlp_ratio.to_string());
        if vit.extras.resampling == Resampling::Antialiased {
            texts.insert("resampling".to_owned(), ANTIALIASED.to_owned());
        }
        let sizes = [vit.depth, vit.num_heads, vit.patch_size, vit.image_size];
        numbers.extend(["depth", "num_heads", "patch_size", "image_size"].into_iter().zip(sizes));
    }
    match model.transform {
        EvalTransform::ResizeCrop { resize, crop } => {
            numbers.extend([("eval_resize", resize as usize), ("eval_crop", crop as usize)]);
        }
        EvalTransform::Exact { width, height } => {
            texts.insert("eval_size".to_owned(), format!("{width}x{height}"));
        }
    }
    texts.extend(numbers.into_iter().map(|(key, number)| (key.to_owned(), number.to_string())));
    texts
}

/// The stated way of bringing images to size.
pub(super) fn transform(texts: &Metadata) -> Option<EvalTransform> {
    if let Some(exact) = texts.get("eval_size").and_then(|size| size.parse().ok()) {
        return Some(exact);
    }
    let side = |key: &str| texts.get(key)?.parse::<u32>().ok().filter(|side| (1..=MAX_SIZE).contains(side));
    Some(EvalTransform::ResizeCrop { resize: side("eval_resize")?, crop: side("eval_crop")? })
}

/// The stated form of the images; orientation as torchvision does if nothing is stated.
pub(super) fn reading(texts: &Metadata, channels: usize) -> Reading {
    let upright = texts.get("exif").is_some_and(|exif| exif == "apply");
    let rises = |range: &Vec<[f32; 2]>| range.iter().all(|[low, high]| low < high);
    let range = texts.get("range").and_then(|range| serde_json::from_str(range).ok()).filter(rises);
    Reading { exif: if upright { Exif::Apply } else { Exif::Ignore }, channels, range: range.unwrap_or_default() }
}

/// What had to be assumed, or is done otherwise than the file asks for, in words.
pub(super) fn assumed(texts: &Metadata, config: &BackboneConfig) -> Vec<String> {
    let normalize = config.normalize();
    let channels = normalize.mean.len();
    let used = (mean(texts, channels), deviation(texts, channels));
    let images = match used {
        (Some(_), Some(_)) => None,
        (None, None) if channels == RGB && !texts.contains_key("mean") && !texts.contains_key("std") => None,
        _ => Some(format!(
            "the file does not state a usable mean and deviation of its {channels} channels; {:?} and {:?} are used",
            normalize.mean, normalize.std
        )),
    };
    let eps = texts.get("layer_norm_eps").and_then(|text| text.parse::<f64>().ok());
    let eps = eps.filter(|eps| *eps > 2.0 * LAYER_NORM_EPS || *eps < LAYER_NORM_EPS / 2.0);
    let eps = eps.map(|eps| {
        format!("the file states {eps:e} for LayerNorm's epsilon; {LAYER_NORM_EPS:e} is used, as in every ViT of DINO")
    });
    images.into_iter().chain(eps).collect()
}

fn num_heads(embed_dim: usize, texts: &Metadata, path: &Path) -> Result<usize, RunError> {
    let stated = texts.get("num_heads").and_then(|text| text.parse::<usize>().ok());
    match stated {
        Some(heads) if heads > 0 && embed_dim.is_multiple_of(heads) => Ok(heads),
        None if embed_dim.is_multiple_of(HEAD_DIM) => Ok(embed_dim / HEAD_DIM),
        _ => Err(RunError::NumHeads { path: path.to_path_buf(), embed_dim }),
    }
}

/// ImageNet's statistics of colors unless others are stated.
fn normalize(texts: &Metadata, channels: usize) -> Normalize {
    let usual = match channels {
        RGB => DataConfig::default(),
        _ => DataConfig { mean: vec![MIDDLE.0; channels], std: vec![MIDDLE.1; channels], ..DataConfig::default() },
    };
    Normalize {
        mean: mean(texts, channels).unwrap_or(usual.mean),
        std: deviation(texts, channels).unwrap_or(usual.std),
    }
}

fn mean(texts: &Metadata, channels: usize) -> Option<Vec<f32>> {
    stated(texts, "mean", channels)
}

fn deviation(texts: &Metadata, channels: usize) -> Option<Vec<f32>> {
    stated(texts, "std", channels).filter(|std| std.iter().all(|std| *std > 0.0))
}

/// A stated number for each channel.
fn stated(texts: &Metadata, key: &str, channels: usize) -> Option<Vec<f32>> {
    serde_json::from_str::<Vec<f32>>(texts.get(key)?).ok().filter(|values| values.len() == channels)
}

/// Number of different `blocks.{i}`; a gap in the numbers then shows as a missing and an unexpected block.
fn block_count(shapes: &Shapes<'_>) -> usize {
    let number = |name: &str| name.strip_prefix("blocks.")?.split('.').next()?.parse::<usize>().ok();
    shapes.keys().filter_map(|name| number(name)).collect::<BTreeSet<_>>().len()
}

/// The side of a square grid of so many positions.
pub(super) fn square_root(positions: usize) -> Option<usize> {
    let side = positions.isqrt();
    (side > 0 && side * side == positions).then_some(side)
}
