//! Patch tokens to colours: one basis for all images, so that equal colours mean equal things in all of them.

use super::EvalError;
use super::foreground::foreground;
use super::pca::{COLOURS, Pca, colours, matched};

/// The patch tokens of some images, image after image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PatchTokens {
    /// `[P, D]`: the class tokens are left out.
    pub values: Vec<f32>,
    /// Width of a token, D.
    pub dim: usize,
    /// Rows and columns of patches of every image; together they are P.
    pub grids: Vec<(usize, usize)>,
}

/// Whether the background is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ground {
    /// All patches in one basis.
    #[default]
    Whole,
    /// Patches of the foreground also in a basis of their own, as in DINOv2's figures.
    Foreground,
}

/// What the components show.
#[derive(Debug, Clone, PartialEq)]
pub struct PcaMaps {
    /// `[P, 3]`: the first three components; after a match scaled to unit variance and turned.
    pub projections: Vec<f32>,
    /// `[P, 3]`, 0 to 1: red, green and blue of every patch.
    pub colours: Vec<f32>,
    /// Share of the variance along each component, 0 to 1.
    pub explained: Vec<f64>,
    /// The foreground in its own basis, if it was asked for.
    pub foreground: Option<ForegroundMap>,
}

/// The foreground in its own basis.
#[derive(Debug, Clone, PartialEq)]
pub struct ForegroundMap {
    /// `[P]`: which patches belong to it.
    pub kept: Vec<bool>,
    /// `[P, 3]`, 0 to 1; 0 for the background.
    pub colours: Vec<f32>,
}

impl PatchTokens {
    /// Adds an image: all its tokens as a network gives them, the class token first.
    pub fn push(&mut self, tokens: &[f32], dim: usize, grid: (usize, usize)) {
        self.dim = dim;
        self.values.extend_from_slice(tokens.get(dim..).unwrap_or_default());
        self.grids.push(grid);
    }
}

/// Colours the patches of all images by their first three principal components. With the `projections` of the same images at an
/// earlier epoch, the components are [`matched`] to them, so that a film does not flicker.
///
/// # Errors
/// No patches, tokens that do not fit the grids, values that are not finite, earlier projections of other images.
pub fn pca_maps(tokens: &PatchTokens, ground: Ground, before: Option<&[f32]>) -> Result<PcaMaps, EvalError> {
    let patches: usize = tokens.grids.iter().map(|(rows, columns)| rows * columns).sum();
    let (found, expected) = (tokens.values.len(), patches * tokens.dim);
    if found != expected {
        return Err(EvalError::Size { what: "the list of patch tokens", found, expected });
    }
    let pca = Pca::fit(&tokens.values, tokens.dim, COLOURS)?;
    let plain = pca.project(&tokens.values)?;
    let projections = match before {
        Some(before) => matched(&plain, before, COLOURS)?,
        None => plain.clone(),
    };
    let foreground = match ground {
        Ground::Whole => None,
        Ground::Foreground => Some(foreground_map(tokens, &plain)?),
    };
    let colours = colours(&projections, COLOURS)?;
    Ok(PcaMaps { projections, colours, explained: pca.explained(), foreground })
}

fn foreground_map(tokens: &PatchTokens, projections: &[f32]) -> Result<ForegroundMap, EvalError> {
    let first: Vec<f32> = projections.iter().step_by(COLOURS).copied().collect();
    let kept = foreground(&first, &tokens.grids)?;
    let rows = tokens.values.chunks_exact(tokens.dim).zip(&kept);
    let front: Vec<f32> = rows.filter(|(_, kept)| **kept).flat_map(|(row, _)| row).copied().collect();
    let mut map = vec![0.0; kept.len() * COLOURS];
    if !front.is_empty() {
        let pca = Pca::fit(&front, tokens.dim, COLOURS)?;
        let shown = colours(&pca.project(&front)?, COLOURS)?;
        let places = map.chunks_exact_mut(COLOURS).zip(&kept).filter(|(_, kept)| **kept);
        places.zip(shown.chunks_exact(COLOURS)).for_each(|((place, _), colour)| place.copy_from_slice(colour));
    }
    Ok(ForegroundMap { kept, colours: map })
}
