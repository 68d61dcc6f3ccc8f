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

/// Video object segmentation, the mean of J and F on DAVIS-2017.
pub const VIDEO: [Published; 9] = [
    row("DINO ViT-S/16", "DAVIS-2017 J&F", 61.8, "table 5"),
    row("DINO ViT-B/16", "DAVIS-2017 J&F", 62.3, "table 5"),
    row("DINO ViT-S/8", "DAVIS-2017 J&F", 69.9, "table 5"),
    row("DINO ViT-B/8", "DAVIS-2017 J&F", 71.4, "table 5"),
    row("supervised ViT-S/8", "DAVIS-2017 J&F", 66.0, "table 5"),
    row("CT, ResNet-50 on VLOG", "DAVIS-2017 J&F", 48.7, "table 5"),
    row("MAST, ResNet-18 on YT-VOS", "DAVIS-2017 J&F", 65.5, "table 5"),
    row("STC, ResNet-18 on Kinetics", "DAVIS-2017 J&F", 67.6, "table 5"),
    row("STM, supervised for this task", "DAVIS-2017 J&F", 81.8, "table 5"),
];
