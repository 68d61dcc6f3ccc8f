//! Outlines: families of shapes, drawn with random proportions and brought to a common area.

use std::f32::consts::{PI, TAU};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A family of outlines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Star,
    Ring,
    Cross,
    Crescent,
    Gear,
    Leaf,
    Triangle,
    Blob,
}

/// One drawn outline within the unit circle.
#[derive(Debug, Clone, Copy)]
enum Form {
    Star { points: f32, inner: f32 },
    Ring { inner: f32 },
    Cross { arm: f32 },
    Crescent { offset: f32, bite: f32 },
    Gear { teeth: f32, root: f32, bore: f32 },
    Leaf { bulge: f32 },
    Triangle { rounding: f32 },
    Blob { lobes: [(f32, f32); 3] },
}

/// An outline scaled to area 1 around its centroid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outline {
    form: Form,
    centroid: (f32, f32),
    /// Length in the outline's frame over length in the form's frame.
    scale: f32,
}

/// Cells per side of the grid on which area and centroid are measured.
const MEASURE_GRID: i32 = 64;

impl Outline {
    /// Draws the proportions of one outline of a family.
    pub(super) fn draw(shape: Shape, rng: &mut ChaCha8Rng) -> Self {
        let form = match shape {
            Shape::Star => Form::Star { points: rng.random_range(5..=7) as f32, inner: rng.random_range(0.42..0.55) },
            Shape::Ring => Form::Ring { inner: rng.random_range(0.42..0.58) },
            Shape::Cross => Form::Cross { arm: rng.random_range(0.26..0.36) },
            Shape::Crescent => {
                Form::Crescent { offset: rng.random_range(0.48..0.62), bite: rng.random_range(0.7..0.8) }
            }
            Shape::Gear => Form::Gear {
                teeth: rng.random_range(7..=10) as f32,
                root: rng.random_range(0.72..0.8),
                bore: rng.random_range(0.14..0.24),
            },
            Shape::Leaf => Form::Leaf { bulge: rng.random_range(0.5..0.68) },
            Shape::Triangle => Form::Triangle { rounding: rng.random_range(0.02..0.12) },
            Shape::Blob => Form::Blob {
                lobes: std::array::from_fn(|_| (rng.random_range(0.05..0.13), rng.random_range(0.0..TAU))),
            },
        };
        Self::measured(form)
    }

    /// Whether a place belongs to the object; the outline has area 1 and its centroid at the origin.
    pub(super) fn contains(&self, x: f32, y: f32) -> bool {
        self.form.contains(x / self.scale + self.centroid.0, y / self.scale + self.centroid.1)
    }

    fn measured(form: Form) -> Self {
        let step = 2.0 / MEASURE_GRID as f32;
        let place = |cell: i32| (cell as f32 + 0.5) * step - 1.0;
        let inside: Vec<(f32, f32)> = (0..MEASURE_GRID * MEASURE_GRID)
            .map(|cell| (place(cell % MEASURE_GRID), place(cell / MEASURE_GRID)))
            .filter(|&(x, y)| form.contains(x, y))
            .collect();
        let count = inside.len() as f32;
        let centroid = inside.iter().fold((0.0, 0.0), |sum, &(x, y)| (sum.0 + x / count, sum.1 + y / count));
        let scale = 1.0 / (count * step * step).sqrt();
        Self { form, centroid, scale }
    }
}

impl Form {
    fn contains(self, x: f32, y: f32) -> bool {
        let radius = x.hypot(y);
        if radius > 1.0 {
            return false;
        }
        match self {
            Form::Star { points, inner } => in_star(radius, y.atan2(x), points, inner),
            Form::Ring { inner } => radius > inner,
            Form::Cross { arm } => {
                let (x, y) = (x.abs(), y.abs());
                x.min(y) < arm && x.max(y) < 0.93
            }
            Form::Crescent { offset, bite } => (x - offset).hypot(y) > bite,
            Form::Gear { teeth, root, bore } => {
                let tooth = (teeth * y.atan2(x)).cos() > 0.0;
                radius > bore && (tooth || radius < root)
            }
            Form::Leaf { bulge } => in_leaf(x, y, bulge),
            Form::Triangle { rounding } => in_triangle(x, y, rounding),
            Form::Blob { lobes } => {
                let angle = y.atan2(x);
                let waves: f32 =
                    lobes.iter().zip(2..).map(|(&(height, phase), n)| height * (n as f32 * angle + phase).cos()).sum();
                radius < 0.68 + waves
            }
        }
    }
}

/// Folds the plane into half a point of the star; its edge runs from the tip to the notch.
fn in_star(radius: f32, angle: f32, points: f32, inner: f32) -> bool {
    let half = PI / points;
    let folded = (angle.rem_euclid(2.0 * half) - half).abs();
    // The notch lies at angle 0 of the folded plane, the tip at angle `half`.
    let (x, y) = (radius * folded.cos(), radius * folded.sin());
    let (tip_x, tip_y) = (half.cos(), half.sin());
    (tip_x - inner) * y - tip_y * (x - inner) > 0.0
}

/// The overlap of two circles through the tips (±0.97, 0) with half width `bulge`.
fn in_leaf(x: f32, y: f32, bulge: f32) -> bool {
    let tip = 0.97_f32;
    let radius = (tip * tip + bulge * bulge) / (2.0 * bulge);
    x.hypot(y.abs() + radius - bulge) < radius
}

/// An equilateral triangle whose corners are cut round.
fn in_triangle(x: f32, y: f32, rounding: f32) -> bool {
    let inradius = 0.5 - rounding;
    let distances = [0.0, TAU / 3.0, 2.0 * TAU / 3.0].map(|angle| x * f32::cos(angle) + y * f32::sin(angle));
    let beyond = distances.map(|distance| distance - inradius);
    let farthest = beyond.iter().copied().fold(f32::MIN, f32::max);
    if farthest < 0.0 {
        return true;
    }
    // Outside two sides at once: measure from the corner between them, which lies at twice the inradius.
    let corner_distance = [PI / 3.0, PI, 5.0 * PI / 3.0]
        .map(|angle| (x - 2.0 * inradius * f32::cos(angle)).hypot(y - 2.0 * inradius * f32::sin(angle)))
        .into_iter()
        .fold(f32::MAX, f32::min);
    let sides_passed = beyond.iter().filter(|&&distance| distance > 0.0).count();
    if sides_passed > 1 { corner_distance < rounding } else { farthest < rounding && corner_distance < 1.8 }
}
