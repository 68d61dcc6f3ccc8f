//! Weights in and out: our own checkpoints, official `.pth` files, safetensors.
//!
//! This module knows files, names and shapes, and nothing of what a network does with them.
//!
//! | file | holds |
//! |---|---|
//! | `native.rs` | a run's checkpoints: `last/`, `previous/`, named ones; digests, rotation, fallback |
//! | `weight_file.rs` | any file of weights, told by its content |
//! | `pytorch.rs`, `section.rs`, `pickle/` | `.pth` files, read without running anything |
//! | `safetensors.rs` | safetensors files |
//! | `folder.rs` | folders of timm and transformers |
//! | `dialect.rs` | the names of other programs |
//! | `family.rs` | what kind of network tensors belong to |
//! | `onnx/` | a network as an ONNX file, written only |
//! | `torch_save.rs` | `.pth` files, written |
//! | `names.rs` | sections, prefixes, and the strict comparison with a network |
//! | `tensor.rs` | a named tensor |
//! | `atomic.rs` | writes that a kill cannot halve |

pub mod atomic;
pub mod dialect;
mod error;
pub mod family;
pub mod folder;
pub mod names;
pub mod native;
pub mod onnx;
pub mod pickle;
pub mod pytorch;
pub mod safetensors;
mod section;
mod tensor;
pub mod torch_save;
mod weight_file;

pub use error::{CheckpointError, Result};
pub use names::{MatchReport, Section, match_names};
pub use native::{Loaded, LoadedFrom, MANIFEST_FILE, Part, Slot, load, load_latest, save, set_damaged_aside};
pub use section::ROOT;
pub use tensor::{ElementType, NamedTensor, TensorFile, TensorRef};
pub use weight_file::{Content, NetworkTensors, WeightFile, read_any};
