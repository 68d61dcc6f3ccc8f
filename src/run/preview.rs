//! `dinoxide preview`: the augmentation sheet of a configuration, without a run.

use std::path::PathBuf;

use super::RunError;
use super::facts::{gather, open_source};
use super::report::augmentation_sheet;
use crate::checkpoint::atomic::write_atomic;
use crate::config::{Partial, resolve};
use crate::eval::EvalError;

/// What to draw, and where to.
#[derive(Debug, Clone)]
pub struct PreviewRequest {
    /// What the user asked for; `data.train` among it.
    pub given: Partial,
    /// A PNG file.
    pub out: PathBuf,
}

/// Draws the sheet and returns its path.
///
/// # Errors
/// If the configuration or the images cannot be used, or the file cannot be written.
pub fn preview(request: &PreviewRequest) -> Result<PathBuf, RunError> {
    if !request.given.has("data.train") {
        return Err(RunError::NoData);
    }
    let source = open_source(&request.given)?;
    let facts = gather(&source, &request.given)?;
    let (config, _) = resolve(&request.given, &facts)?;
    let sheet = augmentation_sheet(&config, &source).ok_or(EvalError::NoImages)?.to_png()?;
    let write = write_atomic(&request.out, |file| file.write_all(&sheet));
    write.map_err(RunError::file("write", &request.out))?;
    Ok(request.out.clone())
}
