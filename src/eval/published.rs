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

/// Image retrieval on revisited Oxford, at 224 pixels.
pub const OXFORD: [Published; 10] = [
    row("supervised ResNet-101 with R-MAC", "revisited Oxford, medium mAP", 49.8, "table 3"),
    row("supervised ResNet-101 with R-MAC", "revisited Oxford, hard mAP", 18.5, "table 3"),
    row("supervised ViT-S/16", "revisited Oxford, medium mAP", 33.5, "table 3"),
    row("supervised ViT-S/16", "revisited Oxford, hard mAP", 8.9, "table 3"),
    row("DINO ResNet-50", "revisited Oxford, medium mAP", 35.4, "table 3"),
    row("DINO ResNet-50", "revisited Oxford, hard mAP", 11.1, "table 3"),
    row("DINO ViT-S/16", "revisited Oxford, medium mAP", 41.8, "table 3"),
    row("DINO ViT-S/16", "revisited Oxford, hard mAP", 13.7, "table 3"),
    row("DINO ViT-S/16 trained on Google Landmarks v2", "revisited Oxford, medium mAP", 51.5, "table 3"),
    row("DINO ViT-S/16 trained on Google Landmarks v2", "revisited Oxford, hard mAP", 24.3, "table 3"),
];

/// Image retrieval on revisited Paris, at 512 pixels and three scales.
pub const PARIS: [Published; 10] = [
    row("supervised ResNet-101 with R-MAC", "revisited Paris, medium mAP", 74.0, "table 3"),
    row("supervised ResNet-101 with R-MAC", "revisited Paris, hard mAP", 52.1, "table 3"),
    row("supervised ViT-S/16", "revisited Paris, medium mAP", 63.0, "table 3"),
    row("supervised ViT-S/16", "revisited Paris, hard mAP", 37.2, "table 3"),
    row("DINO ResNet-50", "revisited Paris, medium mAP", 55.9, "table 3"),
    row("DINO ResNet-50", "revisited Paris, hard mAP", 27.5, "table 3"),
    row("DINO ViT-S/16", "revisited Paris, medium mAP", 63.1, "table 3"),
    row("DINO ViT-S/16", "revisited Paris, hard mAP", 34.4, "table 3"),
    row("DINO ViT-S/16 trained on Google Landmarks v2", "revisited Paris, medium mAP", 75.3, "table 3"),
    row("DINO ViT-S/16 trained on Google Landmarks v2", "revisited Paris, hard mAP", 51.6, "table 3"),
];

/// Copy detection: the strong copies of Copydays among 10,000 other images.
pub const COPY: [Published; 5] = [
    row("Multigrain ResNet-50 at 224", "Copydays strong, mAP", 75.1, "table 4"),
    row("Multigrain ResNet-50 at 800", "Copydays strong, mAP", 82.5, "table 4"),
    row("supervised ViT-B/16 at 224", "Copydays strong, mAP", 76.4, "table 4"),
    row("DINO ViT-B/16 at 224", "Copydays strong, mAP", 81.7, "table 4"),
    row("DINO ViT-B/8 at 320", "Copydays strong, mAP", 85.5, "table 4"),
];

/// Weighted k-NN, k = 20, on ImageNet.
pub const KNN: [Published; 6] = [
    row("DINO ResNet-50", "ImageNet k-NN top-1", 67.5, "table 2"),
    row("DINO ViT-S/16", "ImageNet k-NN top-1", 74.5, "table 2"),
    row("DINO ViT-S/8", "ImageNet k-NN top-1", 78.3, "table 2"),
    row("DINO ViT-B/16", "ImageNet k-NN top-1", 76.1, "table 2"),
    row("DINO ViT-B/8", "ImageNet k-NN top-1", 77.4, "table 2"),
    row("supervised ViT-S/16", "ImageNet k-NN top-1", 79.8, "table 2"),
];
