//! Backgrounds: a litter of short strokes over faint clouds.
//!
//! The litter is as dense and as strong everywhere and in every picture. It is clutter to the eye and to a patch, yet two
//! crops of one background are no more alike than two of different ones: what crops of a picture share is the object.

use std::f32::consts::TAU;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::colour::Colour;
use super::noise::{fractal_noise, lattice, soft_step};

/// Strength of the clouds of each channel, as a share of the value range.
const CLOUD_STRENGTH: f32 = 0.04;
/// Clouds per picture side at the coarsest octave.
const CLOUD_RATE: f32 = 3.0;
const CLOUD_OCTAVES: u32 = 3;
/// Cells per picture side; every cell holds one stroke.
const STROKE_RATE: f32 = 11.0;
/// Half the length of the longest stroke, in cells.
const STROKE_REACH: f32 = 0.8;
/// Half the width of a stroke, in cells.
const STROKE_WIDTH: f32 = 0.13;
/// Largest change of a channel by a stroke.
const STROKE_CONTRAST: f32 = 0.14;

/// Everything drawn for one background.
#[derive(Debug, Clone)]
pub(super) struct Background {
    key: u32,
}

impl Background {
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self { key: rng.random() }
    }

    /// Colour at a place of the unit square.
    pub(super) fn colour(&self, x: f32, y: f32) -> Colour {
        // Each channel has clouds of its own: hues change across the picture, so that two crops share none.
        let mut colour: Colour = std::array::from_fn(|channel| {
            let key = self.key.wrapping_add(channel as u32);
            0.5 + CLOUD_STRENGTH * fractal_noise(x * CLOUD_RATE, y * CLOUD_RATE, key, CLOUD_OCTAVES)
        });
        let (x, y) = (x * STROKE_RATE, y * STROKE_RATE);
        for row in -1..=1 {
            for column in -1..=1 {
                self.stroke(&mut colour, (x.floor() as i32 + column, y.floor() as i32 + row), (x, y));
            }
        }
        colour
    }

    /// Adds the stroke of one cell to the colour at a place; lengths are in cells.
    fn stroke(&self, colour: &mut Colour, cell: (i32, i32), at: (f32, f32)) {
        let draw = |number: u32| lattice(cell.0, cell.1, self.key ^ number.wrapping_mul(0x27D4_EB2F));
        let centre = (cell.0 as f32 + draw(1), cell.1 as f32 + draw(2));
        let angle = TAU * draw(3);
        let reach = STROKE_REACH * (0.4 + 0.6 * draw(4));
        let (to_x, to_y) = (at.0 - centre.0, at.1 - centre.1);
        let along = (to_x * angle.cos() + to_y * angle.sin()).clamp(-reach, reach);
        let distance = (to_x - along * angle.cos()).hypot(to_y - along * angle.sin());
        let cover = soft_step(STROKE_WIDTH - distance, 0.08);
        if cover > 0.0 {
            // Dark and light strokes in equal parts, a little tinted.
            let sign = if draw(5) < 0.5 { -1.0 } else { 1.0 };
            for (channel, value) in colour.iter_mut().enumerate() {
                *value += cover * sign * STROKE_CONTRAST * (0.6 + 0.4 * draw(6 + channel as u32));
            }
        }
    }
}
