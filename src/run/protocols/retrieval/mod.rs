//! `dinoxide eval retrieval`: how far up the right images stand when images are ranked for a query.
//!
//! | file | what |
//! |---|---|
//! | `ground_truth.rs` | reads the lists of revisited Oxford and Paris |
//! | `thumbnails.rs` | features of images at their own aspect |
//! | `benchmark.rs` | the benchmarks |
//! | `own.rs` | somebody's own folder, whose sub-folders say what belongs together |

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::{Outcome, ProtocolRequest, Session};
use crate::eval::EvalError;
use crate::eval::multi_scale::THREE_SCALES;
use crate::eval::retrieval::{CUTS, QueryScore, Ranked, Scores};
use crate::run::RunError;
use crate::run::device::among_threads;
use crate::run::input::ImageSize;

mod benchmark;
pub mod ground_truth;
mod own;
mod thumbnails;

/// What to do.
#[derive(Debug, Clone)]
pub struct RetrievalRequest {
    /// Network, folder of the results; the size is that of a box into which images are made to fit.
    pub protocol: ProtocolRequest,
    /// Folder or file of a ground truth, or a folder with one sub-folder for each class.
    pub data: PathBuf,
    /// Folder of the benchmark's images, unless it is where it is published to be.
    pub images: Option<PathBuf>,
    /// Scales at which images are shown; `None` for those of the benchmark.
    pub scales: Option<Scales>,
    /// Which part of a query is shown.
    pub queries: QueryPart,
    /// What becomes of images that are not there.
    pub missing: Missing,
}

/// Scales at which images are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scales {
    /// As they are.
    One,
    /// The mean of 1, 1/√2 and 1/2.
    Three,
}

/// Which part of a query is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum QueryPart {
    /// All of it, as the original program does.
    #[default]
    Whole,
    /// The box of the ground truth, as the benchmark's own protocol does.
    Box,
}

/// What becomes of images that are not there or cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Missing {
    /// An error.
    #[default]
    Error,
    /// They are left out, which is said: the figures are not those of the benchmark then.
    Skip,
}

/// Images or lists that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RetrievalError {
    /// There is neither a ground truth nor classes.
    #[error(
        "`{}` has neither a ground truth (`gnd_roxford5k.pkl`, `gnd_rparis6k.pkl` or the like, or `.json`) nor sub-folders of images, one for each class",
        data.display()
    )]
    NothingKnown {
        /// The folder.
        data: PathBuf,
    },
    /// Which ground truth is meant cannot be told.
    #[error("`{}` has several ground truths: {}; name one of them instead", data.display(), listed(found))]
    SeveralGroundTruths {
        /// The folder.
        data: PathBuf,
        /// The files.
        found: Vec<PathBuf>,
    },
    /// The file is no ground truth.
    #[error("`{}` is not a usable ground truth: {what}; it should be a dictionary of `imlist`, `qimlist` and `gnd` as revisited Oxford and Paris publish it", path.display())]
    GroundTruth {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The images are nowhere.
    #[error("there is no folder of images at {}; name it with `--images DIR`", listed(looked))]
    NoImageFolder {
        /// Where they were looked for.
        looked: Vec<PathBuf>,
    },
    /// Images of the lists are not there.
    #[error(
        "{count} of {total} images are missing, {} among them; complete the folder, or leave them out with `--missing skip`",
        listed(first)
    )]
    MissingImages {
        /// How many.
        count: usize,
        /// Images of the lists.
        total: usize,
        /// Some of them.
        first: Vec<PathBuf>,
    },
    /// A query has no box.
    #[error("query `{query}` has no box (`bbx`) in `{}`; leave `--queries box` away, or complete the ground truth", path.display())]
    NoBox {
        /// The ground truth.
        path: PathBuf,
        /// The query.
        query: String,
    },
    /// Own folders have no lists.
    #[error("`{option}` is for a benchmark with a ground truth (`gnd_NAME.pkl`), which `{}` has not; leave it away", data.display())]
    OnlyBenchmark {
        /// The option.
        option: &'static str,
        /// The folder.
        data: PathBuf,
    },
    /// An image cannot be shown.
    #[error("`{}` cannot be used: {reason}; replace it, or leave such images out with `--missing skip`", path.display())]
    Unusable {
        /// The image.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// No image of either side is left.
    #[error("none of the {what} can be read; is `{}` the folder of the images?", folder.display())]
    NoneLeft {
        /// Queries or images.
        what: &'static str,
        /// Where they were looked for.
        folder: PathBuf,
    },
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}

/// The figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RetrievalReport {
    /// Name of the benchmark, or `classes`.
    pub dataset: String,
    /// Images among which was looked.
    pub images: usize,
    /// Queries.
    pub queries: usize,
    /// Names of images and queries that were left out.
    pub left_out: Vec<String>,
    /// Width and height of the box into which images were made to fit.
    pub within: (u32, u32),
    /// Scales at which they were shown.
    pub scales: Vec<f64>,
    /// The figures of each setting: `easy`, `medium`, `hard`, or `classes`; without those in which no query has anything to find.
    pub settings: BTreeMap<&'static str, SettingReport>,
    /// Every query.
    pub per_query: Vec<QueryReport>,
}

/// The figures of a setting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SettingReport {
    /// Mean average precision, percent.
    pub map: f64,
    /// Mean precision of the first images by their number, percent.
    pub precision_at: BTreeMap<usize, f64>,
    /// Queries with something to find.
    pub queries: usize,
}

/// The figures of a query.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueryReport {
    /// Its name.
    pub query: String,
    /// Average precision of each setting, percent; none where nothing is to be found.
    pub average_precision: BTreeMap<&'static str, Option<f64>>,
}

/// Ranks images for queries by the cosine of their features: a benchmark if there is a ground truth, else classes.
///
/// # Errors
/// If the model, the ground truth or the images cannot be used.
pub fn retrieval(request: &RetrievalRequest) -> Result<Outcome<RetrievalReport>, RunError> {
    among_threads(|| match ground_truth::locate(&request.data)? {
        Some(file) => benchmark::score(request, &file),
        None => own::score(request),
    })
}

impl Scales {
    fn values(self) -> Vec<f64> {
        match self {
            Self::One => vec![1.0],
            Self::Three => THREE_SCALES.to_vec(),
        }
    }
}

/// The box into which images are made to fit: of the size asked for, if it can be used, else a square.
fn within(session: &Session<'_>, side: usize) -> Result<(u32, u32), RunError> {
    let asked = session.request.image_size.filter(|_| !session.is_reference());
    let size = asked.unwrap_or(ImageSize { width: side, height: side });
    // Only to refuse what is too large or too small.
    session.look.model.transform(Some(size))?;
    Ok((size.width as u32, size.height as u32))
}

/// Figures of each setting from the scores of every query.
fn settings(names: &[&'static str], ranked: &[Ranked]) -> Result<BTreeMap<&'static str, SettingReport>, EvalError> {
    let mut settings = BTreeMap::new();
    for (place, name) in names.iter().enumerate() {
        let Ok(scores) = Scores::of(ranked.iter().map(|ranked| ranked.scores[place]).collect()) else { continue };
        let precision = CUTS.iter().zip(scores.precision).map(|(cut, value)| (*cut, 100.0 * value)).collect();
        let queries = scores.queries.iter().flatten().count();
        settings.insert(*name, SettingReport { map: 100.0 * scores.map, precision_at: precision, queries });
    }
    if settings.is_empty() { Err(EvalError::NothingToFind) } else { Ok(settings) }
}

fn per_query<'a>(
    names: &[&'static str],
    queries: impl Iterator<Item = &'a str>,
    ranked: &[Ranked],
) -> Vec<QueryReport> {
    let percent = |score: &Option<QueryScore>| score.map(|score| 100.0 * score.average_precision);
    let report = |(query, ranked): (&str, &Ranked)| QueryReport {
        query: query.to_owned(),
        average_precision: names.iter().copied().zip(ranked.scores.iter().map(percent)).collect(),
    };
    queries.zip(ranked).map(report).collect()
}

/// What a query did, for the sheet.
fn words(score: Option<QueryScore>) -> Vec<String> {
    let second = match score {
        Some(score) => format!("AP {:.1}", 100.0 * score.average_precision),
        None => "none to find".to_owned(),
    };
    vec!["query".to_owned(), second]
}
