//! Principal components as pictures: red, green and blue of every patch, beside the image.

use super::picture::{Picture, PictureError};
use super::sheet::sheet;

/// What lies behind the foreground.
const BACKGROUND: [u8; 3] = [20, 22, 27];
/// Pictures in a row of the sheet, about.
const COLUMNS: usize = 6;

/// How patches become pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upsampling {
    /// Every patch a block: what the network says and nothing more.
    #[default]
    Nearest,
    /// Smooth from patch to patch.
    Smooth,
}

/// An image and its maps, all of one size.
#[derive(Debug, Clone)]
pub struct PcaRow {
    /// The image as the network saw it.
    pub image: Picture,
    /// The colours of all patches.
    pub map: Picture,
    /// The colours of the foreground, if it was asked for.
    pub foreground: Option<Picture>,
}

/// A picture of the size of `image` from the colours of its patches.
///
/// # Shapes
/// `colours` is `[rows · columns, 3]`, 0 to 1, for `grid` = (rows, columns).
///
/// # Errors
/// If the colours do not fill the grid.
pub fn pca_picture(
    colours: &[f32],
    grid: (usize, usize),
    image: &Picture,
    upsampling: Upsampling,
) -> Result<Picture, PictureError> {
    let bytes = colours.iter().map(|level| (255.0 * level).round() as u8).collect();
    let small = Picture::new(grid.1 as u32, grid.0 as u32, bytes)?;
    Ok(match upsampling {
        Upsampling::Nearest => small.enlarged(image.width(), image.height()),
        Upsampling::Smooth => small.resized(image.width(), image.height()),
    })
}

/// A map with the patches outside of `kept` dark.
///
/// # Shapes
/// `kept` is `[rows · columns]` for `grid` = (rows, columns).
///
/// # Errors
/// If `kept` does not fill the grid.
pub fn cut_out(map: &Picture, kept: &[bool], grid: (usize, usize)) -> Result<Picture, PictureError> {
    let bytes = kept.iter().flat_map(|kept| [u8::from(*kept); 3]).collect();
    let mask = Picture::new(grid.1 as u32, grid.0 as u32, bytes)?.enlarged(map.width(), map.height());
    let colour = |column, row| if mask.pixel(column, row)[0] > 0 { map.pixel(column, row) } else { BACKGROUND };
    Ok(Picture::from_fn(map.width(), map.height(), colour))
}

/// A sheet of images, each with its maps to the right; several to a row. Their longer side is `cell_px` pixels.
pub fn pca_sheet(rows: &[PcaRow], cell_px: u32) -> Picture {
    let fit = |picture: &Picture| {
        let scale = f64::from(cell_px) / f64::from(picture.width().max(picture.height()));
        let side = |side: u32| (f64::from(side) * scale).round() as u32;
        let (width, height) = (side(picture.width()), side(picture.height()));
        if scale > 1.0 { picture.enlarged(width, height) } else { picture.resized(width, height) }
    };
    let group = if rows.iter().any(|row| row.foreground.is_some()) { 3 } else { 2 };
    let together = (COLUMNS / group).min(rows.len()).max(1);
    let cells = |row: &PcaRow| {
        let pictures = [Some(&row.image), Some(&row.map), row.foreground.as_ref()];
        pictures.into_iter().flatten().map(fit).collect::<Vec<_>>()
    };
    let lines: Vec<Vec<Picture>> = rows.chunks(together).map(|rows| rows.iter().flat_map(cells).collect()).collect();
    let captions = ["image", "PCA", "foreground"].map(str::to_owned);
    let captions: Vec<String> = (0..together).flat_map(|_| captions[..group].to_vec()).collect();
    sheet(&lines, &captions)
}
