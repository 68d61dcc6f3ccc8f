//! Contrastive losses: one candidate of each row is right.

use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;
use rayon::prelude::*;

use super::product::Rows;

/// NT-Xent: every view of a batch has to find the other view of its image among all other views of the batch.
/// SimCLR (Chen et al. 2020), eq. 1; `objective.py:add_contrastive_loss`, which adds the two directions where the paper takes their mean.
///
/// ```text
/// for a in views:
///     for b in images:
///         loss += −log softmax(z[a, b]·z[every other row] / temp)[z[other view, b]] / images
/// ```
///
/// # Shapes
/// `z` `[2·B, D]`, view-major with rows of unit length.
pub fn nt_xent(tape: &mut Tape<'_>, z: &Matrix, temp: f64) -> Loss {
    let (rows, images) = (z.rows(), z.rows() / 2);
    let all = Rows::new(z.values(), z.columns());
    let mut logits = all.times(all.transposed()); // [2·B, 2·B]
    let right = |row: usize| (row + images) % rows;
    let weight = 1.0 / images as f64;
    let value = weight * softmax_minus_one_hot(&mut logits, rows, temp, (right, Some(|row| row)));
    // A logit has two sides.
    let mut gradient = vec![0.0; z.values().len()];
    let residuals = Rows::new(&logits, rows);
    let sides = [residuals.times(all), residuals.transposed().times(all)];
    let scale = (weight / temp) as f32;
    for side in sides {
        gradient.iter_mut().zip(side).for_each(|(sum, value)| *sum += scale * value);
    }
    tape.loss_from(z, value, gradient)
}

/// Queries find their keys among those of the batch: `2·temp` times the mean cross-entropy, for each of two directions.
/// MoCo v3 (Chen et al. 2021), algorithm 1; `moco/builder.py:contrastive_loss`.
///
/// # Shapes
/// `queries` and `keys` `[2·B, D]`, view-major with rows of unit length. A query of one view looks for a key of the other.
pub fn in_batch(tape: &mut Tape<'_>, queries: &Matrix, keys: &[f32], temp: f64) -> Loss {
    let (images, width) = (queries.rows() / 2, queries.columns());
    let half = images * width;
    let weight = 2.0 * temp / images as f64;
    let (mut value, mut gradient) = (0.0, Vec::with_capacity(queries.values().len()));
    for (view, queries) in queries.values().chunks_exact(half).enumerate() {
        let keys = Rows::new(&keys[(1 - view) * half..][..half], width);
        let mut logits = Rows::new(queries, width).times(keys.transposed()); // [B, B]
        let nobody: Option<fn(usize) -> usize> = None;
        value += weight * softmax_minus_one_hot(&mut logits, images, temp, (|row| row, nobody));
        gradient.extend(Rows::new(&logits, images).times(keys).iter().map(|sum| (weight / temp) as f32 * sum));
    }
    tape.loss_from(queries, value, gradient)
}

/// Queries find their keys among those of earlier batches: the mean cross-entropy of `[q·k, q·queue]/temp` with the first.
/// MoCo (He et al. 2020), eq. 1; `moco/builder.py:MoCo.forward`.
///
/// There may be several queries of each key, such as those of a whole view and of its jigsaw: then it is the sum over the parts, each
/// with its share. PIRL (Misra and van der Maaten 2020), eq. 5; InfoMin's `contrast_trainer.py`.
///
/// # Shapes
/// `queries` `[parts·B, D]`, part-major, `keys` `[B, D]`, `queue` `[K, D]`, all with rows of unit length; a share for each part.
pub fn with_queue(
    tape: &mut Tape<'_>,
    queries: &Matrix,
    keys: &[f32],
    queue: &[f32],
    (temp, shares): (f64, &[f64]),
) -> Loss {
    let width = queries.columns();
    let (mut value, mut gradient) = (0.0, Vec::with_capacity(queries.values().len()));
    for (part, share) in queries.values().chunks_exact(keys.len()).zip(shares) {
        let (loss, slope) = of_part(part, keys, Rows::new(queue, width), (width, temp, *share));
        value += loss;
        gradient.extend(slope);
    }
    tape.loss_from(queries, value, gradient)
}

/// The loss of queries `[B, D]`, times its share, and its gradient.
fn of_part(queries: &[f32], keys: &[f32], queue: Rows<'_>, (width, temp, share): (usize, f64, f64)) -> (f64, Vec<f32>) {
    let images = queries.len() / width;
    let negatives = Rows::new(queries, width).times(queue.transposed()); // [B, K]
    let candidates = 1 + negatives.len() / images;
    let own = queries.chunks_exact(width).zip(keys.chunks_exact(width));
    let own = own.map(|(query, key)| query.iter().zip(key).map(|(query, key)| query * key).sum::<f32>());
    let rows = own.zip(negatives.chunks_exact(candidates - 1));
    let mut logits: Vec<f32> = rows.flat_map(|(own, rest)| std::iter::once(own).chain(rest.iter().copied())).collect();
    let weight = share / images as f64;
    let nobody: Option<fn(usize) -> usize> = None;
    let value = weight * softmax_minus_one_hot(&mut logits, candidates, temp, (|_| 0, nobody));
    let residuals: Vec<f32> = logits.chunks_exact(candidates).flat_map(|row| &row[1..]).copied().collect();
    let mut gradient = Rows::new(&residuals, candidates - 1).times(queue);
    let scale = (weight / temp) as f32;
    let rows = gradient.chunks_exact_mut(width).zip(keys.chunks_exact(width)).zip(logits.chunks_exact(candidates));
    for ((gradient, key), residuals) in rows {
        gradient.iter_mut().zip(key).for_each(|(sum, key)| *sum = scale * (*sum + residuals[0] * key));
    }
    (value, gradient)
}

/// Turns each row of `logits` into `softmax(row/temp)` less one at the right candidate, and returns the sum of the rows'
/// cross-entropies. A candidate that is left out has no share.
pub(super) fn softmax_minus_one_hot<R, L>(
    logits: &mut [f32],
    candidates: usize,
    temp: f64,
    (right, left_out): (R, Option<L>),
) -> f64
where
    R: Fn(usize) -> usize + Sync,
    L: Fn(usize) -> usize + Sync,
{
    let losses = logits.par_chunks_exact_mut(candidates).enumerate().map(|(number, row)| {
        if let Some(left_out) = &left_out {
            row[left_out(number)] = f32::NEG_INFINITY;
        }
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let power = |logit: f32| (f64::from(logit - largest) / temp).exp();
        let sum: f64 = row.iter().map(|logit| power(*logit)).sum();
        let right = right(number);
        let loss = sum.ln() - f64::from(row[right] - largest) / temp;
        row.iter_mut().for_each(|logit| *logit = (power(*logit) / sum) as f32);
        row[right] -= 1.0;
        loss
    });
    // One order of summation, whatever the threads do.
    losses.collect::<Vec<f64>>().into_iter().sum()
}
