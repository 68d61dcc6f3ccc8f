//! How near a map of levels comes to the mask of an object: mean absolute error and Jaccard index, as benchmarks of salient objects take them.

use super::EvalError;
use super::attention::{Truth, TruthMask};

/// The level from which on a map means the object.
pub const THRESHOLD: u8 = 128;

/// What a map is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SaliencyScore {
    /// Mean over the pixels of |map − mask|, both from 0 to 1; lower is better.
    pub mae: f64,
    /// Intersection over union of the mask and the pixels of at least [`THRESHOLD`]; 1 if both are empty.
    pub jaccard: f64,
}

/// Returns the scores of a map of levels, 0 to 255, outside of the pixels that nobody could tell.
///
/// # Errors
/// [`EvalError::Size`] if the map has another size than the mask, [`EvalError::Empty`] if no pixel is to be judged.
pub fn saliency_score(map: &[u8], truth: &TruthMask) -> Result<SaliencyScore, EvalError> {
    let kept: Vec<bool> = map.iter().map(|level| *level >= THRESHOLD).collect();
    let jaccard = truth.jaccard(&kept)?;
    let (mut sum, mut judged) = (0.0, 0_usize);
    for (level, truth) in map.iter().zip(truth.pixels()) {
        let share = f64::from(*level) / f64::from(u8::MAX);
        let error = match truth {
            Truth::Ignored => continue,
            Truth::Object => 1.0 - share,
            Truth::Background => share,
        };
        sum += error;
        judged += 1;
    }
    if judged == 0 {
        return Err(EvalError::Empty { what: "the mask without its unknown pixels" });
    }
    Ok(SaliencyScore { mae: sum / judged as f64, jaccard })
}
