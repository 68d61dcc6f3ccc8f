//! Attention sheets: one row per image with the mean attention, every head, and the patches that hold most of the mass.
//!
//! Follows DINO (Caron et al. 2021), figure 1, and `visualize_attention.py`: nearest up-sampling, each map min-max
//! normalised, masks that keep the largest patches up to a share of the mass.

use super::picture::{ColourMap, Grid, Picture, PictureError};
use super::sheet::{GROUND, sheet};
use crate::eval::attention::{AttentionMaps, MASS};

/// What the class token of one image attends to.
#[derive(Debug, Clone)]
pub struct AttentionRow {
    /// The image as the network saw it.
    pub image: Picture,
    /// The attention of each head to every patch.
    pub maps: AttentionMaps,
    /// The patches that hold the mean's mass, row by row.
    pub kept: Vec<bool>,
    /// The true object where it is known: one value per pixel of `image`, above 127 inside.
    pub truth: Option<Vec<u8>>,
}

/// How a sheet looks.
#[derive(Debug, Clone, Copy)]
pub struct SheetStyle {
    /// Share of the attention that the masks keep, 0..1; stands above their column.
    pub mass: f64,
    /// Width of a cell in pixels.
    pub cell_px: u32,
    /// Colours of the maps.
    pub map: ColourMap,
}

impl Default for SheetStyle {
    fn default() -> Self {
        Self { mass: MASS, cell_px: 128, map: ColourMap::Viridis }
    }
}

/// A sheet with the columns image, mean of the heads, every head, mask of the mean, and the true mask where one is known.
///
/// # Errors
/// If the patches kept do not fill the grid, or a true mask its image.
pub fn attention_sheet(rows: &[AttentionRow], style: &SheetStyle) -> Result<Picture, PictureError> {
    let cells = rows.iter().map(|row| row_cells(row, style)).collect::<Result<Vec<_>, _>>()?;
    let heads = rows.iter().map(|row| row.maps.heads().len()).max().unwrap_or(0);
    let mut captions = vec!["image".to_string(), "mean".to_string()];
    captions.extend((1..=heads).map(|head| format!("head {head}")));
    captions.push(format!("{:.0}% mass", 100.0 * style.mass));
    if rows.iter().any(|row| row.truth.is_some()) {
        captions.push("truth".to_string());
    }
    Ok(sheet(&cells, &captions))
}

/// Pictures side by side on a panel.
const PANEL_COLUMNS: usize = 4;
/// How much the map hides the picture below it.
pub const OVERLAY_OPACITY: f32 = 0.6;

/// A panel of one image, to be looked at by itself: image, mean, overlay and mask, and below them every head.
///
/// # Errors
/// If the patches kept do not fill the grid.
pub fn attention_panel(row: &AttentionRow, style: &SheetStyle) -> Result<Picture, PictureError> {
    let mut cells = row_cells(&AttentionRow { truth: None, ..row.clone() }, style)?;
    let mask = cells.split_off(2 + row.maps.heads().len());
    let heads = cells.split_off(2);
    let (rows, columns) = row.maps.grid();
    let mean = Grid::new(columns, rows, row.maps.mean())?;
    cells.extend(cells.first().map(|image| image.with_heat(&mean, style.map, OVERLAY_OPACITY)));
    cells.extend(mask);
    let captions = ["image", "mean", "overlay"].map(str::to_owned).into_iter();
    let captions: Vec<String> = captions.chain([format!("{:.0}% mass", 100.0 * style.mass)]).collect();
    let mut strips = vec![sheet(&[cells], &captions)];
    for (number, heads) in heads.chunks(PANEL_COLUMNS).enumerate() {
        let first = number * PANEL_COLUMNS + 1;
        let captions: Vec<String> = (first..first + heads.len()).map(|head| format!("head {head}")).collect();
        strips.push(sheet(&[heads.to_vec()], &captions));
    }
    let (width, height) = (strips[0].width(), strips.iter().map(Picture::height).sum());
    let mut panel = Picture::filled(width, height, GROUND);
    let mut top = 0;
    for strip in &strips {
        panel.paste(strip, 0, top);
        top += strip.height();
    }
    Ok(panel)
}

fn row_cells(row: &AttentionRow, style: &SheetStyle) -> Result<Vec<Picture>, PictureError> {
    let width = style.cell_px.max(1);
    let ratio = f64::from(row.image.height()) / f64::from(row.image.width());
    let height = (f64::from(width) * ratio).round().max(1.0) as u32;
    let image = row.image.resized(width, height);
    let (rows, columns) = row.maps.grid();
    let grid = |values: Vec<f32>| Grid::new(columns, rows, values);
    let map = |values: &[f32]| -> Result<Picture, PictureError> {
        Ok(grid(values.to_vec())?.normalised().to_picture(style.map, width, height))
    };
    let mut cells = vec![image.clone(), map(&row.maps.mean())?];
    for head in row.maps.heads() {
        cells.push(map(head)?);
    }
    let kept = row.kept.iter().map(|&kept| f32::from(kept)).collect();
    cells.push(image.with_mask(&grid(kept)?));
    if let Some(truth) = &row.truth {
        let inside = truth.iter().map(|&value| f32::from(value) / 255.0).collect();
        let truth = Grid::new(row.image.width() as usize, row.image.height() as usize, inside)?;
        cells.push(image.with_mask(&truth));
    }
    Ok(cells)
}
