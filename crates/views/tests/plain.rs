//! Resize and blur against plain loops over pixels, on random sizes; `parity.rs` holds both to Pillow on some.

use dinoxide_views::blur::Blur;
use dinoxide_views::draw::DrawnView;
use dinoxide_views::rand_augment::Operations;
use dinoxide_views::resample::{Filter, Resampler, Resize, Window};
use dinoxide_views::{Crop, Image, Planes, render};
use proptest::prelude::*;

fn noise(width: u32, height: u32, channels: usize, seed: u32) -> Image {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // A few flat and extreme values among the others: rounding and clipping.
        match state >> 29 {
            0 => 0,
            1 => 255,
            _ => (state >> 16) as u8,
        }
    };
    let pixels = (0..width as usize * height as usize * channels).map(|_| next()).collect();
    Image { width, height, channels, pixels }
}

/// One pass of Pillow's resize over `length` values: `read(output, input)` in, one value for each output out.
fn plain_pass(from: u32, to: u32, filter: Filter, read: impl Fn(usize) -> u8) -> Vec<u8> {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    let support = stretch * if filter == Filter::Bicubic { 2.0 } else { 1.0 };
    let kernel = |x: f64| {
        let x = x.abs();
        match filter {
            Filter::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5,
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            _ => 0.0,
        }
    };
    let output = |output: u32| {
        let center = (f64::from(output) + 0.5) * scale;
        let start = ((center - support + 0.5) as i64).max(0) as usize;
        let end = ((center + support + 0.5) as i64).min(i64::from(from)) as usize;
        let weights: Vec<f64> = (start..end).map(|at| kernel((at as f64 - center + 0.5) * (1.0 / stretch))).collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (weight / total * f64::from(1 << 22)).round() as i64;
        let sum: i64 = (start..end).zip(&weights).map(|(at, weight)| fixed(weight) * i64::from(read(at))).sum();
        ((sum + (1 << 21)) >> 22).clamp(0, 255) as u8
    };
    (0..to).map(output).collect()
}

fn plain_rows(image: &Image, width: u32, filter: Filter) -> Image {
    let channels = image.channels;
    let mut out = Image::black(width, image.height, channels);
    for y in 0..image.height as usize {
        for channel in 0..channels {
            let read = |x: usize| image.pixels[(y * image.width as usize + x) * channels + channel];
            for (x, value) in plain_pass(image.width, width, filter, read).into_iter().enumerate() {
                out.pixels[(y * width as usize + x) * channels + channel] = value;
            }
        }
    }
    out
}

fn plain_columns(image: &Image, height: u32, filter: Filter) -> Image {
    turned(&plain_rows(&turned(image), height, filter))
}

/// Rows and columns exchanged.
fn turned(image: &Image) -> Image {
    let channels = image.channels;
    let mut out = Image::black(image.height, image.width, channels);
    for y in 0..image.height as usize {
        for x in 0..image.width as usize {
            let (from, to) = ((y * image.width as usize + x) * channels, (x * image.height as usize + y) * channels);
            out.pixels[to..to + channels].copy_from_slice(&image.pixels[from..from + channels]);
        }
    }
    out
}

/// Top and bottom exchanged.
fn upside_down_of(image: &Image) -> Image {
    let mut columns = turned(image);
    columns.flip();
    turned(&columns)
}

/// Pillow's extended box blur along rows, once: whole weights inside, a smaller one at both ends.
fn plain_box(image: &Image, radius: f32) -> Image {
    let (reach, width) = (radius as i64, i64::from(image.width));
    let inner = ((1u32 << 24) as f32 / (radius * 2.0 + 1.0)) as i64;
    let edge = ((1 << 24) - (2 * reach + 1) * inner) / 2;
    let mut out = image.clone();
    for (at, value) in out.pixels.iter_mut().enumerate() {
        let (at, channels) = (at as i64, image.channels as i64);
        let (row, x, channel) = (at / (channels * width), at / channels % width, at % channels);
        let index = |x: i64| ((row * width + x.clamp(0, width - 1)) * channels + channel) as usize;
        let read = |x: i64| i64::from(image.pixels[index(x)]);
        let inside: i64 = (x - reach..=x + reach).map(read).sum();
        let total = inside * inner + (read(x - reach - 1) + read(x + reach + 1)) * edge;
        *value = ((total + (1 << 23)) >> 24) as u8;
    }
    out
}

/// Radius of the box that stands for a Gaussian after three passes (Gwosdek et al. 2011).
fn box_radius(sigma: f64) -> f32 {
    let variance = (sigma as f32) * (sigma as f32) / 3.0;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let mut fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
    fraction /= 6.0 * (variance - (whole + 1.0) * (whole + 1.0));
    whole + fraction
}

/// Color half of the time, else any number.
fn channels() -> impl Strategy<Value = usize> {
    prop_oneof![Just(3usize), 1usize..8, Just(32usize)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn resizing_equals_plain_loops(
        source in (1u32..90, 1u32..90),
        size in (1u32..70, 1u32..70),
        part in (0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0, 0.0f64..1.0),
        bicubic in any::<bool>(),
        mirrored in any::<bool>(),
        upside_down in any::<bool>(),
        channels in channels(),
        seed in any::<u32>(),
    ) {
        let image = noise(source.0, source.1, channels, seed);
        let span = |side: u32, share: f64, place: f64| {
            let length = ((f64::from(side) * share) as u32).max(1);
            ((f64::from(side - length) * place) as u32, length)
        };
        let ((x, width), (y, height)) = (span(source.0, part.0, part.1), span(source.1, part.2, part.3));
        let crop = Crop { x, y, width, height };
        let filter = if bicubic { Filter::Bicubic } else { Filter::Bilinear };
        let cut = image.crop(crop);
        // Pillow 13 begins with the columns where the height loses more than twice what the width loses.
        let (lost_x, lost_y) = (i64::from(width) - i64::from(size.0), i64::from(height) - i64::from(size.1));
        let mut expected = if lost_y > 0 && lost_x != 0 && lost_y > 2 * lost_x {
            plain_rows(&plain_columns(&cut, size.1, filter), size.0, filter)
        } else {
            plain_columns(&plain_rows(&cut, size.0, filter), size.1, filter)
        };
        if mirrored {
            expected.flip();
        }
        if upside_down {
            expected = upside_down_of(&expected);
        }
        let mut planes = Planes::default();
        let window = Window { rectangle: Crop { x: 0, y: 0, width: size.0, height: size.1 }, filter };
        let mut resampler = Resampler::default();
        // Twice: what the first image left in memory must not matter.
        for (image, crop) in [(&noise(91, 92, 3, 1), Crop { x: 0, y: 0, width: 91, height: 92 }), (&image, crop)] {
            resampler.resize(image, Resize { crop, size, window, mirrored, upside_down }, &mut planes);
        }
        prop_assert_eq!(Image::from(&planes), expected);
    }

    #[test]
    fn blur_equals_plain_loops(
        size in (1u32..70, 1u32..70),
        sigma in 0.05f64..12.0,
        channels in channels(),
        seed in any::<u32>(),
    ) {
        let image = noise(size.0, size.1, channels, seed);
        let radius = box_radius(sigma);
        let mut expected = image.clone();
        for _ in 0..2 {
            for _ in 0..3 {
                expected = plain_box(&expected, radius);
            }
            expected = turned(&expected);
        }
        let (mut planes, mut blur) = (Planes::from(&noise(71, 40, 3, 1)), Blur::default());
        blur.apply(&mut planes, 2.0);
        planes = Planes::from(&image);
        blur.apply(&mut planes, sigma);
        prop_assert_eq!(Image::from(&planes), expected);
    }
}

/// Flips and quarter turns, on a view without anything else.
#[test]
fn turns_are_clockwise_and_follow_the_flips() {
    for channels in [1, 3, 5] {
        turns_of(&noise(40, 33, channels, 5));
    }
}

fn turns_of(image: &Image) {
    let crop = Crop { x: 3, y: 2, width: 30, height: 31 };
    let plain = DrawnView {
        crop,
        filter: Filter::Bilinear,
        flip: false,
        flip_vertical: false,
        turns: 0,
        jitter: None,
        gray: false,
        blur_radius: None,
        solarize: None,
        operations: Operations::default(),
        erased: None,
    };
    for (flip, flip_vertical, turns) in [(false, true, 0), (false, false, 1), (true, false, 2), (true, true, 3)] {
        let mut expected = render(image, &plain, 16);
        if flip {
            expected.flip();
        }
        if flip_vertical {
            expected = upside_down_of(&expected);
        }
        for _ in 0..turns {
            // The left column, from bottom to top, becomes the upper row.
            expected = turned(&expected);
            expected.flip();
        }
        assert_eq!(render(image, &DrawnView { flip, flip_vertical, turns, ..plain }, 16), expected, "{turns}");
    }
}
