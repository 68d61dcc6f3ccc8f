//! A map of images: each at its place on a plane, edged in the colour of its group.
//!
//! | file | makes |
//! |---|---|
//! | `mod.rs` | what a map is, colours, the layout |
//! | `page.rs` | one page with an SVG that a script can move |
//! | `picture.rs` | a picture |
//! | `sheet.rs` | a picture of fixed size for every evaluation |

mod page;
mod picture;
mod sheet;

pub use page::MapPage;
pub use picture::map_picture;
pub use sheet::{map_sheet, sheet_side};

use super::picture::Picture;

/// A map.
#[derive(Debug, Clone, Default)]
pub struct Map {
    /// The images.
    pub points: Vec<MapPoint>,
    /// What they are grouped by.
    pub groups: Vec<MapGroup>,
}

/// An image on the map.
#[derive(Debug, Clone)]
pub struct MapPoint {
    /// Its name.
    pub name: String,
    /// Its place, in any unit; upwards is positive.
    pub place: [f32; 2],
    /// Its group.
    pub group: usize,
    /// A small square copy.
    pub thumbnail: Picture,
}

/// A class or a cluster.
#[derive(Debug, Clone)]
pub struct MapGroup {
    /// Its name.
    pub name: String,
    /// Its images.
    pub count: usize,
}

/// Colours that can be told apart on light and dark ground.
const PALETTE: [[u8; 3]; 12] = [
    [66, 133, 214],
    [230, 126, 34],
    [58, 168, 83],
    [204, 71, 90],
    [142, 104, 204],
    [22, 160, 160],
    [214, 102, 178],
    [176, 145, 20],
    [120, 120, 130],
    [139, 94, 60],
    [94, 180, 222],
    [150, 190, 60],
];
/// Smallest and largest height of a map as a share of its width.
const HEIGHT: [f64; 2] = [0.55, 0.85];

/// The colour of a group: of a palette, then hues far from those before.
pub fn group_colour(group: usize) -> [u8; 3] {
    if let Some(colour) = PALETTE.get(group) {
        return *colour;
    }
    // Steps of the golden ratio around the circle of hues; three levels of lightness.
    let hue = (group as f64 * 0.618_033_988_75).fract();
    let level = [205.0, 165.0, 125.0][group % 3];
    let wave = |shift: f64| 0.5 + 0.5 * (std::f64::consts::TAU * (hue + shift)).cos();
    [0.0, 1.0 / 3.0, 2.0 / 3.0].map(|shift| (level * (0.25 + 0.75 * wave(shift))) as u8)
}

/// Places in a rectangle, and its height.
struct Layout {
    places: Vec<[f64; 2]>,
    height: f64,
}

impl Layout {
    /// Places the points in a rectangle of a width, `margin` away from its edges; both directions are scaled alike unless the map would
    /// become too flat or too high.
    fn new(points: &[MapPoint], width: f64, margin: f64) -> Self {
        let values = |axis: usize| points.iter().map(move |point| f64::from(point.place[axis]));
        let extent = |axis: usize| {
            let low = values(axis).fold(f64::INFINITY, f64::min);
            let high = values(axis).fold(f64::NEG_INFINITY, f64::max);
            (low, (high - low).max(0.0))
        };
        let [(left, wide), (bottom, high)] = [extent(0), extent(1)];
        let ratio = if wide > 0.0 { high / wide } else { HEIGHT[1] };
        let height = (width * ratio.clamp(HEIGHT[0], HEIGHT[1])).round();
        let at = |value: f64, low: f64, extent: f64, side: f64| {
            let share = if extent > 0.0 { (value - low) / extent } else { 0.5 };
            margin + share * (side - 2.0 * margin)
        };
        let place = |point: &MapPoint| {
            let [x, y] = point.place.map(f64::from);
            [at(x, left, wide, width), height - at(y, bottom, high, height)]
        };
        Self { places: points.iter().map(place).collect(), height }
    }
}
