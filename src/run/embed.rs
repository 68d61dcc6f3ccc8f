//! `dinoxide embed`: frozen features of a folder of images.

use std::path::PathBuf;

use serde::Serialize;

use super::RunError;
use super::input::{ImageSize, Network};

/// What to do.
#[derive(Debug, Clone)]
pub struct EmbedRequest {
    /// A run folder, `.safetensors` or `.pth`.
    pub model: PathBuf,
    /// Folders, files, lists or globs.
    pub data: Vec<String>,
    /// `.npz` or `.csv`.
    pub out: PathBuf,
    /// Which features.
    pub what: EmbedWhat,
    /// Exact size to resize to; `None` for shorter side 256, centre crop 224.
    pub image_size: Option<ImageSize>,
    /// Which network.
    pub network: Network,
}

/// Which features are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum EmbedWhat {
    /// The CLS token: (N, D).
    #[default]
    Cls,
    /// All tokens: (N, T, D).
    Tokens,
    /// The last attention of the CLS token over the patches: (N, heads, T − 1).
    Attention,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EmbedReport {
    /// Images written.
    pub images: usize,
    /// Images that could not be read.
    pub skipped: usize,
    /// Shape of the array.
    pub shape: Vec<usize>,
    /// The file.
    pub out: PathBuf,
}

/// Does it.
///
/// # Errors
/// If the model or the images cannot be read, or the results cannot be written.
pub fn embed(request: &EmbedRequest) -> Result<EmbedReport, RunError> {
    let _ = request;
    Err(RunError::Unavailable { what: "embed" })
}
