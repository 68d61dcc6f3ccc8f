//! Measures how fast a run will be by its first steps, on networks that are thrown away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dinoxide_engine::tensor::Pool;
use dinoxide_views::{Loader, Source};

use super::RunError;
use super::console::{Console, Figures, Verbosity};
use super::device::{self, cpu};
use super::probe::Probe;
use super::setup::{Weights, fresh_state, loading};
use super::validation::Validation;
use crate::config::{Config, Speed};
use crate::methods::Device;
use crate::schedule::Schedule;
use crate::train::{Next, train};

/// Steps that are measured.
const STEPS: usize = 50;
/// Fewest steps, however long they take.
const FEWEST_STEPS: usize = 3;
/// Steps before those: memory is found, caches fill, the queue of batches empties.
const WARMUP_STEPS: usize = 2;
/// Labelled images that are measured; the time of an evaluation is in proportion.
const EVALUATED_IMAGES: usize = 400;
/// Share of the limited time that measuring may take.
const SHARE: f64 = 0.03;

/// Measures the speed of `config` on `source` in a small part of `limit`; `begun` is when this process began.
///
/// # Errors
/// If the images cannot be read or the networks not be built.
pub(super) fn rehearse(
    config: &Config,
    source: &Arc<Source>,
    limit: Duration,
    begun: Instant,
) -> Result<Speed, RunError> {
    let quiet = Console::new(Verbosity::Quiet, Figures::Talk);
    device::threads(config.run.threads)?.install(|| {
        let (mut state, _) = fresh_state(config, Weights::Random)?;
        // Long enough to measure, whatever the run will be.
        let mut long = config.clone();
        long.run.epochs = long.run.epochs.max(WARMUP_STEPS + STEPS);
        let schedule = Schedule::new(&long, config.steps_per_epoch(source.len()));
        let mut loader = Loader::new(Arc::clone(source), config.views.clone(), loading(config, source, 0))?;
        let (cpu, pool) = (cpu(config.run.precision, &quiet), Pool::new());
        let device = Device { kernels: &cpu, pool: &pool };
        let (mut since, mut step) = (Instant::now(), 0.0);
        train::<RunError>(&mut state, &mut loader, &schedule, device, |state, _, _| {
            let Some(steps) = state.step.checked_sub(WARMUP_STEPS).filter(|steps| *steps > 0) else {
                since = Instant::now();
                return Ok(Next::Step);
            };
            let took = since.elapsed().as_secs_f64();
            step = took / steps as f64;
            let enough = steps >= FEWEST_STEPS && took > SHARE * limit.as_secs_f64();
            Ok(if enough || steps >= STEPS { Next::Stop } else { Next::Step })
        })?;
        let images = Validation::open(config, source, &quiet)?.map_or(0, |validation| validation.size());
        let mut few = config.clone();
        few.eval.most_images = EVALUATED_IMAGES;
        let probe = Probe::open(config, source);
        let probing = Instant::now();
        probe.look(&state, device).figures();
        let mut evaluation = probing.elapsed().as_secs_f64();
        if let Some(validation) = Validation::open(&few, source, &quiet)? {
            let begun = Instant::now();
            let (backbone, teacher) = state.method.backbone();
            validation.top1(backbone, [teacher, &state.student], device)?;
            evaluation += begun.elapsed().as_secs_f64() * images as f64 / validation.size().max(1) as f64;
        }
        Ok(Speed { step, evaluation, spent: begun.elapsed().as_secs_f64() })
    })
}
