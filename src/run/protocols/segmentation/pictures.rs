//! Heads of the images that go best and worst: the objects, the best head's mask, and what every head attends to.

use std::path::{Path, PathBuf};

use dinoxide_engine::tensor::Pool;

use super::pairs::Pair;
use super::scores::{ImageScore, Scorer};
use crate::eval::attention::{AttentionMaps, mass_mask};
use crate::report::picture::{ColourMap, Grid, Picture};
use crate::report::tiles::{GREEN, RED, Tile, tiles};
use crate::report::video_sheet::with_objects;
use crate::run::RunError;
use crate::run::look::write_file;
use crate::run::report::picture_of;

/// The sheet.
const SHEET: &str = "heads.png";
/// Images of each kind.
const SHOWN: usize = 4;
/// Longer side of a cell, pixels.
const CELL_PX: u32 = 160;

/// Writes the sheet: the best images, then the worst.
///
/// # Errors
/// If an image cannot be read again, or the file cannot be written.
pub(super) fn write_pictures(
    scorer: &Scorer<'_>,
    pairs: &[Pair],
    images: &[ImageScore],
    out: &Path,
) -> Result<Vec<PathBuf>, RunError> {
    let mut order: Vec<&ImageScore> = images.iter().collect();
    order.sort_by(|a, b| b.mean.best_head.total_cmp(&a.mean.best_head));
    let shown = SHOWN.min(order.len().div_ceil(2));
    let worst = order.split_off(shown.max(order.len().saturating_sub(SHOWN)));
    order.truncate(shown);
    let pool = Pool::new();
    let network = scorer.look.model.frozen(&scorer.look.cpu, &pool);
    let mut rows = Vec::new();
    for (score, edge) in
        order.into_iter().map(|score| (score, GREEN)).chain(worst.into_iter().map(|score| (score, RED)))
    {
        let Ok(seen) = scorer.reader.read(&pairs[score.place])? else { continue };
        let maps = scorer.maps(&network, &seen.image)?;
        let image = small(&picture_of(&seen.image)?);
        let labels = seen.mask.labels();
        rows.push(row(&image, &with_objects(&image, &labels), &maps, score, scorer.mass)?);
        if let Some(first) = rows.last_mut().and_then(|row: &mut Vec<Tile>| row.first_mut()) {
            first.edge = Some(edge);
        }
    }
    let heads = images.iter().map(|image| image.heads).max().unwrap_or(0);
    let fixed = ["image", "objects", "best head", "mean"].map(str::to_owned).into_iter();
    let captions: Vec<String> = fixed.chain((1..=heads).map(|head| format!("head {head}"))).collect();
    let path = out.join(SHEET);
    write_file(&path, &tiles(&rows, &captions, CELL_PX).to_png()?)?;
    Ok(vec![path])
}

fn row(
    image: &Picture,
    objects: &Picture,
    maps: &AttentionMaps,
    score: &ImageScore,
    mass: f64,
) -> Result<Vec<Tile>, RunError> {
    let (rows, columns) = maps.grid();
    let plain = |picture: Picture, line: String| Tile { picture, lines: vec![line], edge: None };
    let mean = maps.mean();
    let heat = |map: &[f32]| -> Result<Picture, RunError> {
        let grid = Grid::new(columns, rows, map.to_vec())?.normalised();
        Ok(grid.to_picture(ColourMap::Inferno, image.width(), image.height()))
    };
    // The object that the best head outlines best.
    let best = score.objects.iter().max_by(|a, b| a.1.score.best_head.total_cmp(&b.1.score.best_head));
    let head = best.map_or(0, |(_, object)| object.head);
    let kept = mass_mask(maps.heads().nth(head).unwrap_or(&mean), mass)?;
    let kept = Grid::new(columns, rows, kept.into_iter().map(|kept| f32::from(u8::from(kept))).collect())?;
    let percent = |share: f64| format!("{:.0}", 100.0 * share);
    let mut tiles = vec![
        plain(image.clone(), score.name.clone()),
        plain(objects.clone(), format!("J {}", percent(score.mean.best_head))),
        plain(image.with_mask(&kept), format!("head {}", head + 1)),
        plain(heat(&mean)?, format!("J {}", percent(score.mean.mean_heads))),
    ];
    for map in maps.heads() {
        tiles.push(plain(heat(map)?, String::new()));
    }
    Ok(tiles)
}

/// The picture no larger than a cell.
fn small(picture: &Picture) -> Picture {
    let scale = f64::from(CELL_PX) / f64::from(picture.width().max(picture.height()));
    let side = |side: u32| (f64::from(side) * scale).round() as u32;
    picture.resized(side(picture.width()), side(picture.height()))
}
