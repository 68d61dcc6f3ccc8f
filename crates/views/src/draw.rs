//! Drawing: the parameters of one view, by torchvision's rules, before any pixel is touched.
use crate::erase::Erased;
use crate::pixel::Crop;
use crate::rand_augment::Operations;
use crate::random::{Draws, Key, Purpose};
use crate::recipe::{CropFilter, JitterRecipe, ViewRecipe};
use crate::resample::Filter;

/// Attempts at a crop before the fallback (torchvision's `RandomResizedCrop.get_params`).
const CROP_ATTEMPTS: usize = 10;
/// Range of the crop's width over its height.
const ASPECT: [f64; 2] = [3.0 / 4.0, 4.0 / 3.0];

/// One step of color jitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorOp {
    /// Blend with black.
    Brightness,
    /// Blend with the mean luma.
    Contrast,
    /// Blend with gray.
    Saturation,
    /// Turn the hue.
    Hue,
}

/// Color jitter as drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Jitter {
    /// The order of the four steps.
    pub order: [ColorOp; 4],
    /// Factor.
    pub brightness: f64,
    /// Factor.
    pub contrast: f64,
    /// Factor.
    pub saturation: f64,
    /// Fraction of the circle.
    pub hue: f64,
}

/// Everything that was drawn for one view.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrawnView {
    /// The rectangle that becomes the view.
    pub crop: Crop,
    /// Resampling.
    pub filter: Filter,
    /// Mirrored left to right or not.
    pub flip: bool,
    /// Mirrored top to bottom or not.
    pub flip_vertical: bool,
    /// Quarter turns clockwise, 0 to 3, after the mirroring.
    pub turns: u8,
    /// Color jitter, if any.
    pub jitter: Option<Jitter>,
    /// Gray or not.
    pub gray: bool,
    /// Standard deviation of the blur in pixels, if any.
    pub blur_radius: Option<f64>,
    /// Threshold of the solarisation, if any.
    pub solarize: Option<u8>,
    /// Operations of RandAugment, in order, after flip and turn.
    pub operations: Operations,
    /// Rectangle of noise, if any.
    pub erased: Option<Erased>,
}

/// Draws view number `view` of an image of `(width, height)` pixels.
pub fn draw(recipe: &ViewRecipe, key: &Key, view: u32, size: (u32, u32)) -> DrawnView {
    let kind = recipe.kind(view) as usize;
    let draws = |purpose| key.draws(view, purpose);
    let mut jitter = draws(Purpose::Jitter);
    let mut blur = draws(Purpose::Blur);
    let mut turn = draws(Purpose::Turn);
    let mut erase = draws(Purpose::Erase);
    DrawnView {
        crop: draw_crop(&mut draws(Purpose::Crop), recipe.crops(view).scale, size),
        filter: match recipe.filter {
            CropFilter::Bicubic => Filter::Bicubic,
            CropFilter::Bilinear => Filter::Bilinear,
        },
        flip: draws(Purpose::Flip).chance(recipe.flip),
        flip_vertical: draws(Purpose::FlipVertical).chance(recipe.flip_vertical),
        turns: if turn.chance(recipe.turn) { 1 + turn.below(3) as u8 } else { 0 },
        jitter: jitter.chance(recipe.color_jitter.p).then(|| draw_jitter(&mut jitter, &recipe.color_jitter)),
        gray: draws(Purpose::Gray).chance(recipe.gray),
        blur_radius: blur.chance(recipe.blur[kind]).then(|| blur.uniform(recipe.blur_radius)),
        solarize: draws(Purpose::Solarize).chance(recipe.solarize[kind]).then_some(recipe.solarize_threshold),
        operations: recipe.rand_augment.draw(&mut draws(Purpose::RandAugment)),
        erased: if erase.chance(recipe.erase) { Erased::draw(&mut erase, recipe.crops(view).size) } else { None },
    }
}

/// Draws the rectangle of a view: area uniform in `scale`, aspect log-uniform, place uniform
/// (torchvision's `RandomResizedCrop.get_params`).
pub fn draw_crop(draws: &mut Draws, scale: [f64; 2], (width, height): (u32, u32)) -> Crop {
    let area = f64::from(width) * f64::from(height);
    for _ in 0..CROP_ATTEMPTS {
        let target = area * draws.uniform(scale);
        let aspect = draws.uniform(ASPECT.map(f64::ln)).exp();
        let crop_width = (target * aspect).sqrt().round_ties_even() as u32;
        let crop_height = (target / aspect).sqrt().round_ties_even() as u32;
        if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
            let y = draws.below(u64::from(height - crop_height) + 1) as u32;
            let x = draws.below(u64::from(width - crop_width) + 1) as u32;
            return Crop { x, y, width: crop_width, height: crop_height };
        }
    }
    central_crop(width, height)
}

/// The fallback for images too narrow or too flat: the largest central rectangle within the aspect range.
fn central_crop(width: u32, height: u32) -> Crop {
    let aspect = f64::from(width) / f64::from(height);
    let mut crop = Crop { x: 0, y: 0, width, height };
    if aspect < ASPECT[0] {
        crop.height = (f64::from(width) / ASPECT[0]).round_ties_even() as u32;
    } else if aspect > ASPECT[1] {
        crop.width = (f64::from(height) * ASPECT[1]).round_ties_even() as u32;
    }
    crop.x = (width - crop.width) / 2;
    crop.y = (height - crop.height) / 2;
    crop
}

fn draw_jitter(draws: &mut Draws, recipe: &JitterRecipe) -> Jitter {
    let mut order = [ColorOp::Brightness, ColorOp::Contrast, ColorOp::Saturation, ColorOp::Hue];
    draws.shuffle(&mut order);
    let mut factor = |spread: f64| draws.uniform([(1.0 - spread).max(0.0), 1.0 + spread]);
    let (brightness, contrast, saturation) =
        (factor(recipe.brightness), factor(recipe.contrast), factor(recipe.saturation));
    Jitter { order, brightness, contrast, saturation, hue: draws.uniform([-recipe.hue, recipe.hue]) }
}
