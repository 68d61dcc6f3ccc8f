//! Colour operations with the arithmetic of Pillow's `ImageEnhance` and `ImageOps`: several in one pass over the image.
//!
//! Enhancing blends the image with a degenerate version of itself in f32 and cuts to 8 bits without rounding
//! (Pillow's `Blend.c`); a factor of 1 changes nothing, 0 gives the degenerate version. Values are whole numbers after
//! every operation, held as f32: all sums below are exact there.
use crate::hsv::turn_hue;
use crate::planes::Planes;
use crate::simd::{LANES, bytes, floats, larger, smaller, vectorised};

/// Weights of red, green and blue in ITU-R 601-2 luma (.299, .587, .114), in Pillow's 16-bit fixed point.
pub(crate) const LUMA: [u32; 3] = [19_595, 38_470, 7_471];
/// Bits after that point.
pub(crate) const LUMA_BITS: u32 = 16;

/// One operation on the colors of every pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColorStep {
    /// Scales brightness: a blend with black.
    Brightness(f64),
    /// Scales contrast: a blend with gray of this level, see [`level`].
    Contrast {
        /// Factor.
        factor: f64,
        /// Level of the gray.
        gray: u8,
    },
    /// Scales saturation: a blend with the gray image.
    Saturation(f64),
    /// Turns the hue by a fraction of the circle in [−0.5, 0.5].
    Hue(f64),
    /// Replaces every pixel by its luma.
    Gray,
    /// Inverts every value at or above the threshold.
    Solarize(u8),
}

/// What the steps see of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Red, green and blue together: all of an image of three channels.
    Colors,
    /// One channel by itself, which has no saturation, hue or gray.
    Channel(usize),
}

/// Some neighbouring pixels: red, green and blue values. Aligned, so that no vector lies in two cache lines.
#[repr(align(64))]
pub(crate) struct Block(pub [[f32; LANES]; 3]);

/// The parts of a view whose values change together.
pub(crate) fn parts(view: &Planes) -> impl Iterator<Item = Part> + use<> {
    let colors = (view.channels() == 3).then_some(Part::Colors);
    let channels = if colors.is_some() { 0 } else { view.channels() };
    colors.into_iter().chain((0..channels).map(Part::Channel))
}

/// Applies the steps in order, in one pass.
pub fn apply(planes: &mut Planes, part: Part, steps: &[ColorStep]) {
    if steps.is_empty() {
        return;
    }
    match part {
        Part::Colors => apply_to_colors(planes, steps),
        Part::Channel(channel) => apply_to_channel(planes, channel, steps),
    }
}

fn apply_to_channel(planes: &mut Planes, channel: usize, steps: &[ColorStep]) {
    let (line, channels) = (planes.line(), planes.channels());
    vectorised(
        #[inline(always)]
        || {
            for row in planes.bytes_mut().chunks_exact_mut(line.max(1)).skip(channel).step_by(channels) {
                for values in row.as_chunks_mut::<LANES>().0 {
                    let mut block = floats(values);
                    for step in steps {
                        apply_to_each(&mut block, *step);
                    }
                    *values = bytes(&block);
                }
            }
        },
    );
}

fn apply_to_colors(planes: &mut Planes, steps: &[ColorStep]) {
    let line = planes.line();
    vectorised(
        #[inline(always)]
        || {
            for row in planes.bytes_mut().chunks_exact_mut((3 * line).max(1)) {
                let (red, rest) = row.split_at_mut(line);
                let (green, blue) = rest.split_at_mut(line);
                let green = green.as_chunks_mut::<LANES>().0;
                let blue = blue.as_chunks_mut::<LANES>().0;
                for ((red, green), blue) in red.as_chunks_mut::<LANES>().0.iter_mut().zip(green).zip(blue) {
                    let mut block = Block([floats(red), floats(green), floats(blue)]);
                    for step in steps {
                        apply_to(&mut block, *step);
                    }
                    [*red, *green, *blue] = [bytes(&block.0[0]), bytes(&block.0[1]), bytes(&block.0[2])];
                }
            }
        },
    );
}

/// Returns the gray level that contrast is scaled around: the rounded mean, of colors that of their luma.
pub fn level(planes: &Planes, part: Part) -> u8 {
    let sum = match part {
        Part::Colors => sum_of_luma(planes),
        Part::Channel(channel) => sum_of_channel(planes, channel),
    };
    (sum as f64 / (planes.width() * planes.height()).max(1) as f64 + 0.5) as u8
}

fn sum_of_channel(planes: &Planes, channel: usize) -> u64 {
    let rows = planes.bytes().chunks_exact(planes.line().max(1)).skip(channel).step_by(planes.channels());
    rows.map(|row| row[..planes.width()].iter().map(|&value| u64::from(value)).sum::<u64>()).sum()
}

fn sum_of_luma(planes: &Planes) -> u64 {
    let (width, line) = (planes.width(), planes.line());
    let mut sum = 0u64;
    vectorised(
        #[inline(always)]
        || {
            for row in planes.bytes().chunks_exact((3 * line).max(1)) {
                let (red, rest) = row.split_at(line);
                let (green, blue) = rest.split_at(line);
                let mut of_row = 0u64;
                for x in 0..width {
                    let (red, green, blue) = (u32::from(red[x]), u32::from(green[x]), u32::from(blue[x]));
                    let luma = red * LUMA[0] + green * LUMA[1] + blue * LUMA[2];
                    of_row += u64::from((luma + (1 << (LUMA_BITS - 1))) >> LUMA_BITS);
                }
                sum += of_row;
            }
        },
    );
    sum
}

/// Applies a step that treats every value alike.
#[inline(always)]
fn apply_to_each(values: &mut [f32; LANES], step: ColorStep) {
    match step {
        ColorStep::Brightness(factor) => {
            for value in values {
                *value = blend(0.0, *value, factor as f32);
            }
        }
        ColorStep::Contrast { factor, gray } => {
            for value in values {
                *value = blend(f32::from(gray), *value, factor as f32);
            }
        }
        ColorStep::Solarize(threshold) => {
            for value in values {
                *value = if *value < f32::from(threshold) { *value } else { 255.0 - *value };
            }
        }
        ColorStep::Saturation(_) | ColorStep::Hue(_) | ColorStep::Gray => {}
    }
}

#[inline(always)]
fn apply_to(Block(block): &mut Block, step: ColorStep) {
    match step {
        ColorStep::Brightness(_) | ColorStep::Contrast { .. } | ColorStep::Solarize(_) => {
            for values in block {
                apply_to_each(values, step);
            }
        }
        ColorStep::Saturation(factor) => {
            let [red, green, blue] = block;
            for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
                let gray = luma([*red, *green, *blue]);
                *red = blend(gray, *red, factor as f32);
                *green = blend(gray, *green, factor as f32);
                *blue = blend(gray, *blue, factor as f32);
            }
        }
        ColorStep::Hue(fraction) => turn_hue(block, fraction),
        ColorStep::Gray => {
            let [red, green, blue] = block;
            for ((red, green), blue) in red.iter_mut().zip(green).zip(blue) {
                let gray = luma([*red, *green, *blue]);
                (*red, *green, *blue) = (gray, gray, gray);
            }
        }
    }
}

/// The luma of a pixel, rounded to a whole number.
#[inline(always)]
fn luma([red, green, blue]: [f32; 3]) -> f32 {
    const ONE: f32 = (1 << LUMA_BITS) as f32;
    let sum = red * LUMA[0] as f32 + green * LUMA[1] as f32 + blue * LUMA[2] as f32;
    ((sum + ONE / 2.0) * (1.0 / ONE)).floor()
}

/// Returns `from + factor · (to − from)`, clipped and cut.
#[inline(always)]
fn blend(from: f32, to: f32, factor: f32) -> f32 {
    smaller(larger(from + factor * (to - from), 0.0), 255.0).floor()
}
