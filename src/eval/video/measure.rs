//! How well a mask agrees with the truth: region similarity J and boundary accuracy F of DAVIS (Perazzi et al. 2016, section 4).
//!
//! J is intersection over union. F is the harmonic mean of two shares: of the predicted boundary's pixels near the true one, and of the
//! true boundary's pixels near the predicted one. Near is a disk of 0.8 % of the image's diagonal, rounded up. The official program dilates
//! both boundaries by that disk; here each pixel of one boundary looks into the disk around it instead, row by row in running counts of
//! the other, which is the same and does not grow with the disk's area.

use super::{Mask, VideoError};

/// Radius of the disk as a share of the diagonal.
const TOLERANCE: f64 = 0.008;

/// J and F of an object in a frame, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameScore {
    /// Region similarity.
    pub j: f64,
    /// Boundary accuracy.
    pub f: f64,
}

/// J and F of each of the objects 1 to `objects`; one that is not predicted counts as empty.
///
/// # Errors
/// [`VideoError::MaskSize`] if the sizes differ, [`VideoError::UnknownObject`] if there is a higher label in the prediction.
pub fn score_frame(truth: &Mask, predicted: &Mask, objects: usize) -> Result<Vec<FrameScore>, VideoError> {
    let size = |mask: &Mask| (mask.width(), mask.height());
    if size(truth) != size(predicted) {
        return Err(VideoError::MaskSize { predicted: size(predicted), truth: size(truth) });
    }
    if predicted.objects() > objects {
        return Err(VideoError::UnknownObject { found: predicted.objects(), objects });
    }
    let width = truth.width();
    let score = |label: usize| {
        let (truth, predicted) = (truth.object(label), predicted.object(label));
        FrameScore { j: region_similarity(&truth, &predicted), f: boundary_accuracy(&truth, &predicted, width) }
    };
    Ok((1..=objects).map(score).collect())
}

/// J of two masks of equal size: intersection over union, 1 if both are empty.
pub fn region_similarity(truth: &[bool], predicted: &[bool]) -> f64 {
    let (mut both, mut either) = (0_usize, 0_usize);
    for (truth, predicted) in truth.iter().zip(predicted) {
        both += usize::from(*truth && *predicted);
        either += usize::from(*truth || *predicted);
    }
    if either == 0 { 1.0 } else { both as f64 / either as f64 }
}

/// Radius of the disk within which two boundaries agree, for images of this size.
pub fn tolerance_px(width: usize, height: usize) -> usize {
    (TOLERANCE * ((width * width + height * height) as f64).sqrt()).ceil() as usize
}

/// F of two masks of `width` columns: 1 if both have no boundary, 0 if one has.
///
/// # Panics
/// If the masks differ in size or are no whole rows.
pub fn boundary_accuracy(truth: &[bool], predicted: &[bool], width: usize) -> f64 {
    assert!(truth.len() == predicted.len(), "masks of {} and {} pixels", truth.len(), predicted.len());
    assert!(width > 0 && truth.len().is_multiple_of(width), "{} pixels are no rows of {width}", truth.len());
    let radius = tolerance_px(width, truth.len() / width);
    let (truth, predicted) = (Boundary::of(truth, width), Boundary::of(predicted, width));
    let (precision, recall) = match (predicted.pixels.len(), truth.pixels.len()) {
        (0, 0) => (1.0, 1.0),
        (0, _) => (1.0, 0.0),
        (_, 0) => (0.0, 1.0),
        _ => (predicted.share_near(&truth, radius), truth.share_near(&predicted, radius)),
    };
    if precision + recall == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) }
}

/// The boundary of a mask.
struct Boundary {
    width: usize,
    height: usize,
    /// Its pixels as (column, row).
    pixels: Vec<(usize, usize)>,
    /// [H, W + 1]: how many of a row's pixels lie left of a column.
    counts: Vec<u32>,
}

impl Boundary {
    /// The pixels that differ from their right, lower or lower right neighbour; in the last row and column only from the one there is.
    fn of(mask: &[bool], width: usize) -> Self {
        let height = mask.len() / width;
        let mut boundary = Self { width, height, pixels: Vec::new(), counts: Vec::with_capacity((width + 1) * height) };
        for (row, line) in mask.chunks_exact(width).enumerate() {
            let below = mask.get((row + 1) * width..(row + 2) * width).unwrap_or(line);
            let mut count = 0;
            boundary.counts.push(count);
            for column in 0..width {
                let right = (column + 1).min(width - 1);
                let own = line[column];
                if own != line[right] || own != below[column] || own != below[right] {
                    boundary.pixels.push((column, row));
                    count += 1;
                }
                boundary.counts.push(count);
            }
        }
        boundary
    }

    /// The share of the pixels that have one of the other boundary in the disk around them.
    fn share_near(&self, other: &Self, radius: usize) -> f64 {
        // How far the disk reaches to both sides, in the rows from its centre outwards.
        let reach: Vec<usize> = (0..=radius).map(|rows| (radius * radius - rows * rows).isqrt()).collect();
        let near = self.pixels.iter().filter(|place| other.has_any(**place, &reach)).count();
        near as f64 / self.pixels.len() as f64
    }

    fn has_any(&self, (column, row): (usize, usize), reach: &[usize]) -> bool {
        let in_row = |row: usize, reach: usize| {
            let counts = &self.counts[row * (self.width + 1)..][..=self.width];
            counts[(column + reach + 1).min(self.width)] > counts[column.saturating_sub(reach)]
        };
        let above = |(rows, reach): (usize, &usize)| row >= rows && in_row(row - rows, *reach);
        let below = |(rows, reach): (usize, &usize)| row + rows < self.height && in_row(row + rows, *reach);
        reach.iter().enumerate().any(|at| above(at) || below(at))
    }
}
