//! Training.
pub mod optimizer;
