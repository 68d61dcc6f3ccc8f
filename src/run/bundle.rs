//! A step that failed, kept so that it can be looked at again: `debug/step-N/` of the run folder.
//!
//! The state before the step, the crops, and which images they come from: with the configuration that is all that a step depends on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dinoxide_views::loader::ViewGroup;
use dinoxide_views::{Label, Loader, Source};
use npyz::WriterBuilder as _;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::RunError;
use super::folder::{CONFIG_FILE, RunFolder, stored_config};
use super::setup::{Weights, fresh_state, loading};
use crate::checkpoint::atomic::write_atomic;
use crate::checkpoint::{Slot, load};
use crate::config::Config;
use crate::train::TrainError;
use crate::train::step::TrainState;

/// Folder of bundles in a run folder.
const DEBUG: &str = "debug";
/// The state before the step, a checkpoint in the bundle.
const STATE: &str = "state";
/// What a bundle says of its step.
const STEP_FILE: &str = "step.json";

/// Which step failed, why, and on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedStep {
    /// The step, counted from 0.
    pub step: usize,
    /// Optimizer steps in an epoch.
    pub steps_per_epoch: usize,
    /// What was not finite.
    pub error: String,
    /// Seed of the run.
    pub seed: u64,
    /// The images of the batch, by their names.
    pub images: Vec<String>,
    /// Their numbers among the images of the run.
    #[serde(default)]
    pub samples: Vec<u32>,
    /// What the global crops show, where the method learns from that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<Label>,
}

/// A failed step with all that it depends on.
pub struct Bundle {
    /// The configuration of the run.
    pub config: Config,
    /// Which step.
    pub failed: FailedStep,
    /// The state before it.
    pub state: TrainState,
    /// The crops.
    pub groups: Vec<ViewGroup>,
}

/// Keeps the step that `state` is at and that failed with `error`; returns where.
///
/// The same batch is loaded once more: what a step sees depends on nothing but its number.
///
/// # Errors
/// If the images cannot be read or the files not be written.
pub fn keep(
    folder: &RunFolder,
    source: &Arc<Source>,
    state: &TrainState,
    error: &TrainError,
) -> Result<PathBuf, RunError> {
    let config = &folder.config;
    let mut loader = Loader::new(Arc::clone(source), config.views.clone(), loading(config, source, state.step))?;
    let batch = loader.next_batch()?;
    let path = folder.path.join(DEBUG).join(format!("step-{}", state.step));
    state.save(&path, Slot::Named(STATE), Value::Null)?;
    for (number, group) in batch.groups.iter().enumerate() {
        write_crops(&path.join(crops_file(number)), group, batch.samples.len(), config.data.channels)?;
    }
    let name = |sample: &u32| source.images.get(*sample as usize).map(|image| image.name.to_string());
    let failed = FailedStep {
        step: state.step,
        steps_per_epoch: config.steps_per_epoch(source.len()),
        error: error.to_string(),
        seed: config.run.seed,
        images: batch.samples.iter().filter_map(name).collect(),
        samples: batch.samples,
        labels: batch.labels,
    };
    let toml = config.to_commented_toml()?;
    write(&path.join(CONFIG_FILE), toml.as_bytes())?;
    // Last: a folder with it is whole.
    let text = serde_json::to_vec_pretty(&failed).map_err(|error| RunError::file("write", &path)(error.into()))?;
    write(&path.join(STEP_FILE), &text)?;
    Ok(path)
}

/// Which step a bundle holds, and the configuration of its run.
///
/// # Errors
/// [`RunError::NotABundle`], or if the configuration is damaged.
pub fn describe(path: &Path) -> Result<(FailedStep, Config), RunError> {
    let not_one = || RunError::NotABundle { path: path.to_owned() };
    let text = std::fs::read(path.join(STEP_FILE)).map_err(|_| not_one())?;
    let failed = serde_json::from_slice(&text).map_err(|_| not_one())?;
    let failed: FailedStep = failed;
    if failed.images.is_empty() {
        return Err(not_one());
    }
    Ok((failed, stored_config(path)?.ok_or_else(not_one)?))
}

/// Reads a bundle.
///
/// # Errors
/// Those of [`describe`], and if a file is damaged.
pub fn open(path: &Path) -> Result<Bundle, RunError> {
    let (failed, config) = describe(path)?;
    let (mut state, _) = fresh_state(&config, Weights::Random)?;
    state.restore(&load(&path.join(STATE))?)?;
    let (views, images) = (&config.views, failed.images.len().max(1));
    let sides = [(views.global.size, views.global.count), (views.local.size, views.local.count)];
    let mut groups = Vec::new();
    for (number, (size, views)) in sides.into_iter().filter(|(_, count)| *count > 0).enumerate() {
        let pixels = read_crops(&path.join(crops_file(number)))?;
        if pixels.len() != views as usize * images * (size * size) as usize * config.data.channels {
            return Err(RunError::NotABundle { path: path.to_owned() });
        }
        groups.push(ViewGroup { size, views, pixels });
    }
    Ok(Bundle { config, failed, state, groups })
}

fn crops_file(group: usize) -> String {
    format!("crops-{group}.npy")
}

/// Crops as a NumPy array, [views * images, side, side, channels].
fn write_crops(path: &Path, group: &ViewGroup, images: usize, channels: usize) -> Result<(), RunError> {
    let (side, count) = (u64::from(group.size), u64::from(group.views) * images as u64);
    let shape = [count, side, side, channels as u64];
    write_atomic(path, |file| {
        let mut array = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(file).begin_nd()?;
        array.extend(group.pixels.iter().copied())?;
        array.finish()
    })
    .map_err(RunError::file("write", path))
}

fn read_crops(path: &Path) -> Result<Vec<u8>, RunError> {
    let bytes = std::fs::read(path).map_err(RunError::file("read", path))?;
    npyz::NpyFile::new(&bytes[..]).and_then(npyz::NpyFile::into_vec).map_err(RunError::file("read", path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    write_atomic(path, |file| file.write_all(bytes)).map_err(RunError::file("write", path))
}
