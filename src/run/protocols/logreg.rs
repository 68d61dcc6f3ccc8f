//! `dinoxide eval logreg`: accuracy of a logistic regression on frozen features, with all labels or few of them.

use std::path::PathBuf;

use dinoxide_views::EvalTransform;
use serde::Serialize;

use super::confusion::write_confusion;
use super::{Labelled, Outcome, ProtocolRequest, Session};
use crate::eval::EvalError;
use crate::eval::classifier::{Accuracy, ClassifierError, Confusion, LabelledRows, check_count};
use crate::eval::logreg::{LogReg, LogRegConfig, PENALTY};
use crate::eval::nearest::UnitRows;
use crate::eval::published;
use crate::eval::readout::Readout;
use crate::eval::subset::Subset;
use crate::run::RunError;
use crate::run::counter::Counter;
use crate::run::device::among_threads;
use crate::run::look::write_table;

/// Draws of a subset at most.
const MOST_SEEDS: usize = 100_000;

/// What to do.
#[derive(Debug, Clone)]
pub struct LogRegRequest {
    /// Network, folder of the results.
    pub protocol: ProtocolRequest,
    /// Labelled folder to learn from.
    pub train: PathBuf,
    /// Labelled folder whose images are classified.
    pub val: PathBuf,
    /// Which of the labels are used, one regression for each.
    pub subsets: Vec<Subset>,
    /// Draws of each subset.
    pub seeds: usize,
    /// λ times the number of training images, one regression for each.
    pub penalties: Vec<f64>,
    /// Share of the loss that it may be above the smallest.
    pub tolerance: f64,
}

/// The accuracies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogRegReport {
    /// One for each subset and penalty.
    pub fits: Vec<FitReport>,
    /// Images of which subsets are drawn.
    pub train: usize,
    /// Images classified.
    pub val: usize,
    /// Classes.
    pub classes: usize,
    /// Values of an image.
    pub dim: usize,
}

/// The regressions of one subset and penalty.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FitReport {
    /// Which of the labels were used.
    pub subset: Subset,
    /// λ times the number of training images.
    pub penalty: f64,
    /// Images learnt from.
    pub train: usize,
    /// Mean over the draws, percent.
    pub top1: f64,
    /// Standard deviation over the draws (with one less in the denominator); absent for one draw.
    pub top1_std: Option<f64>,
    /// Mean over the draws, percent.
    pub top5: f64,
    /// Every draw.
    pub draws: Vec<DrawReport>,
}

/// One regression.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DrawReport {
    /// Seed of the subset.
    pub seed: u64,
    /// Percent.
    pub top1: f64,
    /// Percent.
    pub top5: f64,
    /// Loss with its penalty, nats.
    pub loss: f64,
    /// The loss is at most so far above the smallest.
    pub gap: f64,
    /// Iterations taken.
    pub iterations: usize,
    /// Whether the tolerance was reached.
    pub converged: bool,
}

/// Solves logistic regressions on features of unit length (DINO, Caron et al. 2021, tables 10 and 12).
///
/// # Errors
/// If the model or the images cannot be read, the folders do not have the same classes, or a number makes no sense.
pub fn logreg(request: &LogRegRequest) -> Result<Outcome<LogRegReport>, RunError> {
    among_threads(|| regress(request))
}

/// Features of unit length.
struct Unit {
    rows: UnitRows,
    labels: Vec<u32>,
}

impl Unit {
    fn new(found: Labelled, dim: usize, what: &'static str) -> Result<Self, EvalError> {
        Ok(Self { rows: UnitRows::new(found.features, dim, what)?, labels: found.labels })
    }

    /// Some of the rows.
    fn only(&self, places: &[usize]) -> (Vec<f32>, Vec<u32>) {
        let rows = places.iter().flat_map(|place| self.rows.row(*place)).copied();
        (rows.collect(), places.iter().map(|place| self.labels[*place]).collect())
    }
}

fn regress(request: &LogRegRequest) -> Result<Outcome<LogRegReport>, RunError> {
    check(request).map_err(EvalError::from)?;
    let mut session = Session::open(&request.protocol)?;
    let transform = session.transform(EvalTransform::default())?;
    session.deviates("solved by L-BFGS to a proven gap; the original: by cyanure to 1e-3");
    if request.subsets.iter().any(|subset| subset.is_drawn()) {
        session.deviates("few labels are drawn here, balanced; the original: the lists of SimCLR");
    }
    if request.penalties != [PENALTY] {
        let penalties: Vec<String> = request.penalties.iter().map(f64::to_string).collect();
        session.deviates(format!("penalty {}; the original: {PENALTY}", penalties.join(", ")));
    }
    let (train, val) = (session.source(&request.train)?, session.source(&request.val)?);
    let labels = session.labels(&train, &val)?;
    let (classes, dim) = (labels.classes.len(), Readout::CLASS.dim(&session.look.model.backbone.config()));
    let train = Unit::new(session.labelled(train, &labels.train, transform)?, dim, "the training features")?;
    let val = Unit::new(session.labelled(val, &labels.val, transform)?, dim, "the validation features")?;
    let val = LabelledRows::new(val.rows.values(), &val.labels, (dim, classes), "the validation features")?;
    let total: u64 = request.subsets.iter().map(|subset| draws(subset, request.seeds).end).sum();
    let counter = Counter::of(total as usize * request.penalties.len(), "regressions");
    let (mut fits, mut first) = (Vec::new(), None);
    for subset in &request.subsets {
        for penalty in &request.penalties {
            let config = config(request, *penalty);
            let drawn = draws(subset, request.seeds).map(|seed| {
                let (draw, count, predictions) = draw(&train, val, (*subset, seed), config)?;
                first.get_or_insert(predictions);
                counter.one();
                Ok((draw, count))
            });
            fits.push(FitReport::of(*subset, *penalty, drawn.collect::<Result<_, EvalError>>()?));
        }
    }
    drop(counter);
    warn_of_unsolved(&session, &fits);
    let confusion = Confusion::of(val.labels(), &first.unwrap_or_default(), classes);
    write_fits(&mut session, &fits)?;
    let report = LogRegReport { fits, train: train.labels.len(), val: val.count(), classes, dim };
    session.finish_and("logreg", (report, &published::LOGREG), |session| {
        write_confusion(session, &confusion, &labels.classes)
    })
}

/// Checks all numbers.
fn check(request: &LogRegRequest) -> Result<(), ClassifierError> {
    if request.penalties.is_empty() {
        return Err(ClassifierError::Nothing { what: "penalty" });
    }
    if request.subsets.is_empty() {
        return Err(ClassifierError::Nothing { what: "draw of the labels" });
    }
    check_count("the number of seeds", request.seeds, MOST_SEEDS, "3")?;
    request.subsets.iter().try_for_each(|subset| subset.check())?;
    request.penalties.iter().try_for_each(|penalty| config(request, *penalty).check())
}

fn config(request: &LogRegRequest, penalty: f64) -> LogRegConfig {
    LogRegConfig { penalty, tolerance: request.tolerance, ..LogRegConfig::default() }
}

/// Seeds of a subset.
fn draws(subset: &Subset, seeds: usize) -> std::ops::Range<u64> {
    0..if subset.is_drawn() { seeds as u64 } else { 1 }
}

/// One regression, the images it learnt from, and the class that each validation image is taken for.
fn draw(
    train: &Unit,
    val: LabelledRows<'_>,
    (subset, seed): (Subset, u64),
    config: LogRegConfig,
) -> Result<(DrawReport, usize, Vec<u32>), EvalError> {
    let (features, labels) = train.only(&subset.draw(&train.labels, seed)?);
    let rows = LabelledRows::new(&features, &labels, (val.dim(), val.classes()), "the training features")?;
    let solved = LogReg::fit(rows, config)?;
    let (Accuracy { top1, top5 }, predictions) = solved.evaluate(val);
    let LogReg { loss, gap, iterations, converged, .. } = solved;
    Ok((DrawReport { seed, top1, top5, loss, gap, iterations, converged }, rows.count(), predictions))
}

impl FitReport {
    fn of(subset: Subset, penalty: f64, drawn: Vec<(DrawReport, usize)>) -> Self {
        let train = drawn.first().map_or(0, |(_, count)| *count);
        let draws: Vec<DrawReport> = drawn.into_iter().map(|(draw, _)| draw).collect();
        let count = draws.len() as f64;
        let top1 = draws.iter().map(|draw| draw.top1).sum::<f64>() / count;
        let top5 = draws.iter().map(|draw| draw.top5).sum::<f64>() / count;
        let squares = draws.iter().map(|draw| (draw.top1 - top1).powi(2)).sum::<f64>();
        let top1_std = (draws.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        Self { subset, penalty, train, top1, top1_std, top5, draws }
    }
}

fn warn_of_unsolved(session: &Session<'_>, fits: &[FitReport]) {
    let unsolved = fits.iter().flat_map(|fit| &fit.draws).filter(|draw| !draw.converged);
    if let Some(worst) = unsolved.map(|draw| draw.gap / draw.loss).max_by(f64::total_cmp) {
        let words =
            format!("a regression ended before the tolerance, at most {worst:.1e} of its loss above the smallest");
        session.look.console.warn(&words);
    }
}

fn write_fits(session: &mut Session<'_>, fits: &[FitReport]) -> Result<(), RunError> {
    let lines = fits.iter().flat_map(|fit| {
        fit.draws.iter().map(|draw| {
            let DrawReport { seed, top1, top5, loss, .. } = draw;
            let subset = [fit.subset.words(), fit.penalty.to_string(), fit.train.to_string()];
            let figures = [seed.to_string(), top1.to_string(), top5.to_string(), loss.to_string()];
            let [a, b, c] = subset;
            let [d, e, f, g] = figures;
            [a, b, c, d, e, f, g]
        })
    });
    write_table(&session.file("fits.csv"), ["labels", "penalty", "images", "seed", "top1", "top5", "loss"], lines)
}
