//! Training.
pub mod optimizer;
pub mod step;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss is NaN or infinite.
    #[error(
        "the loss is {loss} at step {step}; the last checkpoint is from before it: lower `optim.lr` or set `optim.clip`, then resume"
    )]
    Loss {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// A gradient is NaN or infinite.
    #[error(
        "a gradient is not finite at step {step}; the last checkpoint is from before it: lower `optim.lr`, then resume"
    )]
    Gradient {
        /// The step.
        step: u64,
    },
}
