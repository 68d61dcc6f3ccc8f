//! `dinoxide verify-export`: whether an export holds the same network.

use std::path::{Path, PathBuf};

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use serde::Serialize;

use super::RunError;
use super::input::Network;
use super::model::Model;
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
    /// The largest difference of a feature, as a share of the largest feature.
    pub feature_difference: f64,
}

/// Reads an export back and compares every tensor, what is said about images and heads, and the features of an image.
///
/// # Errors
/// If one of the two cannot be read, or they differ.
pub fn verify_export(model: &Path, export: &Path, network: Network) -> Result<VerifyReport, RunError> {
    let (ours, theirs) = (Model::load(model, network)?, Model::load(export, Network::Teacher)?);
    let differs = |what: String| RunError::ExportDiffers { export: export.to_path_buf(), what };
    let (our_layout, their_layout) = (ours.params.layout().specs(), theirs.params.layout().specs());
    if our_layout.len() != their_layout.len() {
        return Err(differs(format!("has {} tensors, not {}", their_layout.len(), our_layout.len())));
    }
    for ((our_spec, our_values), (their_spec, their_values)) in ours.params.tensors().zip(theirs.params.tensors()) {
        let same = our_values.iter().map(|value| value.to_bits()).eq(their_values.iter().map(|value| value.to_bits()));
        if our_spec != their_spec || !same {
            return Err(differs(format!("has another `{}`", our_spec.name)));
        }
    }
    if let Some(what) = described_otherwise(&ours, &theirs) {
        return Err(differs(what));
    }
    let side = ours.backbone.config().image_size;
    let [ours_seen, theirs_seen] = [&ours, &theirs].map(|model| features(model, side));
    let largest = ours_seen.iter().fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
    let difference = ours_seen.iter().zip(&theirs_seen).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    Ok(VerifyReport {
        model: model.to_path_buf(),
        export: export.to_path_buf(),
        tensors: our_layout.len(),
        values: ours.params.values().len(),
        image_size: side,
        feature_difference: f64::from(difference / largest),
    })
}

/// What the export states differently, where it states anything: a bare `.pth` says nothing of heads and images.
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
