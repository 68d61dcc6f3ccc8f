//! `dinoxide replay`: a failed step once more, with a look at every tensor on its way.

use std::path::Path;

use dinoxide_engine::tape::{Images, Tape};
use dinoxide_engine::tensor::Pool;
use serde::Serialize;

use super::RunError;
use super::bundle::{Bundle, FailedStep, describe, open};
use super::console::{Console, Figures, Verbosity};
use super::device::{self, cpu};
use crate::methods::Device;
use crate::schedule::Schedule;
use crate::train::step::{Crops, TrainState};
use crate::train::{crops, targets};

/// What a failed step does when it is done again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replay {
    /// Which step, and on what.
    pub failed: FailedStep,
    /// How it fails this time; nothing if it does not, on another machine or with another version.
    pub fails_again: Option<String>,
    /// Loss, where the step goes through.
    pub loss: Option<f64>,
    /// The tensors of the student before the step, then a ViT's tokens after each block for the global crops, another network's features.
    pub values: Vec<Extent>,
    /// Norms of the gradients that were computed; nothing where it did not come to that. None is one that is not finite.
    pub grad_norms: Vec<(String, Option<f64>)>,
}

/// Where the values of a tensor lie.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Extent {
    /// The tensor.
    pub name: String,
    /// Smallest finite value.
    pub min: f32,
    /// Largest finite value.
    pub max: f32,
    /// Values that are NaN or infinite.
    pub not_finite: usize,
}

impl Extent {
    fn of(name: impl Into<String>, values: &[f32]) -> Self {
        let finite = values.iter().copied().filter(|value| value.is_finite());
        let (min, max) = finite.clone().fold((f32::MAX, f32::MIN), |(min, max), v| (min.min(v), max.max(v)));
        Self { name: name.into(), min, max, not_finite: values.len() - finite.count() }
    }
}

/// Does the step of a bundle again.
///
/// # Errors
/// If `path` is no bundle, or damaged.
pub fn replay(path: &Path) -> Result<Replay, RunError> {
    let (_, config) = describe(path)?;
    // The bits of a step depend on the number of threads.
    device::threads(config.run.threads)?.install(|| again(open(path)?))
}

fn again(bundle: Bundle) -> Result<Replay, RunError> {
    let Bundle { config, failed, mut state, groups } = bundle;
    let schedule = Schedule::new(&config, failed.steps_per_epoch);
    let Some(at) = schedule.at(state.step, &state.pace) else {
        return Err(RunError::BeyondSchedule { done: state.step, total: schedule.total_steps(&state.pace) });
    };
    let quiet = Console::new(Verbosity::Quiet, Figures::Talk);
    let (cpu, pool) = (cpu(config.run.precision, &quiet), Pool::new());
    let device = Device { kernels: &cpu, pool: &pool };
    let (crops, images) = (crops(&groups), failed.images.len());
    let tensors = state.student.tensors().map(|(spec, values)| Extent::of(&spec.name, values));
    let tokens = crops.first().into_iter().flat_map(|crops| blocks(&state, crops, images, device));
    let values = tensors.chain(tokens).collect();
    state.method.take_targets(targets(&failed.labels));
    state.method.take_images(&failed.samples);
    let (fails_again, loss) = match state.step(device, &crops, images, &at) {
        Ok(report) => (None, Some(report.loss)),
        Err(error) => (Some(error.to_string()), None),
    };
    let norms = state.optimizer.grad_norms(&state.student).filter(|(_, norm)| *norm != 0.0);
    let grad_norms = norms.map(|(name, norm)| (name.to_owned(), Some(norm).filter(|norm| norm.is_finite()))).collect();
    Ok(Replay { failed, fails_again, loss, values, grad_norms })
}

/// The tokens of the global crops after each block of the student, and after the final norm.
fn blocks(state: &TrainState, crops: &Crops<'_>, images: usize, device: Device<'_>) -> Vec<Extent> {
    let (backbone, _) = state.method.backbone();
    let mut tape = Tape::infer(device.kernels, &state.student, device.pool);
    let patches = backbone.patches(crops.views * images, crops.side, crops.side);
    let images = [Images { pixels: crops.pixels.into(), patches }];
    let Some(vit) = backbone.vit() else {
        return vec![Extent::of("features".to_owned(), backbone.features(&mut tape, &images, None).values())];
    };
    let layers = vit.intermediate_layers(&mut tape, &images, vit.config().depth);
    let name = |block: usize| format!("tokens after block {block}, normalised");
    layers.iter().enumerate().map(|(block, layer)| Extent::of(name(block), layer.tokens.values())).collect()
}
