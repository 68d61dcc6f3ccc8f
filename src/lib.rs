//! dinoxide: self-supervised vision. The modules stand in the order in which data flows through them.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod demo;
pub mod eval;
pub mod loss;
pub mod methods;
pub mod nn;
pub mod report;
pub mod schedule;
pub mod train;
