//! Backgrounds: clouds of changing hue, faint patches of other patterns, and lines.
//!
//! Everything here is weaker or smoother than the object, so that the object is what two crops of a picture share.

use std::f32::consts::TAU;
use std::ops::RangeInclusive;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::colour::{Colour, blend, random_colour};
use super::noise::{fractal_noise, soft_step};
use super::pattern::Pattern;

/// Strength of the cloudy noise of each channel, as a share of the value range.
const CLOUD_STRENGTH: RangeInclusive<f32> = 0.15..=0.25;
/// Clouds per picture side at the coarsest octave.
const CLOUD_RATE: RangeInclusive<f32> = 2.0..=3.0;
const CLOUD_OCTAVES: u32 = 3;
/// Number of patches with a pattern of their own.
const PATCHES: RangeInclusive<u32> = 2..=4;
/// Half the side of a patch over the picture's side.
const PATCH_SIZE: RangeInclusive<f32> = 0.06..=0.16;
/// Contrast of a patch's pattern: the largest difference of a channel.
const PATCH_CONTRAST: RangeInclusive<f32> = 0.05..=0.15;
/// Periods of a patch's pattern per picture side: the object's range and beyond.
const PATCH_RATE: RangeInclusive<f32> = 5.0..=14.0;
/// Number of straight lines.
const LINES: RangeInclusive<u32> = 1..=5;
/// Half the width of a line over the picture's side.
const LINE_WIDTH: RangeInclusive<f32> = 0.006..=0.02;
/// Opacity of a line.
const LINE_OPACITY: RangeInclusive<f32> = 0.1..=0.35;

/// Everything drawn for one background.
#[derive(Debug, Clone)]
pub(super) struct Background {
    cloud: Cloud,
    patches: Vec<Patch>,
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
struct Cloud {
    key: u32,
    rate: f32,
    strength: f32,
}

#[derive(Debug, Clone)]
struct Patch {
    centre: (f32, f32),
    half: (f32, f32),
    turn: (f32, f32),
    pattern: Pattern,
    rate: f32,
    colours: [Colour; 2],
    key: u32,
}

#[derive(Debug, Clone)]
struct Line {
    normal: (f32, f32),
    offset: f32,
    width: f32,
    opacity: f32,
    colour: Colour,
}

impl Background {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        let strength = rng.random_range(CLOUD_STRENGTH);
        let cloud = Cloud { key: rng.random(), rate: rng.random_range(CLOUD_RATE), strength };
        let patches = (0..rng.random_range(PATCHES)).map(|_| Patch::draw(rng)).collect();
        let lines = (0..rng.random_range(LINES)).map(|_| Line::draw(rng)).collect();
        Self { cloud, patches, lines }
    }

    /// Colour at a place of the unit square.
    pub(super) fn colour(&self, x: f32, y: f32) -> Colour {
        // Each channel has clouds of its own: hues change across the picture, so that two crops share none.
        let mut colour: Colour = std::array::from_fn(|channel| {
            let key = self.cloud.key.wrapping_add(channel as u32);
            0.5 + self.cloud.strength * fractal_noise(x * self.cloud.rate, y * self.cloud.rate, key, CLOUD_OCTAVES)
        });
        for patch in &self.patches {
            patch.paint(&mut colour, x, y);
        }
        for line in &self.lines {
            let distance = (x * line.normal.0 + y * line.normal.1 - line.offset).abs();
            colour = blend(colour, line.colour, line.opacity * soft_step(line.width - distance, 0.008));
        }
        colour
    }
}

impl Patch {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let contrast = rng.random_range(PATCH_CONTRAST);
        let base = near_colour([0.5; 3], 0.15, rng);
        Self {
            centre: (rng.random(), rng.random()),
            half: (rng.random_range(PATCH_SIZE), rng.random_range(PATCH_SIZE)),
            turn: unit_vector(rng),
            pattern: Pattern::ALL[rng.random_range(0..Pattern::ALL.len())],
            rate: rng.random_range(PATCH_RATE),
            colours: [base, near_colour(base, contrast, rng)],
            key: rng.random(),
        }
    }

    fn paint(&self, colour: &mut Colour, x: f32, y: f32) {
        let (to_x, to_y) = (x - self.centre.0, y - self.centre.1);
        let across = to_x * self.turn.0 + to_y * self.turn.1;
        let down = to_y * self.turn.0 - to_x * self.turn.1;
        let cover = soft_step(self.half.0 - across.abs(), 0.02) * soft_step(self.half.1 - down.abs(), 0.02);
        if cover > 0.0 {
            let share = self.pattern.value(across * self.rate, down * self.rate, self.key);
            *colour = blend(*colour, blend(self.colours[0], self.colours[1], share), cover);
        }
    }
}

impl Line {
    fn draw(rng: &mut ChaCha8Rng) -> Self {
        let normal = unit_vector(rng);
        let through: (f32, f32) = (rng.random(), rng.random());
        Self {
            normal,
            offset: through.0 * normal.0 + through.1 * normal.1,
            width: rng.random_range(LINE_WIDTH),
            opacity: rng.random_range(LINE_OPACITY),
            colour: random_colour(rng),
        }
    }
}

/// A colour whose channels differ from `colour` by at most `spread`.
fn near_colour(colour: Colour, spread: f32, rng: &mut ChaCha8Rng) -> Colour {
    colour.map(|channel| (channel + spread * rng.random_range(-1.0..1.0_f32)).clamp(0.0, 1.0))
}

fn unit_vector(rng: &mut ChaCha8Rng) -> (f32, f32) {
    let angle = rng.random_range(0.0..TAU);
    (angle.cos(), angle.sin())
}
