//! The map as a picture: thumbnails at their places, the legend below.

use super::{Layout, Map, MapPoint, group_colour};
use crate::report::glyph;
use crate::report::picture::Picture;
use crate::report::sheet::GROUND;

/// Width of the picture in pixels.
const WIDTH: u32 = 1600;
/// Side of the thumbnails: as large as many fit beside each other, within these bounds.
const SIDES: [f64; 2] = [14.0, 72.0];
/// How much of the map all thumbnails together would cover.
const COVER: f64 = 0.55;
/// Pixels of an edge.
pub(super) const EDGE: u32 = 2;
/// Width of an entry of the legend, and its swatch.
const ENTRY: u32 = 200;
const SWATCH: u32 = 10;
const PADDING: u32 = 12;

/// Draws a map on dark ground, every image in an edge of its group's colour, with a legend.
pub fn map_picture(map: &Map) -> Picture {
    let count = map.points.len().max(1) as f64;
    let area = f64::from(WIDTH).powi(2) * super::HEIGHT[0];
    let side = (COVER * area / count).sqrt().clamp(SIDES[0], SIDES[1]) as u32;
    let layout = Layout::new(&map.points, f64::from(WIDTH), f64::from(side));
    let thumbnail = |picture: &Picture| picture.resized(side - 2 * EDGE, side - 2 * EDGE);
    let points = map.points.iter().map(|point| MapPoint { thumbnail: thumbnail(&point.thumbnail), ..point.clone() });
    draw(&Map { points: points.collect(), groups: map.groups.clone() }, &layout.places, (WIDTH, layout.height as u32))
}

/// Draws a map whose thumbnails have their size, at places in a rectangle, with the legend below.
pub(super) fn draw(map: &Map, places: &[[f64; 2]], (width, height): (u32, u32)) -> Picture {
    let columns = ((width - 2 * PADDING) / ENTRY).max(1);
    let lines = (map.groups.len() as u32).div_ceil(columns);
    let line_height = glyph::LINE_HEIGHT + 4;
    let mut picture = Picture::filled(width, height + 2 * PADDING + lines * line_height, GROUND);
    for (point, [x, y]) in map.points.iter().zip(places) {
        let side = point.thumbnail.width() + 2 * EDGE;
        let corner = |at: f64| (at as u32).saturating_sub(side / 2);
        let (left, top) = (corner(*x), corner(*y));
        picture.paste(&Picture::filled(side, side, group_colour(point.group)), left, top);
        picture.paste(&point.thumbnail, left + EDGE, top + EDGE);
    }
    for (number, group) in (0..).zip(&map.groups) {
        let (left, top) = (PADDING + number % columns * ENTRY, height + PADDING + number / columns * line_height);
        picture.paste(&Picture::filled(SWATCH, SWATCH, group_colour(number as usize)), left, top);
        let text = format!("{} {}", group.name, group.count);
        glyph::write(&mut picture, &text, (left + SWATCH + 8, top), ENTRY - SWATCH - 16);
    }
    picture
}
