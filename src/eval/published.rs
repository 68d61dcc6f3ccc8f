//! The numbers of the paper (DINO, Caron et al. 2021), which stand beside those that are measured here.

use serde::Serialize;

/// One published number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// The network, and on what it was trained where that is not ImageNet.
    pub network: &'static str,
    /// What was measured, and on what.
    pub figure: &'static str,
    /// The number; percent unless the figure says something else.
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

/// Linear classification on ImageNet.
pub const LINEAR: [Published; 7] = [
    row("DINO ResNet-50", "ImageNet linear top-1", 75.3, "table 2"),
    row("DINO ViT-S/16", "ImageNet linear top-1", 77.0, "table 2"),
    row("DINO ViT-S/8", "ImageNet linear top-1", 79.7, "table 2"),
    row("DINO ViT-B/16", "ImageNet linear top-1", 78.2, "table 2"),
    row("DINO ViT-B/8", "ImageNet linear top-1", 80.1, "table 2"),
    row("supervised ResNet-50", "ImageNet linear top-1", 79.3, "table 2"),
    row("supervised ViT-S/16", "ImageNet linear top-1", 79.8, "table 2"),
];

/// Logistic regression on frozen features.
pub const LOGREG: [Published; 12] = [
    row("DINO ViT-S/16", "ImageNet logistic regression top-1", 75.7, "table 10"),
    row("DINO ViT-S/16", "the same, 10 % of the labels", 72.2, "tables 10 and 12"),
    row("DINO ViT-S/16", "the same, 1 % of the labels", 64.5, "tables 10 and 12"),
    row("DINO ResNet-50", "ImageNet logistic regression top-1", 72.1, "table 10"),
    row("DINO ResNet-50", "the same, 10 % of the labels", 67.8, "table 10"),
    row("DINO ResNet-50", "the same, 1 % of the labels", 55.1, "table 10"),
    row("DINO ViT-S/16", "Places205, 10 % of the labels", 52.1, "table 10"),
    row("DINO ViT-S/16", "Places205, 1 % of the labels", 46.3, "table 10"),
    row("DINO ViT-S/16", "VOC07", 89.2, "table 10"),
    row("DINO ViT-S/16", "Oxford Flowers", 96.4, "table 10"),
    row("DINO ResNet-50", "VOC07", 88.9, "table 10"),
    row("DINO ResNet-50", "Oxford Flowers", 95.6, "table 10"),
];

/// Fine-tuning of networks that were trained on ImageNet.
pub const FINETUNE: [Published; 14] = [
    row("DINO ViT-S/16", "CIFAR-10 top-1", 99.0, "table 6"),
    row("DINO ViT-S/16", "CIFAR-100 top-1", 90.5, "table 6"),
    row("DINO ViT-S/16", "iNaturalist 2018 top-1", 72.0, "table 6"),
    row("DINO ViT-S/16", "iNaturalist 2019 top-1", 78.2, "table 6"),
    row("DINO ViT-S/16", "Oxford Flowers top-1", 98.5, "table 6"),
    row("DINO ViT-S/16", "Stanford Cars top-1", 93.0, "table 6"),
    row("DINO ViT-S/16", "ImageNet top-1", 81.5, "table 6"),
    row("DINO ViT-B/16", "CIFAR-10 top-1", 99.1, "table 6"),
    row("DINO ViT-B/16", "CIFAR-100 top-1", 91.7, "table 6"),
    row("DINO ViT-B/16", "ImageNet top-1", 82.8, "table 6"),
    row("supervised ViT-S/16", "CIFAR-10 top-1", 99.0, "table 6"),
    row("supervised ViT-S/16", "CIFAR-100 top-1", 89.5, "table 6"),
    row("supervised ViT-S/16", "ImageNet top-1", 79.9, "table 6"),
    row("supervised ViT-B/16", "ImageNet top-1", 81.8, "table 6"),
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

/// Attention as segmentation: the best head for each object, masks that hold 60 % of the attention, on PASCAL VOC 2012.
pub const SEGMENTATION: [Published; 10] = [
    row("random ViT-S/16", "VOC12 Jaccard of the best head", 22.0, "figure 4"),
    row("supervised ViT-S/16", "VOC12 Jaccard of the best head", 27.3, "figure 4"),
    row("DINO ViT-S/16", "VOC12 Jaccard of the best head", 45.9, "figure 4"),
    row("random ViT-S/8", "VOC12 Jaccard of the best head", 21.8, "figure 4"),
    row("supervised ViT-S/8", "VOC12 Jaccard of the best head", 23.7, "figure 4"),
    row("DINO ViT-S/8", "VOC12 Jaccard of the best head", 44.7, "figure 4"),
    row("DINO ViT-S/16 without multi-crop", "VOC12 Jaccard of the best head", 45.1, "appendix"),
    row("MoCo v2 ViT-S/16", "VOC12 Jaccard of the best head", 46.3, "appendix"),
    row("BYOL ViT-S/16", "VOC12 Jaccard of the best head", 47.8, "appendix"),
    row("SwAV ViT-S/16", "VOC12 Jaccard of the best head", 46.8, "appendix"),
];

/// Throughput, which is no share: forward passes of batches of 128 on one V100.
pub const THROUGHPUT: [Published; 7] = [
    row("ViT-S/16", "images per second, V100, batch 128", 1007.0, "table 2"),
    row("ViT-S/8", "images per second, V100, batch 128", 180.0, "table 2"),
    row("ViT-B/16", "images per second, V100, batch 128", 312.0, "table 2"),
    row("ViT-B/8", "images per second, V100, batch 128", 63.0, "table 2"),
    row("ResNet-50", "images per second, V100, batch 128", 1237.0, "table 2"),
    row("ResNet-50, twice as wide", "images per second, V100, batch 128", 384.0, "table 2"),
    row("ResNet-50, four times as wide", "images per second, V100, batch 128", 117.0, "table 2"),
];
