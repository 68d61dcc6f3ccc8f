//! dinoxide: self-supervised vision. The modules stand in the order in which data flows through them.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod report;
pub mod run;
pub mod train;
