//! `dinoxide export`: weights under the names other tools know.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::RunError;
use super::console::{Console, Figures, Verbosity};
use super::input::Network;
use super::model::{Model, metadata, open_run};
use crate::checkpoint::{NamedTensor, safetensors};

/// What to do.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// A run folder; for a backbone also a `.pth` or `.safetensors`.
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

/// Writes the backbone under the official names without a prefix, or the full state under `student.`, `teacher.` and
/// `dino_loss.`. [`Model::load`] reads both back.
///
/// # Errors
/// If the model cannot be read or the file cannot be written.
pub fn export(request: &ExportRequest) -> Result<ExportReport, RunError> {
    let ExportFormat::Safetensors = request.to;
    let console = Console::new(Verbosity::Normal, Figures::Talk);
    let model = Model::load(&request.run, request.network)?;
    model.notices.iter().for_each(|notice| console.warn(notice));
    let texts = metadata(&model);
    let tensors = match request.what {
        ExportWhat::Backbone => {
            let tensors = model.params.tensors();
            let tensors =
                tensors.map(|(spec, values)| NamedTensor::new(&spec.name, spec.shape.clone(), values.to_vec()));
            tensors.collect()
        }
        ExportWhat::Full => full_state(&request.run)?,
    };
    let written: Vec<_> = tensors.iter().map(NamedTensor::as_tensor_ref).collect();
    safetensors::write(&request.out, &written, &texts)?;
    Ok(ExportReport { tensors: written.len(), out: request.out.clone() })
}

/// Student, teacher and the method's own state under the section names of the reference program.
fn full_state(run: &Path) -> Result<Vec<NamedTensor>, RunError> {
    if !run.is_dir() {
        return Err(RunError::NoFullState { path: run.to_path_buf() });
    }
    let (_, loaded) = open_run(run)?;
    let mut tensors = Vec::new();
    for (part, section) in [("student", "student"), ("teacher", "teacher"), ("method", "dino_loss")] {
        let file = loaded.parts.get(part).ok_or_else(|| RunError::NoCheckpoint { path: run.to_path_buf() })?;
        let named = file.tensors.iter().cloned();
        tensors.extend(named.map(|tensor| NamedTensor { name: format!("{section}.{}", tensor.name), ..tensor }));
    }
    Ok(tensors)
}
