//! Networks, forward only: the tape turns them around. They know the engine and nothing else of ours.
//!
//! Tensor names are the official state-dict names, so module paths are checkpoint keys.

pub mod backbone;
pub mod dino_head;
pub mod draws;
pub mod drop_path;
pub mod fourier;
pub mod init;
pub mod jigsaw;
pub mod masking;
pub mod mlp;
pub mod pos_embed;
pub mod resnet;
pub mod vit;
pub mod work;
pub mod xcit;
