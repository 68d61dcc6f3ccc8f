//! Images to views: find, decode, augment with Pillow's arithmetic, sample and load.
//!
//! The flow, one module per arrow: [`source`] → [`decode`] → [`samples`] → [`recipe`] → [`draw`] → [`mod@render`]
//! ([`resample`], [`operation`] with [`affine`], [`color`] with `hsv`, [`blur`], [`erase`]) → [`loader`] ([`sampler`], [`mix`]) for training, and
//! [`transform`] (or [`mod@thumbnail`]) → [`evaluation`] for frozen features.
//! This crate knows pixels only: no tensor, no network, no method.
#![forbid(unsafe_code)]

pub mod affine;
mod bands;
pub mod blur;
pub mod color;
pub mod decode;
mod dicom;
pub mod draw;
pub mod erase;
pub mod error;
pub mod evaluation;
mod hsv;
mod jpeg;
pub mod loader;
pub mod mix;
mod npy;
pub mod opencv;
pub mod operation;
pub mod pixel;
pub mod planes;
mod pool;
pub mod rand_augment;
pub mod random;
pub mod recipe;
pub mod render;
pub mod resample;
pub mod sampler;
pub mod samples;
mod shelf;
mod simd;
pub mod source;
mod taps;
pub mod thumbnail;
pub mod times;
pub mod transform;
mod transpose;

pub use decode::{Exif, Stored, decode_bytes, decode_file, decode_samples};
pub use error::{DecodeError, Error, Result, Skipped};
pub use evaluation::{EpochViews, EvalBatch, EvalConfig, EvalLoader};
pub use loader::{Batch, Loader, LoaderConfig, ViewGroup};
pub use mix::Label;
pub use pixel::{Crop, Image};
pub use planes::Planes;
pub use recipe::ViewRecipe;
pub use render::{Renderer, render, render_views};
pub use samples::{Reading, Samples, Values};
pub use source::Source;
pub use times::Times;
pub use transform::{EvalTransform, MAX_SIZE};
