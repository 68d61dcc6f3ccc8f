//! Scheduled values.

/// Every scheduled value of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scheduled {
    /// Global step, from 0.
    pub step: u64,
    /// Epoch of this step, from 0.
    pub epoch: usize,
    /// Learning rate.
    pub lr: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Momentum of the teacher.
    pub momentum: f64,
    /// Temperature of the teacher.
    pub teacher_temp: f64,
    /// Whether the last layer's gradients are cancelled.
    pub freeze_last_layer: bool,
}
