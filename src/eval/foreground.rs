//! What stands in front: patches told apart by the first principal component, as DINOv2 (Oquab et al. 2023) does for its figures.
//!
//! The paper thresholds the first component and does not say where; here the threshold is Otsu's (1979), which separates the two
//! parts best. Its sign means nothing, so the side that is rarer at the borders of the images is the foreground.

use super::EvalError;

/// Levels at which a threshold is looked for.
const LEVELS: usize = 256;

/// Returns which patches are foreground.
///
/// # Shapes
/// `first` holds the first component of all patches, image after image; `grids` is the (rows, columns) of every image.
///
/// # Errors
/// [`EvalError::Size`] if the two do not fit.
pub fn foreground(first: &[f32], grids: &[(usize, usize)]) -> Result<Vec<bool>, EvalError> {
    let expected = grids.iter().map(|(rows, columns)| rows * columns).sum();
    if first.len() != expected {
        return Err(EvalError::Size { what: "the first component", found: first.len(), expected });
    }
    let threshold = otsu(first);
    let above: Vec<bool> = first.iter().map(|value| *value > threshold).collect();
    let border: Vec<bool> = grids.iter().flat_map(|&grid| border(grid)).collect();
    let share = |side: bool, place: bool| {
        let count = above.iter().zip(&border).filter(|(above, border)| **above == side && **border == place).count();
        let all = border.iter().filter(|border| **border == place).count();
        count as f64 / all.max(1) as f64
    };
    // Above is in front if its share is larger inside than at the borders.
    let front = share(true, false) >= share(true, true);
    Ok(above.into_iter().map(|above| above == front).collect())
}

/// Whether each patch of a grid lies at its border, row by row.
fn border((rows, columns): (usize, usize)) -> impl Iterator<Item = bool> {
    let at = move |row, column| row == 0 || column == 0 || row + 1 == rows || column + 1 == columns;
    (0..rows).flat_map(move |row| (0..columns).map(move |column| at(row, column)))
}

/// The level with the largest variance between the values below and above it.
fn otsu(values: &[f32]) -> f32 {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let step = (high - low) / LEVELS as f32;
    if step.is_nan() || step <= 0.0 {
        return low;
    }
    let mut counts = [0.0_f64; LEVELS];
    values.iter().for_each(|value| counts[(((value - low) / step) as usize).min(LEVELS - 1)] += 1.0);
    let (all, sum) = counts.iter().enumerate().fold((0.0, 0.0), |(n, s), (level, c)| (n + c, s + c * level as f64));
    let (mut below, mut sum_below, mut best) = (0.0, 0.0, (0.0, 0));
    for (level, count) in counts.iter().enumerate().take(LEVELS - 1) {
        below += count;
        sum_below += count * level as f64;
        let distance = sum_below / f64::max(below, 1.0) - (sum - sum_below) / f64::max(all - below, 1.0);
        let between = below * (all - below) * distance * distance;
        if between > best.0 {
            best = (between, level);
        }
    }
    low + step * (best.1 + 1) as f32
}
