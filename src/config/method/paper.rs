//! What the options of the methods are in the papers, and what for small data.

use super::{MethodConfig, MethodName};

/// No options.
const NONE: MethodConfig = MethodConfig {
    name: MethodName::Dino,
    momentum: None,
    hidden_dim: None,
    out_dim: None,
    layers: None,
    temperature: None,
    prototypes: None,
    heads: None,
    images: None,
    epsilon: None,
    queue: None,
    queue_from_epoch: None,
    freeze_prototypes_steps: None,
    jigsaw: None,
    off_diagonal: None,
    classes: None,
    label_smoothing: None,
    mask_probability: None,
    mask_ratio: None,
    patch_weight: None,
    patch_out_dim: None,
    koleo: None,
};

/// iBOT: sections 3.2 and 4.1, and its released recipes; the masks of DINOv2. All else is in the sections of DINO.
const IBOT: MethodConfig = MethodConfig {
    name: MethodName::Ibot,
    mask_probability: Some(0.5),
    mask_ratio: Some([0.1, 0.5]),
    patch_weight: Some(1.0),
    patch_out_dim: Some(0),
    koleo: Some(0.0),
    ..NONE
};
/// DINOv2: section 4 and table 16; its large-scale configuration.
const DINOV2: MethodConfig =
    MethodConfig { name: MethodName::Dinov2, patch_out_dim: Some(65_536), koleo: Some(0.1), ..IBOT };

/// BYOL: section 3.3; the momentum of 300 epochs.
const BYOL: MethodConfig = MethodConfig {
    name: MethodName::Byol,
    momentum: Some([0.99, 1.0]),
    hidden_dim: Some(4096),
    out_dim: Some(256),
    ..NONE
};
/// SimCLR: sections 2 and 5.1; its first version.
const SIMCLR: MethodConfig = MethodConfig {
    name: MethodName::Simclr,
    hidden_dim: Some(2048),
    out_dim: Some(128),
    layers: Some(2),
    temperature: Some(0.1),
    ..NONE
};
/// MoCo v2: table 1 and `main_moco.py`; its head is wider and has batch normalisation, as DINO's own runs of it have (appendix).
const MOCOV2: MethodConfig = MethodConfig {
    name: MethodName::Mocov2,
    momentum: Some([0.999, 0.999]),
    hidden_dim: Some(2048),
    out_dim: Some(256),
    layers: Some(3),
    temperature: Some(0.2),
    queue: Some(65_536),
    ..NONE
};
/// MoCo v3: section 4 and `main_moco.py`, for ViTs.
const MOCOV3: MethodConfig = MethodConfig {
    name: MethodName::Mocov3,
    momentum: Some([0.99, 1.0]),
    hidden_dim: Some(4096),
    out_dim: Some(256),
    layers: Some(3),
    temperature: Some(0.2),
    ..NONE
};
/// SwAV: appendix A.
const SWAV: MethodConfig = MethodConfig {
    name: MethodName::Swav,
    hidden_dim: Some(2048),
    out_dim: Some(128),
    temperature: Some(0.1),
    prototypes: Some(3000),
    epsilon: Some(0.05),
    queue: Some(0),
    queue_from_epoch: Some(15),
    freeze_prototypes_steps: Some(313),
    ..NONE
};
/// DeepCluster v2: SwAV's appendix; images of ImageNet.
const DEEPCLUSTER_V2: MethodConfig = MethodConfig {
    name: MethodName::DeepClusterV2,
    hidden_dim: Some(2048),
    out_dim: Some(128),
    temperature: Some(0.1),
    prototypes: Some(3000),
    heads: Some(3),
    images: Some(1_281_167),
    ..NONE
};
/// InfoMin: its program's preset; the head as the published one but for batch normalisation.
const INFOMIN: MethodConfig = MethodConfig {
    name: MethodName::Infomin,
    momentum: Some([0.999, 0.999]),
    hidden_dim: Some(2048),
    out_dim: Some(128),
    layers: Some(2),
    temperature: Some(0.15),
    queue: Some(65_536),
    jigsaw: Some(0.5),
    ..NONE
};
/// OBoW: section 4.1; its last level alone.
const OBOW: MethodConfig = MethodConfig {
    name: MethodName::Obow,
    momentum: Some([0.99, 1.0]),
    hidden_dim: Some(4096),
    temperature: Some(0.125),
    queue: Some(8192),
    ..NONE
};
/// Barlow Twins: section 2.2.
const BARLOW_TWINS: MethodConfig = MethodConfig {
    name: MethodName::BarlowTwins,
    out_dim: Some(8192),
    layers: Some(3),
    off_diagonal: Some(0.0051),
    ..NONE
};
/// Supervised: table 9 of DeiT; classes of ImageNet, no average.
const SUPERVISED: MethodConfig = MethodConfig {
    name: MethodName::Supervised,
    momentum: Some([0.0, 0.0]),
    classes: Some(1000),
    label_smoothing: Some(0.1),
    ..NONE
};

impl MethodName {
    /// The options that the method has in `[method]`, as its paper sets them; none for DINO.
    pub fn paper(self) -> MethodConfig {
        match self {
            Self::Dino => NONE,
            Self::Ibot => IBOT,
            Self::Dinov2 => DINOV2,
            Self::Byol => BYOL,
            Self::Simclr => SIMCLR,
            Self::Mocov2 => MOCOV2,
            Self::Mocov3 => MOCOV3,
            Self::Swav => SWAV,
            Self::DeepClusterV2 => DEEPCLUSTER_V2,
            Self::Infomin => INFOMIN,
            Self::Obow => OBOW,
            Self::BarlowTwins => BARLOW_TWINS,
            Self::Supervised => SUPERVISED,
        }
    }

    /// The same for some ten thousand small images and as many steps, where the paper's sizes would take most of the time.
    pub fn small(self) -> MethodConfig {
        let paper = self.paper();
        match self {
            Self::Dino | Self::Ibot | Self::Supervised => paper,
            Self::Dinov2 => MethodConfig { patch_out_dim: Some(0), ..paper },
            Self::Byol => MethodConfig { hidden_dim: Some(1024), ..paper },
            Self::Simclr => MethodConfig { hidden_dim: Some(512), temperature: Some(0.5), ..paper },
            Self::Mocov2 => MethodConfig {
                hidden_dim: Some(512),
                out_dim: Some(128),
                layers: Some(2),
                queue: Some(4096),
                momentum: Some([0.99, 0.99]),
                ..paper
            },
            Self::Mocov3 => MethodConfig { hidden_dim: Some(1024), ..paper },
            Self::Swav => MethodConfig { hidden_dim: Some(512), prototypes: Some(128), epsilon: Some(0.015), ..paper },
            Self::DeepClusterV2 => MethodConfig { hidden_dim: Some(512), prototypes: Some(128), ..paper },
            Self::Infomin => {
                MethodConfig { hidden_dim: Some(512), queue: Some(4096), momentum: Some([0.99, 0.99]), ..paper }
            }
            Self::Obow => MethodConfig { hidden_dim: Some(512), queue: Some(1024), ..paper },
            Self::BarlowTwins => MethodConfig { out_dim: Some(1024), ..paper },
        }
    }
}
