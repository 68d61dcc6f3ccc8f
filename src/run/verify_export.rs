//! `dinoxide verify-export`: whether an export holds the same network.

use std::path::{Path, PathBuf};

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use serde::Serialize;

use super::RunError;
use super::input::Network;
use super::model::{Model, load_backbone, section, tensors};
use crate::checkpoint::names::{is_mask_token, is_read};
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
    /// Height and width of the image that both networks saw, pixels.
    pub image_size: [usize; 2],
    /// The largest difference of a feature, as a share of the largest feature; absent for an ONNX file, which only its runtimes
    /// compute.
    pub feature_difference: Option<f64>,
}

/// Difference of features that the order of additions explains; the same weights give the same bits today.
const TOLERANCE: f64 = 1e-5;

/// Reads an export back and compares every tensor, what is said about images and heads, and the features of an image.
///
/// # Errors
/// If one of the two cannot be read, or they differ.
pub fn verify_export(model: &Path, export: &Path, network: Network) -> Result<VerifyReport, RunError> {
    let ours = Model::load(model, network)?;
    let differs = |what: String| RunError::ExportDiffers { export: export.to_path_buf(), what };
    let (width, height) = ours.transform.size();
    let size = [height as usize, width as usize];
    let feature_difference = if export.extension().is_some_and(|ending| ending == "onnx") {
        // Beside the weights, such a file has constants of its own.
        let read: Vec<_> = tensors(&ours).into_iter().filter(|tensor| is_read(&tensor.name)).collect();
        check_values(&read, &onnx::weights(export)?).map_err(differs)?;
        None
    } else {
        let theirs = read(export, &ours, network)?;
        check_tensors(&ours, &theirs).map_err(differs)?;
        described_otherwise(&ours, &theirs).map_or(Ok(()), |what| Err(differs(what)))?;
        let [ours_seen, theirs_seen] = [&ours, &theirs].map(|model| features(model, size));
        let largest = ours_seen.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
        let difference = ours_seen.iter().zip(&theirs_seen).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        let share = f64::from(difference / largest);
        if share.is_nan() || share > TOLERANCE {
            return Err(differs(format!("gives features that differ by {share:.1e} of the largest")));
        }
        Some(share)
    };
    Ok(VerifyReport {
        model: model.to_path_buf(),
        export: export.to_path_buf(),
        tensors: ours.params.layout().specs().len(),
        values: ours.params.values().len(),
        image_size: size,
        feature_difference,
    })
}

/// The export as a model. A `.pth` says nothing of heads and images, so that they are taken to be the same.
fn read(export: &Path, ours: &Model, network: Network) -> Result<Model, RunError> {
    let mut file = read_any(export)?;
    // A single network bears no name, whichever it is.
    let has_both = file.section_names().iter().any(|name| name == Section::Student.key());
    let network = if has_both { network } else { Network::Teacher };
    if !file.texts().is_empty() {
        return Model::load(export, network);
    }
    let tensors = file.network(section(network))?.tensors;
    let (backbone, params) = load_backbone(ours.backbone.config(), &tensors, export)?;
    Ok(Model { backbone, params, ..ours.clone() })
}

/// What the export lacks or has otherwise, if something is.
fn check_tensors(ours: &Model, theirs: &Model) -> Result<(), String> {
    if ours.backbone.config().vit().is_none_or(|vit| vit.extras.registers == 0) {
        return check_values(&without_mask(tensors(ours)), &tensors(theirs));
    }
    let [ours, theirs] = [ours, theirs].map(|model| class_as_shown(without_mask(tensors(model))));
    check_values(&ours, &theirs)
}

/// The tensors that a forward pass needs; timm keeps no mask token.
fn without_mask(tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    tensors.into_iter().filter(|tensor| !is_mask_token(&tensor.name)).collect()
}

/// The class token's position added to the token, as timm keeps both where there are registers.
fn class_as_shown(mut tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    let find = |name: &str| tensors.iter().position(|tensor| tensor.name == name);
    if let (Some(class), Some(positions)) = (find("cls_token"), find("pos_embed")) {
        for at in 0..tensors[class].values.len() {
            tensors[class].values[at] += std::mem::take(&mut tensors[positions].values[at]);
        }
    }
    tensors
}

/// Which of `ours` is missing or different among `theirs`, if one is.
fn check_values(ours: &[NamedTensor], theirs: &[NamedTensor]) -> Result<(), String> {
    for ours in ours {
        let theirs = theirs.iter().find(|tensor| tensor.name == ours.name);
        let theirs = theirs.ok_or_else(|| format!("lacks `{}`", ours.name))?;
        let bits = |tensor: &NamedTensor| tensor.values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        if theirs.shape != ours.shape || bits(theirs) != bits(ours) {
            return Err(format!("has another `{}`", ours.name));
        }
    }
    Ok(())
}

/// What the export states differently.
fn described_otherwise(ours: &Model, theirs: &Model) -> Option<String> {
    let (our, their) = (ours.backbone.config(), theirs.backbone.config());
    if let (Some(our), Some(their)) = (our.vit(), their.vit()) {
        if our.num_heads != their.num_heads {
            return Some(format!("is read with {} heads instead of {}", their.num_heads, our.num_heads));
        }
        if our.extras.resampling != their.extras.resampling {
            return Some("is read with positions resampled in another way".to_owned());
        }
    }
    if our.normalize() != their.normalize() {
        return Some("is read with another mean or deviation of the channels".to_owned());
    }
    if ours.transform != theirs.transform {
        return Some("is read with images brought to size in another way".to_owned());
    }
    None
}

/// Class features of one image of smooth colours.
fn features(model: &Model, [height, width]: [usize; 2]) -> Vec<f32> {
    let channels = model.backbone.channels();
    let shade = |at: usize| {
        let (row, column, channel) = (at / channels / width, at / channels % width, at % channels);
        (row * 255 / height + column * (channel + 1) * 255 / width) as u8
    };
    let pixels: Vec<u8> = (0..height * width * channels).map(shade).collect();
    let (cpu, pool) = (Cpu::new(), Pool::new());
    model.frozen(&cpu, &pool).class_features(ImageBatch { pixels: &pixels, images: 1, height, width })
}
