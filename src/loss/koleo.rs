//! KoLeo: features of a batch spread over the sphere. Sablayrolles et al. 2019, section 3; `koleo_loss.py` of DINOv2.

use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;

use super::product::Rows;

/// What is added to a distance before its logarithm, and to every coordinate of a difference.
const EPS: f64 = 1e-8;
/// Distance below which two rows count as the same image twice, which has no direction to part in.
const SAME: f64 = 1e-6;

/// How near each row is to its nearest other one among its view:
///
/// ```text
/// for v in views:
///     for b in images:
///         n = the other row of view v with the largest x[v, b]·x[v, n]
///         loss += −log(‖x[v, b] − x[v, n]‖ + 1e-8) / images
/// ```
///
/// A row that is there twice counts in the value and has no gradient.
///
/// # Shapes
/// `x` `[views·B, D]`, view-major with rows of unit length. With a single image the loss is 0.
pub fn koleo_loss(tape: &mut Tape<'_>, x: &Matrix, images: usize) -> Loss {
    let width = x.columns();
    let mut gradient = vec![0.0_f64; x.values().len()];
    let mut value = 0.0;
    if images > 1 {
        let views = x.values().chunks_exact(images * width).zip(gradient.chunks_exact_mut(images * width));
        value = views.map(|(rows, gradient)| of_view(rows, gradient, width)).sum();
    }
    tape.loss_from(x, value, gradient.iter().map(|value| *value as f32).collect())
}

/// The loss of one view; adds to its gradient.
fn of_view(rows: &[f32], gradient: &mut [f64], width: usize) -> f64 {
    let images = rows.len() / width;
    let all = Rows::new(rows, width);
    let products = all.times(all.transposed()); // [B, B]
    let mut value = 0.0;
    for (image, products) in products.chunks_exact(images).enumerate() {
        let nearest = nearest(products, image);
        let of = |row: usize| &rows[row * width..][..width];
        let pairs = of(image).iter().zip(of(nearest));
        let difference: Vec<f64> = pairs.map(|(a, b)| f64::from(*a) - f64::from(*b) + EPS).collect();
        let distance = difference.iter().map(|value| value * value).sum::<f64>().sqrt();
        value -= (distance + EPS).ln() / images as f64;
        if distance < SAME {
            continue;
        }
        let scale = 1.0 / (images as f64 * distance * (distance + EPS));
        for (column, value) in difference.iter().enumerate() {
            gradient[image * width + column] -= scale * value;
            gradient[nearest * width + column] += scale * value;
        }
    }
    value
}

/// The other row with the largest product; the first of equals.
fn nearest(products: &[f32], own: usize) -> usize {
    let others = products.iter().enumerate().filter(|(other, _)| *other != own);
    let best = others.fold(
        (own, f32::NEG_INFINITY),
        |best, (other, product)| {
            if *product > best.1 { (other, *product) } else { best }
        },
    );
    best.0
}
