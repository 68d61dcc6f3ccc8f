//! Colour operations with the arithmetic of Pillow's `ImageEnhance` and `ImageOps`, in place.
//!
//! Enhancing blends the image with a degenerate version of itself in f32 and cuts to 8 bits without rounding
//! (Pillow's `Blend.c`); a factor of 1 changes nothing, 0 gives the degenerate version.
use crate::pixel::Rgb8;

/// Scales brightness: a blend with black.
pub fn adjust_brightness(image: &mut Rgb8, factor: f64) {
    let table: [u8; 256] = std::array::from_fn(|value| blend(0, value as u8, factor as f32));
    apply_table(image, &table);
}

/// Scales contrast: a blend with the rounded mean luma of the whole image.
pub fn adjust_contrast(image: &mut Rgb8, factor: f64) {
    let gray = mean_luma(image);
    let table: [u8; 256] = std::array::from_fn(|value| blend(gray, value as u8, factor as f32));
    apply_table(image, &table);
}

/// Scales saturation: a blend with the gray image.
pub fn adjust_saturation(image: &mut Rgb8, factor: f64) {
    pulp::Arch::new().dispatch(|| {
        let (pixels, _) = image.pixels.as_chunks_mut::<3>();
        for pixel in pixels {
            let gray = luma(*pixel);
            *pixel = pixel.map(|value| blend(gray, value, factor as f32));
        }
    });
}

/// Replaces every pixel by its luma in three equal channels.
pub fn to_gray(image: &mut Rgb8) {
    let (pixels, _) = image.pixels.as_chunks_mut::<3>();
    for pixel in pixels {
        *pixel = [luma(*pixel); 3];
    }
}

/// Inverts every value at or above the threshold.
pub fn solarize(image: &mut Rgb8, threshold: u8) {
    for value in &mut image.pixels {
        *value = if *value < threshold { *value } else { 255 - *value };
    }
}

/// Returns ITU-R 601-2 luma in Pillow's 16-bit fixed point (.299, .587, .114).
#[inline(always)]
pub fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
    ((sum + 0x8000) >> 16) as u8
}

fn mean_luma(image: &Rgb8) -> u8 {
    let (pixels, _) = image.pixels.as_chunks::<3>();
    let sum: u64 = pixels.iter().map(|&pixel| u64::from(luma(pixel))).sum();
    (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8
}

/// Returns `from + factor · (to − from)`, clipped and cut: the cast does both.
#[inline(always)]
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    (f32::from(from) + factor * (f32::from(to) - f32::from(from))) as u8
}

fn apply_table(image: &mut Rgb8, table: &[u8; 256]) {
    for value in &mut image.pixels {
        *value = table[usize::from(*value)];
    }
}
