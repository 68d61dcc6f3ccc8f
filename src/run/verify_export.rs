//! `dinoxide verify-export`: whether an export holds the same network.

use std::path::{Path, PathBuf};

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use serde::Serialize;

use super::RunError;
use super::input::Network;
use super::model::{Model, load_backbone, tensors};
use crate::checkpoint::{NamedTensor, Section, onnx, read_any};
use crate::eval::features::ImageBatch;

/// What was compared.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// The model.
    pub model: PathBuf,
    /// The export.
    pub export: PathBuf,
    /// Tensors, all of which have the same bits.
    pub tensors: usize,
    /// Their values.
    pub values: usize,
    /// Side of the image that both networks saw, pixels.
    pub image_size: usize,
    /// The largest difference of a feature, as a share of the largest feature; absent for an ONNX file, which only its runtimes
    /// compute.
    pub feature_difference: Option<f64>,
}

/// Reads an export back and compares every tensor, what is said about images and heads, and the features of an image.
///
/// # Errors
/// If one of the two cannot be read, or they differ.
pub fn verify_export(model: &Path, export: &Path, network: Network) -> Result<VerifyReport, RunError> {
    let ours = Model::load(model, network)?;
    let differs = |what: String| RunError::ExportDiffers { export: export.to_path_buf(), what };
    let side = ours.backbone.config().image_size;
    let feature_difference = if export.extension().is_some_and(|ending| ending == "onnx") {
        // Beside the weights, such a file has constants of its own.
        check_tensors(&ours, &onnx::weights(export)?).map_err(differs)?;
        None
    } else {
        let theirs = read(export, &ours)?;
        check_tensors(&ours, &tensors(&theirs)).map_err(differs)?;
        described_otherwise(&ours, &theirs).map_or(Ok(()), |what| Err(differs(what)))?;
        let [ours_seen, theirs_seen] = [&ours, &theirs].map(|model| features(model, side));
        let largest = ours_seen.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
        let difference = ours_seen.iter().zip(&theirs_seen).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        Some(f64::from(difference / largest))
    };
    Ok(VerifyReport {
        model: model.to_path_buf(),
        export: export.to_path_buf(),
        tensors: ours.params.layout().specs().len(),
        values: ours.params.values().len(),
        image_size: side,
        feature_difference,
    })
}

/// The export as a model. A `.pth` says nothing of heads and images, so that they are taken to be the same.
fn read(export: &Path, ours: &Model) -> Result<Model, RunError> {
    let mut file = read_any(export)?;
    if !file.texts().is_empty() {
        return Model::load(export, Network::Teacher);
    }
    let tensors = file.network(Section::Teacher)?.tensors;
    let (backbone, params) = load_backbone(ours.backbone.config().clone(), &tensors, export)?;
    Ok(Model { backbone, params, ..ours.clone() })
}

/// What is missing or different among `theirs`, if something is.
fn check_tensors(ours: &Model, theirs: &[NamedTensor]) -> Result<(), String> {
    for (spec, values) in ours.params.tensors() {
        let theirs = theirs.iter().find(|tensor| tensor.name == spec.name);
        let theirs = theirs.ok_or_else(|| format!("lacks `{}`", spec.name))?;
        let same = values.iter().map(|value| value.to_bits()).eq(theirs.values.iter().map(|value| value.to_bits()));
        if theirs.shape != spec.shape || !same {
            return Err(format!("has another `{}`", spec.name));
        }
    }
    Ok(())
}

/// What the export states differently.
fn described_otherwise(ours: &Model, theirs: &Model) -> Option<String> {
    let (our, their) = (ours.backbone.config(), theirs.backbone.config());
    if our.num_heads != their.num_heads {
        return Some(format!("is read with {} heads instead of {}", their.num_heads, our.num_heads));
    }
    if our.normalize != their.normalize {
        return Some("is read with another mean or deviation of the channels".to_owned());
    }
    None
}

/// Class features of one image of smooth colours.
fn features(model: &Model, side: usize) -> Vec<f32> {
    let channels = model.backbone.config().normalize.mean.len();
    let shade = |at: usize| {
        let (row, column, channel) = (at / channels / side, at / channels % side, at % channels);
        (row * 255 / side + column * (channel + 1) * 255 / side) as u8
    };
    let pixels: Vec<u8> = (0..side * side * channels).map(shade).collect();
    let (cpu, pool) = (Cpu::new(), Pool::new());
    model.frozen(&cpu, &pool).class_features(ImageBatch { pixels: &pixels, images: 1, height: side, width: side })
}
