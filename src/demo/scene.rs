//! Composition of one picture: draws an object and a background, places one on the other, adds blur and grain.

use std::f32::consts::TAU;
use std::ops::RangeInclusive;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::Class;
use super::background::Background;
use super::colour::{Colour, blend};
use super::pattern::Pattern;
use super::shape::Outline;

/// Area of the object over the area of the picture.
const OBJECT_AREA: RangeInclusive<f32> = 0.12..=0.2;
/// Least distance of the object's centre from the border, over the square root of its area. The same for all
/// outlines, so that the place tells nothing about the class; near the border, long outlines lose a tip.
const OBJECT_MARGIN: f32 = 0.5;
/// Squeeze of the object along one axis (the other is stretched to keep the area).
const OBJECT_SQUEEZE: RangeInclusive<f32> = 0.88..=1.0;
/// Periods of the object's pattern per picture side: about 7 pixels a period at the default size.
const PATTERN_RATE: RangeInclusive<f32> = 8.5..=9.5;
/// Difference in brightness between the object's two colours. They lie on opposite sides of middle gray, and either may be
/// the lighter one: brightness says little about one picture and nothing about its class.
const OBJECT_CONTRAST: RangeInclusive<f32> = 0.5..=0.7;
/// Largest distance of a colour's channel from its brightness.
const OBJECT_TINT: f32 = 0.2;
/// Largest turn of outline and pattern to either side, radians: objects stand upright, as most photographed things do.
const MAX_TURN: f32 = 0.35;
/// Largest change of brightness across the object by light from the side.
const SHADING: f32 = 0.25;
/// Share of a pixel that the blur gives to each neighbour, along each axis.
const BLUR: RangeInclusive<f32> = 0.06..=0.1;
/// Largest error of the additive noise, as a share of the value range.
const NOISE: RangeInclusive<f32> = 0.03..=0.04;
/// Sub-pixels per side on which edges and patterns are averaged.
const SUBPIXELS: u32 = 3;
/// Brightness of red, green and blue (ITU-R BT.601).
const LUMA: Colour = [0.299, 0.587, 0.114];

/// The drawn object and its place.
struct Object {
    outline: Outline,
    pattern: Pattern,
    pattern_key: u32,
    pattern_shift: (f32, f32),
    /// Periods per picture side.
    pattern_rate: f32,
    pattern_turn: (f32, f32),
    colours: [Colour; 2],
    centre: (f32, f32),
    turn: (f32, f32),
    /// Side of the square of the object's area over the picture's side.
    side: f32,
    squeeze: f32,
    shading: (f32, f32),
}

/// RGB bytes and mask of one picture, both row by row.
pub(super) fn render(class: &Class, size: u32, rng: &mut ChaCha8Rng) -> (Vec<u8>, Vec<u8>) {
    let background = Background::draw(rng);
    let object = Object::draw(class, rng);
    let mut colours = Vec::with_capacity((size * size) as usize);
    let mut mask = Vec::with_capacity((size * size) as usize);
    for row in 0..size {
        for column in 0..size {
            let place = |pixel: u32| (pixel as f32 + 0.5) / size as f32;
            let behind = background.colour(place(column), place(row));
            let (surface, cover) = object.pixel(column, row, size);
            colours.push(blend(behind, surface, cover));
            mask.push(if cover >= 0.5 { 255 } else { 0 });
        }
    }
    let colours = blur(&colours, size as usize, rng.random_range(BLUR));
    (to_bytes(&colours, rng.random_range(NOISE), rng), mask)
}

impl Object {
    fn draw(class: &Class, rng: &mut ChaCha8Rng) -> Self {
        let outline = Outline::draw(class.shape, rng);
        let side = rng.random_range(OBJECT_AREA).sqrt();
        let squeeze = rng.random_range(OBJECT_SQUEEZE);
        let margin = (OBJECT_MARGIN * side).min(0.5);
        let light = rng.random_range(0.0..TAU);
        let strength = rng.random_range(0.0..SHADING);
        Self {
            outline,
            pattern: class.pattern,
            pattern_key: rng.random(),
            // Grooves keep their centre near the object's; for the other patterns the shift is a free phase.
            pattern_shift: (rng.random_range(-0.5..0.5), rng.random_range(-0.5..0.5)),
            pattern_rate: rng.random_range(PATTERN_RATE),
            pattern_turn: turn(rng),
            colours: contrasting_colours(rng),
            centre: (rng.random_range(margin..=1.0 - margin), rng.random_range(margin..=1.0 - margin)),
            turn: turn(rng),
            side,
            squeeze,
            shading: (strength * light.cos(), strength * light.sin()),
        }
    }

    /// Mean colour of the object over the sub-pixels that it covers, and the share it covers.
    fn pixel(&self, column: u32, row: u32, size: u32) -> (Colour, f32) {
        let fine = (SUBPIXELS * size) as f32;
        let (mut sum, mut covered) = ([0.0; 3], 0.0);
        for sub in 0..SUBPIXELS * SUBPIXELS {
            let x = ((column * SUBPIXELS + sub % SUBPIXELS) as f32 + 0.5) / fine;
            let y = ((row * SUBPIXELS + sub / SUBPIXELS) as f32 + 0.5) / fine;
            if let Some(colour) = self.colour(x - self.centre.0, y - self.centre.1) {
                covered += 1.0;
                sum = std::array::from_fn(|channel| sum[channel] + colour[channel]);
            }
        }
        let subpixels = (SUBPIXELS * SUBPIXELS) as f32;
        (sum.map(|channel| channel / f32::max(covered, 1.0)), covered / subpixels)
    }

    /// Colour of the surface at an offset from the object's centre, if the object is there.
    fn colour(&self, x: f32, y: f32) -> Option<Colour> {
        let (across, down) = rotate((x, y), self.turn);
        if !self.outline.contains(across * self.squeeze / self.side, down / (self.squeeze * self.side)) {
            return None;
        }
        let (along, up) = rotate((x, y), self.pattern_turn);
        let share = self.pattern.value(
            along * self.pattern_rate + self.pattern_shift.0,
            up * self.pattern_rate + self.pattern_shift.1,
            self.pattern_key,
        );
        let light = 1.0 + (x * self.shading.0 + y * self.shading.1) / self.side;
        Some(blend(self.colours[0], self.colours[1], share).map(|channel| channel * light))
    }
}

/// Two colours of random hue on opposite sides of middle gray, in random order.
fn contrasting_colours(rng: &mut ChaCha8Rng) -> [Colour; 2] {
    let tint: Colour = std::array::from_fn(|_| rng.random_range(-OBJECT_TINT..OBJECT_TINT));
    let brightness = tint.iter().zip(LUMA).map(|(channel, weight)| channel * weight).sum::<f32>();
    let sign = if rng.random::<bool>() { -1.0 } else { 1.0 };
    let contrast = sign * rng.random_range(OBJECT_CONTRAST);
    let away = tint.map(|channel| channel - brightness + 0.5 * contrast);
    [away.map(|channel| 0.5 + channel), away.map(|channel| 0.5 - channel)]
}

fn turn(rng: &mut ChaCha8Rng) -> (f32, f32) {
    let angle = rng.random_range(-MAX_TURN..MAX_TURN);
    (angle.cos(), angle.sin())
}

fn rotate((x, y): (f32, f32), (cos, sin): (f32, f32)) -> (f32, f32) {
    (x * cos + y * sin, y * cos - x * sin)
}

/// Three-tap blur along both axes; the edge repeats.
fn blur(colours: &[Colour], size: usize, share: f32) -> Vec<Colour> {
    let tap = |before: Colour, here: Colour, after: Colour| -> Colour {
        std::array::from_fn(|channel| share * (before[channel] + after[channel]) + (1.0 - 2.0 * share) * here[channel])
    };
    let last = size - 1;
    let rows: Vec<Colour> = (0..size * size)
        .map(|at| {
            let (start, column) = (at / size * size, at % size);
            tap(colours[start + column.saturating_sub(1)], colours[at], colours[start + (column + 1).min(last)])
        })
        .collect();
    (0..size * size)
        .map(|at| {
            let (row, column) = (at / size, at % size);
            let above = rows[row.saturating_sub(1) * size + column];
            tap(above, rows[at], rows[(row + 1).min(last) * size + column])
        })
        .collect()
}

fn to_bytes(colours: &[Colour], noise: f32, rng: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(3 * colours.len());
    for channel in colours.iter().flatten() {
        // The difference of two uniform draws: a triangular distribution around zero.
        let error = noise * (rng.random::<f32>() - rng.random::<f32>());
        bytes.push(((channel + error) * 255.0).round().clamp(0.0, 255.0) as u8);
    }
    bytes
}
