//! Protocols as plain functions: frozen features go in, result structs come out.
//!
//! Nothing here knows a method, a loss or a training run. A protocol sees rows of `f32`, labels and masks.

pub mod attention;
pub mod classifier;
pub mod copy_detection;
pub mod dedup;
pub mod embedding;
mod error;
pub mod features;
pub mod foreground;
pub mod kmeans;
pub mod knn;
pub mod labels;
pub mod linear;
mod linear_part;
pub mod logreg;
pub mod map;
pub mod multi_scale;
pub mod nearest;
pub mod pca;
pub mod pca_maps;
pub mod pixels;
pub mod published;
pub mod readout;
pub mod representation;
pub mod retrieval;
pub mod rounded;
pub mod saliency;
pub mod subset;
mod unit;
pub mod video;
pub mod whitening;

pub use error::EvalError;
