//! One epoch of the linear probe on features in memory.

use serde::Serialize;

use super::{Place, Terms, fits, median, on_threads, peak_gflops, times, values};
use crate::config::Precision;
use crate::eval::classifier::LabelledRows;
use crate::eval::linear::{Course, LinearLayer, LinearProbe};
use crate::run::RunError;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinearBenchRequest {
    /// Rows of features.
    pub train: usize,
    /// Width of the features.
    pub dim: usize,
    /// Classes.
    pub classes: usize,
    /// Learning rates, and so layers.
    pub rates: usize,
    /// Rows of a step.
    pub batch: usize,
    /// Threads, repetitions.
    pub terms: Terms,
}

/// What was measured; the median over the repetitions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinearBenchReport {
    /// One epoch.
    pub ms: f64,
    /// 10⁹ operations of products per second.
    pub gflops: f64,
    /// Ceiling of this machine, 10⁹ operations per second.
    pub peak_gflops: f64,
    /// What was asked for.
    pub request: LinearBenchRequest,
    /// Where.
    pub place: Place,
}

/// Measures epochs of training on random features.
///
/// # Errors
/// If a size is 0, the features do not fit into memory, or the threads cannot be started.
pub fn linear(request: &LinearBenchRequest) -> Result<LinearBenchReport, RunError> {
    let LinearBenchRequest { train, dim, classes, rates, batch, terms } = *request;
    fits("--train", train, 6 * dim)?; // Bytes of a value and of what it is drawn from.
    fits("--classes", classes * rates, 8 * dim)?;
    on_threads(terms, Precision::F32, |cpu| {
        let features = values(train * dim, 0);
        let labels: Vec<u32> = (0..train).map(|row| (row % classes) as u32).collect();
        let rows = LabelledRows::new(&features, &labels, (dim, classes), "the features")?;
        let course = Course { rates: vec![0.01; rates], epochs: 100, batch, seed: 0 };
        let mut probe = LinearProbe::new(cpu, &LinearLayer::drawn(dim, classes, 0), &course.scaled_rates());
        let run = |epoch: &mut usize| {
            *epoch += 1;
            probe.epoch(rows, &course.order(*epoch, train), batch, 1.0);
            Ok(())
        };
        let seconds = median(times(terms.steps, &mut 0, |_| (), run)?);
        Ok(LinearBenchReport {
            ms: 1e3 * seconds,
            gflops: 4.0 * (train * dim * classes * rates) as f64 / seconds / 1e9, // Forward, and the weights' gradient.
            peak_gflops: peak_gflops(cpu),
            request: request.clone(),
            place: Place::of(cpu),
        })
    })
}
