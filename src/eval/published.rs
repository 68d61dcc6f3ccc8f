//! The numbers of the paper (DINO, Caron et al. 2021), which stand beside those that are measured here.

use serde::Serialize;

/// One published number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// The network, and on what it was trained where that is not ImageNet.
    pub network: &'static str,
    /// What was measured, and on what.
    pub figure: &'static str,
    /// The number, percent.
    pub value: f64,
    /// Where it stands.
    pub source: &'static str,
}

const fn row(network: &'static str, figure: &'static str, value: f64, source: &'static str) -> Published {
    Published { network, figure, value, source }
}

/// Weighted k-NN, k = 20, on ImageNet.
pub const KNN: [Published; 6] = [
    row("DINO ResNet-50", "ImageNet k-NN top-1", 67.5, "table 2"),
    row("DINO ViT-S/16", "ImageNet k-NN top-1", 74.5, "table 2"),
    row("DINO ViT-S/8", "ImageNet k-NN top-1", 78.3, "table 2"),
    row("DINO ViT-B/16", "ImageNet k-NN top-1", 76.1, "table 2"),
    row("DINO ViT-B/8", "ImageNet k-NN top-1", 77.4, "table 2"),
    row("supervised ViT-S/16", "ImageNet k-NN top-1", 79.8, "table 2"),
];
