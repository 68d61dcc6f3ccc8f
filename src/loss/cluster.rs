//! Cross-entropy with the clusters that images were put into. DeepCluster (Caron et al. 2018), eq. 1; `main_deepclusterv2.py:train`.

use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;

use super::contrast::softmax_minus_one_hot;
use super::product::Rows;

/// One division of the images into clusters.
#[derive(Debug, Clone)]
pub struct Clustering<'v> {
    /// Centroids, `[K, D]` with rows of unit length.
    pub centroids: &'v [f32],
    /// The cluster of each image of the batch; none where it is not known.
    pub labels: Vec<Option<usize>>,
}

/// The mean over clusterings, and over the views of all images whose cluster is known, of the cross-entropy:
///
/// ```text
/// for h in clusterings:
///     for r in rows, b = r mod images, labels[h][b] known:
///         loss += −log softmax(z[r]·centroids[h] / temp)[labels[h][b]] / known rows / clusterings
/// ```
///
/// Where no cluster is known that is `ln K`, an even guess, and has no gradient. Centroids have none ever.
///
/// # Shapes
/// `z` `[views·B, D]`, view-major with rows of unit length.
pub fn cluster_cross_entropy(tape: &mut Tape<'_>, z: &Matrix, clusterings: &[Clustering<'_>], temp: f64) -> Loss {
    let width = z.columns();
    let (mut value, mut gradient) = (0.0, vec![0.0; z.values().len()]);
    for Clustering { centroids, labels } in clusterings {
        let count = centroids.len() / width;
        let known = |row: usize| Some((row, labels[row % labels.len()]?));
        let known: Vec<(usize, usize)> = (0..z.rows()).filter_map(known).collect();
        if known.is_empty() {
            value += (count as f64).ln() / clusterings.len() as f64;
            continue;
        }
        let rows: Vec<f32> = known.iter().flat_map(|(row, _)| &z.values()[row * width..][..width]).copied().collect();
        let centroids = Rows::new(centroids, width);
        let mut logits = Rows::new(&rows, width).times(centroids.transposed()); // [known rows, K]
        let weight = 1.0 / (known.len() * clusterings.len()) as f64;
        let nobody: Option<fn(usize) -> usize> = None;
        value += weight * softmax_minus_one_hot(&mut logits, count, temp, (|row: usize| known[row].1, nobody));
        let scale = (weight / temp) as f32;
        let parts = Rows::new(&logits, count).times(centroids);
        for ((row, _), part) in known.iter().zip(parts.chunks_exact(width)) {
            gradient[row * width..][..width].iter_mut().zip(part).for_each(|(sum, value)| *sum += scale * value);
        }
    }
    tape.loss_from(z, value, gradient)
}
