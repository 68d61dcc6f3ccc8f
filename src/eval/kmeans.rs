//! k-means with a fixed seed: Lloyd (1982) from the centres of k-means++ (Arthur and Vassilvitskii 2007).

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::EvalError;

/// Beginnings that are tried; the one that ends with the smallest spread counts.
const STARTS: u64 = 8;
/// Rounds after which Lloyd's iteration ends, settled or not.
const ROUNDS: usize = 100;

/// Which cluster each row belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// The cluster of each row: 0 is the largest, of equally large ones that with the lower first row.
    pub of: Vec<usize>,
    /// Clusters that hold a row.
    pub count: usize,
    /// Mean squared distance of the rows to the centres of their clusters.
    pub spread: f64,
}

/// Divides features into `k` clusters, or as many as there are different rows.
///
/// # Shapes
/// `features` is `[N, D]` for `dim` = D.
///
/// # Errors
/// No features, `k` = 0, a length that is no multiple of D, a value that is not finite.
pub fn kmeans(features: &[f32], dim: usize, k: usize, seed: u64) -> Result<Clusters, EvalError> {
    const WHAT: &str = "the list of features";
    if features.is_empty() || dim == 0 || k == 0 {
        return Err(EvalError::Empty { what: WHAT });
    }
    if !features.len().is_multiple_of(dim) {
        return Err(EvalError::Size { what: WHAT, found: features.len(), expected: features.len() / dim * dim });
    }
    if let Some(place) = features.iter().position(|value| !value.is_finite()) {
        return Err(EvalError::BadValue { what: WHAT, row: place / dim, value: features[place] });
    }
    let mut draws = ChaCha8Rng::seed_from_u64(seed);
    let mut best = settle(features, dim, first_centres(features, dim, k, &mut draws));
    for _ in 1..STARTS {
        let next = settle(features, dim, first_centres(features, dim, k, &mut draws));
        if spread(&next) < spread(&best) {
            best = next;
        }
    }
    let spread = spread(&best);
    let (of, count) = by_size(best.into_iter().map(|(cluster, _)| cluster).collect(), k);
    Ok(Clusters { of, count, spread })
}

/// Lloyd's iteration: the cluster of each row, and its squared distance to the centre.
fn settle(features: &[f32], dim: usize, mut centres: Vec<Vec<f64>>) -> Vec<(usize, f64)> {
    let mut nearest = assign(features, dim, &centres);
    for _ in 0..ROUNDS {
        centres = means(features, dim, &nearest, centres);
        let next = assign(features, dim, &centres);
        let settled = next.iter().zip(&nearest).all(|(next, before)| next.0 == before.0);
        nearest = next;
        if settled {
            break;
        }
    }
    nearest
}

/// The mean squared distance.
fn spread(nearest: &[(usize, f64)]) -> f64 {
    nearest.iter().map(|(_, distance)| distance).sum::<f64>() / nearest.len() as f64
}

fn distance(row: &[f32], centre: &[f64]) -> f64 {
    row.iter().zip(centre).map(|(value, centre)| (f64::from(*value) - centre).powi(2)).sum()
}

/// The first centre is drawn evenly, each next one with the squared distance to the nearest so far.
fn first_centres(features: &[f32], dim: usize, k: usize, draws: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut uniform = || (draws.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let rows: Vec<&[f32]> = features.chunks_exact(dim).collect();
    let centre = |place: usize| rows[place].iter().map(|value| f64::from(*value)).collect::<Vec<f64>>();
    let mut centres = vec![centre((uniform() * rows.len() as f64) as usize)];
    let mut nearest: Vec<f64> = rows.iter().map(|row| distance(row, &centres[0])).collect();
    while centres.len() < k {
        let mut left = uniform() * nearest.iter().sum::<f64>();
        let drawn = nearest.iter().position(|distance| {
            left -= distance;
            left < 0.0
        });
        // Nothing is far from a centre any more: all rows are centres.
        let Some(place) = drawn else { break };
        let next = centre(place);
        nearest.iter_mut().zip(&rows).for_each(|(nearest, row)| *nearest = nearest.min(distance(row, &next)));
        centres.push(next);
    }
    centres
}

/// The nearest centre of each row, of equally near ones the first, and the squared distance.
fn assign(features: &[f32], dim: usize, centres: &[Vec<f64>]) -> Vec<(usize, f64)> {
    let nearest = |row: &[f32]| {
        let distances = centres.iter().map(|centre| distance(row, centre)).enumerate();
        distances.fold((0, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best })
    };
    features.par_chunks_exact(dim).map(nearest).collect()
}

/// The mean of each cluster; one that has lost all rows keeps its place.
fn means(features: &[f32], dim: usize, nearest: &[(usize, f64)], before: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let mut sums = vec![(vec![0.0; dim], 0.0); before.len()];
    for (row, (cluster, _)) in features.chunks_exact(dim).zip(nearest) {
        let (sum, count) = &mut sums[*cluster];
        sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        *count += 1.0;
    }
    let mean = |((sum, count), before): ((Vec<f64>, f64), Vec<f64>)| {
        if count > 0.0 { sum.into_iter().map(|sum| sum / count).collect() } else { before }
    };
    sums.into_iter().zip(before).map(mean).collect()
}

/// Clusters numbered by size, and how many hold a row.
fn by_size(of: Vec<usize>, k: usize) -> (Vec<usize>, usize) {
    let mut sizes = vec![(0_usize, usize::MAX); k];
    for (row, cluster) in of.iter().enumerate() {
        sizes[*cluster].0 += 1;
        sizes[*cluster].1 = sizes[*cluster].1.min(row);
    }
    let mut order: Vec<usize> = (0..k).collect();
    order.sort_by_key(|cluster| (std::cmp::Reverse(sizes[*cluster].0), sizes[*cluster].1));
    let mut number = vec![0; k];
    order.iter().enumerate().for_each(|(place, cluster)| number[*cluster] = place);
    (of.into_iter().map(|cluster| number[cluster]).collect(), sizes.iter().filter(|size| size.0 > 0).count())
}
