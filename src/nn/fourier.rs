//! Positions as waves of 16 lengths along each axis, y first (`xcit.py:PositionalEncodingFourier`).

use std::f64::consts::TAU;
use std::rc::Rc;

/// Features of a position along one axis: for each length a sine and a cosine.
pub const FREQUENCIES: usize = 32;
/// Added to the last coordinate, of which all are fractions.
pub const LAST_EPS: f64 = 1e-6;

const TEMPERATURE: f64 = 10_000.0;

/// What the angle of a whole axis, 2π, is divided by for each feature of a position; sines stand at even places, cosines at odd ones.
pub fn wave_lengths() -> [f64; FREQUENCIES] {
    std::array::from_fn(|i| TEMPERATURE.powf((i / 2 * 2) as f64 / FREQUENCIES as f64))
}

/// The positions of a grid, `[rows·columns, 64]`.
pub(super) fn coordinates([rows, columns]: [usize; 2]) -> Rc<[f32]> {
    let lengths = wave_lengths();
    let axis = |at: usize, last: usize| {
        let angle = (at + 1) as f64 / (last as f64 + LAST_EPS) * TAU;
        lengths.into_iter().enumerate().map(move |(i, length)| {
            let wave = angle / length;
            (if i % 2 == 0 { wave.sin() } else { wave.cos() }) as f32
        })
    };
    let cells = (0..rows * columns).map(|cell| (cell / columns, cell % columns));
    cells.flat_map(|(y, x)| axis(y, rows).chain(axis(x, columns))).collect()
}
