//! Affine transforms with the arithmetic of Pillow's `Image.transform` (bicubic, `Geometry.c`): what lies outside becomes the fill.
use crate::planes::Planes;

/// Where a pixel of the result comes from: `x = m₀·x' + m₁·y' + m₂`, `y = m₃·x' + m₄·y' + m₅` at the centres of pixels.
pub type Matrix = [f64; 6];

/// Decimals to which Pillow rounds sine and cosine.
const DECIMALS: usize = 15;

/// The matrix of a turn by `degrees` against the clock around the centre (`Image.rotate`).
pub fn rotation(degrees: f64, (width, height): (usize, usize)) -> Matrix {
    let angle = -degrees.rem_euclid(360.0).to_radians();
    // Pillow rounds in decimals, which is printing and reading again.
    let rounded = |value: f64| format!("{value:.DECIMALS$}").parse().unwrap_or(value);
    let (cos, sin) = (rounded(angle.cos()), rounded(angle.sin()));
    let minus_sin = rounded(-angle.sin());
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    [cos, sin, cos * -x + sin * -y + 0.0 + x, minus_sin, cos, minus_sin * -x + cos * -y + 0.0 + y]
}

/// Writes `from`, transformed, into `to`: every channel where it is outside gets its value of `fill`.
pub fn transform(from: &Planes, matrix: &Matrix, fill: impl Fn(usize) -> u8, to: &mut Planes) {
    let (width, height, channels, line) = (from.width(), from.height(), from.channels(), from.line());
    to.reset(width, height, channels);
    let rows = to.bytes_mut().chunks_exact_mut((channels * line).max(1));
    for (y, row) in rows.enumerate() {
        for x in 0..width {
            let (at_x, at_y) = (x as f64 + 0.5, y as f64 + 0.5);
            let source_x = matrix[0] * at_x + matrix[1] * at_y + matrix[2];
            let source_y = matrix[3] * at_x + matrix[4] * at_y + matrix[5];
            let inside = |at: f64, size: usize| at >= 0.0 && at < size as f64;
            let inside = inside(source_x, width) && inside(source_y, height);
            let taps = inside.then(|| (Taps::of(source_x, width), Taps::of(source_y, height)));
            for channel in 0..channels {
                row[channel * line + x] = match &taps {
                    None => fill(channel),
                    Some((columns, rows)) => sample(from, channel, columns, rows),
                };
            }
        }
    }
}

/// Four neighbours along a side, those beyond the edge being the edge, and how far the place is past the second.
struct Taps {
    places: [usize; 4],
    past: f64,
}

impl Taps {
    fn of(at: f64, size: usize) -> Self {
        let (at, last) = (at - 0.5, size as isize - 1);
        let first = at.floor() as isize - 1;
        let places = std::array::from_fn(|tap| (first + tap as isize).clamp(0, last) as usize);
        Self { places, past: at - at.floor() }
    }
}

fn sample(from: &Planes, channel: usize, columns: &Taps, rows: &Taps) -> u8 {
    let stride = from.stride();
    let line = |y: usize| &from.bytes()[y * stride + channel * from.line()..];
    let values = rows.places.map(|y| {
        let row = line(y);
        cubic(columns.places.map(|x| f64::from(row[x])), columns.past)
    });
    // Cut, not rounded: `bicubic_filter8`.
    cubic(values, rows.past).clamp(0.0, 255.0) as u8
}

/// Cubic convolution with a = −1 in Pillow's order of operations.
fn cubic([v1, v2, v3, v4]: [f64; 4], d: f64) -> f64 {
    let p1 = v2;
    let p2 = -v1 + v3;
    let p3 = 2.0 * (v1 - v2) + v3 - v4;
    let p4 = -v1 + v2 - v3 + v4;
    p1 + d * (p2 + d * (p3 + d * p4))
}
