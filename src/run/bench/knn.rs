//! Exact nearest neighbours and their votes.

use serde::Serialize;

use super::{Place, Terms, fits, median, on_threads, peak_gflops, times, values};
use crate::config::Precision;
use crate::eval::knn::KnnBank;
use crate::run::RunError;

/// Classes of the random labels.
const CLASSES: usize = 100;

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KnnBenchRequest {
    /// Images that vote.
    pub train: usize,
    /// Images that are classified.
    pub queries: usize,
    /// Width of the features.
    pub dim: usize,
    /// Neighbours.
    pub k: usize,
    /// Threads, repetitions.
    pub terms: Terms,
}

/// What was measured; the median over the repetitions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnnBenchReport {
    /// Search and votes.
    pub seconds: f64,
    /// 10⁹ operations of similarities per second.
    pub gflops: f64,
    /// Ceiling of this machine, 10⁹ operations per second.
    pub peak_gflops: f64,
    /// What was asked for.
    pub request: KnnBenchRequest,
    /// Where.
    pub place: Place,
}

/// Measures the classification of random features.
///
/// # Errors
/// If a size is 0, the features do not fit into memory, or the threads cannot be started.
pub fn knn(request: &KnnBenchRequest) -> Result<KnnBenchReport, RunError> {
    let KnnBenchRequest { train, queries, dim, k, terms } = *request;
    fits("--train", train, 6 * dim)?; // Bytes of a value and of what it is drawn from.
    fits("--queries", queries, 6 * dim)?;
    on_threads(terms, Precision::F32, |cpu| {
        let labels = |count: usize| (0..count).map(|index| (index % CLASSES) as u32).collect::<Vec<_>>();
        let bank = KnnBank::new(values(train * dim, 0), labels(train), CLASSES)?;
        let (features, labels) = (values(queries * dim, 1), labels(queries));
        let run = |_: &mut ()| Ok(bank.evaluate(&features, &labels, &[k]).map(drop)?);
        let seconds = median(times(terms.steps, &mut (), |()| (), run)?);
        Ok(KnnBenchReport {
            seconds,
            gflops: 2.0 * (train * queries * dim) as f64 / seconds / 1e9,
            peak_gflops: peak_gflops(cpu),
            request: request.clone(),
            place: Place::of(cpu),
        })
    })
}
