//! Scores of sequences: put together, and written as the official evaluator (`davis2017-evaluation`) writes them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::eval::video::{FrameScore, ObjectScore, Summary, object_scores, scored_frames, summarise};
use crate::run::RunError;
use crate::run::look::write_table;

/// The official evaluator's two tables, and one of every frame.
const GLOBAL: &str = "global_results-val.csv";
const PER_SEQUENCE: &str = "per-sequence_results-val.csv";
const PER_FRAME: &str = "per-frame_results-val.csv";

/// Scores of the frames of a sequence that have an annotation, all but the first and the last.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SequenceScores {
    pub name: String,
    /// Frames of the sequence.
    pub frames: usize,
    /// Names and, object by object, scores.
    pub scored: Vec<(String, Vec<FrameScore>)>,
}

/// A sequence in the results, percent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SequenceReport {
    /// Its name.
    pub name: String,
    /// Frames.
    pub frames: usize,
    /// Frames that were scored: annotated, and neither first nor last.
    pub scored_frames: usize,
    /// Scores of each object; none if nothing was scored.
    pub objects: Vec<ObjectScore>,
}

impl SequenceScores {
    pub fn new(name: &str, frames: usize) -> Self {
        Self { name: name.to_owned(), frames, scored: Vec::new() }
    }

    /// Whether a frame is scored, if it is annotated.
    pub fn counts(&self, place: usize) -> bool {
        scored_frames(self.frames).contains(&place)
    }

    fn objects(&self) -> Vec<ObjectScore> {
        let frames: Vec<Vec<FrameScore>> = self.scored.iter().map(|(_, scores)| scores.clone()).collect();
        object_scores(&frames)
    }

    pub fn report(&self) -> SequenceReport {
        let percent = |score: ObjectScore| ObjectScore { j: score.j.in_percent(), f: score.f.in_percent() };
        SequenceReport {
            name: self.name.clone(),
            frames: self.frames,
            scored_frames: self.scored.len(),
            objects: self.objects().into_iter().map(percent).collect(),
        }
    }
}

/// Means over all objects of all sequences; none if nothing was scored.
pub(super) fn summary(sequences: &[SequenceScores]) -> Option<Summary> {
    summarise(&sequences.iter().flat_map(SequenceScores::objects).collect::<Vec<_>>())
}

/// The means, percent.
pub(super) fn percent(summary: Summary) -> Summary {
    Summary { j_and_f: 100.0 * summary.j_and_f, j: summary.j.in_percent(), f: summary.f.in_percent() }
}

/// Writes the tables and returns where.
///
/// # Errors
/// If they cannot be written.
pub(super) fn write_tables(
    out: &Path,
    sequences: &[SequenceScores],
    summary: &Summary,
) -> Result<Vec<PathBuf>, RunError> {
    let [global, per_sequence, per_frame] = [GLOBAL, PER_SEQUENCE, PER_FRAME].map(|name| out.join(name));
    // Three digits, as the evaluator's.
    let short = |value: f64| format!("{value:.3}");
    let header = ["J&F-Mean", "J-Mean", "J-Recall", "J-Decay", "F-Mean", "F-Recall", "F-Decay"];
    let Summary { j_and_f, j, f } = summary;
    let row = [*j_and_f, j.mean, j.recall, j.decay, f.mean, f.recall, f.decay].map(short);
    write_table(&global, header, std::iter::once(row))?;
    let objects = sequences.iter().flat_map(|sequence| {
        let numbered = (1..).zip(sequence.objects());
        numbered.map(|(n, score)| [format!("{}_{n}", sequence.name), short(score.j.mean), short(score.f.mean)])
    });
    write_table(&per_sequence, ["Sequence", "J-Mean", "F-Mean"], objects)?;
    let frames = sequences.iter().flat_map(|sequence| {
        sequence.scored.iter().flat_map(|(frame, scores)| {
            (1..).zip(scores).map(|(n, score): (usize, &FrameScore)| {
                let (j, f) = (format!("{:.6}", score.j), format!("{:.6}", score.f));
                [sequence.name.clone(), n.to_string(), frame.clone(), j, f]
            })
        })
    });
    write_table(&per_frame, ["sequence", "object", "frame", "J", "F"], frames)?;
    Ok(vec![global, per_sequence, per_frame])
}
