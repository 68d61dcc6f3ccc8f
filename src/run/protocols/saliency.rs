//! `dinoxide eval saliency`: maps of salient objects that any program has made, against masks.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;

use super::RESULTS_FILE;
use super::retrieval::Missing;
use super::segmentation::SegmentationError;
use super::segmentation::pairs::{Pair, matched};
use super::segmentation::truth::{MaskReading, StoredMask, read_gray};
use crate::eval::EvalError;
use crate::eval::saliency::{SaliencyScore, saliency_score};
use crate::run::RunError;
use crate::run::look::{write_file, write_table};

/// Scores of every image.
const PER_IMAGE: &str = "per-image.csv";

/// What to score.
#[derive(Debug, Clone)]
pub struct SaliencyRequest {
    /// Folder of the maps: pictures whose levels of gray say how salient a pixel is.
    pub maps: PathBuf,
    /// Folder of the masks, with the same names.
    pub masks: PathBuf,
    /// What the masks mean.
    pub reading: MaskReading,
    /// What becomes of a map without a mask, or a mask without a map.
    pub missing: Missing,
    /// Folder of the results.
    pub out: PathBuf,
}

/// The scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SaliencyReport {
    /// Mean over images of the mean absolute error, 0 to 1.
    pub mae: f64,
    /// Mean over images of the Jaccard index of levels of at least 128, percent.
    pub jaccard: f64,
    /// Images.
    pub images: usize,
    /// Files without a counterpart, which were left out.
    pub missing: Vec<PathBuf>,
    /// Where the maps were.
    pub maps: PathBuf,
    /// Where the masks were.
    pub masks: PathBuf,
    /// Files written beside `results.json`.
    pub files: Vec<PathBuf>,
}

/// Scores the maps of a folder and writes a table.
///
/// # Errors
/// If maps are missing, do not fit or cannot be read.
pub fn saliency(request: &SaliencyRequest) -> Result<SaliencyReport, RunError> {
    let out = &request.out;
    if out.is_file() {
        return Err(RunError::NotAFolder { path: out.clone() });
    }
    let found = matched(&request.maps, &request.masks, request.missing)?;
    std::fs::create_dir_all(out).map_err(RunError::file("create", out))?;
    let scores = found.pairs.par_iter().map(|pair| score(pair, request.reading));
    let scores = scores.collect::<Result<Vec<SaliencyScore>, RunError>>()?;
    let mean = |part: fn(&SaliencyScore) -> f64| scores.iter().map(part).sum::<f64>() / scores.len() as f64;
    let table = out.join(PER_IMAGE);
    let rows = found.pairs.iter().zip(&scores);
    let rows = rows.map(|(pair, score)| [pair.name.clone(), score.mae.to_string(), score.jaccard.to_string()]);
    write_table(&table, ["image", "mae", "jaccard"], rows)?;
    let report = SaliencyReport {
        mae: mean(|score| score.mae),
        jaccard: 100.0 * mean(|score| score.jaccard),
        images: scores.len(),
        missing: found.missing,
        maps: request.maps.clone(),
        masks: request.masks.clone(),
        files: vec![table],
    };
    let path = out.join(RESULTS_FILE);
    let json = serde_json::to_vec_pretty(&report).map_err(|error| RunError::file("write", &path)(error.into()))?;
    write_file(&path, &json)?;
    Ok(report)
}

fn score(pair: &Pair, reading: MaskReading) -> Result<SaliencyScore, RunError> {
    let (map, mask) = (read_gray(&pair.image)?, StoredMask::read(&pair.mask, reading)?);
    if (map.width(), map.height()) != mask.size() {
        let (path, map) = (pair.image.clone(), (map.width(), map.height()));
        return Err(SegmentationError::MapSize { path, map, mask: mask.size() }.into());
    }
    saliency_score(map.labels(), &mask.whole()?).map_err(|error| match error {
        EvalError::Empty { .. } => SegmentationError::AllUnknown { path: pair.mask.clone() }.into(),
        other => other.into(),
    })
}
