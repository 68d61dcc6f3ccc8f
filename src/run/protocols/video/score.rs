//! `dinoxide eval video-score`: J and F of masks that any program has predicted.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use super::davis::{Sequence, VideoFrame, find};
use super::mask_file::{Labelling, read_mask};
use super::tables::{SequenceReport, SequenceScores, percent, summary, write_tables};
use super::{MASKS, VideoDataError};
use crate::eval::published::{self, Published};
use crate::eval::video::{FrameScore, Summary, score_frame};
use crate::run::RunError;
use crate::run::protocols::{RESULTS_FILE, remove_results, write_results};

/// What to score.
#[derive(Debug, Clone)]
pub struct ScoreRequest {
    /// Folder with a folder of masks for each sequence.
    pub predictions: PathBuf,
    /// Folder laid out as DAVIS is.
    pub data: PathBuf,
    /// Names of sequences; none for all.
    pub sequences: Vec<String>,
    /// Folder of the results.
    pub out: PathBuf,
}

/// The scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScoreReport {
    /// Means over all objects of all sequences, percent.
    #[serde(flatten)]
    pub summary: Summary,
    /// Every sequence.
    pub sequences: Vec<SequenceReport>,
    /// Where the masks were.
    pub predictions: PathBuf,
    /// What was published.
    pub published: &'static [Published],
    /// Files written beside `results.json`.
    pub files: Vec<PathBuf>,
}

/// Scores the masks of a folder and writes the tables of the official evaluator.
///
/// # Errors
/// If masks are missing, do not fit or cannot be read, or nothing can be scored.
pub fn score(request: &ScoreRequest) -> Result<ScoreReport, RunError> {
    let out = &request.out;
    if out.is_file() {
        return Err(RunError::NotAFolder { path: out.clone() });
    }
    std::fs::create_dir_all(out).map_err(RunError::file("create", out))?;
    remove_results(out)?;
    // Masks of `eval video` lie one folder deeper.
    let own = request.predictions.join(MASKS);
    let predictions = if own.is_dir() { own } else { request.predictions.clone() };
    let found = find(&request.data, &request.sequences)?.sequences;
    let scores = found.iter().map(|sequence| score_sequence(&predictions, sequence));
    let scores = scores.collect::<Result<Vec<_>, _>>()?;
    let summary = summary(&scores).ok_or_else(|| VideoDataError::NothingToScore { path: request.data.clone() })?;
    let report = ScoreReport {
        summary: percent(summary),
        sequences: scores.iter().map(SequenceScores::report).collect(),
        predictions,
        published: &published::VIDEO,
        files: write_tables(out, &scores, &summary)?,
    };
    write_results(&out.join(RESULTS_FILE), &report)?;
    Ok(report)
}

fn score_sequence(predictions: &Path, sequence: &Sequence) -> Result<SequenceScores, VideoDataError> {
    let mut scores = SequenceScores::new(&sequence.name, sequence.frames.len());
    let Some(first) = sequence.frames.first().and_then(|frame| frame.mask.as_deref()) else { return Ok(scores) };
    let labelling = Labelling::of(&read_mask(first)?, first)?;
    let score = |frame: &VideoFrame, truth: &Path| -> Result<(String, Vec<FrameScore>), VideoDataError> {
        let path = predictions.join(&sequence.name).join(format!("{}.png", frame.name));
        if !path.is_file() {
            return Err(VideoDataError::NoPrediction { path });
        }
        let (truth, predicted) = (labelling.truth(&read_mask(truth)?), labelling.prediction(&read_mask(&path)?));
        let scores = score_frame(&truth, &predicted, labelling.objects);
        Ok((frame.name.clone(), scores.map_err(|source| VideoDataError::Score { path, source })?))
    };
    let wanted = sequence.frames.par_iter().enumerate().filter(|(place, _)| scores.counts(*place));
    let scored = wanted.filter_map(|(_, frame)| Some(score(frame, frame.mask.as_deref()?)));
    scores.scored = scored.collect::<Result<_, _>>()?;
    Ok(scores)
}
