//! Hue shift in Pillow's 8-bit HSV, as torchvision's `adjust_hue` on PIL images.
//!
//! All three HSV channels pass through 8 bits, so a shift of zero is not the identity; that is how it was trained. Pillow
//! mixes f32 and f64; f32 alone, in the order below, gives the same bytes for every color and every hue (tested for all of them).
use crate::simd::{LANES, larger, smaller};

/// Sixths of the circle are 85 steps of two: `2 · hue` runs from 0 to 510.
const SIXTH: f32 = 85.0;
/// Where red, green and blue are purest or weakest on that scale.
const CENTERS: [f32; 3] = [255.0, 170.0, 340.0];

/// Turns the hue of a block by a fraction of the circle in [−0.5, 0.5].
#[inline(always)]
pub(crate) fn turn_hue(block: &mut [[f32; LANES]; 3], fraction: f64) {
    // Cut towards zero, then wrap: torchvision's `np.int32(hue_factor * 255).astype(np.uint8)`.
    let shift = f32::from((fraction * 255.0) as i32 as u8);
    let [red, green, blue] = block;
    for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
        let [hue, saturation, value] = to_hsv([*red, *green, *blue]);
        let turned = hue + shift;
        let turned = if turned >= 256.0 { turned - 256.0 } else { turned };
        [*red, *green, *blue] = to_rgb([turned, saturation, value]);
    }
}

/// Returns hue, saturation and value, whole numbers of 0–255 each (Pillow's `rgb2hsv_row`).
#[inline(always)]
fn to_hsv([red, green, blue]: [f32; 3]) -> [f32; 3] {
    let value = larger(larger(red, green), blue);
    let range = value - smaller(smaller(red, green), blue);
    // Sector by the largest channel; the two others are `ahead` and `behind` on the circle.
    let (base, ahead, behind) = if red == value {
        (0.0, blue, green)
    } else if green == value {
        (2.0, red, blue)
    } else {
        (4.0, green, red)
    };
    let (ahead, behind) = (value - ahead, value - behind);
    // One of the two is the smallest channel, whose distance is the range: only the other one is divided.
    let hue = if ahead == range { (base + 1.0) - behind / range } else { (base - 1.0) + ahead / range };
    let turned = hue / 6.0;
    let turned = if turned < 0.0 { 1.0 + turned } else { turned };
    let gray = range == 0.0;
    let hue = if gray { 0.0 } else { (turned * 255.0).floor() };
    let saturation = if gray { 0.0 } else { (range / value * 255.0).floor() };
    [hue, saturation, value]
}

/// Returns red, green and blue (Pillow's `hsv2rgb_row`): the value less a share of saturation · value that grows from
/// 0 to 1 over a sixth of the circle, stays there for two, and falls again.
#[inline(always)]
fn to_rgb([hue, saturation, value]: [f32; 3]) -> [f32; 3] {
    let away = |center: f32| smaller(larger((2.0 * hue - center).abs() - SIXTH, 0.0), SIXTH);
    // Whole numbers up to 255 · 255 · 85, exact. The quotient is never half-way between two whole numbers.
    let less = |share: f32| value - (value * saturation * share * (1.0 / (255.0 * SIXTH)) + 0.5).floor();
    let [red, green, blue] = CENTERS;
    [less(SIXTH - away(red)), less(away(green)), less(away(blue))]
}
