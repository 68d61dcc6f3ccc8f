//! The loss of Barlow Twins. Barlow Twins (Zbontar et al. 2021), eq. 1; `main.py:BarlowTwins.forward`.

use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;

use super::product::Rows;

/// How far the correlations between the outputs of two views are from one between equal outputs and none between others:
///
/// ```text
/// C = z[view 0]ᵀ·z[view 1] / images
/// loss = Σ_i (C[i, i] − 1)² + off_diagonal · Σ_{i ≠ j} C[i, j]²
/// ```
///
/// # Shapes
/// `z` `[2·B, D]`, view-major; every column of a view has a mean of 0 and a variance of 1.
pub fn barlow_twins_loss(tape: &mut Tape<'_>, z: &Matrix, off_diagonal: f64) -> Loss {
    let (images, width) = (z.rows() / 2, z.columns());
    let (first, second) = z.values().split_at(images * width);
    let [first, second] = [first, second].map(|view| Rows::new(view, width));
    let mut correlation = first.transposed().times(second); // [D, D], and then its gradient
    let mut value = 0.0;
    for (index, row) in correlation.chunks_exact_mut(width).enumerate() {
        for (column, entry) in row.iter_mut().enumerate() {
            let correlation = f64::from(*entry) / images as f64;
            let (error, weight) = if column == index { (correlation - 1.0, 1.0) } else { (correlation, off_diagonal) };
            value += weight * error * error;
            *entry = (2.0 * weight * error / images as f64) as f32;
        }
    }
    let correlation = Rows::new(&correlation, width);
    let mut gradient = second.times(correlation.transposed());
    gradient.extend(first.times(correlation));
    tape.loss_from(z, value, gradient)
}
