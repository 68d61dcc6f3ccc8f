//! The loss of masked patches. iBOT (Zhou et al. 2022), eq. 2; `ibot_patch_loss.py:forward_masked` of DINOv2.

use dinoxide_engine::kernels::Targets;
use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;
use rayon::prelude::*;

/// The cross-entropy of every masked patch with what the teacher makes of the same patch, which it sees:
///
/// ```text
/// for m in masked patches:
///     loss += weights[m] · −Σ_k targets[m, k] · log softmax(logits[m] / student_temp)[k]
/// ```
///
/// With [`Masks::weights`](crate::nn::masking::Masks::weights) it is the mean over the patches of a crop, and over all crops, of which
/// those without a mask count as 0.
///
/// # Shapes
/// `logits` and `targets` `[M, K]`, rows of targets sum to 1; `weights` `[M]`.
///
/// # Panics
/// If there is not a target and a weight for each row.
pub fn masked_patch_loss(
    tape: &mut Tape<'_>,
    logits: &Matrix,
    targets: &[f32],
    weights: &[f64],
    student_temp: f64,
) -> Loss {
    let width = logits.columns();
    assert!(targets.len() == logits.values().len() && weights.len() == logits.rows(), "a target for each masked patch");
    // Probabilities, and in their place the gradient.
    let mut gradient = vec![0.0; logits.values().len()];
    let center = vec![0.0; width];
    tape.kernels().targets(Targets { logits: logits.values(), center: &center, temp: student_temp }, &mut gradient);
    let rows = gradient.par_chunks_exact_mut(width).zip(logits.values().par_chunks_exact(width));
    let rows = rows.zip(targets.par_chunks_exact(width)).zip(weights);
    let losses = rows.map(|(((probs, logits), targets), weight)| {
        let log_sum = log_sum_exp(logits, probs, student_temp);
        let dot: f64 = logits.iter().zip(targets).map(|(logit, target)| f64::from(logit * target)).sum();
        let scale = (weight / student_temp) as f32;
        probs.iter_mut().zip(targets).for_each(|(prob, target)| *prob = scale * (*prob - target));
        weight * (log_sum - dot / student_temp)
    });
    // One order of summation, whatever the threads do.
    let value = losses.collect::<Vec<f64>>().into_iter().sum();
    tape.loss_from(logits, value, gradient)
}

/// `ln Σ e^(logits/temp)` of a row whose softmax is known.
fn log_sum_exp(logits: &[f32], probs: &[f32], temp: f64) -> f64 {
    let pairs = logits.iter().zip(probs);
    let (logit, prob) = pairs.fold(
        (f32::NEG_INFINITY, 1.0),
        |best, (logit, prob)| {
            if *logit > best.0 { (*logit, *prob) } else { best }
        },
    );
    f64::from(logit) / temp - f64::from(prob).ln()
}
