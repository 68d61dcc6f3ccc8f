//! Surface patterns: functions from the plane to 0..1, all with a period of about one unit.

use std::f32::consts::{PI, TAU};

use super::noise::{soft_step, value_noise};

/// A family of surface patterns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pattern {
    Stripes,
    Checker,
    Dots,
    Grain,
    Grooves,
    Waves,
    Honeycomb,
    Scales,
}

impl Pattern {
    /// Share of the second colour at a place, 0..1; `key` shifts the random patterns.
    pub(super) fn value(self, x: f32, y: f32, key: u32) -> f32 {
        match self {
            Pattern::Stripes => soft_step((TAU * x).sin(), 0.35),
            Pattern::Checker => soft_step((PI * x).sin() * (PI * y).sin(), 0.15),
            Pattern::Dots => dots(x, y),
            Pattern::Grain => grain(x, y, key),
            Pattern::Grooves => soft_step((TAU * x.hypot(y)).sin(), 0.35),
            Pattern::Waves => soft_step((TAU * (x + WAVE_HEIGHT * (TAU * WAVE_RATE * y).sin())).sin(), 0.35),
            Pattern::Honeycomb => honeycomb(x, y),
            Pattern::Scales => scales(x, y),
        }
    }
}

/// Half the sideways swing of a wave, in periods.
const WAVE_HEIGHT: f32 = 0.42;
/// Swings per period along the wave.
const WAVE_RATE: f32 = 0.5;
/// Radius of a dot; at 0.4 the two colours cover the same area.
const DOT_RADIUS: f32 = 0.36;
/// Half the thickness of a honeycomb wall.
const WALL: f32 = 0.13;
const SQRT_3: f32 = 1.732_050_8;

fn dots(x: f32, y: f32) -> f32 {
    let (to_x, to_y) = (x - x.round(), y - y.round());
    soft_step(DOT_RADIUS - to_x.hypot(to_y), 0.06)
}

/// Isotropic speckles of two sizes.
fn grain(x: f32, y: f32, key: u32) -> f32 {
    let coarse = value_noise(2.2 * x, 2.2 * y, key);
    let fine = value_noise(4.1 * x + 17.0, 4.1 * y, key ^ 0x5BD1);
    soft_step(0.6 * coarse + 0.4 * fine - 0.5, 0.07)
}

/// Walls of hexagonal cells: the cell is the nearer of two shifted rectangular lattices' centres.
fn honeycomb(x: f32, y: f32) -> f32 {
    let (x, y) = (x / 1.2, y / 1.2);
    let offset = |shift: f32| {
        let (along, up) = (x - 0.5 * shift, y - 0.5 * SQRT_3 * shift);
        (along - along.round(), up - SQRT_3 * (up / SQRT_3).round())
    };
    let (first, second) = (offset(0.0), offset(1.0));
    let nearer = if first.0.hypot(first.1) < second.0.hypot(second.1) { first } else { second };
    let (along, up) = (nearer.0.abs(), nearer.1.abs());
    let from_wall = 0.5 - along.max(0.5 * along + 0.5 * SQRT_3 * up);
    soft_step(WALL - from_wall, 0.05)
}

/// Rows of discs, each row over half of the one above; a disc fades from its rim inwards.
fn scales(x: f32, y: f32) -> f32 {
    let (x, y) = (x / 1.3, y / 1.3);
    let row = (2.0 * y).floor() as i32;
    // The disc with the lowest centre that reaches this place lies on top.
    for candidate in (row - 1..=row + 2).rev() {
        let shift = 0.5 * candidate.rem_euclid(2) as f32;
        let to_x = x - shift - (x - shift).round();
        let radius = to_x.hypot(y - 0.5 * candidate as f32) / 0.56;
        if radius < 1.0 {
            return soft_step(radius - 0.68, 0.12);
        }
    }
    1.0
}
