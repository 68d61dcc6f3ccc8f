//! The methods: what their options are in the papers and for small data, and what the rest of the program asks of one. A new method is
//! a variant here.

use serde::{Deserialize, Serialize};

use super::{MethodConfig, NONE};
use crate::config::Config;

/// The methods.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodName {
    /// DINO (Caron et al. 2021).
    #[default]
    Dino,
    /// iBOT (Zhou et al. 2022).
    Ibot,
    /// DINOv2 (Oquab et al. 2023).
    Dinov2,
    /// BYOL (Grill et al. 2020).
    Byol,
    /// SimCLR (Chen et al. 2020).
    Simclr,
    /// MoCo v2 (Chen et al. 2020).
    Mocov2,
    /// MoCo v3 (Chen et al. 2021).
    Mocov3,
    /// SwAV (Caron et al. 2020).
    Swav,
    /// DeepCluster v2 (Caron et al. 2018 and 2020).
    #[serde(rename = "deepcluster_v2")]
    DeepClusterV2,
    /// InfoMin (Tian et al. 2020).
    Infomin,
    /// OBoW (Gidaris et al. 2021).
    Obow,
    /// Barlow Twins (Zbontar et al. 2021).
    BarlowTwins,
    /// Known classes (DeiT, Touvron et al. 2021).
    Supervised,
}

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

    /// The method as its paper calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Dino => "DINO",
            Self::Ibot => "iBOT",
            Self::Dinov2 => "DINOv2",
            Self::Byol => "BYOL",
            Self::Simclr => "SimCLR",
            Self::Mocov2 => "MoCo v2",
            Self::Mocov3 => "MoCo v3",
            Self::Swav => "SwAV",
            Self::DeepClusterV2 => "DeepCluster v2",
            Self::Infomin => "InfoMin",
            Self::Obow => "OBoW",
            Self::BarlowTwins => "Barlow Twins",
            Self::Supervised => "supervised",
        }
    }

    /// Whether global crops are all it takes, two or of the supervised method one; the others take local ones too.
    pub fn takes_two_views(self) -> bool {
        !self.has_multi_crop() && self != Self::Byol
    }

    /// Whether what an image is compared with are other images of its micro-batch, so that accumulating is another loss.
    pub fn compares_images(self) -> bool {
        matches!(self, Self::Simclr | Self::Mocov3 | Self::Swav | Self::BarlowTwins) || self.masks_patches()
    }

    /// Whether it has DINO's head, and with it the sections `[dino]` and `[head]`.
    pub fn has_dino_head(self) -> bool {
        self == Self::Dino || self.masks_patches()
    }

    /// Whether the student learns what is under masked patches, which takes a ViT.
    pub fn masks_patches(self) -> bool {
        matches!(self, Self::Ibot | Self::Dinov2)
    }

    /// Whether it has options in `[method]`; DINO has its own sections.
    pub fn has_options(self) -> bool {
        self != Self::Dino
    }

    /// Whether it learns from known classes.
    pub fn learns_from_labels(self) -> bool {
        self == Self::Supervised
    }

    /// Whether local crops are part of it; others may take some, or none.
    pub fn has_multi_crop(self) -> bool {
        self.has_dino_head() || matches!(self, Self::Swav | Self::DeepClusterV2 | Self::Obow)
    }

    /// Whether what follows the backbone normalises by the batch, whatever the options.
    pub fn normalises_in_head(self) -> bool {
        !self.has_dino_head() && !self.learns_from_labels()
    }

    /// Fewest images that a part of a batch makes sense with.
    pub fn fewest_images(self) -> usize {
        if self == Self::Dino { 1 } else { 2 }
    }

    /// Whether the official program of DINO reads all of its state.
    pub fn is_read_by_official_program(self) -> bool {
        self == Self::Dino
    }
}

impl Config {
    /// Global crops of an image that the student sees, and that another network does which gives the targets.
    pub(crate) fn global_crops_seen(&self) -> (usize, usize) {
        let count = self.views.global.count as usize;
        match self.method.name {
            MethodName::Mocov2 => (1, count.saturating_sub(1)),
            name if name.has_dino_head() => (count, count),
            // The patches of a jigsaw are nearly as many pixels as the crop.
            MethodName::Infomin => (2, count.saturating_sub(1)),
            MethodName::Supervised => (count, 0),
            _ => (count, if self.method.momentum.is_some() { count } else { 0 }),
        }
    }

    /// Inputs and outputs of every linear layer of a head for masked patches alone; nothing where they share the other one, or nothing is masked.
    pub(crate) fn patch_head_layers(&self, width: usize) -> Vec<[usize; 2]> {
        let out_dim = self.method.patch_out_dim.unwrap_or(0);
        if out_dim > 0 { self.dino_head(width, out_dim) } else { Vec::new() }
    }

    /// The layers of DINO's head with so many prototypes.
    fn dino_head(&self, width: usize, out_dim: usize) -> Vec<[usize; 2]> {
        let mut layers = mlp(self.head.layers, self.head.hidden_dim, [width, self.head.bottleneck_dim]);
        layers.push([self.head.bottleneck_dim, out_dim]);
        layers
    }

    /// Inputs and outputs of every linear layer after a backbone of this width, those of the student's predictor last.
    pub(crate) fn head_layers(&self, width: usize) -> Vec<[usize; 2]> {
        let (head, method) = (&self.head, &self.method);
        let (hidden, out) = (method.hidden_dim.or(method.out_dim).unwrap_or(0), method.out_dim.unwrap_or(0));
        let projector = mlp(method.layers.unwrap_or(2), hidden, [width, out]);
        match method.name {
            MethodName::Dino | MethodName::Ibot | MethodName::Dinov2 => {
                let mut layers = self.dino_head(width, head.out_dim);
                if self.dino.predictor {
                    layers.extend(mlp(2, head.hidden_dim, [head.bottleneck_dim; 2]));
                }
                layers
            }
            MethodName::Byol | MethodName::Mocov3 => [projector, mlp(2, hidden, [out, out])].concat(),
            MethodName::Swav => [projector, vec![[out, method.prototypes.unwrap_or(0)]]].concat(),
            MethodName::DeepClusterV2 => {
                let prototypes = method.prototypes.unwrap_or(0) * method.heads.unwrap_or(1);
                [projector, vec![[out, prototypes]]].concat()
            }
            MethodName::Simclr | MethodName::Mocov2 | MethodName::Infomin | MethodName::BarlowTwins => projector,
            MethodName::Obow => vec![[width, method.queue.unwrap_or(0)]],
            MethodName::Supervised => vec![[width, method.classes.unwrap_or(0)]],
        }
    }
}

/// Inputs and outputs of the linear layers of an MLP.
fn mlp(layers: usize, hidden: usize, [inputs, outputs]: [usize; 2]) -> Vec<[usize; 2]> {
    let mut widths = vec![hidden; layers.max(1) + 1];
    (widths[0], widths[layers.max(1)]) = (inputs, outputs);
    widths.windows(2).map(|pair| [pair[0], pair[1]]).collect()
}
