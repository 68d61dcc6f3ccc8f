//! How well self-attention outlines objects: DINO (Caron et al. 2021), figure 4 and `visualize_attention.py`.
//!
//! The CLS row of the last block's attention becomes masks that keep a share of its mass; masks are compared with
//! ground truth by the Jaccard index. The published program draws the masks but does not score them, so the score
//! follows the paper's text: the best head for each object, averaged over an image's objects, then over images.

use serde::Serialize;

use super::EvalError;

/// The share of attention that the paper's figures and Jaccard table keep.
pub const MASS: f64 = 0.6;

/// Level that GrabCut-style masks give to pixels nobody could tell.
const UNKNOWN_LEVEL: u8 = 128;

/// The attention of the CLS token to the patches of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionMaps {
    values: Vec<f32>, // [heads, GH, GW]
    grid: (usize, usize),
}

impl AttentionMaps {
    /// Keeps the CLS row of the last block, without the CLS key.
    ///
    /// # Shapes
    /// `values` is [heads, GH * GW] for `grid` = (GH, GW); the number of heads follows from the two.
    ///
    /// # Errors
    /// Empty input, a length that is no multiple of GH * GW, a value that is negative or not finite.
    pub fn new(values: Vec<f32>, grid: (usize, usize)) -> Result<Self, EvalError> {
        let area = grid.0 * grid.1;
        if area == 0 || values.is_empty() {
            return Err(EvalError::Empty { what: "the attention map" });
        }
        if !values.len().is_multiple_of(area) {
            let expected = (values.len() / area).max(1) * area;
            return Err(EvalError::Size { what: "the attention map", found: values.len(), expected });
        }
        match values.iter().position(|&value| !value.is_finite() || value < 0.0) {
            Some(place) => {
                Err(EvalError::BadValue { what: "the attention map", row: place / area, value: values[place] })
            }
            None => Ok(Self { values, grid }),
        }
    }

    /// Returns height and width of the patch grid.
    pub fn grid(&self) -> (usize, usize) {
        self.grid
    }

    /// Returns the map of each head, [GH * GW] each.
    pub fn heads(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.grid.0 * self.grid.1)
    }

    /// Returns the mean map over heads, [GH * GW].
    pub fn mean(&self) -> Vec<f32> {
        let heads = self.heads().len() as f64;
        let mut sums = vec![0.0_f64; self.grid.0 * self.grid.1];
        for head in self.heads() {
            sums.iter_mut().zip(head).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        sums.into_iter().map(|sum| (sum / heads) as f32).collect()
    }
}

/// Returns the patches that together hold the share `mass` of a map: sort ascending, normalise to sum 1, accumulate,
/// keep where the sum exceeds 1 − `mass`. Of equal values the earlier position is dropped first; a map of zeros keeps
/// nothing.
///
/// # Errors
/// [`EvalError::Mass`] unless 0 < `mass` ≤ 1.
pub fn mass_mask(map: &[f32], mass: f64) -> Result<Vec<bool>, EvalError> {
    if !(mass > 0.0 && mass <= 1.0) {
        return Err(EvalError::Mass { mass });
    }
    let mut order: Vec<usize> = (0..map.len()).collect();
    order.sort_by(|&a, &b| map[a].total_cmp(&map[b]));
    let total: f64 = order.iter().map(|&place| f64::from(map[place])).sum();
    let mut kept = vec![false; map.len()];
    let mut cumulative = 0.0;
    for place in order {
        cumulative += f64::from(map[place]);
        kept[place] = total > 0.0 && cumulative / total > 1.0 - mass;
    }
    Ok(kept)
}

/// Returns a grid with each cell repeated `patch_size` times in both directions (nearest upsampling).
///
/// # Shapes
/// `cells` is [GH * GW] for `grid` = (GH, GW); the result [GH * P * GW * P].
pub fn upsample<T: Copy>(cells: &[T], grid: (usize, usize), patch_size: usize) -> Vec<T> {
    let mut pixels = Vec::with_capacity(cells.len() * patch_size * patch_size);
    for row in cells.chunks_exact(grid.1.max(1)).take(grid.0) {
        let line: Vec<T> = row.iter().flat_map(|&cell| std::iter::repeat_n(cell, patch_size)).collect();
        (0..patch_size).for_each(|_| pixels.extend_from_slice(&line));
    }
    pixels
}

/// What the ground truth says of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// Not the object.
    Background,
    /// The object.
    Object,
    /// Unknown: left out of every count.
    Ignored,
}

/// How to read the level 128 of a grey mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownLevel {
    /// Pixels of level 128 are left out, as GrabCut's masks mean them.
    Ignore,
    /// 128 is a level like any other, hence background: only levels above it are object.
    Background,
}

/// The ground truth of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TruthMask {
    pixels: Vec<Truth>, // [H, W]
    size: (usize, usize),
}

impl TruthMask {
    /// Keeps the truth of every pixel.
    ///
    /// # Shapes
    /// `pixels` is [H * W] for `size` = (H, W).
    ///
    /// # Errors
    /// [`EvalError::Size`] if the two disagree.
    pub fn new(pixels: Vec<Truth>, size: (usize, usize)) -> Result<Self, EvalError> {
        if pixels.len() != size.0 * size.1 {
            return Err(EvalError::Size { what: "the mask", found: pixels.len(), expected: size.0 * size.1 });
        }
        Ok(Self { pixels, size })
    }

    /// Reads a grey mask: levels above 128 are the object.
    ///
    /// # Errors
    /// [`EvalError::Size`] if `gray` is not H * W long.
    pub fn from_gray(gray: &[u8], size: (usize, usize), unknown: UnknownLevel) -> Result<Self, EvalError> {
        let truth = |&level: &u8| match (level, unknown) {
            (UNKNOWN_LEVEL, UnknownLevel::Ignore) => Truth::Ignored,
            (level, _) if level > UNKNOWN_LEVEL => Truth::Object,
            _ => Truth::Background,
        };
        Self::new(gray.iter().map(truth).collect(), size)
    }

    /// Returns height and width in pixels.
    pub fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Returns what is known of every pixel, [H * W].
    pub fn pixels(&self) -> &[Truth] {
        &self.pixels
    }

    /// Returns the top-left part of the mask, as the image is cropped to whole patches.
    ///
    /// # Errors
    /// [`EvalError::MaskSize`] if the mask is smaller than that.
    pub fn crop(&self, size: (usize, usize)) -> Result<Self, EvalError> {
        if size.0 > self.size.0 || size.1 > self.size.1 {
            return Err(EvalError::MaskSize { mask: self.size, attention: size });
        }
        let rows = self.pixels.chunks(self.size.1.max(1)).take(size.0);
        Ok(Self { pixels: rows.flat_map(|row| &row[..size.1]).copied().collect(), size })
    }

    /// Returns the Jaccard index |P ∩ T| / |P ∪ T| of a mask of the same size with this truth, outside of ignored
    /// pixels; 1 if the union is empty.
    ///
    /// # Errors
    /// [`EvalError::Size`] if the two sizes differ.
    pub fn jaccard(&self, mask: &[bool]) -> Result<f64, EvalError> {
        if mask.len() != self.pixels.len() {
            return Err(EvalError::Size { what: "the predicted mask", found: mask.len(), expected: self.pixels.len() });
        }
        let (mut intersection, mut union) = (0_usize, 0_usize);
        for (&kept, &truth) in mask.iter().zip(&self.pixels) {
            let object = truth == Truth::Object;
            intersection += usize::from(kept && object);
            union += usize::from(object || (kept && truth != Truth::Ignored));
        }
        Ok(if union == 0 { 1.0 } else { intersection as f64 / union as f64 })
    }
}

/// Returns the centred ellipse with axes of 0.7 H and 0.7 W: the guess of someone who has not looked at the image.
pub fn centred_ellipse(size: (usize, usize)) -> Vec<bool> {
    const AXIS: f64 = 0.7;
    let (height, width) = size;
    // Distance from the centre in units of the half axis, taken at pixel centres.
    let distance = |place: usize, side: usize| (place as f64 + 0.5 - side as f64 / 2.0) / (AXIS * side as f64 / 2.0);
    let inside = |row: usize, column: usize| distance(row, height).powi(2) + distance(column, width).powi(2) <= 1.0;
    (0..height).flat_map(|row| (0..width).map(move |column| inside(row, column))).collect()
}

/// Mean Jaccard indices of one image's objects or, from [`mean_jaccard`], of many images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct AttentionScore {
    /// The best head for each object: the paper's number. The choice of head uses the truth, so it flatters networks
    /// with many heads; compare it between networks of equally many.
    pub best_head: f64,
    /// The mass mask of the mean map over heads: no choice, no truth needed.
    pub mean_heads: f64,
    /// The centred ellipse.
    pub ellipse: f64,
    /// All pixels as object.
    pub foreground: f64,
}

/// How well an image's attention outlines one of its objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ObjectScore {
    /// The head that does it best, counted from 0; of equally good ones the first.
    pub head: usize,
    /// The scores.
    pub score: AttentionScore,
}

/// Returns how well an image's attention outlines its objects, and what the two blind guesses reach: the mean over objects.
///
/// Masks are cropped at the right and bottom to the pixels which the patches cover.
///
/// # Errors
/// No objects, a mask smaller than the attention, a `mass` outside of (0, 1].
pub fn image_jaccard(
    maps: &AttentionMaps,
    patch_size: usize,
    mass: f64,
    objects: &[TruthMask],
) -> Result<AttentionScore, EvalError> {
    let scores = object_jaccard(maps, patch_size, mass, objects)?;
    mean_jaccard(&scores.iter().map(|object| object.score).collect::<Vec<_>>())
}

/// Returns the same of each object.
///
/// # Errors
/// As [`image_jaccard`], but for no objects.
pub fn object_jaccard(
    maps: &AttentionMaps,
    patch_size: usize,
    mass: f64,
    objects: &[TruthMask],
) -> Result<Vec<ObjectScore>, EvalError> {
    let size = (maps.grid.0 * patch_size, maps.grid.1 * patch_size);
    let pixel_mask = |map: &[f32]| Ok(upsample(&mass_mask(map, mass)?, maps.grid, patch_size));
    let heads = maps.heads().map(pixel_mask).collect::<Result<Vec<_>, EvalError>>()?;
    let mean = pixel_mask(&maps.mean())?;
    let mut scores = Vec::with_capacity(objects.len());
    for object in objects {
        let truth = object.crop(size)?;
        let (mut head, mut best_head) = (0, 0.0_f64);
        for (number, mask) in heads.iter().enumerate() {
            let jaccard = truth.jaccard(mask)?;
            if jaccard > best_head {
                (head, best_head) = (number, jaccard);
            }
        }
        let score = AttentionScore { best_head, mean_heads: truth.jaccard(&mean)?, ..blind_jaccard(&truth)? };
        scores.push(ObjectScore { head, score });
    }
    Ok(scores)
}

/// Returns the scores of the two guesses that ignore the image; the attention's are 0.
///
/// # Errors
/// None for a mask made by [`TruthMask`]'s constructors.
pub fn blind_jaccard(truth: &TruthMask) -> Result<AttentionScore, EvalError> {
    let ellipse = truth.jaccard(&centred_ellipse(truth.size))?;
    let foreground = truth.jaccard(&vec![true; truth.pixels.len()])?;
    Ok(AttentionScore { ellipse, foreground, ..AttentionScore::default() })
}

/// Returns the mean of scores, each weighing the same.
///
/// # Errors
/// [`EvalError::Empty`] without scores.
pub fn mean_jaccard(scores: &[AttentionScore]) -> Result<AttentionScore, EvalError> {
    if scores.is_empty() {
        return Err(EvalError::Empty { what: "the list of masks" });
    }
    let mean = |part: fn(&AttentionScore) -> f64| scores.iter().map(part).sum::<f64>() / scores.len() as f64;
    Ok(AttentionScore {
        best_head: mean(|score| score.best_head),
        mean_heads: mean(|score| score.mean_heads),
        ellipse: mean(|score| score.ellipse),
        foreground: mean(|score| score.foreground),
    })
}
