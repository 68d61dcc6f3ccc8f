//! What features are like, without labels: how many directions they use, how far they spread, whether two networks agree.

use faer::Mat;

/// Added to each share, as in the paper, so that none is zero.
const EPS: f64 = 1e-7;

/// RankMe (Garrido et al. 2023, eq. 1) of `features`, `[N, dim]`: the exponential of the entropy of the singular values' shares, 1 to
/// min(N, dim). It falls where features collapse onto few directions. `None` without features, or where they are not finite.
pub fn rank(features: &[f32], dim: usize) -> Option<f64> {
    let rows = features.len().checked_div(dim)?;
    let matrix = Mat::from_fn(rows, dim, |row, column| f64::from(features[row * dim + column]));
    let values = matrix.singular_values().ok()?;
    let sum: f64 = values.iter().sum();
    let shares = values.iter().map(|value| value / sum + EPS);
    let entropy = -shares.map(|share| share * share.ln()).sum::<f64>();
    Some(entropy.exp()).filter(|rank| rows > 0 && rank.is_finite())
}

/// Mean over the dimensions of the standard deviation of `features`, `[N, dim]`, at unit length: 1/√dim where they spread evenly, 0 where
/// all images are the same (Chen & He 2021, figure 2). `None` without features, or where they are not finite.
pub fn spread(features: &[f32], dim: usize) -> Option<f64> {
    let rows = features.len().checked_div(dim).filter(|rows| *rows > 0)? as f64;
    let (mut sums, mut squares) = (vec![0.0; dim], vec![0.0; dim]);
    for row in features.chunks_exact(dim) {
        let length = norm(row);
        for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(row) {
            let value = f64::from(*value) / length;
            *sum += value;
            *square += value * value;
        }
    }
    let variances = sums.iter().zip(&squares).map(|(sum, square)| (square / rows - (sum / rows).powi(2)).max(0.0));
    Some(variances.map(f64::sqrt).sum::<f64>() / dim as f64).filter(|spread| spread.is_finite())
}

/// Mean cosine between the rows of two networks' features of the same images, `[N, dim]` each. `None` without features, or where they are not finite.
pub fn agreement(one: &[f32], other: &[f32], dim: usize) -> Option<f64> {
    let rows = one.len().checked_div(dim).filter(|rows| *rows > 0)? as f64;
    let pairs = one.chunks_exact(dim).zip(other.chunks_exact(dim));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let sum: f64 = pairs.map(|(a, b)| dot(a, b) / (norm(a) * norm(b))).sum();
    Some(sum / rows).filter(|mean| mean.is_finite())
}

/// Length of a row, above zero.
fn norm(row: &[f32]) -> f64 {
    row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE)
}
