//! Mixtures of two images of a batch: mixup (Zhang et al. 2018) and CutMix (Yun et al. 2019), drawn once for a batch as timm's `Mixup`
//! does, computed on bytes as its `FastCollateMixup` does. Image i meets image n − 1 − i.
use serde::{Deserialize, Serialize};

use crate::pixel::Crop;
use crate::random::Draws;

/// Chance of CutMix where both are asked for.
const SWITCH: f64 = 0.5;

/// What a view shows: one class, or two of them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Label {
    /// The class of the image.
    pub class: u32,
    /// The class of what was mixed in; the same where nothing was.
    pub other: u32,
    /// Share of the first, 0 to 1.
    pub share: f64,
}

impl Label {
    /// One class.
    pub fn one(class: u32) -> Self {
        Self { class, other: class, share: 1.0 }
    }
}

/// A mixture as drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mix {
    /// The image with this share, and the other one.
    Blend(f64),
    /// The image, and the other one within a rectangle.
    Paste(Crop),
}

impl Mix {
    /// Draws the mixture of a batch of views of `side` pixels a side, for the parameters of the two Beta distributions; 0 leaves one
    /// out, and nothing is drawn without both.
    pub fn draw(draws: &mut Draws, [mixup, cutmix]: [f64; 2], side: u32) -> Option<Self> {
        let pastes = match (mixup > 0.0, cutmix > 0.0) {
            (false, false) => return None,
            (true, true) => draws.chance(SWITCH),
            (_, pastes) => pastes,
        };
        let share = draws.beta(if pastes { cutmix } else { mixup });
        if !pastes {
            return Some(Self::Blend(share));
        }
        let (y, x) = (draws.below(u64::from(side)) as u32, draws.below(u64::from(side)) as u32);
        Some(Self::Paste(rectangle(share, (x, y), side)))
    }

    /// Share of the image that is left.
    pub fn share(&self, side: u32) -> f64 {
        match self {
            Self::Blend(share) => *share,
            Self::Paste(Crop { width, height, .. }) => 1.0 - f64::from(width * height) / f64::from(side * side),
        }
    }

    /// Mixes views [images, side, side, channels] and what they show.
    pub fn apply(&self, pixels: &mut [u8], labels: &mut [Label], side: u32) {
        let images = labels.len().max(1);
        let image = pixels.len() / images;
        let channels = image / (side * side) as usize;
        let share = self.share(side);
        let (first, second) = pixels.split_at_mut(images / 2 * image);
        // An image in the middle meets itself.
        let second = &mut second[images % 2 * image..];
        for (one, other) in first.chunks_exact_mut(image.max(1)).zip(second.chunks_exact_mut(image.max(1)).rev()) {
            match self {
                Self::Blend(share) => blend(one, other, *share),
                Self::Paste(crop) => exchange(one, other, crop, side as usize * channels, channels),
            }
        }
        let classes: Vec<u32> = labels.iter().map(|label| label.class).collect();
        for (label, other) in labels.iter_mut().zip(classes.into_iter().rev()) {
            *label = Label { class: label.class, other, share };
        }
    }
}

/// The rectangle around a place that leaves a share of the image, cut at its edges (`rand_bbox`).
pub fn rectangle(share: f64, (x, y): (u32, u32), side: u32) -> Crop {
    let cut = (f64::from(side) * (1.0 - share).sqrt()) as u32;
    let span = |middle: u32| (middle.saturating_sub(cut / 2), (middle + cut.div_ceil(2)).min(side));
    let ((left, right), (top, bottom)) = (span(x), span(y));
    Crop { x: left, y: top, width: right - left, height: bottom - top }
}

fn blend(one: &mut [u8], other: &mut [u8], share: f64) {
    let (share, rest) = (share as f32, (1.0 - share) as f32);
    let mixed = |a: f32, b: f32| (a * share + b * rest).round_ties_even() as u8;
    for (one, other) in one.iter_mut().zip(other) {
        let (a, b) = (f32::from(*one), f32::from(*other));
        (*one, *other) = (mixed(a, b), mixed(b, a));
    }
}

fn exchange(one: &mut [u8], other: &mut [u8], crop: &Crop, stride: usize, channels: usize) {
    let rows = one.chunks_exact_mut(stride).zip(other.chunks_exact_mut(stride));
    for (one, other) in rows.skip(crop.y as usize).take(crop.height as usize) {
        let part = crop.x as usize * channels..(crop.x + crop.width) as usize * channels;
        one[part.clone()].swap_with_slice(&mut other[part]);
    }
}
