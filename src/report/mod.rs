//! Result structs to pictures and pages: charts as SVG, attention as picture sheets, a run as one HTML file.
//!
//! It stands at the end of the flow and knows numbers and pixels only, neither networks nor the engine.

pub mod animation;
pub mod attention_sheet;
pub mod bars;
pub mod chart;
pub mod confusion_sheet;
pub mod curves;
pub mod film;
mod glyph;
pub mod map;
pub mod neighbor_sheet;
pub mod page;
pub mod pca_sheet;
pub mod picture;
pub mod ranking_sheet;
pub mod sheet;
mod svg;
pub mod tiles;
pub mod video_sheet;
