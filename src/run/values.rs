//! What the values of images are: how many to a pixel, in which range, around which mean.
//!
//! The range is found first, since mean and deviation are those of the bytes that a network is shown: clipped to the range.

use dinoxide_views::pixel::RGB;
use dinoxide_views::samples::{Samples, Values};
use dinoxide_views::{Image, Reading};

use crate::config::PixelFacts;

/// Pixels of an image that are looked at to find its range.
const RANGE_PIXELS: u64 = 4096;
/// 2⁶⁴ divided by the golden ratio.
const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;
/// Share of the values that lies below, and above, the range.
const OUTSIDE: f64 = 0.001;
/// Largest 8-bit value.
const WHITE: f64 = 255.0;
/// Smallest deviation: a channel that never changes is not blown up to noise.
const LEAST_STD: f64 = 1.0 / WHITE;

/// How the values of an image are stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Form {
    /// Values of a pixel.
    stored: usize,
    /// Those that are not alpha.
    opaque: usize,
    /// Where nearly all values of a channel lie; empty for 8 bits.
    spread: Vec<[f32; 2]>,
}

impl Form {
    /// Looks at an image.
    pub fn of(samples: &Samples) -> Self {
        let (stored, opaque) = (samples.channels, samples.opaque_channels());
        let wide = !matches!(samples.values, Values::U8(_));
        let spread = if wide { (0..stored).map(|channel| spread(samples, channel)).collect() } else { Vec::new() };
        Self { stored, opaque, spread }
    }

    /// Returns the form that shows this image alone best.
    pub fn reading(&self) -> Reading {
        let channels = if matches!(self.opaque, 1 | RGB) { RGB } else { self.stored };
        Reading { channels, range: self.spread.iter().copied().map(widened).collect(), ..Reading::default() }
    }

    /// Where each of `channels` channels comes from; none if the image is not read as so many.
    fn sources(&self, channels: usize) -> Option<Vec<usize>> {
        match (self.opaque, channels) {
            (opaque, _) if self.stored == channels || opaque == channels => Some((0..channels).collect()),
            (1, RGB) => Some(vec![0; RGB]),
            (RGB, 1) => Some(vec![0, 1, 2]),
            _ => None,
        }
    }
}

/// Where all values of a channel lie but a thousandth at each end.
fn spread(samples: &Samples, channel: usize) -> [f32; 2] {
    let pixels = (samples.values.len() / samples.channels) as u64;
    // Steps of the golden ratio of all pixels: evenly spread, and never down one column.
    let some = |number: u64| ((number.wrapping_mul(GOLDEN_RATIO) >> 32) * pixels) >> 32;
    let pixel = |number: u64| if pixels <= RANGE_PIXELS { number } else { some(number) };
    let value = |number: u64| samples.values.at(pixel(number) as usize * samples.channels + channel);
    let mut values: Vec<f32> = (0..pixels.min(RANGE_PIXELS)).map(value).filter(|value| value.is_finite()).collect();
    values.sort_unstable_by(f32::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return [0.0, 1.0] };
    let at = |share: f64| values[(last as f64 * share).round() as usize];
    [at(OUTSIDE), at(1.0 - OUTSIDE)]
}

/// A range that is more than a point: one of a single value begins or ends at 0.
fn widened([low, high]: [f32; 2]) -> [f32; 2] {
    match (low, high) {
        _ if high > low => [low, high],
        (0.0, _) => [0.0, 1.0],
        _ => [low.min(0.0), low.max(0.0)],
    }
}

/// The number of channels that most images can be read with: gray and color count together.
pub(super) fn usual_channels(forms: &[&Form]) -> usize {
    let mut counts = std::collections::BTreeMap::new();
    for form in forms {
        let channels = if form.opaque == 1 { RGB } else { form.opaque };
        *counts.entry(channels).or_insert(0_usize) += 1;
    }
    // Of equally many the fewest channels.
    let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
    most.map_or(RGB, |(channels, _)| channels)
}

/// The form in which all these images are read with `channels` channels, and how many of them can be.
pub(super) fn common(forms: &[&Form], channels: usize) -> (Reading, usize) {
    let read: Vec<(&Form, Vec<usize>)> =
        forms.iter().filter_map(|form| Some((*form, form.sources(channels)?))).collect();
    let join = |[low, high]: [f32; 2], [l, h]: [f32; 2]| [low.min(l), high.max(h)];
    let nothing = [f32::INFINITY, f32::NEG_INFINITY];
    let wide: Vec<&(&Form, Vec<usize>)> = read.iter().filter(|(form, _)| !form.spread.is_empty()).collect();
    let of_channel =
        |channel: usize| wide.iter().map(|(form, sources)| form.spread[sources[channel]]).fold(nothing, join);
    let mut range: Vec<[f32; 2]> = (0..channels).map(of_channel).collect();
    // Gray that becomes color, and color that becomes gray, have one range for all.
    if wide.iter().any(|(form, _)| form.opaque != channels && form.stored != channels) {
        let everything = wide.iter().flat_map(|(form, _)| form.spread[..form.opaque].iter().copied());
        range = vec![everything.fold(nothing, join)];
    }
    if range.windows(2).all(|pair| pair[0] == pair[1]) {
        range.truncate(1);
    }
    let range = if wide.is_empty() { Vec::new() } else { range.into_iter().map(widened).collect() };
    (Reading { channels, range, ..Reading::default() }, read.len())
}

/// Mean and mean square of each channel of an image, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moments {
    mean: Vec<f64>,
    square: Vec<f64>,
}

impl Moments {
    /// Of an image as a network is shown it.
    pub fn of(image: &Image) -> Self {
        let (mut sums, mut squares) = (vec![0u64; image.channels], vec![0u64; image.channels]);
        for pixel in image.pixels.chunks_exact(image.channels) {
            for (channel, &value) in pixel.iter().enumerate() {
                let value = u64::from(value);
                sums[channel] += value;
                squares[channel] += value * value;
            }
        }
        let count = (image.pixels.len() / image.channels).max(1) as f64;
        let mean = |sums: Vec<u64>, unit: f64| sums.into_iter().map(|sum| sum as f64 / count / unit).collect();
        Self { mean: mean(sums, WHITE), square: mean(squares, WHITE * WHITE) }
    }

    /// Returns the mean of all channels.
    pub fn brightness(&self) -> f64 {
        self.mean.iter().sum::<f64>() / self.mean.len().max(1) as f64
    }
}

/// What is known of images read in one form: every image counts the same.
pub(super) fn sum_up<'a>(reading: Reading, moments: impl Iterator<Item = &'a Moments>) -> PixelFacts {
    let Reading { channels, range, .. } = reading;
    let (mut mean, mut square, mut images) = (vec![0.0; channels], vec![0.0; channels], 0);
    for of_image in moments {
        mean.iter_mut().zip(&of_image.mean).for_each(|(sum, mean)| *sum += mean);
        square.iter_mut().zip(&of_image.square).for_each(|(sum, square)| *sum += square);
        images += 1;
    }
    let count = f64::from(images.max(1));
    let std = |(mean, square): (&f64, &f64)| (square / count - (mean / count).powi(2)).max(0.0).sqrt().max(LEAST_STD);
    PixelFacts {
        images: images as usize,
        usual: channels,
        channels,
        range,
        std: mean.iter().zip(&square).map(std).map(|std| std as f32).collect(),
        mean: mean.iter().map(|sum| (sum / count) as f32).collect(),
    }
}
