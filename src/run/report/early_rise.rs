//! A loss that rises at first and then falls: it worries people (facebookresearch/dino, issue 60) and is normal for a ViT.

/// Rows below which nothing is said.
const FEWEST: usize = 20;
/// Rows of the moving mean: this part of all, and three at least.
const WINDOW: (usize, usize) = (25, 3);
/// Part of the curve in which the rise has to end, and part over which the last values are averaged.
const EARLY: f64 = 0.4;
const LAST: usize = 10;
/// Rise that is one, as a share of the first value, and the share of it that has to be gone at the end.
const RISE: f64 = 0.02;
const FALLEN: f64 = 1.0 / 3.0;

/// A loss that rose early and then fell; values are means over several rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyRise {
    /// The first value.
    pub first: f64,
    /// The highest of the first part.
    pub peak: f64,
    /// The row with which the mean of the peak ends.
    pub row: usize,
    /// The last tenth.
    pub last: f64,
}

/// Returns the early rise of the logged losses of a run, if there is one: within the first 40 % their moving mean rises 2 % above its first
/// value, and a third of that or more is gone in the last tenth.
pub fn early_rise(losses: &[f64]) -> Option<EarlyRise> {
    if losses.len() < FEWEST || losses.iter().any(|loss| !loss.is_finite()) {
        return None;
    }
    let window = (losses.len() / WINDOW.0).max(WINDOW.1);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let smooth: Vec<f64> = losses.windows(window).map(mean).collect();
    let first = smooth[0];
    let early = &smooth[..(EARLY * smooth.len() as f64) as usize];
    let (place, peak) = early.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let last = mean(&losses[losses.len() - losses.len().div_ceil(LAST)..]);
    let rise = peak - first;
    let found = rise > RISE * first.abs() && last < peak - FALLEN * rise;
    found.then_some(EarlyRise { first, peak, row: place + window - 1, last })
}
