//! The recipe of the views: the `[views]` table of a configuration.
//!
//! The default is DINO's multi-crop augmentation (Caron et al. 2021; `main_dino.py:DataAugmentationDINO`).
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};
use crate::rand_augment::RandAugment;

/// How many crops of which size and area.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CropRecipe {
    /// Side of the square view in pixels.
    pub size: u32,
    /// Range of the crop's share of the image area.
    pub scale: [f64; 2],
    /// Views for each image.
    pub count: u32,
}

impl CropRecipe {
    /// Returns the values of one channel of a view.
    pub fn values(&self) -> usize {
        self.size as usize * self.size as usize
    }
}

const GLOBAL: CropRecipe = CropRecipe { size: 224, scale: [0.4, 1.0], count: 2 };
const LOCAL: CropRecipe = CropRecipe { size: 96, scale: [0.05, 0.4], count: 8 };

/// How often and how far colors move.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JitterRecipe {
    /// Probability of jitter.
    pub p: f64,
    /// Factor within 1 ± this.
    pub brightness: f64,
    /// Factor within 1 ± this.
    pub contrast: f64,
    /// Factor within 1 ± this.
    pub saturation: f64,
    /// Shift within ± this fraction of the circle.
    pub hue: f64,
}

impl Default for JitterRecipe {
    fn default() -> Self {
        Self { p: 0.8, brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 }
    }
}

/// Everything that turns an image into its views.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ViewRecipe {
    /// Name of the recipe of views that the values started from; empty for none.
    pub recipe: String,
    /// Resampling of the crops.
    pub filter: CropFilter,
    /// Large crops, seen by student and teacher.
    #[serde(deserialize_with = "global_crops")]
    pub global: CropRecipe,
    /// Small crops, seen by the student only.
    #[serde(deserialize_with = "local_crops")]
    pub local: CropRecipe,
    /// Probability of mirroring left to right.
    pub flip: f64,
    /// Probability of mirroring top to bottom.
    pub flip_vertical: f64,
    /// Probability of a turn by 90, 180 or 270 degrees, each as likely as the others.
    pub turn: f64,
    /// Color jitter.
    pub color_jitter: JitterRecipe,
    /// Probability of gray.
    pub gray: f64,
    /// Probability of blur: first global, other globals, locals.
    pub blur: [f64; 3],
    /// Probability of solarisation: first global, other globals, locals.
    pub solarize: [f64; 3],
    /// Range of the blur's standard deviation in pixels.
    pub blur_radius: [f64; 2],
    /// Values from here on are inverted by solarisation.
    pub solarize_threshold: u8,
    /// Operations drawn for each view after flip and turn.
    pub rand_augment: RandAugment,
    /// Probability of a rectangle of noise.
    pub erase: f64,
    /// Parameter of the Beta distribution of mixup; 0 for none. Needs labels.
    pub mixup: f64,
    /// Parameter of the Beta distribution of CutMix; 0 for none. Needs labels.
    pub cutmix: f64,
}

impl Default for ViewRecipe {
    fn default() -> Self {
        Self {
            recipe: String::new(),
            filter: CropFilter::Bicubic,
            global: GLOBAL,
            local: LOCAL,
            flip: 0.5,
            flip_vertical: 0.0,
            turn: 0.0,
            color_jitter: JitterRecipe::default(),
            gray: 0.2,
            blur: [1.0, 0.1, 0.5],
            solarize: [0.0, 0.2, 0.0],
            blur_radius: [0.1, 2.0],
            solarize_threshold: 128,
            rand_augment: RandAugment::default(),
            erase: 0.0,
            mixup: 0.0,
            cutmix: 0.0,
        }
    }
}

/// Resampling of the crops, antialiased as Pillow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropFilter {
    /// Keys' cubic.
    #[default]
    Bicubic,
    /// A triangle: torchvision's default.
    Bilinear,
}

/// Which of the three kinds of crop a view is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewKind {
    /// The first global crop.
    FirstGlobal = 0,
    /// Every other global crop.
    OtherGlobal = 1,
    /// A local crop.
    Local = 2,
}

impl ViewRecipe {
    /// Returns the number of views of an image.
    pub fn views(&self) -> u32 {
        self.global.count + self.local.count
    }

    /// Returns the kind of a view; globals come first.
    pub fn kind(&self, view: u32) -> ViewKind {
        match view {
            0 if self.global.count > 0 => ViewKind::FirstGlobal,
            _ if view < self.global.count => ViewKind::OtherGlobal,
            _ => ViewKind::Local,
        }
    }

    /// Returns the crop recipe of a view.
    pub fn crops(&self, view: u32) -> &CropRecipe {
        if self.kind(view) == ViewKind::Local { &self.local } else { &self.global }
    }

    /// Returns the groups of equally sized views in order, without empty ones: globals, locals.
    pub fn groups(&self) -> Vec<CropRecipe> {
        [self.global, self.local].into_iter().filter(|crops| crops.count > 0).collect()
    }

    /// Checks every value.
    ///
    /// # Errors
    /// [`Error::Value`] names the first key out of range.
    pub fn validate(&self) -> Result<()> {
        check_crops("views.global", &self.global)?;
        check_crops("views.local", &self.local)?;
        if self.global.count == 0 {
            return Err(bad("views.global.count", "0; at least 1 is needed, and DINO needs 2"));
        }
        let jitter = &self.color_jitter;
        check_probabilities("views.flip", &[self.flip])?;
        check_probabilities("views.flip_vertical", &[self.flip_vertical])?;
        check_probabilities("views.turn", &[self.turn])?;
        check_probabilities("views.color_jitter.p", &[jitter.p])?;
        check_probabilities("views.gray", &[self.gray])?;
        check_probabilities("views.blur", &self.blur)?;
        check_probabilities("views.solarize", &self.solarize)?;
        check_probabilities("views.erase", &[self.erase])?;
        for (name, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !(alpha >= 0.0 && alpha.is_finite()) {
                return Err(bad(&format!("views.{name}"), format!("{alpha}; at least 0 is needed")));
            }
        }
        for (name, value) in
            [("brightness", jitter.brightness), ("contrast", jitter.contrast), ("saturation", jitter.saturation)]
        {
            if !(value >= 0.0 && value.is_finite()) {
                return Err(bad(&format!("views.color_jitter.{name}"), format!("{value}; at least 0 is needed")));
            }
        }
        if !(0.0..=0.5).contains(&jitter.hue) {
            return Err(bad("views.color_jitter.hue", format!("{}; a fraction of the circle, 0 to 0.5", jitter.hue)));
        }
        let [low, high] = self.blur_radius;
        if !(low >= 0.0 && low <= high && high <= MAX_BLUR_RADIUS) {
            let problem = format!("[{low}, {high}]; two rising radii in pixels, 0 to {MAX_BLUR_RADIUS}");
            return Err(bad("views.blur_radius", problem));
        }
        Ok(())
    }
}

/// Largest side of a view: 4096² pixels are 48 MiB of bytes.
pub const MAX_SIZE: u32 = 4096;
/// Largest number of crops of one kind.
pub const MAX_COUNT: u32 = 256;
/// Above this a blur leaves nothing to see.
pub const MAX_BLUR_RADIUS: f64 = 100.0;

fn check_crops(table: &str, crops: &CropRecipe) -> Result<()> {
    if !(1..=MAX_SIZE).contains(&crops.size) {
        return Err(bad(&format!("{table}.size"), format!("{}; 1 to {MAX_SIZE} pixels", crops.size)));
    }
    if crops.count > MAX_COUNT {
        return Err(bad(&format!("{table}.count"), format!("{}; at most {MAX_COUNT}", crops.count)));
    }
    let [low, high] = crops.scale;
    if !(low > 0.0 && low <= high && high <= 1.0) {
        return Err(bad(
            &format!("{table}.scale"),
            format!("[{low}, {high}]; two rising shares of the area in (0, 1]"),
        ));
    }
    Ok(())
}

fn check_probabilities(key: &str, values: &[f64]) -> Result<()> {
    match values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
        Some(value) => Err(bad(key, format!("{value}; a probability is between 0 and 1"))),
        None => Ok(()),
    }
}

fn bad(key: &str, problem: impl Into<String>) -> Error {
    Error::Value { key: key.to_string(), problem: problem.into() }
}

/// A crop table with keys left out: they keep the default of their kind, which serde cannot know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PartialCrops {
    size: Option<u32>,
    scale: Option<[f64; 2]>,
    count: Option<u32>,
}

impl PartialCrops {
    fn over(self, default: CropRecipe) -> CropRecipe {
        CropRecipe {
            size: self.size.unwrap_or(default.size),
            scale: self.scale.unwrap_or(default.scale),
            count: self.count.unwrap_or(default.count),
        }
    }
}

fn global_crops<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<CropRecipe, D::Error> {
    Ok(PartialCrops::deserialize(from)?.over(GLOBAL))
}

fn local_crops<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<CropRecipe, D::Error> {
    Ok(PartialCrops::deserialize(from)?.over(LOCAL))
}
