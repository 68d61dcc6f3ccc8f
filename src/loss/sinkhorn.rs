//! Sinkhorn–Knopp balancing of a batch of teacher outputs, written as a centre.
//!
//! SwAV (Caron et al. 2020), algorithm 1; used in place of the running centre in DINO (Caron et al. 2021, table 15) and DINOv2.

/// Smallest sum that is divided by: a prototype that no row reaches in f64 stays out of reach instead of becoming infinite.
const SMALLEST_SUM: f64 = 1e-300;

/// The centre that makes `softmax((logits − center)/temp)` the Sinkhorn–Knopp assignment of the batch.
///
/// The assignment is `Q = diag(a)·exp(logits/temp)·diag(b)`; each of the `iterations` first gives every prototype the same
/// share of the batch, then every row a sum of one. Rows come last, hence `Q` is a softmax over prototypes of
/// `logits/temp + ln a`, and `center = −temp·ln a`, here with mean 0.
///
/// # Shapes
/// `logits` `[rows, out_dim]`; the result `[out_dim]`.
pub fn sinkhorn_center(logits: &[f32], out_dim: usize, temp: f64, iterations: usize) -> Vec<f32> {
    // exp(logits/temp) = row_scale · rows: the largest entry of a row is 1, whatever the row's level.
    let largest = |values: &[f32]| values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let highest = largest(logits);
    let exponential = |value: f32, level: f32| (f64::from(value - level) / temp).exp();
    let (mut rows, mut row_scale) = (Vec::new(), Vec::new());
    for row in logits.chunks_exact(out_dim) {
        let level = largest(row);
        rows.push(row.iter().map(|value| exponential(*value, level)).collect::<Vec<f64>>());
        row_scale.push(exponential(level, highest));
    }
    let mut scale = vec![1.0; out_dim];
    for _ in 0..iterations {
        let mut sums = vec![0.0; out_dim];
        for (row, by) in rows.iter().zip(&row_scale) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += by * value);
        }
        scale = sums.into_iter().map(|sum| 1.0 / f64::max(sum, SMALLEST_SUM)).collect();
        for (row, by) in rows.iter().zip(&mut row_scale) {
            let sum = row.iter().zip(&scale).map(|(value, by)| value * by).sum::<f64>();
            *by = 1.0 / f64::max(sum, SMALLEST_SUM);
        }
    }
    let center: Vec<f64> = scale.iter().map(|by| -temp * by.ln()).collect();
    let mean = center.iter().sum::<f64>() / out_dim as f64;
    center.iter().map(|value| (value - mean) as f32).collect()
}
