//! What a method is like, as the rest of the program asks.

use super::MethodName;

impl MethodName {
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
