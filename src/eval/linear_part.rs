//! The gradient of linear layers with few outputs, from a part of a batch that stays in a cache.
//!
//! With ten classes an epoch does so little arithmetic that it takes as long as the rows take to come. So one task copies a part of a batch, and
//! logits, softmax and gradient find it in the second-level cache of its core, where products over the whole batch would fetch it from the other
//! cores' three times. Each part has a gradient of its own, which is small only if there are few outputs.

use std::cell::Cell;

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};

use super::classifier::LabelledRows;

thread_local! {
    /// Rows of the part that this thread is at.
    static ROWS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Linear layers one below the other: weights `[layers, classes, D]`, biases `[layers, classes]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers<'a> {
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    pub classes: usize,
}

/// What a part adds.
#[derive(Debug)]
pub(super) struct PartGradient {
    /// As [`Layers::weight`].
    pub weight: Vec<f32>,
    /// As [`Layers::bias`].
    pub bias: Vec<f32>,
    /// Sum of the rows' losses, for each layer.
    pub losses: Vec<f64>,
}

/// The gradient of the losses of the rows at these places, times `scale`.
pub(super) fn part_gradient(rows: LabelledRows<'_>, places: &[u32], layers: Layers<'_>, scale: f32) -> PartGradient {
    let (dim, outputs) = (rows.dim(), layers.bias.len());
    let mut x = ROWS.take();
    x.clear();
    places.iter().for_each(|place| x.extend_from_slice(&rows.features()[*place as usize * dim..][..dim]));
    let mut logits = layers.bias.repeat(places.len()); // [B, layers, classes]
    let (of_rows, weight) = (
        MatRef::from_row_major_slice(&x, places.len(), dim),
        MatRef::from_row_major_slice(layers.weight, outputs, dim),
    );
    let target = MatMut::from_row_major_slice_mut(&mut logits, places.len(), outputs);
    // One thread each: the parts already fill the machine, and the order of sums stays fixed.
    matmul(target, Accum::Add, of_rows, weight.transpose(), 1.0, Par::Seq);
    let (mut bias, mut losses) = (vec![0.0; outputs], vec![0.0; outputs / layers.classes]);
    for (logits, place) in logits.chunks_exact_mut(outputs).zip(places) {
        let label = rows.labels()[*place as usize] as usize;
        for (logits, loss) in logits.chunks_exact_mut(layers.classes).zip(&mut losses) {
            *loss += softmax_to_gradient(logits, label, scale);
        }
        bias.iter_mut().zip(&*logits).for_each(|(sum, value)| *sum += value);
    }
    let mut gradient = vec![0.0; outputs * dim];
    let target = MatMut::from_row_major_slice_mut(&mut gradient, outputs, dim);
    let errors = MatRef::from_row_major_slice(&logits, places.len(), outputs);
    matmul(target, Accum::Replace, errors.transpose(), of_rows, 1.0, Par::Seq);
    ROWS.set(x);
    PartGradient { weight: gradient, bias, losses }
}

/// Turns the logits of a row into the gradient of its cross-entropy, times `scale`; returns that.
fn softmax_to_gradient(logits: &mut [f32], label: usize, scale: f32) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let own = logits[label] - max;
    logits.iter_mut().for_each(|logit| *logit = (*logit - max).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|value| *value *= scale / sum);
    logits[label] -= scale;
    f64::from(sum).ln() - f64::from(own)
}
