//! What becomes of the J and F of all frames: `davis2017-evaluation`, semi-supervised.

use serde::Serialize;

use super::FrameScore;

/// A frame counts for recall if its value is above this.
const RECALLED: f64 = 0.5;
/// Decay compares the first with the last of so many parts of a sequence.
const PARTS: usize = 4;

/// One measure of one object over the frames of its sequence, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Statistics {
    /// Mean over frames.
    pub mean: f64,
    /// Share of frames above 0.5.
    pub recall: f64,
    /// Mean of the first quarter less that of the last.
    pub decay: f64,
}

/// Both measures of an object.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ObjectScore {
    /// Region similarity.
    pub j: Statistics,
    /// Boundary accuracy.
    pub f: Statistics,
}

/// Means over all objects of all sequences.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The mean of the means of J and F.
    pub j_and_f: f64,
    /// Region similarity.
    pub j: Statistics,
    /// Boundary accuracy.
    pub f: Statistics,
}

/// The frames of a sequence that are scored: the first is given, and the last is left out.
pub fn scored_frames(frames: usize) -> std::ops::Range<usize> {
    1..frames.saturating_sub(1).max(1)
}

impl Statistics {
    /// Of the values of all scored frames; none if there are no frames.
    pub fn of(values: &[f64]) -> Option<Self> {
        let mean = mean(values)?;
        let recall = values.iter().filter(|value| **value > RECALLED).count() as f64 / values.len() as f64;
        // Parts share the frame at which they meet. NumPy rounds halves to even; the summand rounds them up.
        let edge = |part: usize| {
            let place = 1.0 + part as f64 * (values.len() - 1) as f64 / PARTS as f64;
            (place + 1e-10).round_ties_even() as usize - 1
        };
        let part = |number: usize| self::mean(&values[edge(number)..=edge(number + 1)]);
        let decay = part(0)? - part(PARTS - 1)?;
        Some(Self { mean, recall, decay })
    }

    /// The same from 0 to 100.
    pub fn in_percent(self) -> Self {
        Self { mean: 100.0 * self.mean, recall: 100.0 * self.recall, decay: 100.0 * self.decay }
    }

    fn mean_of<'s>(all: impl Iterator<Item = &'s Self> + Clone) -> Option<Self> {
        let mean = |value: fn(&Self) -> f64| self::mean(&all.clone().map(value).collect::<Vec<_>>());
        Some(Self { mean: mean(|s| s.mean)?, recall: mean(|s| s.recall)?, decay: mean(|s| s.decay)? })
    }
}

/// The scores of every object from those of all scored frames, each of which has all objects; none without frames.
pub fn object_scores(frames: &[Vec<FrameScore>]) -> Vec<ObjectScore> {
    let objects = frames.iter().map(Vec::len).min().unwrap_or(0);
    let score = |object: usize| {
        let values =
            |value: fn(&FrameScore) -> f64| frames.iter().map(|frame| value(&frame[object])).collect::<Vec<_>>();
        Some(ObjectScore { j: Statistics::of(&values(|s| s.j))?, f: Statistics::of(&values(|s| s.f))? })
    };
    (0..objects).filter_map(score).collect()
}

/// Means over objects; none if there are none.
pub fn summarise(objects: &[ObjectScore]) -> Option<Summary> {
    let j = Statistics::mean_of(objects.iter().map(|object| &object.j))?;
    let f = Statistics::mean_of(objects.iter().map(|object| &object.f))?;
    Some(Summary { j_and_f: (j.mean + f.mean) / 2.0, j, f })
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
