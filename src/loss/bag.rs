//! Bags of visual words. OBoW (Gidaris et al. 2021), sections 3.1 to 3.3.

use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;
use rayon::prelude::*;

use super::dino::ViewCount;
use super::product::Rows;

/// The divergence of predicted bags from those of other views, a mean over images and pairs of views:
///
/// ```text
/// for i in teacher views:
///     for v in student views, v ≠ i:
///         loss += mean over images of KL(bags[i, b] ‖ softmax(features[v, b]·words / temp))
/// loss /= number of pairs
/// ```
///
/// # Shapes
/// `both` `[student views·B + K, D]`: features, view-major, then a weight for each of K words; `bags` `[teacher views·B, K]`, rows
/// sum to 1.
pub fn bag_divergence(tape: &mut Tape<'_>, both: &Matrix, bags: &[f32], views: ViewCount, temp: f64) -> Loss {
    let (width, rows) = (both.columns(), views.student * views.images);
    let (features, words) = both.values().split_at(rows * width);
    let count = words.len() / width;
    let pairs = views.teacher * views.student - views.teacher.min(views.student);
    let weight = 1.0 / (pairs * views.images) as f64;
    let mut logits = Rows::new(features, width).times(Rows::new(words, width).transposed()); // [V·B, K]
    let losses = logits.par_chunks_exact_mut(count).enumerate().map(|(row, logits)| {
        let (view, image) = (row / views.images, row % views.images);
        let others = (0..views.teacher).filter(|teacher| *teacher != view);
        let bags: Vec<&[f32]> =
            others.map(|teacher| &bags[(teacher * views.images + image) * count..][..count]).collect();
        weight * divergence_and_residual(logits, &bags, temp)
    });
    // One order of summation, whatever the threads do.
    let value = losses.collect::<Vec<f64>>().into_iter().sum();
    let scale = (weight / temp) as f32;
    let residuals = Rows::new(&logits, count);
    let sides = [residuals.times(Rows::new(words, width)), residuals.transposed().times(Rows::new(features, width))];
    let gradient = sides.concat().into_iter().map(|value| scale * value).collect();
    tape.loss_from(both, value, gradient)
}

/// The sum over bags of `KL(bag ‖ p)` for `p = softmax(logits / temp)`. The logits become the sum over bags of `p − bag`.
fn divergence_and_residual(logits: &mut [f32], bags: &[&[f32]], temp: f64) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let scaled = |logit: f32| f64::from(logit - largest) / temp;
    let log_sum = logits.iter().map(|logit| scaled(*logit).exp()).sum::<f64>().ln();
    let mut divergence = 0.0;
    for (word, logit) in logits.iter_mut().enumerate() {
        let log_share = scaled(*logit) - log_sum;
        let mut residual = bags.len() as f64 * log_share.exp();
        for bag in bags {
            let share = f64::from(bag[word]);
            if share > 0.0 {
                divergence += share * (share.ln() - log_share);
            }
            residual -= share;
        }
        *logit = residual as f32;
    }
    divergence
}

/// What the places of an image show, as shares of words, and how far its places are from their nearest words on average.
///
/// A place belongs to a word with `softmax(−sharpness · squared distance)`; the bag takes the largest share of each word over all
/// places, divided by their sum.
///
/// # Shapes
/// `places` `[N, D]`, `words` `[K, D]`; the bag `[K]`.
pub fn bag_of_words(places: &[f32], words: &[f32], width: usize, sharpness: f64) -> (Vec<f32>, f64) {
    let square = |row: &[f32]| row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    let levels: Vec<f64> = words.chunks_exact(width).map(square).collect();
    let products = Rows::new(places, width).times(Rows::new(words, width).transposed()); // [N, K]
    let (mut bag, mut nearest) = (vec![0.0_f64; levels.len()], 0.0);
    for (place, products) in places.chunks_exact(width).zip(products.chunks_exact(levels.len())) {
        let level = square(place);
        let pairs = products.iter().zip(&levels);
        let distances: Vec<f64> = pairs.map(|(product, word)| level + word - 2.0 * f64::from(*product)).collect();
        let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
        nearest += least;
        let power = |distance: &f64| (sharpness * (least - distance)).exp();
        let sum: f64 = distances.iter().map(power).sum();
        bag.iter_mut().zip(&distances).for_each(|(share, distance)| *share = share.max(power(distance) / sum));
    }
    let sum: f64 = bag.iter().sum();
    let places = (places.len() / width) as f64;
    (bag.into_iter().map(|share| (share / sum) as f32).collect(), nearest / places)
}
