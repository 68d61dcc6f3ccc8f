//! What the values of images are: how many to a pixel, in which range, around which mean.

use dinoxide_views::samples::{Alpha, Samples, Values};

use crate::config::PixelFacts;

/// Pixels of an image that are looked at to find its range.
const RANGE_PIXELS: usize = 4096;
/// Share of the values that lies below, and above, the range.
const OUTSIDE: f64 = 0.001;
/// Largest 8-bit value.
const WHITE: f64 = 255.0;
/// Shares of red, green and blue in a gray level (ITU-R 601-2).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];
/// Red, green and blue.
const RGB: usize = 3;

/// What is remembered of the values of an image.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tally {
    /// Values of a pixel.
    stored: usize,
    /// Those that are not alpha.
    opaque: usize,
    /// Mean of each channel: 0 to 1 for 8 bits, as stored for wider values.
    mean: Vec<f64>,
    /// Mean of each channel's square.
    square: Vec<f64>,
    /// Where nearly all values of a channel lie; empty for 8 bits.
    spread: Vec<[f32; 2]>,
}

impl Tally {
    /// Counts an image; colors as gray levels if `wanted` is one.
    pub fn of(samples: &Samples, wanted: Option<usize>) -> Self {
        if wanted == Some(1) && samples.opaque_channels() == RGB {
            return Self::of(&gray(samples), None);
        }
        let (stored, opaque) = (samples.channels, samples.opaque_channels());
        if let Values::U8(values) = &samples.values {
            let (mean, square) = moments(values, stored);
            return Self { stored, opaque, mean, square, spread: Vec::new() };
        }
        let mut tally = Self { stored, opaque, mean: Vec::new(), square: Vec::new(), spread: Vec::new() };
        let pixels = samples.values.len() / stored;
        for channel in 0..stored {
            let values = |step: usize| {
                let values = (0..pixels).step_by(step).map(move |pixel| samples.values.at(pixel * stored + channel));
                values.filter(|value| value.is_finite())
            };
            let (mut count, mut sum, mut square) = (0.0, 0.0, 0.0);
            for value in values(1).map(f64::from) {
                (count, sum, square) = (count + 1.0, sum + value, square + value * value);
            }
            tally.mean.push(sum / f64::max(count, 1.0));
            tally.square.push(square / f64::max(count, 1.0));
            tally.spread.push(spread(values(pixels.div_ceil(RANGE_PIXELS)).collect()));
        }
        tally
    }

    /// Returns the range of each channel of this image; empty for 8 bits.
    pub fn range(&self) -> Vec<[f32; 2]> {
        self.spread.iter().copied().map(widened).collect()
    }

    /// Returns the mean of all channels, 0 to 1 within `range`: that of each channel or of all.
    pub fn brightness(&self, range: &[[f32; 2]]) -> f64 {
        let wide = if self.spread.is_empty() { &[] } else { range };
        let level = |(channel, mean): (usize, &f64)| {
            let [low, high] = wide.get(channel).or(wide.last()).map_or([0.0, 1.0], |pair| pair.map(f64::from));
            ((mean - low) / (high - low)).clamp(0.0, 1.0)
        };
        self.mean[..self.opaque].iter().enumerate().map(level).sum::<f64>() / self.opaque.max(1) as f64
    }

    /// Where each of `channels` channels comes from; none if the image is not read as so many.
    fn sources(&self, channels: usize) -> Option<Vec<usize>> {
        match (self.opaque, channels) {
            _ if self.stored == channels => Some((0..channels).collect()),
            (opaque, _) if opaque == channels => Some((0..channels).collect()),
            (1, RGB) => Some(vec![0; RGB]),
            _ => None,
        }
    }
}

/// Color as gray levels.
fn gray(samples: &Samples) -> Samples {
    let pixel =
        |pixel: usize| (0..RGB).map(|color| LUMA[color] * samples.values.at(pixel * samples.channels + color)).sum();
    let values: Vec<f32> = (0..samples.values.len() / samples.channels).map(pixel).collect();
    let values = match &samples.values {
        Values::U8(_) => Values::U8(values.iter().map(|value| value.round() as u8).collect()),
        _ => Values::F32 { values, whole: [0.0, 1.0] },
    };
    Samples { channels: 1, alpha: Alpha::None, values, ..*samples }
}

/// Mean and mean square of each channel of 8-bit values, 0 to 1.
fn moments(values: &[u8], channels: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut sums, mut squares) = (vec![0u64; channels], vec![0u64; channels]);
    let mut add = |channel: usize, value: u8| {
        let value = u64::from(value);
        sums[channel] += value;
        squares[channel] += value * value;
    };
    for pixel in values.chunks_exact(channels) {
        pixel.iter().enumerate().for_each(|(channel, &value)| add(channel, value));
    }
    let count = (values.len() / channels).max(1) as f64;
    let mean = |sums: Vec<u64>, unit: f64| sums.into_iter().map(|sum| sum as f64 / count / unit).collect();
    (mean(sums, WHITE), mean(squares, WHITE * WHITE))
}

/// Where all values lie but a thousandth at each end.
fn spread(mut values: Vec<f32>) -> [f32; 2] {
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

/// What the values of all these images are, read with `wanted` channels, or with as many as most images have that are
/// neither gray nor color; without such images in color.
pub(super) fn sum_up(tallies: &[&Tally], wanted: Option<usize>) -> PixelFacts {
    let channels = wanted.unwrap_or_else(|| usual_channels(tallies));
    let read: Vec<(&Tally, Vec<usize>)> =
        tallies.iter().filter_map(|tally| Some((*tally, tally.sources(channels)?))).collect();
    let ranges = ranges(&read, channels);
    let (mut mean, mut square) = (vec![0.0; channels], vec![0.0; channels]);
    for (tally, sources) in &read {
        for (channel, &source) in sources.iter().enumerate() {
            let (m, s) = (tally.mean[source], tally.square[source]);
            // Wide values are stretched from their range to 0 to 1.
            let [low, high] = if tally.spread.is_empty() { [0.0, 1.0] } else { ranges[channel].map(f64::from) };
            let width = high - low;
            mean[channel] += (m - low) / width;
            square[channel] += (s - 2.0 * low * m + low * low) / (width * width);
        }
    }
    let images = read.len();
    let count = images.max(1) as f64;
    let std = |(mean, square): (&f64, &f64)| (square / count - (mean / count).powi(2)).max(0.0).sqrt();
    let deep = read.iter().any(|(tally, _)| !tally.spread.is_empty());
    let same = ranges.windows(2).all(|pair| pair[0] == pair[1]);
    PixelFacts {
        images,
        channels,
        range: if !deep {
            Vec::new()
        } else if same {
            vec![ranges[0]]
        } else {
            ranges
        },
        std: mean.iter().zip(&square).map(std).map(|std| std.max(f64::from(f32::EPSILON)) as f32).collect(),
        mean: mean.iter().map(|sum| (sum / count) as f32).collect(),
    }
}

fn usual_channels(tallies: &[&Tally]) -> usize {
    let mut counts = std::collections::BTreeMap::new();
    tallies.iter().for_each(|tally| *counts.entry(tally.opaque).or_insert(0_usize) += 1);
    let most = counts.into_iter().max_by_key(|(_, count)| *count).map_or(RGB, |(channels, _)| channels);
    if most == 1 { RGB } else { most }
}

/// The range of each channel over all images with wide values: one for all where gray becomes color.
fn ranges(read: &[(&Tally, Vec<usize>)], channels: usize) -> Vec<[f32; 2]> {
    let deep = || read.iter().filter(|(tally, _)| !tally.spread.is_empty());
    let join = |[low, high]: [f32; 2], [l, h]: [f32; 2]| [low.min(l), high.max(h)];
    let nothing = [f32::INFINITY, f32::NEG_INFINITY];
    let of_channel = |channel: usize| deep().map(|(tally, sources)| tally.spread[sources[channel]]).fold(nothing, join);
    let mut ranges: Vec<[f32; 2]> = (0..channels).map(of_channel).collect();
    if deep().any(|(tally, _)| tally.opaque == 1) {
        let joined = ranges.iter().copied().fold(nothing, join);
        ranges.fill(joined);
    }
    ranges.into_iter().map(widened).collect()
}
