//! Gaussian blur as Pillow does it: three passes of an extended box blur in each direction, 8 bits in between.
//!
//! The box has a fractional radius (Gwosdek et al. 2011, "Theoretical foundations of Gaussian convolution by
//! extended box filtering"); weights are 24-bit fixed point. The cost does not depend on the radius.
use crate::pixel::Rgb8;

/// Passes of the box blur in each direction (Pillow's `GaussianBlur`).
const PASSES: usize = 3;
/// Bits after the point of a weight.
const WEIGHT_BITS: u32 = 24;

/// Returns the image blurred with a Gaussian of standard deviation `radius` pixels, as Pillow's `GaussianBlur(radius)`.
pub fn gaussian_blur(image: &Rgb8, radius: f64) -> Rgb8 {
    let radius = radius as f32;
    if radius <= 0.0 || image.pixels.is_empty() {
        return image.clone();
    }
    let box_radius = box_radius(radius);
    let blur_columns = |image: Rgb8| pulp::Arch::new().dispatch(|| box_blur_columns(image, box_radius));
    let across = blur_columns(image.transpose());
    blur_columns(across.transpose())
}

/// Returns the radius of the box whose repeated blur has the variance of the Gaussian. The mixture of f32 and f64
/// is Pillow's.
fn box_radius(sigma: f32) -> f32 {
    let variance = sigma * sigma / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let mut fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
    fraction /= 6.0 * (variance - (whole + 1.0) * (whole + 1.0));
    whole + fraction
}

/// Blurs along the columns, all columns at once: one running sum for every byte of a row.
#[inline(always)]
fn box_blur_columns(mut image: Rgb8, radius: f32) -> Rgb8 {
    let reach = radius as usize;
    let inner = ((1u32 << WEIGHT_BITS) as f32 / (radius * 2.0 + 1.0)) as u32;
    let edge = ((1u32 << WEIGHT_BITS) - (reach as u32 * 2 + 1) * inner) / 2;
    let stride = image.width as usize * 3;
    let last = image.height as usize - 1;
    let mut blurred = vec![0u8; image.pixels.len()];
    let mut sums = vec![0u32; stride];
    for _ in 0..PASSES {
        let row = |y: usize| &image.pixels[y * stride..][..stride];
        // The window around row −1; rows beyond an edge repeat the edge.
        sums.iter_mut().zip(row(0)).for_each(|(sum, &byte)| *sum = u32::from(byte) * (reach as u32 + 1));
        for y in 0..reach {
            sums.iter_mut().zip(row(y.min(last))).for_each(|(sum, &byte)| *sum += u32::from(byte));
        }
        for (y, out) in blurred.chunks_exact_mut(stride).enumerate() {
            let before = row(y.saturating_sub(reach + 1));
            let entering = row((y + reach).min(last));
            let after = row((y + reach + 1).min(last));
            for x in 0..stride {
                let (before, entering, after) = (u32::from(before[x]), u32::from(entering[x]), u32::from(after[x]));
                // Adding first keeps the sum from passing below zero.
                let sum = sums[x].wrapping_add(entering).wrapping_sub(before);
                sums[x] = sum;
                let total = sum.wrapping_mul(inner).wrapping_add((before + after).wrapping_mul(edge));
                out[x] = (total.wrapping_add(1 << (WEIGHT_BITS - 1)) >> WEIGHT_BITS) as u8;
            }
        }
        std::mem::swap(&mut image.pixels, &mut blurred);
    }
    image
}
