//! `dinoxide eval knn`: accuracy of a weighted k-NN on frozen features, of all images and of each class.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dinoxide_views::EvalTransform;
use serde::Serialize;

use super::confusion::write_confusion;
use super::{Outcome, ProtocolRequest, Session};
use crate::eval::classifier::Confusion;
use crate::eval::knn::{KnnBank, KnnResult, KnnScore, TEMPERATURE, check_neighbours, check_temperature};
use crate::eval::published;
use crate::run::RunError;
use crate::run::device::among_threads;

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

/// Classifies the validation images by their nearest training images (DINO, Caron et al. 2021, section 4.1).
///
/// # Errors
/// If the model or the images cannot be read, or the two folders do not have the same classes.
pub fn knn(request: &KnnRequest) -> Result<Outcome<KnnReport>, RunError> {
    among_threads(|| classify(request))
}

fn classify(request: &KnnRequest) -> Result<Outcome<KnnReport>, RunError> {
    check_neighbours(&request.k)?;
    check_temperature(request.temperature)?;
    let mut session = Session::open(&request.protocol)?;
    let transform = session.transform(EvalTransform::default())?;
    let (train, val) = (session.source(&request.train)?, session.source(&request.val)?);
    let labels = session.labels(&train, &val)?;
    let train = session.labelled(train, &labels.train, transform)?;
    let val = session.labelled(val, &labels.val, transform)?;
    let bank =
        KnnBank::new(train.features, train.labels, labels.classes.len())?.with_temperature(request.temperature)?;
    let result = bank.evaluate(&val.features, &val.labels, &request.k)?;
    deviations(&mut session, request, &result);
    let confusion = Confusion::of(&val.labels, &result.predictions, labels.classes.len());
    // Every k that was asked for has its entry, so that scripts find it.
    let by_k = |score: fn(&KnnScore) -> f64| {
        request.k.iter().filter_map(|k| Some((*k, score(result.at(*k)?)))).collect::<BTreeMap<_, _>>()
    };
    let report = KnnReport {
        top1: by_k(|score| score.top1),
        top5: by_k(|score| score.top5),
        train: result.train,
        val: result.val,
        classes: result.classes,
        confusion_k: result.headline(),
    };
    session.finish("knn", (report, &published::KNN), |session| write_confusion(session, &confusion, &labels.classes))
}

/// Notes where this differs from what the original program would do with these images.
fn deviations(session: &mut Session<'_>, request: &KnnRequest, result: &KnnResult) {
    let KnnResult { train, val, classes, .. } = result;
    if request.temperature != TEMPERATURE {
        session.deviates(format!("votes of temperature {}; the paper: {TEMPERATURE}", request.temperature));
    }
    for k in &result.clipped {
        session.deviates(format!(
            "k = {k}: there are only {train} training images, so all of them vote; the original stops"
        ));
    }
    if *val < FEWEST_QUERIES {
        session.deviates(format!("{val} images are classified; the original needs {FEWEST_QUERIES} or more"));
    }
    if *classes > MOST_CLASSES {
        session.deviates(format!("{classes} classes; the original stops at more than {MOST_CLASSES}"));
    }
}
