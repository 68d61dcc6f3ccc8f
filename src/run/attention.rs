//! `dinoxide attention`: where the model looks.

use std::path::PathBuf;

use serde::Serialize;

use super::RunError;
use super::input::{ImageSize, Network};

/// What to do.
#[derive(Debug, Clone)]
pub struct AttentionRequest {
    /// A run folder, `.safetensors` or `.pth`.
    pub model: PathBuf,
    /// Image files, folders or globs.
    pub images: Vec<String>,
    /// Folder for the pictures and arrays.
    pub out: PathBuf,
    /// Size to resize to; `None` keeps the size of each image, cropped to whole patches.
    pub image_size: Option<ImageSize>,
    /// Share of the attention inside the masks.
    pub threshold: f64,
    /// Which network.
    pub network: Network,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttentionReport {
    /// Images looked at.
    pub images: usize,
    /// Files written.
    pub files: Vec<PathBuf>,
}

/// Does it.
///
/// # Errors
/// If the model or the images cannot be read, or the results cannot be written.
pub fn attention(request: &AttentionRequest) -> Result<AttentionReport, RunError> {
    let _ = request;
    Err(RunError::Unavailable { what: "attention" })
}
