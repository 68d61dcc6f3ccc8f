//! Video object segmentation by label propagation on frozen patch tokens, and its measures: DINO (Caron et al. 2021), section 4.2.2 /
//! `eval_video_segmentation.py`; DAVIS-2017 (Pont-Tuset et al. 2017), semi-supervised.
//!
//! | file | gives |
//! |---|---|
//! | `mask.rs` | the objects of a frame, as labels of its pixels |
//! | `size.rs` | the size that frames are shown to the network at |
//! | `propagation.rs` | labels of every place of the grid, from those of earlier frames |
//! | `upsampling.rs` | those labels as a mask |
//! | `measure.rs` | region similarity J and boundary accuracy F of a frame |
//! | `statistics.rs` | mean, recall and decay of an object, and what becomes of all objects |

mod error;
mod mask;
mod measure;
mod propagation;
mod size;
mod statistics;
mod upsampling;

pub use error::VideoError;
pub use mask::Mask;
pub use measure::{FrameScore, boundary_accuracy, region_similarity, score_frame, tolerance_px};
pub use propagation::{Propagation, Propagator};
pub use size::{SHORT_SIDE, SIDE_MULTIPLE, shown_size};
pub use statistics::{ObjectScore, Statistics, Summary, object_scores, scored_frames, summarise};
pub use upsampling::to_mask;
