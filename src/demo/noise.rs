//! Value noise: the same number for the same place, without a table.

/// Smooth noise in 0..1 with one independent value per unit cell; `key` chooses the field.
pub(super) fn value_noise(x: f32, y: f32, key: u32) -> f32 {
    let (cell_x, cell_y) = (x.floor(), y.floor());
    let (across, down) = (ease(x - cell_x), ease(y - cell_y));
    let (column, row) = (cell_x as i32, cell_y as i32);
    let top = mix(lattice(column, row, key), lattice(column + 1, row, key), across);
    let bottom = mix(lattice(column, row + 1, key), lattice(column + 1, row + 1, key), across);
    mix(top, bottom, down)
}

/// Sum of `octaves` noise fields, each half as large and half as strong, scaled to about -1..1.
pub(super) fn fractal_noise(x: f32, y: f32, key: u32, octaves: u32) -> f32 {
    let (mut sum, mut weight, mut frequency, mut total) = (0.0, 1.0, 1.0, 0.0);
    for octave in 0..octaves {
        let field = value_noise(x * frequency, y * frequency, key.wrapping_add(octave));
        sum += weight * (2.0 * field - 1.0);
        total += weight;
        weight *= 0.5;
        frequency *= 2.0;
    }
    sum / total
}

/// Step from 0 to 1 around zero, as wide as `2 · softness`.
pub(super) fn soft_step(x: f32, softness: f32) -> f32 {
    ease((x / (2.0 * softness) + 0.5).clamp(0.0, 1.0))
}

/// From `a` at 0 to `b` at 1.
pub(super) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

fn ease(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

/// Value of one lattice point in 0..1: an integer hash with odd multipliers and shifts, good enough for the eye.
pub(super) fn lattice(column: i32, row: i32, key: u32) -> f32 {
    let mut hash = key ^ (column as u32).wrapping_mul(0x9E37_79B1) ^ (row as u32).wrapping_mul(0x85EB_CA77);
    for _ in 0..2 {
        hash = (hash ^ (hash >> 15)).wrapping_mul(0x2C1B_3C6D);
        hash ^= hash >> 13;
    }
    hash as f32 / u32::MAX as f32
}
