//! The compute engine of dinoxide: about thirty fused operations, each with its gradient, and an eager tape that
//! remembers them.
//!
//! [`kernels`] is the contract; [`mod@reference`] defines it in plain `f64` loops, [`cpu`] makes it fast in `f32`. [`tape`]
//! runs operations at once and replays them backwards, [`params`] keeps all weights in one flat buffer. The engine knows
//! no network, no loss of a paper and no image.

pub mod cpu;
pub mod kernels;
pub mod params;
pub mod reference;
pub mod tape;
pub mod team;
pub mod tensor;
pub mod values;
