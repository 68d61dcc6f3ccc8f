//! Runs: what the commands do. The run folder, the plan, progress, signals, and one file per command.

pub mod attention;
pub mod bench;
pub mod check;
pub mod console;
mod counter;
pub mod demo;
mod device;
pub mod embed;
pub mod environment;
mod error;
pub mod export;
pub mod facts;
pub mod folder;
mod found;
mod images;
pub mod input;
pub mod interrupt;
pub mod json_lines;
pub mod knn;
pub mod lock;
pub mod machine;
pub mod metrics;
pub mod model;
pub mod observer;
pub mod pack;
pub mod plan;
pub mod pretrain;
pub mod preview;
pub mod progress;
pub mod report;
pub mod status;
pub mod trained;
pub mod validation;
mod values;
pub mod waiting;

pub use error::RunError;
