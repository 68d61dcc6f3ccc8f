//! `dinoxide eval linear`: accuracy of a linear layer that is trained on frozen features.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dinoxide_engine::cpu::Cpu;
use dinoxide_views::{EvalTransform, Source};
use serde::Serialize;

use super::confusion::write_confusion;
use super::crops::{Crops, crops};
use super::head::{Head, HeadError, check_width, read_head, write_head};
use super::knn::class_names;
use super::{Manner, Outcome, ProtocolRequest, Session};
use crate::eval::EvalError;
use crate::eval::classifier::{Accuracy, ClassifierError, Confusion, LabelledRows};
use crate::eval::labels::positions;
use crate::eval::linear::{Course, EpochScore, Fitted, LinearLayer, LinearProbe, fit};
use crate::eval::published;
use crate::eval::readout::{PatchMean, Readout};
use crate::report::chart::{Chart, Series};
use crate::run::RunError;
use crate::run::counter::Counter;
use crate::run::device::among_threads;
use crate::run::look::{write_file, write_table};

/// The paper's batch and number of epochs.
pub const PAPER: (usize, usize) = (1024, 100);
/// The batch unless the original is followed.
const BATCH: usize = 256;
/// Learning rates that are tried, and the original program's.
const RATES: [f64; 6] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3];
const ORIGINAL_RATE: f64 = 0.001;
/// Curves that a chart can tell apart.
const MOST_CURVES: usize = 6;

/// What to do.
#[derive(Debug, Clone)]
pub struct LinearRequest {
    /// Network, folder of the results.
    pub protocol: ProtocolRequest,
    /// Labelled folder to learn from; may be absent if a head is given.
    pub train: Option<PathBuf>,
    /// Labelled folder whose images are classified.
    pub val: PathBuf,
    /// Last blocks whose class token is taken; as the official programs do unless given.
    pub blocks: Option<usize>,
    /// What is done with the mean of the patches; likewise.
    pub patches: Option<PatchMean>,
    /// How the layers are trained.
    pub training: Training,
    /// A head to evaluate instead of training one.
    pub head: Option<PathBuf>,
}

/// How layers are trained; what is absent is as suits the manner.
#[derive(Debug, Clone, Default)]
pub struct Training {
    /// Learning rates for batches of 256 images.
    pub rates: Option<Vec<f64>>,
    /// Times that every image is seen.
    pub epochs: Option<usize>,
    /// Images of a step.
    pub batch: Option<usize>,
    /// Seed of the start, of the order, and of random views.
    pub seed: u64,
    /// What of the images is learnt from.
    pub images: TrainImages,
}

/// What of the training images is learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrainImages {
    /// Features of their centres, computed once.
    #[default]
    Centres,
    /// Features of another random crop, mirrored or not, for every epoch.
    Crops,
}

/// The accuracies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LinearReport {
    /// The best of all learning rates and epochs on the validation images, percent; or that of the given head.
    #[serde(flatten)]
    pub accuracy: Accuracy,
    /// Where the best was; absent for a given head.
    pub best: Option<BestRate>,
    /// Every learning rate.
    pub rates: Vec<RateReport>,
    /// What of the network was used.
    pub features: Readout,
    /// Values of an image.
    pub dim: usize,
    /// Images learnt from.
    pub train: usize,
    /// Images classified.
    pub val: usize,
    /// Classes.
    pub classes: usize,
    /// Epochs of the training.
    pub epochs: usize,
    /// Images of a step.
    pub batch: usize,
    /// Time of the training without the features of centres.
    pub training_seconds: f64,
}

/// The best learning rate and its best epoch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BestRate {
    /// Learning rate for batches of 256 images.
    pub lr: f64,
    /// Epochs done.
    pub epoch: usize,
}

/// One learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RateReport {
    /// For batches of 256 images.
    pub lr: f64,
    /// The best top-1 of all epochs, percent.
    pub best_top1: f64,
    /// Epochs done then.
    pub best_epoch: usize,
    /// After the last epoch.
    #[serde(rename = "final")]
    pub last: EpochScore,
}

/// Trains linear layers on frozen features (DINO, Caron et al. 2021, appendix F.2), or evaluates a given one.
///
/// # Errors
/// If the model, the images or the head cannot be read or do not fit, or the results cannot be written.
pub fn linear(request: &LinearRequest) -> Result<Outcome<LinearReport>, RunError> {
    among_threads(|| match &request.head {
        Some(head) => evaluate(request, head),
        None => train(request),
    })
}

/// A protocol with its features chosen.
struct Opened<'r> {
    session: Session<'r>,
    transform: EvalTransform,
    readout: Readout,
    dim: usize,
}

fn open(request: &LinearRequest) -> Result<Opened<'_>, RunError> {
    let mut session = Session::open(&request.protocol)?;
    let transform = session.transform(EvalTransform::default())?;
    let config = session.look.model.backbone.config();
    let usual = Readout::usual(&config);
    // Blocks that are asked for alone are class tokens alone.
    let patches = request.patches.unwrap_or(if request.blocks.is_some() { PatchMean::None } else { usual.patches });
    let blocks = request.blocks.unwrap_or(if patches == PatchMean::Interleaved { 1 } else { usual.blocks });
    let readout = Readout { blocks, patches };
    readout.check(&config).map_err(EvalError::from)?;
    session.look.console.say(&readout.words(&config));
    if readout != usual {
        session.deviates(format!("{}; the original: {}", readout.words(&config), usual.words(&config)));
    }
    Ok(Opened { session, transform, readout, dim: readout.dim(&config) })
}

fn train(request: &LinearRequest) -> Result<Outcome<LinearReport>, RunError> {
    let Some(train) = &request.train else {
        return Err(EvalError::Empty { what: "the list of training images" }.into());
    };
    let (course, images) = course(request).map_err(EvalError::from)?;
    let Opened { mut session, transform, readout, dim } = open(request)?;
    deviations(&mut session, &course, images);
    let crops = (images == TrainImages::Crops).then(|| crops(transform)).transpose()?;
    let (train, val) = (session.source(train)?, session.source(&request.val)?);
    let labels = session.labels(&train, &val)?;
    let classes = labels.classes.len();
    if classes < 2 {
        return Err(EvalError::from(ClassifierError::OneClass).into());
    }
    let val = session.labelled_as(readout, val, &labels.val, transform)?;
    let val = LabelledRows::new(&val.features, &val.labels, (dim, classes), "the validation features")?;
    let cpu = Cpu::new();
    let mut probe = LinearProbe::new(&cpu, &LinearLayer::drawn(dim, classes, course.seed), &course.scaled_rates());
    let (fitted, count, seconds) = match crops {
        None => {
            let rows = session.labelled_as(readout, train, &labels.train, transform)?;
            let rows = LabelledRows::new(&rows.features, &rows.labels, (dim, classes), "the training features")?;
            let rows = rows.to_learn_from()?;
            let start = std::time::Instant::now();
            (on_centres(&mut probe, &course, rows, val)?, rows.count(), start.elapsed().as_secs_f64())
        }
        Some(recipe) => {
            let start = std::time::Instant::now();
            let seen = Crops { session: &session, readout, recipe, source: Arc::new(train), labels: &labels.train };
            let (fitted, skipped) = seen.fit(&mut probe, &course, val)?;
            session.leaves_out(skipped);
            (fitted, labels.train.len() - skipped, start.elapsed().as_secs_f64())
        }
    };
    let (_, predictions) = fitted.best.layer.evaluate(&cpu, val);
    let confusion = Confusion::of(val.labels(), &predictions, classes);
    let report = LinearReport {
        accuracy: fitted.best.accuracy,
        best: Some(BestRate { lr: course.rates[fitted.best.rate], epoch: fitted.best.epoch }),
        rates: course.rates.iter().zip(&fitted.curves).filter_map(|(lr, curve)| rate_report(*lr, curve)).collect(),
        features: readout,
        dim,
        train: count,
        val: val.count(),
        classes,
        epochs: course.epochs,
        batch: course.batch,
        training_seconds: seconds,
    };
    // The head took hours, the pictures can be made again.
    write_head(&session.file("head.pth"), &fitted.best, &course, &labels.classes)?;
    session.finish_and("linear", (report, &published::LINEAR), |session| {
        publish(session, &course, &fitted)?;
        write_confusion(session, &confusion, &labels.classes)
    })
}

/// The course that is asked for, and what is learnt from.
///
/// # Errors
/// A number that cannot be used, or several learning rates where the original is followed.
fn course(request: &LinearRequest) -> Result<(Course, TrainImages), ClassifierError> {
    let reference = request.protocol.manner == Manner::Reference;
    let training = &request.training;
    let rates = if reference { vec![ORIGINAL_RATE] } else { RATES.to_vec() };
    let course = Course {
        rates: training.rates.clone().unwrap_or(rates),
        epochs: training.epochs.unwrap_or(PAPER.1),
        batch: training.batch.unwrap_or(if reference { PAPER.0 } else { BATCH }),
        seed: training.seed,
    };
    course.check()?;
    match course.rates.len() {
        rates if rates > 1 && reference => Err(ClassifierError::SeveralRates { rates }),
        _ => Ok((course, if reference { TrainImages::Crops } else { training.images })),
    }
}

fn deviations(session: &mut Session<'_>, course: &Course, images: TrainImages) {
    if images == TrainImages::Centres {
        session.deviates("learnt from features of the centres, computed once; the original draws a crop and a mirroring for every epoch");
    }
    if course.rates.len() > 1 {
        session.deviates(format!(
            "the best of {} learning rates, trained side by side; the original takes one at a time",
            course.rates.len()
        ));
    }
    if let [rate] = course.rates[..]
        && rate != ORIGINAL_RATE
    {
        session.deviates(format!("learning rate {rate}; the original's own: {ORIGINAL_RATE}, to be tuned"));
    }
    if (course.batch, course.epochs) != PAPER {
        let (batch, epochs) = PAPER;
        let (own_batch, own_epochs) = (course.batch, course.epochs);
        session.deviates(format!("batches of {own_batch}, {own_epochs} epochs; the paper: {batch}, {epochs}"));
    }
}

fn on_centres(
    probe: &mut LinearProbe<'_>,
    course: &Course,
    rows: LabelledRows<'_>,
    val: LabelledRows<'_>,
) -> Result<Fitted, RunError> {
    let counter = Counter::of(course.epochs, "epochs");
    let epoch = |probe: &mut LinearProbe<'_>, number: usize, factor: f64| {
        Ok(probe.epoch(rows, &course.order(number, rows.count()), course.batch, factor))
    };
    fit(probe, course, val, epoch, |_, _| counter.one())
}

fn rate_report(lr: f64, curve: &[EpochScore]) -> Option<RateReport> {
    let mut best = 0;
    for (epoch, score) in curve.iter().enumerate() {
        if score.accuracy.top1 > curve[best].accuracy.top1 {
            best = epoch;
        }
    }
    Some(RateReport { lr, best_top1: curve.get(best)?.accuracy.top1, best_epoch: best + 1, last: *curve.last()? })
}

/// Writes the figures of all epochs, and their curves.
fn publish(session: &mut Session<'_>, course: &Course, fitted: &Fitted) -> Result<(), RunError> {
    let curves = || course.rates.iter().zip(&fitted.curves);
    let lines = curves().flat_map(|(lr, curve)| {
        (1..).zip(curve).map(move |(epoch, score): (usize, &EpochScore)| {
            let EpochScore { loss, accuracy } = score;
            [lr.to_string(), epoch.to_string(), loss.to_string(), accuracy.top1.to_string(), accuracy.top5.to_string()]
        })
    });
    write_table(&session.file("epochs.csv"), ["lr", "epoch", "train_loss", "top1", "top5"], lines)?;
    let mut shown: Vec<_> =
        curves().filter_map(|(lr, curve)| Some((rate_report(*lr, curve)?.best_top1, lr, curve))).collect();
    shown.sort_by(|a, b| b.0.total_cmp(&a.0));
    shown.truncate(MOST_CURVES);
    shown.sort_by(|a, b| a.1.total_cmp(b.1));
    let series = shown.iter().map(|(_, lr, curve)| {
        let points = (1..).zip(curve.iter()).map(|(epoch, score): (u32, _)| (f64::from(epoch), score.accuracy.top1));
        Series::new(format!("lr {lr}"), points.collect())
    });
    let chart = Chart {
        title: "Linear layer on frozen features".to_owned(),
        x_label: "epoch".to_owned(),
        y_label: "top-1 on validation images, %".to_owned(),
        series: series.collect(),
        ..Chart::default()
    };
    write_file(&session.file("accuracy.svg"), chart.to_svg_file().as_bytes())
}

fn evaluate(request: &LinearRequest, path: &Path) -> Result<Outcome<LinearReport>, RunError> {
    let head = read_head(path)?;
    let Opened { mut session, transform, readout, dim } = open(request)?;
    check_width(path, &head.layer, &session.look.model.backbone.config(), readout)?;
    let (names, val) = classes_of(&session, request, (path, &head))?;
    let labels = positions(&class_names(&val), &names).map_err(|lacks| HeadError::names(path, &lacks, &[]))?;
    let classes = names.len();
    let val = session.labelled_as(readout, val, &labels, transform)?;
    let val = LabelledRows::new(&val.features, &val.labels, (dim, classes), "the validation features")?;
    let (accuracy, predictions) = head.layer.evaluate(&Cpu::new(), val);
    let confusion = Confusion::of(val.labels(), &predictions, classes);
    let (train, epochs, batch, training_seconds) = (0, 0, 0, 0.0);
    let (best, rates, val) = (None, Vec::new(), val.count());
    let report = LinearReport {
        accuracy,
        best,
        rates,
        features: readout,
        dim,
        train,
        val,
        classes,
        epochs,
        batch,
        training_seconds,
    };
    session.finish_and("linear", (report, &published::LINEAR), |session| write_confusion(session, &confusion, &names))
}

/// The classes of a head in its own order, which is that of its file if that has names, else that of the folders; and the images to classify.
///
/// # Errors
/// If the folders are not of the head's classes.
fn classes_of(
    session: &Session<'_>,
    request: &LinearRequest,
    (path, head): (&Path, &Head),
) -> Result<(Vec<String>, Source), RunError> {
    let val = session.source(&request.val)?;
    let folders = match &request.train {
        Some(train) => session.source(train)?.classes,
        None => val.classes.clone(),
    };
    let Some(own) = &head.classes else {
        let (of_head, images) = (head.layer.classes(), folders.len());
        if of_head != images {
            return Err(HeadError::Classes { path: path.to_path_buf(), head: of_head, images }.into());
        }
        return Ok((folders, val));
    };
    // Images to classify need not be of all classes, those to learn from are.
    let missing = |names: &[String], among: &[String]| positions(names, among).err().unwrap_or_default();
    let more = request.train.as_ref().map_or_else(Vec::new, |_| missing(own, &folders));
    let lacks = missing(&folders, own);
    if lacks.is_empty() && more.is_empty() {
        return Ok((own.clone(), val));
    }
    Err(HeadError::names(path, &lacks, &more).into())
}
