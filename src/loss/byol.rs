//! BYOL's loss. BYOL (Grill et al. 2020), eq. 2; `byol_experiment.py:loss_fn`.

use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;

use super::dino::ViewCount;

/// Squared distance of unit predictions and unit targets, over every pair of different views:
///
/// ```text
/// for i in teacher views:
///     for v in student views, v ≠ i:
///         loss += mean over images of ‖predictions[v, b] − targets[i, b]‖² = 2 − 2·cos
/// loss *= 2 / number of pairs
/// ```
///
/// With two views that is the sum of both directions, as published; the factor keeps its level with more.
///
/// # Shapes
/// `predictions` `[student views·B, D]`, `targets` `[teacher views·B, D]`, both view-major with rows of unit length.
pub fn byol_loss(tape: &mut Tape<'_>, predictions: &Matrix, targets: &[f32], views: ViewCount) -> Loss {
    let (len, width) = (views.images * predictions.columns(), predictions.columns());
    let pairs = views.teacher * (views.student - 1);
    let weight = 2.0 / (pairs * views.images) as f64;
    let mut gradient = vec![0.0; predictions.values().len()];
    for (student, gradient) in gradient.chunks_exact_mut(len).enumerate() {
        let others = targets.chunks_exact(len).enumerate().filter(|(teacher, _)| *teacher != student);
        for (_, target) in others {
            gradient.iter_mut().zip(target).for_each(|(sum, target)| *sum -= (2.0 * weight) as f32 * target);
        }
    }
    // Σ (2 − 2·cos) is linear in the predictions.
    let rows = predictions.values().chunks_exact(width).zip(gradient.chunks_exact(width));
    let dot = |(row, gradient): (&[f32], &[f32])| {
        row.iter().zip(gradient).map(|(row, gradient)| f64::from(row * gradient)).sum::<f64>()
    };
    let value = 2.0 * weight * (pairs * views.images) as f64 + rows.map(dot).sum::<f64>();
    tape.loss_from(predictions, value, gradient)
}
