//! `dinoxide demo`: the whole way on images the program makes itself.

use std::path::PathBuf;

use serde::Serialize;

use super::RunError;
use super::console::Verbosity;

/// What to do.
#[derive(Debug, Clone)]
pub struct DemoRequest {
    /// The run folder; `None` for the next free `runs/demo-<n>`.
    pub out: Option<PathBuf>,
    /// Seed of images and training.
    pub seed: u64,
    /// How much to say.
    pub verbosity: Verbosity,
}

/// How the demo ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DemoReport {
    /// k-NN top-1 of the untrained network, percent.
    pub knn_untrained: f64,
    /// k-NN top-1 on raw pixels, percent.
    pub knn_pixels: f64,
    /// k-NN top-1 of the trained teacher, percent.
    pub knn_trained: f64,
    /// Accuracy of guessing, percent.
    pub chance: f64,
    /// Mean Jaccard index of the best head against the true masks.
    pub jaccard: f64,
    /// The same of the untrained network.
    pub jaccard_untrained: f64,
    /// The same of a centred ellipse.
    pub jaccard_baseline: f64,
    /// Time of training.
    pub train_seconds: f64,
    /// The page.
    pub report: PathBuf,
}

/// Does it.
///
/// # Errors
/// If the model or the images cannot be read, or the results cannot be written.
pub fn demo(request: &DemoRequest) -> Result<DemoReport, RunError> {
    let _ = request;
    Err(RunError::Unavailable { what: "demo" })
}
