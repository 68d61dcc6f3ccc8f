//! Thumbnails with the arithmetic of Pillow's `Image.thumbnail(size, LANCZOS)`: smaller copies that keep the aspect.
//!
//! Pillow first takes means over whole blocks of pixels, as many as leave at least twice the final size (`reducing_gap` 2), then
//! resizes those; the last blocks may hang over the edge, which the resize makes up for with a fraction of a pixel. Results equal
//! Pillow 13's bit for bit. Pillow also asks JPEG files that were not decoded yet for a smaller version; images that are decoded,
//! as here, are not asked.
use crate::pixel::Image;
use crate::planes::Planes;
use crate::resample::Resampler;
use crate::taps::Filter;

/// Blocks are left out where they would leave less than so many times the final size.
const REDUCING_GAP: f64 = 2.0;

/// Returns the image in the largest size of its aspect that fits into `(width, height)`; one that fits already as it is.
///
/// # Panics
/// If the image or the size is empty.
pub fn thumbnail(image: &Image, within: (u32, u32)) -> Image {
    let size = fitting((image.width, image.height), within);
    if size == (image.width, image.height) {
        return image.clone();
    }
    let whole = |from: u32, to: u32| (f64::from(from) / f64::from(to) / REDUCING_GAP) as u32;
    let blocks = (whole(image.width, size.0).max(1), whole(image.height, size.1).max(1));
    // Pillow hands it on in single precision.
    let extent = |side: u32, block: u32| f64::from((f64::from(side) / f64::from(block)) as f32);
    let extent = (extent(image.width, blocks.0), extent(image.height, blocks.1));
    let mut planes = Planes::default();
    if blocks == (1, 1) {
        Resampler::default().resize_extent(image, extent, size, Filter::Lanczos, &mut planes);
    } else {
        Resampler::default().resize_extent(&reduced(image, blocks), extent, size, Filter::Lanczos, &mut planes);
    }
    Image::from(&planes)
}

/// Returns the size of an image that is to fit into `within`.
///
/// # Panics
/// If a side is 0.
pub fn fitting((width, height): (u32, u32), within: (u32, u32)) -> (u32, u32) {
    assert!(width.min(height).min(within.0).min(within.1) > 0, "no side of {width}x{height} in {within:?} may be 0");
    if within.0 >= width && within.1 >= height {
        return (width, height);
    }
    let aspect = f64::from(width) / f64::from(height);
    let (right, bottom) = (f64::from(within.0), f64::from(within.1));
    if right / bottom >= aspect {
        (nearest(bottom * aspect, |side| (aspect - side / bottom).abs()), within.1)
    } else {
        // A side of 0 would be ideal to Pillow, and then becomes 1.
        let error = |side: f64| if side == 0.0 { 0.0 } else { (aspect - right / side).abs() };
        (within.0, nearest(right / aspect, error))
    }
}

/// The integer below or above with the smaller error, the lower one of equals; at least 1.
fn nearest(side: f64, error: impl Fn(f64) -> f64) -> u32 {
    let (below, above) = (side.floor(), side.ceil());
    (if error(above) < error(below) { above } else { below }).max(1.0) as u32
}

/// The means of blocks of so many columns and rows, rounded as `Image.reduce` does; the last ones may be smaller.
fn reduced(image: &Image, (across, down): (u32, u32)) -> Image {
    let (width, height) = (image.width.div_ceil(across), image.height.div_ceil(down));
    let mut pixels = Vec::with_capacity(width as usize * height as usize * image.channels);
    let mut sums = vec![0_u32; width as usize * image.channels];
    for top in (0..image.height).step_by(down as usize) {
        let rows = down.min(image.height - top);
        sums.fill(0);
        for y in top..top + rows {
            let blocks = image.row(y).chunks(across as usize * image.channels);
            for (sums, block) in sums.chunks_exact_mut(image.channels).zip(blocks) {
                for pixel in block.chunks_exact(image.channels) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, byte)| *sum += u32::from(*byte));
                }
            }
        }
        for (column, sums) in (0..).zip(sums.chunks_exact(image.channels)) {
            let count = rows * across.min(image.width - column * across);
            pixels.extend(sums.iter().map(|sum| mean(*sum, count)));
        }
    }
    Image { width, height, channels: image.channels, pixels }
}

/// The rounded quotient, by Pillow's multiplication: 2³² over 256 times the count, in f32, cut to an integer.
fn mean(sum: u32, count: u32) -> u8 {
    let factor = ((1_u64 << 32) as f32 / (u64::from(count) << 8) as f32) as u64;
    (((u64::from(sum) + u64::from(count / 2)) * factor) >> 24).min(255) as u8
}
