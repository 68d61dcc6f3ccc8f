//! `dinoxide export`: weights under the names and in the files that other tools read.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | what is written for which format |
//! | `describe.rs` | the descriptions that timm and transformers want beside the weights |
//! | `dinov2.rs` | what differs for the networks of DINOv2 |
//! | `resnet.rs`, `xcit.rs` | what describes a ResNet, an XCiT |
//! | `official.rs` | the checkpoint from which the official program goes on |

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::RunError;
use super::console::{Console, Figures, Verbosity};
use super::input::Network;
use super::model::{Model, is_ours, is_run, metadata, name_of, open_run, tensors};
use crate::checkpoint::atomic::write_atomic;
use crate::checkpoint::dialect::{HuggingFaceModel, hugging_face, timm_xcit};
use crate::checkpoint::names::{is_counter, is_mask_token, is_read};
use crate::checkpoint::onnx::Output;
use crate::checkpoint::torch_save::Item;
use crate::checkpoint::{Loaded, NamedTensor, folder, onnx, safetensors, torch_save};
use crate::config::Config;
use crate::nn::backbone::BackboneConfig;

mod describe;
mod dinov2;
mod official;
mod resnet;
mod xcit;

/// Weights in a folder.
const WEIGHTS: &str = "model.safetensors";

/// What to do.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// A run folder; for a backbone any MODEL.
    pub run: PathBuf,
    /// The file or folder to write.
    pub out: PathBuf,
    /// Its format; without one the ending of `out` decides.
    pub to: Option<ExportFormat>,
    /// Which tensors.
    pub what: ExportWhat,
    /// Which network; not used for the full state.
    pub network: Network,
    /// What an ONNX file gives besides the features.
    pub outputs: Vec<Output>,
}

/// Format of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportFormat {
    /// One safetensors file with the official names.
    Safetensors,
    /// A `.pth` of PyTorch with the official names.
    Torch,
    /// A folder for timm: `timm.create_model("local-dir:FOLDER", pretrained=True)`.
    Timm,
    /// A folder for transformers: `AutoModel.from_pretrained("FOLDER")`.
    Hf,
    /// An ONNX file for any number and size of images.
    Onnx,
}

/// Which tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ExportWhat {
    /// The backbone of one network.
    #[default]
    Backbone,
    /// Student, teacher, heads and centre; in a `.pth` the optimizer too.
    Full,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// Tensors written.
    pub tensors: usize,
    /// The file or folder.
    pub out: PathBuf,
}

/// Writes the backbone, or the full state under `student.`, `teacher.` and `dino_loss.` (`method.` where the method is another). [`Model::load`] reads all of it back.
///
/// # Errors
/// If the model cannot be read, the format does not hold what is asked for, or a file cannot be written.
pub fn export(request: &ExportRequest) -> Result<ExportReport, RunError> {
    let console = Console::new(Verbosity::Normal, Figures::Talk);
    let to = request.to.or_else(|| by_ending(&request.out));
    let to = to.ok_or_else(|| RunError::NoExportFormat { path: request.out.clone() })?;
    if to != ExportFormat::Onnx && !request.outputs.is_empty() {
        return Err(RunError::NoOutputs);
    }
    let model = Model::load(&request.run, request.network)?;
    model.notices.iter().for_each(|notice| console.warn(notice));
    let out = &request.out;
    let tensors = match (request.what, to) {
        (ExportWhat::Backbone, ExportFormat::Safetensors) => safetensors_file(out, &tensors(&model), &model)?,
        (ExportWhat::Backbone, ExportFormat::Torch) => {
            let tensors = of_other_programs(&model);
            torch_save::write(out, &state_dict(&tensors, ""))?;
            tensors.len()
        }
        (ExportWhat::Backbone, ExportFormat::Timm) => {
            let (tensors, config) = for_timm(&model)?;
            write_folder(out, &model, &tensors, &[(folder::CONFIG, config)])?
        }
        (ExportWhat::Backbone, ExportFormat::Hf) => {
            let (tensors, config) = for_hugging_face(&model)?;
            let descriptions = [(folder::CONFIG, config), (folder::PREPROCESSOR, describe::processor(&model))];
            write_folder(out, &model, &tensors, &descriptions)?
        }
        (ExportWhat::Backbone, ExportFormat::Onnx) => onnx_file(out, &model, &request.outputs)?,
        (ExportWhat::Full, ExportFormat::Safetensors) => safetensors_file(out, &full_state(&request.run)?, &model)?,
        (ExportWhat::Full, ExportFormat::Torch) => official::write(&request.run, out)?,
        (ExportWhat::Full, ExportFormat::Timm | ExportFormat::Hf | ExportFormat::Onnx) => {
            return Err(RunError::NoFullFormat);
        }
    };
    Ok(ExportReport { tensors, out: out.clone() })
}

/// The tensors that other programs' networks have: a ViT of DINO has no mask token there, one of DINOv2 has.
fn of_other_programs(model: &Model) -> Vec<NamedTensor> {
    let plain = model.backbone.config().vit().is_some_and(|vit| vit.extras.is_none());
    tensors(model).into_iter().filter(|tensor| !plain || !is_mask_token(&tensor.name)).collect()
}

/// The format that a file's name stands for.
fn by_ending(path: &Path) -> Option<ExportFormat> {
    match path.extension()?.to_str()? {
        "safetensors" => Some(ExportFormat::Safetensors),
        "pth" | "pt" => Some(ExportFormat::Torch),
        "onnx" => Some(ExportFormat::Onnx),
        _ => None,
    }
}

/// Tensors and `config.json` for timm.
fn for_timm(model: &Model) -> Result<(Vec<NamedTensor>, Value), RunError> {
    let tensors = tensors(model);
    let images = describe::images_of_timm(model);
    match &model.backbone.config() {
        BackboneConfig::Vit(config) => Ok((dinov2::for_timm(tensors), describe::timm(config, images))),
        BackboneConfig::ResNet(config) => Ok((tensors, resnet::timm(config, images)?)),
        BackboneConfig::Xcit(config) => Ok((timm_xcit(tensors), xcit::timm(config, images)?)),
    }
}

/// Tensors and `config.json` for transformers.
fn for_hugging_face(model: &Model) -> Result<(Vec<NamedTensor>, Value), RunError> {
    let tensors = tensors(model);
    let (tensors, kind, config) = match &model.backbone.config() {
        BackboneConfig::Vit(config) if dinov2::is_dinov2(config) => {
            let description = dinov2::hugging_face_model(config)?;
            (dinov2::for_hugging_face(tensors, config), HuggingFaceModel::Dinov2, description)
        }
        BackboneConfig::Vit(config) => (of_other_programs(model), HuggingFaceModel::Vit, describe::vit_model(config)),
        BackboneConfig::ResNet(config) => (tensors, HuggingFaceModel::ResNet, resnet::hugging_face_model(config)),
        BackboneConfig::Xcit(config) => {
            return Err(RunError::NoSuchNetwork { format: "transformers", network: config.name() });
        }
    };
    Ok((hugging_face(tensors, kind), config))
}

fn onnx_file(out: &Path, model: &Model, outputs: &[Output]) -> Result<usize, RunError> {
    let config = model.backbone.config();
    if config.vit().is_none() && outputs.contains(&Output::Attention) {
        return Err(RunError::NoAttention { model: name_of(&config) });
    }
    let tensors = tensors(model);
    let written = tensors.iter().filter(|tensor| is_read(&tensor.name)).map(NamedTensor::as_tensor_ref);
    let written: Vec<_> = written.collect();
    onnx::write(out, &config, &written, outputs, &metadata(model))?;
    Ok(written.len())
}

/// A dictionary of tensors as PyTorch has it; counters are whole numbers there.
fn state_dict<'a>(tensors: &'a [NamedTensor], prefix: &str) -> Item<'a> {
    Item::dict(tensors.iter().map(|tensor| {
        let value = match (is_counter(&tensor.name), tensor.values.as_slice()) {
            (true, [count]) => Item::Counter(*count as i64),
            _ => Item::Tensor(tensor.as_tensor_ref()),
        };
        (format!("{prefix}{}", tensor.name), value)
    }))
}

fn safetensors_file(out: &Path, tensors: &[NamedTensor], model: &Model) -> Result<usize, RunError> {
    let written: Vec<_> = tensors.iter().map(NamedTensor::as_tensor_ref).collect();
    safetensors::write(out, &written, &metadata(model))?;
    Ok(written.len())
}

/// A folder with the weights and what describes them.
fn write_folder(
    out: &Path,
    model: &Model,
    tensors: &[NamedTensor],
    descriptions: &[(&str, Value)],
) -> Result<usize, RunError> {
    if out.is_file() {
        return Err(RunError::NotAFolder { path: out.to_path_buf() });
    }
    if is_ours(out) {
        return Err(RunError::ExportIntoRun { path: out.to_path_buf() });
    }
    std::fs::create_dir_all(out).map_err(RunError::file("create", out))?;
    let written: Vec<_> = tensors.iter().map(NamedTensor::as_tensor_ref).collect();
    // What an earlier export has left must not describe these weights.
    for name in folder::DESCRIPTIONS {
        let path = out.join(name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(RunError::file("remove", &path))?;
        }
    }
    safetensors::write(&out.join(WEIGHTS), &written, &metadata(model))?;
    for (name, description) in descriptions {
        let path = out.join(name);
        write_atomic(&path, |file| writeln!(file, "{description:#}")).map_err(RunError::file("write", &path))?;
    }
    Ok(written.len())
}

/// The configuration and newest checkpoint of a run, which alone has the full state.
fn full_parts(run: &Path) -> Result<(Config, Loaded), RunError> {
    if is_run(run) { open_run(run) } else { Err(RunError::NoFullState { path: run.to_path_buf() }) }
}

/// Student, teacher and the method's own state, of DINO under the section names of the reference program.
fn full_state(run: &Path) -> Result<Vec<NamedTensor>, RunError> {
    let (config, loaded) = full_parts(run)?;
    let state = if config.method.name.is_read_by_official_program() { "dino_loss" } else { "method" };
    let mut tensors = Vec::new();
    for (part, section) in [("student", "student"), ("teacher", "teacher"), ("method", state)] {
        let file = loaded.parts.get(part).ok_or_else(|| RunError::NoCheckpoint { path: run.to_path_buf() })?;
        let named = file.tensors.iter().cloned();
        tensors.extend(named.map(|tensor| NamedTensor { name: format!("{section}.{}", tensor.name), ..tensor }));
    }
    Ok(tensors)
}
