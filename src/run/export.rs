//! `dinoxide export`: weights under the names other tools know.

use std::path::PathBuf;

use serde::Serialize;

use super::RunError;
use super::input::Network;

/// What to do.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// A run folder.
    pub run: PathBuf,
    /// The file to write.
    pub out: PathBuf,
    /// File format.
    pub to: ExportFormat,
    /// Which tensors.
    pub what: ExportWhat,
    /// Which network; not used for the full state.
    pub network: Network,
}

/// File format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ExportFormat {
    /// safetensors with the official names.
    #[default]
    Safetensors,
}

/// Which tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum ExportWhat {
    /// The backbone of one network.
    #[default]
    Backbone,
    /// Student, teacher, heads and centre.
    Full,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExportReport {
    /// Tensors written.
    pub tensors: usize,
    /// The file.
    pub out: PathBuf,
}

/// Does it.
///
/// # Errors
/// If the model or the images cannot be read, or the results cannot be written.
pub fn export(request: &ExportRequest) -> Result<ExportReport, RunError> {
    let _ = request;
    Err(RunError::Unavailable { what: "export" })
}
