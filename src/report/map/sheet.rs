//! The map as a sheet of fixed size, so that those of all epochs make a film: thumbnails beside each other rather than over each other.

use super::Map;
use super::picture::{EDGE, draw};
use crate::report::picture::Picture;

/// Size of the map without its legend, pixels.
const WIDTH: u32 = 960;
const HEIGHT: u32 = 720;
/// Sides of the thumbnails with their edges: as large as many fit beside each other, within these bounds.
const SIDES: [f64; 2] = [12.0, 64.0];
/// How much of the map all thumbnails together cover.
const COVER: f64 = 0.45;
/// Pixels that stay free around the map.
const MARGIN: f64 = 8.0;
/// Rounds in which thumbnails move apart, and the part of what two overlap by that each of them moves in a round.
const ROUNDS: usize = 300;
const STEP: f64 = 0.375;
/// Groups above which the legend is left out: nobody tells so many colours apart.
const MOST_GROUPS: usize = 24;

/// Side of the thumbnails of a sheet of so many images, without their edges, pixels.
pub fn sheet_side(images: usize) -> u32 {
    let area = f64::from(WIDTH * HEIGHT);
    let side = (COVER * area / images.max(1) as f64).sqrt().clamp(SIDES[0], SIDES[1]);
    side as u32 - 2 * EDGE
}

/// Draws a map on dark ground, thumbnails of [`sheet_side`] pixels in an edge of their group's colour, moved apart where they would
/// hide each other, with a legend.
pub fn map_sheet(map: &Map) -> Picture {
    let side = f64::from(sheet_side(map.points.len()) + 2 * EDGE);
    let free = MARGIN + side / 2.0;
    let (width, height) = (f64::from(WIDTH), f64::from(HEIGHT));
    let mut places = fitted(map, [width - 2.0 * free, height - 2.0 * free]);
    move_apart(&mut places, side, [(free, width - free), (free, height - free)]);
    let groups = if map.groups.len() > MOST_GROUPS { Vec::new() } else { map.groups.clone() };
    draw(&Map { groups, points: map.points.clone() }, &places, (WIDTH, HEIGHT))
}

/// The places in the middle of the sheet, as large as `room` allows, both directions scaled alike.
fn fitted(map: &Map, room: [f64; 2]) -> Vec<[f64; 2]> {
    let extent = [0, 1].map(|axis: usize| {
        let values = map.points.iter().map(|point| f64::from(point.place[axis]));
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
    });
    let [x, y] = extent.map(|(low, high)| ((low + high) / 2.0, (high - low).max(f64::MIN_POSITIVE)));
    let scale = (room[0] / x.1).min(room[1] / y.1);
    let middle = [f64::from(WIDTH) / 2.0, f64::from(HEIGHT) / 2.0];
    let place = |place: &[f32; 2]| {
        let [right, up] = [f64::from(place[0]) - x.0, f64::from(place[1]) - y.0];
        // Where all places are equal the scale is beyond measure.
        [right, -up].map(|value| if value == 0.0 { 0.0 } else { value * scale })
    };
    map.points.iter().map(|point| place(&point.place)).map(|[x, y]| [x + middle[0], y + middle[1]]).collect()
}

/// Moves squares that overlap away from each other, each pair in the direction that takes less, until none do or the rounds are over. A jam of
/// too many may keep some overlaps.
fn move_apart(places: &mut [[f64; 2]], side: f64, within: [(f64, f64); 2]) {
    for _ in 0..ROUNDS {
        let mut settled = true;
        for first in 0..places.len() {
            for second in first + 1..places.len() {
                let [dx, dy] = [0, 1].map(|axis| places[second][axis] - places[first][axis]);
                let axis = usize::from(dx.abs() < dy.abs());
                let away = [dx, dy][axis];
                let overlap = side - away.abs();
                if overlap <= 0.0 {
                    continue;
                }
                settled &= overlap < 1.0;
                let step = STEP * overlap.copysign(away);
                places[first][axis] -= step;
                places[second][axis] += step;
            }
        }
        for place in places.iter_mut() {
            *place = [0, 1].map(|axis| place[axis].clamp(within[axis].0, within[axis].1));
        }
        if settled {
            break;
        }
    }
}
