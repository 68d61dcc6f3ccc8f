//! The optimizer alone: clipping, AdamW and the teacher's average over all parameters of student and teacher.

use dinoxide_engine::params::Params;
use serde::Serialize;

use super::{Place, Terms, config_of, median, on_threads, peak_gbytes, times};
use crate::config::Precision;
use crate::methods::Method as _;
use crate::methods::dino::Dino;
use crate::run::RunError;
use crate::run::model::dino_config;
use crate::train::optimizer::{Clip, Optimizer, Rule, Step};

/// What to measure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OptimRequest {
    /// Name of the backbone.
    pub model: String,
    /// Prototypes of the head.
    pub out_dim: usize,
    /// Threads, updates.
    pub terms: Terms,
}

/// What was measured; the median over the updates.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OptimReport {
    /// Milliseconds of an update.
    pub ms: f64,
    /// Parameters of the student.
    pub parameters: usize,
    /// 10⁹ bytes read and written per second.
    pub gbytes: f64,
    /// Ceiling of this machine, 10⁹ bytes per second.
    pub peak_gbytes: f64,
    /// What was asked for.
    pub request: OptimRequest,
    /// Where.
    pub place: Place,
}

/// Bytes that one update has to move: the gradient's norm reads it once; then value, gradient, both moments and the
/// teacher are read and written.
pub(super) fn bytes_moved(parameters: usize) -> f64 {
    (11 * size_of::<f32>() * parameters) as f64
}

/// Everything that an update changes.
struct Trained {
    method: Dino,
    student: Params,
    optimizer: Optimizer,
    grads: Vec<f32>,
}

/// Measures updates.
///
/// # Errors
/// If the model is unknown, a size is out of range, or the threads cannot be started.
pub fn optim(request: &OptimRequest) -> Result<OptimReport, RunError> {
    let mut config = config_of(&request.model)?;
    config.head.out_dim = request.out_dim;
    config.validate()?;
    let dino = dino_config(&config)?;
    on_threads(request.terms, Precision::F32, |cpu| {
        let (method, student) = Dino::new(dino);
        let parameters = student.values().len();
        let optimizer = Optimizer::new(Rule::AdamW, &student);
        let mut trained = Trained { method, student, optimizer, grads: vec![0.0; parameters] };
        let at = Step { lr: 1e-5, weight_decay: 0.04, clip: Clip::Tensor(3.0), frozen: &[] };
        let run = |trained: &mut Trained| {
            let Trained { method, student, optimizer, grads } = trained;
            optimizer.step(cpu, student, grads, Some((method.teacher_mut(), 0.996)), &at);
            Ok(())
        };
        // An update leaves zeros behind, on which the next one would be another measurement.
        let refill = |trained: &mut Trained| trained.grads.fill(1e-3);
        let seconds = median(times(request.terms.steps, &mut trained, refill, run)?);
        Ok(OptimReport {
            ms: seconds * 1e3,
            parameters,
            gbytes: bytes_moved(parameters) / seconds / 1e9,
            peak_gbytes: peak_gbytes(cpu),
            request: request.clone(),
            place: Place::of(cpu),
        })
    })
}
