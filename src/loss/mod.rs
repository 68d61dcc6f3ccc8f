//! Losses: pure functions on tape values. No state, no device, no schedule.

pub mod bag;
pub mod barlow_twins;
pub mod byol;
pub mod classification;
pub mod cluster;
pub mod contrast;
pub mod dino;
pub mod koleo;
pub mod masked;
pub(crate) mod product;
pub mod sinkhorn;
