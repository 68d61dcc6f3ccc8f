//! k-means on the unit sphere: rows belong to the centroid with the largest cosine, centroids are means brought to unit length
//! (Dhillon and Modha 2001); `main_deepclusterv2.py:cluster_memory`.

use rayon::prelude::*;

use super::NORMALIZE_EPS;
use crate::loss::product::Rows;

/// Rows whose cosines are computed at once.
const BLOCK: usize = 256;

/// Moves the centroids for some rounds and returns the cluster of each row; the same bits on any number of threads. A centroid
/// that no row belongs to stays where it is, and of two equally near ones the first counts.
///
/// # Shapes
/// `rows` `[N, width]` and `centroids` `[K, width]`, of unit length.
pub fn spherical_kmeans(rows: &[f32], width: usize, centroids: &mut [f32], rounds: usize) -> Vec<usize> {
    for _ in 0..rounds {
        let clusters = nearest(rows, width, centroids);
        let mut members = vec![Vec::new(); centroids.len() / width];
        for (row, cluster) in rows.chunks_exact(width).zip(clusters) {
            members[cluster].push(row);
        }
        let moved = centroids.par_chunks_exact_mut(width).zip(members);
        moved.for_each(|(centroid, members)| move_to_mean(centroid, &members));
    }
    nearest(rows, width, centroids)
}

/// The centroid with the largest cosine for each row.
fn nearest(rows: &[f32], width: usize, centroids: &[f32]) -> Vec<usize> {
    let count = centroids.len() / width;
    let largest = |cosines: &[f32]| {
        let best = |best: (usize, f32), next: (usize, f32)| if next.1 > best.1 { next } else { best };
        cosines.iter().copied().enumerate().fold((0, f32::NEG_INFINITY), best).0
    };
    let of_block = |block: &[f32]| -> Vec<usize> {
        let cosines = Rows::new(block, width).times(Rows::new(centroids, width).transposed());
        cosines.chunks_exact(count).map(largest).collect()
    };
    rows.par_chunks(BLOCK * width).flat_map_iter(of_block).collect()
}

/// Puts the centroid where the mean of its rows points to.
fn move_to_mean(centroid: &mut [f32], rows: &[&[f32]]) {
    let mut sum = vec![0.0; centroid.len()];
    for row in rows {
        sum.iter_mut().zip(*row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let norm = sum.iter().map(|value| value * value).sum::<f64>().sqrt();
    if norm > NORMALIZE_EPS {
        centroid.iter_mut().zip(sum).for_each(|(to, value)| *to = (value / norm) as f32);
    }
}
