//! From a configuration to what the loop needs: networks, optimizer, and how images are loaded.

use dinoxide_engine::tape::Keep;
use dinoxide_views::{LoaderConfig, Source};

use super::RunError;
use super::model::{InitialWeights, Wanted, build};
use super::validation::reading;
use crate::config::{Centering, ClipMode, Config, OptimizerName};
use crate::methods::BACKBONE;
use crate::train::optimizer::{Clip, Optimizer, Rule};
use crate::train::step::TrainState;

/// Batches decoded ahead of the one in use.
const PREFETCH: usize = 3;

/// What the networks begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    /// Random values.
    Random,
    /// Those that the configuration names, if it names any.
    AsConfigured,
}

/// The state before the first step, and what was taken over from a file of weights.
///
/// # Errors
/// If the weights cannot be used.
pub(super) fn fresh_state(config: &Config, weights: Weights) -> Result<(TrainState, Option<String>), RunError> {
    let (mut method, mut student) = build(config)?;
    let mut report = None;
    if let (Weights::AsConfigured, Some(file)) = (weights, &config.model.init) {
        let wanted = if config.model.init_partial { Wanted::Some } else { Wanted::All };
        let taken = InitialWeights::read(file.as_ref())?.put_into(&mut student, wanted)?;
        method.teacher_mut().values_mut().copy_from_slice(student.values());
        let center = taken.center.filter(|_| config.dino.centering == Centering::Centering);
        let restored = center.is_some_and(|center| method.restore("center", &center));
        report = Some(if restored { taken.words + "; the centre" } else { taken.words });
    }
    let (backbone, decay) = (method.backbone().0, config.optim.layer_decay);
    let layers = |name: &str| name.strip_prefix(BACKBONE).map_or(0, |name| backbone.layers_above(name));
    let optimizer = Optimizer::new(rule(config), &student).with_rates(&student, |name| decay.powi(layers(name) as i32));
    let mut state = TrainState::new(method, student, optimizer, clip(config));
    state.micro_batch = config.run.micro_batch;
    state.keep = if config.run.recompute { Keep::Inputs } else { Keep::Everything };
    Ok((state, report))
}

/// How the images of `source` are loaded from `start_step` on.
pub(super) fn loading(config: &Config, source: &Source, start_step: usize) -> LoaderConfig {
    LoaderConfig {
        batch: config.run.batch as u32,
        workers: config.data.workers,
        prefetch: PREFETCH,
        seed: config.run.seed,
        start_step: start_step as u64,
        steps_per_epoch: config.steps_per_epoch(source.len()) as u64,
        reading: reading(config),
        max_bad: config.data.max_bad,
        cache_bytes: (config.data.cache_mb as u64) << 20,
        weights: config.data.weights.clone(),
        ..LoaderConfig::new(source.len(), config.run.batch as u32)
    }
}

fn rule(config: &Config) -> Rule {
    match config.optim.name {
        OptimizerName::Adamw => Rule::AdamW,
        OptimizerName::Sgd => Rule::Sgd,
        OptimizerName::Lars => Rule::Lars,
    }
}

fn clip(config: &Config) -> Clip {
    match (config.optim.clip, config.optim.clip_mode) {
        (limit, _) if limit <= 0.0 => Clip::Off,
        (limit, ClipMode::Tensor) => Clip::Tensor(limit),
        (limit, ClipMode::Global) => Clip::Global(limit),
    }
}
