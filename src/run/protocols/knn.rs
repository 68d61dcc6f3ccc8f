//! `dinoxide eval knn`: accuracy of a weighted k-NN on frozen features, of all images and of each class.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Kernels as _;
use dinoxide_engine::values::Precision as Multiplied;
use dinoxide_views::{EvalTransform, Source};
use serde::Serialize;

use super::confusion::{confusion_files, write_confusion};
use super::dumped::SavedFeatures;
use super::{BF16, Outcome, ProtocolRequest, Session, remove_results};
use crate::config::Precision;
use crate::eval::classifier::Confusion;
use crate::eval::knn::{KnnBank, KnnResult, KnnScore, TEMPERATURE, check_neighbours, check_temperature};
use crate::eval::published;
use crate::run::RunError;
use crate::run::console::{Console, Figures, Verbosity};
use crate::run::device::{among_threads, cpu};

/// Images that the original program classifies at least, and classes that it knows at most.
const FEWEST_QUERIES: usize = 100;
const MOST_CLASSES: usize = 1000;

/// What to do.
#[derive(Debug, Clone)]
pub struct KnnRequest {
    /// Network, folder of the results.
    pub protocol: ProtocolRequest,
    /// Labelled folder whose images vote.
    pub train: PathBuf,
    /// Labelled folder whose images are classified.
    pub val: PathBuf,
    /// Numbers of neighbours.
    pub k: Vec<usize>,
    /// Temperature of the votes.
    pub temperature: f64,
}

/// The accuracies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KnnReport {
    /// Top-1 by number of neighbours, percent.
    pub top1: BTreeMap<usize, f64>,
    /// Top-5 by number of neighbours, percent.
    pub top5: BTreeMap<usize, f64>,
    /// Images that voted.
    pub train: usize,
    /// Images that were classified.
    pub val: usize,
    /// Classes.
    pub classes: usize,
    /// Neighbours that `classes.csv`, `confusion.csv` and the picture are of.
    pub confusion_k: usize,
}

/// What to do with saved features.
#[derive(Debug, Clone)]
pub struct SavedKnnRequest {
    /// Folder with the four files.
    pub features: PathBuf,
    /// Folder for `results.json`, tables and pictures.
    pub out: PathBuf,
    /// What the search multiplies.
    pub precision: Precision,
    /// Numbers of neighbours.
    pub k: Vec<usize>,
    /// Temperature of the votes.
    pub temperature: f64,
}

/// Classifies the validation images by their nearest training images (DINO, Caron et al. 2021, section 4.1).
///
/// # Errors
/// If the model or the images cannot be read, or the two folders do not have the same classes.
pub fn knn(request: &KnnRequest) -> Result<Outcome<KnnReport>, RunError> {
    among_threads(|| classify(request, None))
}

/// The same, with the features saved as four files in a folder, as `eval_knn.py --dump_features` does.
///
/// # Errors
/// As [`knn`], or if the files cannot be written.
pub fn knn_saving(request: &KnnRequest, features: &Path) -> Result<Outcome<KnnReport>, RunError> {
    among_threads(|| classify(request, Some(features)))
}

/// The same from saved features, as `eval_knn.py --load_features` does.
///
/// # Errors
/// If the files cannot be read or do not fit together, or the results cannot be written.
pub fn knn_of_saved(request: &SavedKnnRequest) -> Result<Outcome<KnnReport>, RunError> {
    among_threads(|| classify_saved(request))
}

fn classify(request: &KnnRequest, save: Option<&Path>) -> Result<Outcome<KnnReport>, RunError> {
    check_neighbours(&request.k)?;
    check_temperature(request.temperature)?;
    let mut session = Session::open(&request.protocol)?;
    let transform = session.transform(EvalTransform::default())?;
    if let Some(folder) = save {
        // Before hours of work, not after.
        std::fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
    }
    let (train, val) = (session.source(&request.train)?, session.source(&request.val)?);
    let labels = session.labels(&train, &val)?;
    let train = session.labelled(train, &labels.train, transform)?;
    let val = session.labelled(val, &labels.val, transform)?;
    let dim = session.look.model.backbone.dim();
    let features = SavedFeatures::new([train, val], dim, labels.classes)?;
    if let Some(folder) = save {
        session.files.extend(features.write(folder)?);
    }
    let votes = Votes { k: &request.k, temperature: request.temperature, cpu: session.look.cpu };
    let Voted { report, confusion, names, deviations } = votes.of(features)?;
    session.deviations.extend(deviations);
    session.finish_and("knn", (report, &published::KNN), |session| write_confusion(session, &confusion, &names))
}

fn classify_saved(request: &SavedKnnRequest) -> Result<Outcome<KnnReport>, RunError> {
    check_neighbours(&request.k)?;
    check_temperature(request.temperature)?;
    let (start, out) = (Instant::now(), &request.out);
    let console = Console::new(Verbosity::Normal, Figures::Talk);
    let features = SavedFeatures::read(&request.features)?;
    if out.is_file() {
        return Err(RunError::NotAFolder { path: out.clone() });
    }
    std::fs::create_dir_all(out).map_err(RunError::file("create", out))?;
    remove_results(out)?;
    let cpu = cpu(request.precision, &console);
    let network = format!("features of width {}", features.dim());
    let votes = Votes { k: &request.k, temperature: request.temperature, cpu };
    let Voted { report: result, confusion, names, mut deviations } = votes.of(features)?;
    if cpu.precision() == Multiplied::Bf16 {
        deviations.insert(0, BF16.to_owned());
    }
    let outcome = Outcome {
        protocol: "knn",
        model: request.features.clone(),
        network,
        result,
        deviations,
        published: &published::KNN,
        seconds: start.elapsed().as_secs_f64(),
        files: Vec::new(),
    };
    outcome.write(out, || confusion_files(out, &console, &confusion, &names))
}

/// How neighbours vote.
struct Votes<'a> {
    k: &'a [usize],
    temperature: f64,
    cpu: Cpu,
}

/// What they said.
struct Voted {
    report: KnnReport,
    confusion: Confusion,
    /// Of the classes.
    names: Vec<String>,
    /// Where this differs from what the original program would do with these features.
    deviations: Vec<String>,
}

impl Votes<'_> {
    fn of(&self, features: SavedFeatures) -> Result<Voted, RunError> {
        let SavedFeatures { train: (rows, labels), val: (queries, truths), classes } = features;
        let mut bank = KnnBank::of_rows(rows, labels, classes.len())?.with_temperature(self.temperature)?;
        if self.cpu.precision() == Multiplied::Bf16 {
            bank = bank.rounded(self.cpu);
        }
        let result = bank.evaluate(queries.values(), &truths, self.k)?;
        let confusion = Confusion::of(&truths, &result.predictions, classes.len());
        // Every k that was asked for has its entry, so that scripts find it.
        let by_k = |score: fn(&KnnScore) -> f64| {
            self.k.iter().filter_map(|k| Some((*k, score(result.at(*k)?)))).collect::<BTreeMap<_, _>>()
        };
        let report = KnnReport {
            top1: by_k(|score| score.top1),
            top5: by_k(|score| score.top5),
            train: result.train,
            val: result.val,
            classes: result.classes,
            confusion_k: result.headline(),
        };
        let deviations = self.deviations(&result);
        Ok(Voted { report, confusion, names: classes, deviations })
    }

    fn deviations(&self, result: &KnnResult) -> Vec<String> {
        let KnnResult { train, val, classes, .. } = result;
        let mut deviations = Vec::new();
        if self.temperature != TEMPERATURE {
            deviations.push(format!("votes of temperature {}; the paper: {TEMPERATURE}", self.temperature));
        }
        deviations.extend(result.clipped.iter().map(|k| {
            format!("k = {k}: there are only {train} training images, so all of them vote; the original stops")
        }));
        if *val < FEWEST_QUERIES {
            deviations.push(format!("{val} images are classified; the original needs {FEWEST_QUERIES} or more"));
        }
        if *classes > MOST_CLASSES {
            deviations.push(format!("{classes} classes; the original stops at more than {MOST_CLASSES}"));
        }
        deviations
    }
}

/// The class of every image.
pub(super) fn class_names(source: &Source) -> Vec<&str> {
    let class = |label: Option<u32>| source.classes.get(label? as usize);
    source.images.iter().map(|image| class(image.label).map_or("", String::as_str)).collect()
}
