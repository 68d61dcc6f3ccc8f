//! Losses: pure functions on tape values. No state, no device, no schedule.

pub mod dino;
pub mod sinkhorn;
