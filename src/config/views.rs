//! The augmentation section of the configuration.

use serde::{Deserialize, Serialize};

/// Crops and colour augmentation (DINO, `main_dino.py:DataAugmentationDINO`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewsConfig {
    /// The crops both networks see.
    pub global: CropConfig,
    /// The crops only the student sees.
    pub local: CropConfig,
    /// Chance of a horizontal flip.
    pub flip: f64,
    /// Random change of colours.
    pub color_jitter: ColorJitterConfig,
    /// Chance of turning gray.
    pub gray: f64,
    /// Chance of a blur: first global crop, other global crops, local crops.
    pub blur: [f64; 3],
    /// Chance of solarisation: first global crop, other global crops, local crops.
    pub solarize: [f64; 3],
    /// Range of the blur's standard deviation, pixels.
    pub blur_radius: [f64; 2],
}

impl Default for ViewsConfig {
    fn default() -> Self {
        Self {
            global: CropConfig { size: 224, scale: [0.4, 1.0], count: 2 },
            local: CropConfig { size: 96, scale: [0.05, 0.4], count: 8 },
            flip: 0.5,
            color_jitter: ColorJitterConfig::default(),
            gray: 0.2,
            blur: [1.0, 0.1, 0.5],
            solarize: [0.0, 0.2, 0.0],
            blur_radius: [0.1, 2.0],
        }
    }
}

/// One kind of crop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CropConfig {
    /// Side, pixels.
    pub size: usize,
    /// Range of the share of the image's area.
    pub scale: [f64; 2],
    /// Crops per image.
    pub count: usize,
}

impl Default for CropConfig {
    fn default() -> Self {
        Self { size: 224, scale: [0.4, 1.0], count: 2 }
    }
}

/// Random change of colours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColorJitterConfig {
    /// Chance that it happens.
    pub p: f64,
    /// Largest relative change of brightness.
    pub brightness: f64,
    /// Largest relative change of contrast.
    pub contrast: f64,
    /// Largest relative change of saturation.
    pub saturation: f64,
    /// Largest shift of the hue, in turns.
    pub hue: f64,
}

impl Default for ColorJitterConfig {
    fn default() -> Self {
        Self { p: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 }
    }
}
