//! The operations of RandAugment with Pillow's arithmetic (`ImageOps`, `ImageEnhance`, `Image.transform`), as timm calls them.
use crate::affine::{self, Matrix};
use crate::color::{ColorStep, Part, apply, level, parts};
use crate::planes::Planes;

/// Values of a byte.
const LEVELS: usize = 256;
/// Up to this value [`Operation::SolarizeAdd`] adds.
const ADDED_UP_TO: usize = 128;
/// What is outside of a transformed image: ImageNet's mean, `round(255·mean)`; other channels than these three have the middle.
const FILL: [u8; 3] = [124, 116, 104];
const FILL_OF_OTHERS: u8 = 128;

/// One operation and how strong it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operation {
    /// Spreads the values of each channel over all levels.
    AutoContrast,
    /// Makes the levels of each channel equally frequent.
    Equalize,
    /// Turns every value around.
    Invert,
    /// A turn by degrees, against the clock.
    Rotate(f64),
    /// Keeps the highest bits, 1 to 8.
    Posterize(u8),
    /// Inverts values from this one on; 256 leaves all.
    Solarize(u16),
    /// Adds this to values below 128.
    SolarizeAdd(u8),
    /// Scales saturation.
    Color(f64),
    /// Scales contrast.
    Contrast(f64),
    /// Scales brightness.
    Brightness(f64),
    /// Scales sharpness: a blend with the smoothed image.
    Sharpness(f64),
    /// Columns to the left by this share of the row.
    ShearX(f64),
    /// Rows up by this share of the column.
    ShearY(f64),
    /// To the left by this share of the width.
    TranslateX(f64),
    /// Up by this share of the height.
    TranslateY(f64),
}

impl Operation {
    /// Applies the operation to `view`; `spare` is working memory.
    pub fn apply(self, view: &mut Planes, spare: &mut Planes) {
        let (width, height) = (view.width() as f64, view.height() as f64);
        match self {
            Self::AutoContrast => by_channel(view, spread),
            Self::Equalize => by_channel(view, equalized),
            Self::Invert => by_level(view, |value| LEVELS - 1 - value),
            Self::Posterize(bits) => by_level(view, |value| value & !((1 << (8 - usize::from(bits.clamp(1, 8)))) - 1)),
            Self::Solarize(threshold) => {
                by_level(view, |value| if value < usize::from(threshold) { value } else { LEVELS - 1 - value });
            }
            Self::SolarizeAdd(more) => {
                by_level(view, |value| if value < ADDED_UP_TO { value + usize::from(more) } else { value });
            }
            Self::Color(factor) => {
                if view.channels() == 3 {
                    apply(view, Part::Colors, &[ColorStep::Saturation(factor)]);
                }
            }
            Self::Contrast(factor) => {
                for part in parts(view) {
                    let gray = level(view, part);
                    apply(view, part, &[ColorStep::Contrast { factor, gray }]);
                }
            }
            Self::Brightness(factor) => {
                for part in parts(view) {
                    apply(view, part, &[ColorStep::Brightness(factor)]);
                }
            }
            Self::Sharpness(factor) => sharpen(view, factor as f32, spare),
            Self::Rotate(0.0) => {}
            Self::Rotate(degrees) => {
                transform(view, affine::rotation(degrees, (view.width(), view.height())), spare);
            }
            Self::ShearX(share) => transform(view, [1.0, share, 0.0, 0.0, 1.0, 0.0], spare),
            Self::ShearY(share) => transform(view, [1.0, 0.0, 0.0, share, 1.0, 0.0], spare),
            Self::TranslateX(share) => transform(view, [1.0, 0.0, share * width, 0.0, 1.0, 0.0], spare),
            Self::TranslateY(share) => transform(view, [1.0, 0.0, 0.0, 0.0, 1.0, share * height], spare),
        }
    }
}

fn transform(view: &mut Planes, matrix: Matrix, spare: &mut Planes) {
    let colors = view.channels() == FILL.len();
    affine::transform(view, &matrix, |channel| if colors { FILL[channel] } else { FILL_OF_OTHERS }, spare);
    std::mem::swap(view, spare);
}

/// Replaces every value by what `level` says for it, at most 255.
fn by_level(view: &mut Planes, level: impl Fn(usize) -> usize) {
    let table: [u8; LEVELS] = std::array::from_fn(|value| level(value).min(LEVELS - 1) as u8);
    view.bytes_mut().iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

/// Replaces every value by what `table` makes of the histogram of its channel.
fn by_channel(view: &mut Planes, table: impl Fn(&[u64; LEVELS]) -> [u8; LEVELS]) {
    let (width, line, channels) = (view.width(), view.line().max(1), view.channels());
    for channel in 0..channels {
        let mut counts = [0; LEVELS];
        for row in view.bytes().chunks_exact(line).skip(channel).step_by(channels) {
            row[..width].iter().for_each(|value| counts[usize::from(*value)] += 1);
        }
        let table = table(&counts);
        for row in view.bytes_mut().chunks_exact_mut(line).skip(channel).step_by(channels) {
            row.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
        }
    }
}

/// The lowest value becomes 0, the highest 255 (`ImageOps.autocontrast`).
fn spread(counts: &[u64; LEVELS]) -> [u8; LEVELS] {
    let low = counts.iter().position(|count| *count > 0).unwrap_or(0);
    let high = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    if high <= low {
        return std::array::from_fn(|value| value as u8);
    }
    let scale = 255.0 / (high - low) as f64;
    let offset = -(low as f64) * scale;
    // The cast clips.
    std::array::from_fn(|value| (value as f64 * scale + offset) as u8)
}

/// Equal shares of pixels for equal steps (`ImageOps.equalize`).
fn equalized(counts: &[u64; LEVELS]) -> [u8; LEVELS] {
    let last = counts.iter().rfind(|count| **count > 0).copied().unwrap_or(0);
    let step = (counts.iter().sum::<u64>() - last) / (LEVELS as u64 - 1);
    if step == 0 {
        return std::array::from_fn(|value| value as u8);
    }
    let mut before = step / 2;
    std::array::from_fn(|value| {
        let level = (before / step).min(LEVELS as u64 - 1) as u8;
        before += counts[value];
        level
    })
}

/// A blend with the image after `ImageFilter.SMOOTH`, whose edge is left as it is (`ImageEnhance.Sharpness`).
fn sharpen(view: &mut Planes, factor: f32, smoothed: &mut Planes) {
    /// Five of the pixel itself and one of each neighbour.
    const SUM: u32 = 13;
    let (width, height, line, stride) = (view.width(), view.height(), view.line(), view.stride());
    smoothed.reset(width, height, view.channels());
    let bytes = view.bytes();
    smoothed.bytes_mut().copy_from_slice(bytes);
    for y in 1..height.saturating_sub(1) {
        for start in (0..stride).step_by(line.max(1)) {
            for x in 1..width.saturating_sub(1) {
                let at = y * stride + start + x;
                let row = |middle: usize| -> u32 { bytes[middle - 1..=middle + 1].iter().map(|&v| u32::from(v)).sum() };
                let sum = row(at - stride) + row(at) + row(at + stride) + 4 * u32::from(bytes[at]);
                // Rounded; a thirteenth is never half of one.
                smoothed.bytes_mut()[at] = ((2 * sum + SUM) / (2 * SUM)) as u8;
            }
        }
    }
    for (value, smooth) in view.bytes_mut().iter_mut().zip(smoothed.bytes()) {
        let smooth = f32::from(*smooth);
        // The cast clips and cuts.
        *value = (smooth + factor * (f32::from(*value) - smooth)) as u8;
    }
}
