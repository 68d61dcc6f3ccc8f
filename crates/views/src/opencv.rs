//! Resizing with the arithmetic of OpenCV's `cv2.resize` of bytes, `INTER_LINEAR`: two pixels of two rows, no antialiasing.
//!
//! Weights have 11 bits. Rows keep them, columns drop bits on the way, so that the order of operations decides the last bit. Results
//! equal those of OpenCV 4.10 and 5.0 bit for bit.
use crate::pixel::Image;

/// Bits of a weight.
const WEIGHT_BITS: u32 = 11;
/// Bits that a sum of a row loses before it is weighed again, and that the product loses then; two remain, and are rounded.
const ROW_BITS: u32 = 4;
const PRODUCT_BITS: u32 = 16;

/// Returns the image at another size, as `cv2.resize(image, (width, height))`.
pub fn resize_linear(image: &Image, width: u32, height: u32) -> Image {
    let (width, height) = (width.max(1), height.max(1));
    if (width, height) == (image.width, image.height) {
        return image.clone();
    }
    if (u64::from(image.width), u64::from(image.height)) == (2 * u64::from(width), 2 * u64::from(height)) {
        return halved(image, width, height);
    }
    let columns: Vec<Pair> = pairs(image.width, width).iter().map(|pair| pair.inside(image.width)).collect();
    let channels = image.channels;
    let weighed = |y: usize| -> Vec<i32> {
        let row = image.row(y as u32);
        let value = |pixel: usize, channel: usize| i32::from(row[pixel * channels + channel]);
        let sum = |pair: &Pair, channel: usize| {
            value(pair.first as usize, channel) * pair.weights[0]
                + value(pair.second as usize, channel) * pair.weights[1]
        };
        columns.iter().flat_map(|pair| (0..channels).map(move |channel| sum(pair, channel))).collect()
    };
    let mut pixels = Vec::with_capacity(width as usize * height as usize * channels);
    // The two rows that are wanted now, with their numbers; one of them is often wanted again.
    let mut held: Vec<(usize, Vec<i32>)> = Vec::new();
    for pair in pairs(image.height, height) {
        let [first, second] = [pair.first, pair.second].map(|row| row.clamp(0, i64::from(image.height) - 1) as usize);
        held.retain(|(row, _)| [first, second].contains(row));
        for wanted in [first, second] {
            if held.iter().all(|(row, _)| *row != wanted) {
                held.push((wanted, weighed(wanted)));
            }
        }
        let sums = |wanted: usize| held.iter().find(|(row, _)| *row == wanted).map_or(&[][..], |(_, sums)| sums);
        let part = |sum: i32, weight: i32| (weight * (sum >> ROW_BITS)) >> PRODUCT_BITS;
        let mixed = |(a, b): (&i32, &i32)| (part(*a, pair.weights[0]) + part(*b, pair.weights[1]) + 2) >> 2;
        pixels.extend(sums(first).iter().zip(sums(second)).map(|sums| mixed(sums).clamp(0, 255) as u8));
    }
    Image { width, height, channels, pixels }
}

/// Half the size is the mean of four pixels, as OpenCV's `INTER_AREA`, to which it turns then.
fn halved(image: &Image, width: u32, height: u32) -> Image {
    let (channels, stride) = (image.channels, image.stride());
    let mut pixels = Vec::with_capacity(width as usize * height as usize * channels);
    for rows in image.pixels.chunks_exact(2 * stride) {
        let (upper, lower) = rows.split_at(stride);
        for (upper, lower) in upper.chunks_exact(2 * channels).zip(lower.chunks_exact(2 * channels)) {
            let sum = |channel: usize| {
                [upper[channel], upper[channels + channel], lower[channel], lower[channels + channel]].map(u16::from)
            };
            pixels.extend((0..channels).map(|channel| ((sum(channel).iter().sum::<u16>() + 2) >> 2) as u8));
        }
    }
    Image { width, height, channels, pixels }
}

/// The two old pixels of a new one and their weights.
#[derive(Debug, Clone, Copy)]
struct Pair {
    first: i64,
    second: i64,
    weights: [i32; 2],
}

impl Pair {
    /// Columns: where one of the two would lie outside of the image, the other counts alone. Rows that lie outside are repeated
    /// instead, which is not the same to the last bit.
    fn inside(self, side: u32) -> Self {
        let last = i64::from(side) - 1;
        let alone = |at: i64| Self { first: at, second: at, weights: [1 << WEIGHT_BITS, 0] };
        match self.first {
            ..0 => alone(0),
            first if first >= last => alone(last),
            _ => self,
        }
    }
}

fn pairs(old: u32, new: u32) -> Vec<Pair> {
    // Twice a quotient, as OpenCV has it.
    let step = 1.0 / (f64::from(new) / f64::from(old));
    let one = (1 << WEIGHT_BITS) as f32;
    let pair = |place: u32| {
        let at = ((f64::from(place) + 0.5) * step - 0.5) as f32;
        let first = at.floor();
        let share = at - first;
        let weights = [1.0 - share, share].map(|weight| (weight * one).round_ties_even() as i32);
        Pair { first: first as i64, second: first as i64 + 1, weights }
    };
    (0..new).map(pair).collect()
}
