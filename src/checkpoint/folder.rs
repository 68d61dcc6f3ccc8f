//! Folders of timm and Hugging Face: weights in one file or several, and what `config.json` and `preprocessor_config.json`
//! state that shapes do not show.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::{CheckpointError, Result};
use super::safetensors;
use super::tensor::TensorFile;

/// The file that makes a folder one of these.
pub const CONFIG: &str = "config.json";
/// How images are prepared, if `config.json` does not say.
pub const PREPROCESSOR: &str = "preprocessor_config.json";
/// All descriptions that a folder may have.
pub const DESCRIPTIONS: [&str; 2] = [CONFIG, PREPROCESSOR];
/// Weights in several files: which tensor is where.
const INDEX: &str = "model.safetensors.index.json";
/// Weights, the best ones first.
const WEIGHTS: [&str; 4] = ["model.safetensors", "pytorch_model.bin", "model.pth", INDEX];
/// From this side on ConvNext's processor cuts nothing off.
const CONVNEXT_UNCUT: u64 = 384;
/// A configuration beyond this is none.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Where the weights of a folder are.
pub(super) enum Weights {
    /// In one file.
    File(PathBuf),
    /// In several, of which this is the index.
    Index(PathBuf),
}

/// Whether `path` is a folder with a `config.json`.
pub fn is_model_folder(path: &Path) -> bool {
    path.join(CONFIG).is_file()
}

/// Whether `file` has a name under which a folder's weights are found.
pub(super) fn has(file: &Path) -> bool {
    file.file_name().is_some_and(|name| WEIGHTS.iter().any(|known| name == *known))
}

/// Where the weights of `folder` are.
///
/// # Errors
/// It has none under a name that is known.
pub(super) fn weights(folder: &Path) -> Result<Weights> {
    match WEIGHTS.iter().find(|name| folder.join(name).is_file()) {
        Some(name) if *name == INDEX => Ok(Weights::Index(folder.join(name))),
        Some(name) => Ok(Weights::File(folder.join(name))),
        None => Err(CheckpointError::NoWeights { folder: folder.to_path_buf(), known: &WEIGHTS }),
    }
}

/// All tensors that an index names.
///
/// # Errors
/// The index is no index, names a file outside its folder, or a file lacks a tensor.
pub(super) fn read_index(index: &Path) -> Result<TensorFile> {
    let broken = |problem: String| CheckpointError::Index { path: index.to_path_buf(), problem };
    let text = json(index)?;
    let map = text.get("weight_map").and_then(Value::as_object);
    let map =
        map.ok_or_else(|| broken("is no index of weights (it has no `weight_map`); give its folder".to_owned()))?;
    let mut files: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, file) in map {
        let file = file.as_str().filter(|file| Path::new(file).file_name().is_some_and(|name| name == *file));
        let file = file.ok_or_else(|| broken(format!("names no file of its folder for `{name}`")))?;
        files.entry(file).or_default().insert(name);
    }
    let mut all = TensorFile::default();
    for (file, mut names) in files {
        let read = safetensors::read(&index.with_file_name(file))?;
        all.tensors.extend(read.tensors.into_iter().filter(|tensor| names.remove(tensor.name.as_str())));
        if let Some(name) = names.first() {
            return Err(broken(format!("says that `{file}` has `{name}`, which it has not")));
        }
        all.metadata.extend(read.metadata);
    }
    Ok(all)
}

/// What the folder's own descriptions state, as text entries of a safetensors file state it.
///
/// # Errors
/// A description cannot be read, or asks for arithmetic that differs from every ViT's here.
pub(super) fn stated(folder: &Path) -> Result<BTreeMap<String, String>> {
    let config = json(&folder.join(CONFIG))?;
    let mut texts = BTreeMap::new();
    let mut put = |key: &str, value: Option<String>| texts.extend(value.map(|value| (key.to_owned(), value)));
    refuse_other_arithmetic(&config)
        .map_err(|problem| CheckpointError::Index { path: folder.join(CONFIG), problem })?;
    // timm states what differs from the network that it names.
    let heads = config.get("model_args").and_then(|arguments| number(arguments, "num_heads"));
    put("num_heads", number(&config, "num_attention_heads").or(heads).map(|heads| heads.to_string()));
    put("image_size", number(&config, "image_size").map(|side| side.to_string()));
    put("layer_norm_eps", config.get("layer_norm_eps").and_then(Value::as_f64).map(|eps| eps.to_string()));
    if let Some(images) = config.get("pretrained_cfg") {
        put("mean", images.get("mean").map(Value::to_string));
        put("std", images.get("std").map(Value::to_string));
        let size = |at: usize| images.get("input_size")?.get(at)?.as_u64();
        let (side, width) = (size(1), size(2));
        if images.get("crop_mode").and_then(Value::as_str) == Some("squash") {
            put("eval_size", width.zip(side).map(|(width, height)| format!("{width}x{height}")));
        }
        let share = images.get("crop_pct").and_then(Value::as_f64).filter(|share| *share > 0.0);
        put("eval_crop", side.map(|side| side.to_string()));
        put("eval_resize", side.zip(share).map(|(side, share)| ((side as f64 / share).floor() as u64).to_string()));
    }
    let preprocessor = folder.join(PREPROCESSOR);
    if preprocessor.is_file() {
        let images = json(&preprocessor)?;
        put("mean", images.get("image_mean").map(Value::to_string));
        put("std", images.get("image_std").map(Value::to_string));
        let is_cut = images.get("do_center_crop").and_then(Value::as_bool).unwrap_or(true);
        let shorter = images.get("size").and_then(|size| number(size, "shortest_edge"));
        let crop = images.get("crop_size").filter(|_| is_cut);
        let crop = crop.and_then(|size| number(size, "height").or_else(|| size.as_u64()));
        let number_alone = images.get("size").and_then(Value::as_u64);
        let share = images.get("crop_pct").and_then(Value::as_f64).filter(|share| *share > 0.0);
        // ConvNext's processor, which transformers' ResNets have: small images are a share of larger ones, others are not cut.
        if let (Some(side), Some(share)) = (shorter.or(number_alone), share) {
            match side < CONVNEXT_UNCUT {
                true => {
                    put("eval_resize", Some(((side as f64 / share) as u64).to_string()));
                    put("eval_crop", Some(side.to_string()));
                }
                false => put("eval_size", Some(format!("{side}x{side}"))),
            }
            return Ok(texts);
        }
        put("eval_resize", shorter.map(|side| side.to_string()));
        put("eval_crop", crop.or(shorter).map(|side| side.to_string()));
        // A size of both sides, or a single number, is the very size of the image.
        let exact = images.get("size").filter(|_| shorter.is_none()).and_then(|size| {
            let both = number(size, "width").zip(number(size, "height"));
            both.or_else(|| number_alone.map(|side| (side, side)))
        });
        put("eval_size", exact.map(|(width, height)| format!("{width}x{height}")));
    }
    Ok(texts)
}

/// What a description asks for that is done otherwise here, in words.
fn refuse_other_arithmetic(config: &Value) -> std::result::Result<(), String> {
    let is_resnet = config.get("model_type").and_then(Value::as_str) == Some("resnet");
    let (usual, words) = if is_resnet { ("relu", "a ReLU") } else { ("gelu", "the exact GELU") };
    if let Some(activation) = config.get("hidden_act").and_then(Value::as_str).filter(|name| *name != usual) {
        return Err(format!("asks for `{activation}`, not {words}"));
    }
    for key in ["downsample_in_bottleneck", "downsample_in_first_stage"] {
        if config.get(key).and_then(Value::as_bool) == Some(true) {
            return Err(format!("asks for `{key}`, which torchvision's ResNets have not"));
        }
    }
    Ok(())
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key)?.as_u64()
}

fn json(path: &Path) -> Result<Value> {
    let failed = |source| CheckpointError::from_io("read", path, source);
    let broken = |problem: String| CheckpointError::Index { path: path.to_path_buf(), problem };
    if fs::metadata(path).map_err(failed)?.len() > MAX_CONFIG_BYTES {
        return Err(broken("is too long for a description".to_owned()));
    }
    let text = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|error| broken(format!("is no JSON: {error}")))
}
