//! The configuration of a run: what a user may choose, what follows from it, and how it is written down.
//!
//! Flow: [`Partial`] collects what was given (recipe, file, flags, `--set`), [`plan::resolve`] derives the rest
//! from the data and the machine and gives a complete [`Config`]. A resolved configuration holds no "auto":
//! written by [`Config::to_commented_toml`] and read back, it is the same configuration.

mod check;
mod derive;
mod error;
mod key;
mod method;
mod network;
mod partial;
pub mod plan;
pub mod recipe;
mod section;
mod span;
pub mod views;
mod write;

pub use derive::{flops_per_image, images_per_second};
pub use error::ConfigError;
pub(crate) use key::MEASURED;
pub use key::{KEYS, Key};
pub use method::{MethodConfig, MethodName};
pub use network::Shape;
pub use partial::{Origin, Partial};
pub use plan::{Choice, Facts, InitFacts, PixelFacts, Speed, resolve};
pub use section::{
    Centering, ClipMode, DataConfig, DinoConfig, DinoObjective, EvalConfig, ExifMode, HeadConfig, LogConfig,
    ModelConfig, OptimConfig, OptimizerName, Precision, RunConfig, TeacherWeights,
};
pub use views::ViewsConfig;

use std::path::Path;

use serde::{Deserialize, Serialize};

/// Everything that determines a training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the recipe the values started from.
    pub recipe: String,
    /// Where the images are and how they are read.
    pub data: DataConfig,
    /// The backbone.
    pub model: ModelConfig,
    /// The method, and its options where it is not DINO.
    pub method: MethodConfig,
    /// DINO's projection head.
    pub head: HeadConfig,
    /// DINO's temperatures, teacher and centre.
    pub dino: DinoConfig,
    /// Crops and colour augmentation.
    pub views: ViewsConfig,
    /// Optimizer and its schedules.
    pub optim: OptimConfig,
    /// Length, batch, seed, checkpoints.
    pub run: RunConfig,
    /// Evaluation while training.
    pub eval: EvalConfig,
    /// What is written down, and how often.
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            recipe: recipe::AUTO.to_owned(),
            data: DataConfig::default(),
            model: ModelConfig::default(),
            method: MethodConfig::default(),
            head: HeadConfig::default(),
            dino: DinoConfig::default(),
            views: ViewsConfig::default(),
            optim: OptimConfig::default(),
            run: RunConfig::default(),
            eval: EvalConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Config {
    /// The configuration in a file written by [`Config::to_commented_toml`]; nothing is derived, keys that are
    /// missing have their plain defaults.
    ///
    /// # Errors
    /// If the file cannot be read or holds unknown keys or bad values.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let given = Partial::from_file(path)?;
        let config = plan::assemble(&given)?;
        check::validate(&config, &given)?;
        Ok(config)
    }

    /// Learning rate at the end of the warm-up: `optim.lr` scaled linearly from a batch of 256 to `run.batch`.
    pub fn peak_lr(&self) -> f64 {
        self.optim.lr * self.run.batch as f64 / section::LR_REFERENCE_BATCH
    }

    /// Optimizer steps in one epoch over `images` images; an incomplete last batch is dropped.
    pub fn steps_per_epoch(&self, images: usize) -> usize {
        (images / self.run.batch.max(1)).max(1)
    }

    /// Optimizer steps of the whole run over `images` images.
    pub fn total_steps(&self, images: usize) -> usize {
        self.run.total_steps(self.steps_per_epoch(images))
    }

    /// Crops of one image that the student sees.
    pub fn crops_per_image(&self) -> usize {
        self.views.views() as usize
    }

    /// Micro-batches whose gradients are accumulated for one step.
    pub fn accumulation(&self) -> usize {
        self.run.batch.div_ceil(self.run.micro_batch.max(1))
    }

    /// Keys that begin with one of `beginnings`, with their values.
    pub(crate) fn values_under(&self, beginnings: &[&str]) -> Result<Vec<(&'static str, toml::Value)>, ConfigError> {
        let mut leaves = write::leaves(self)?;
        let keys = key::KEYS.iter().filter(|key| beginnings.iter().any(|beginning| key.name.starts_with(beginning)));
        Ok(keys.filter_map(|key| Some((key.name, leaves.remove(key.name)?))).collect())
    }

    /// Dotted keys whose values differ from `other`, with both values: `(key, ours, theirs)`.
    pub fn differences(&self, other: &Self) -> Result<Vec<(String, String, String)>, ConfigError> {
        let (ours, theirs) = (write::leaves(self)?, write::leaves(other)?);
        let show = |value: Option<&toml::Value>| value.map_or_else(|| "not set".to_owned(), ToString::to_string);
        let differing = key::KEYS
            .iter()
            .filter(|key| ours.get(key.name) != theirs.get(key.name))
            .map(|key| (key.name.to_owned(), show(ours.get(key.name)), show(theirs.get(key.name))))
            .collect();
        Ok(differing)
    }
}
