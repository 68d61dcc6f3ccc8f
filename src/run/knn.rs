//! `dinoxide eval knn`: accuracy of a weighted k-NN on frozen features.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::RunError;
use super::input::{ImageSize, Network};

/// What to do.
#[derive(Debug, Clone)]
pub struct KnnRequest {
    /// A run folder, `.safetensors` or `.pth`.
    pub model: PathBuf,
    /// Labelled folder whose images vote.
    pub train: PathBuf,
    /// Labelled folder whose images are classified.
    pub val: PathBuf,
    /// Numbers of neighbours.
    pub k: Vec<usize>,
    /// Temperature of the votes.
    pub temperature: f64,
    /// Exact size to resize to; `None` for shorter side 256, centre crop 224.
    pub image_size: Option<ImageSize>,
    /// Which network.
    pub network: Network,
}

/// The accuracies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnnReport {
    /// Top-1 by number of neighbours, percent.
    pub top1: BTreeMap<usize, f64>,
    /// Top-5 by number of neighbours, percent.
    pub top5: BTreeMap<usize, f64>,
    /// Images that voted.
    pub train: usize,
    /// Images that were classified.
    pub val: usize,
    /// Classes.
    pub classes: usize,
    /// Time taken.
    pub seconds: f64,
}

/// Does it.
///
/// # Errors
/// If the model or the images cannot be read, or the results cannot be written.
pub fn knn(request: &KnnRequest) -> Result<KnnReport, RunError> {
    let _ = request;
    Err(RunError::Unavailable { what: "eval knn" })
}
