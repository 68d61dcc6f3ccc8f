//! dinoxide: self-supervised vision. The modules stand in the order in which data flows through them.
#![forbid(unsafe_code)]

pub mod config;

pub mod nn;

pub mod loss;

pub mod methods;

pub mod schedule;
pub mod train;

pub mod checkpoint;

pub mod eval;

pub mod demo;
pub mod report;

pub mod cli;
pub mod run;
