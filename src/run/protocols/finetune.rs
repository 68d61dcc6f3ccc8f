//! `dinoxide eval finetune`: accuracy of a network that is trained on with a linear classifier. DINO (Caron et al. 2021), section 4.4.
//!
//! The training is an ordinary run of the supervised method, in the folder `run` of the results: it is logged, interrupted and
//! continued as any other. Here is what makes a protocol of it: where it starts, what is measured at its end, and what is kept.

use std::path::{Path, PathBuf};

use dinoxide_engine::tensor::Pool;
use serde::Serialize;
use toml::Value;

use super::confusion::write_confusion;
use super::{Manner, Outcome, ProtocolRequest, Session};
use crate::checkpoint::{NamedTensor, safetensors};
use crate::config::{Config, ConfigError, ModelConfig, OptimizerName, Origin, Partial};
use crate::eval::classifier::{Accuracy, Confusion};
use crate::eval::published;
use crate::methods::supervised::CLASSIFIER;
use crate::methods::{BACKBONE, Device};
use crate::nn::backbone::BackboneConfig;
use crate::report::chart::{Chart, Series};
use crate::run::RunError;
use crate::run::accuracy::{Judge, Judged};
use crate::run::console::{Console, Figures, Progress, Verbosity};
use crate::run::device::cpu;
use crate::run::folder::WhenExists;
use crate::run::input::Network;
use crate::run::json_lines::JsonLines;
use crate::run::look::{write_file, write_table};
use crate::run::metrics::EvalRow;
use crate::run::model::{Model, metadata, tensors};
use crate::run::observer::WhenCollapsed;
use crate::run::pretrain::{Goal, PretrainRequest, train_run};
use crate::run::report;
use crate::run::trained::{Stopped, Trained};
use crate::train::End;

/// Folder of the run in that of the results.
pub const RUN: &str = "run";
/// File of the tuned network with its classifier.
pub const WEIGHTS: &str = "tuned.safetensors";
/// What torchvision and timm call the classifier of a ResNet.
const CLASSIFIER_OF_RESNET: &str = "fc";

/// The paper's runs on CIFAR-10; the learning rate is for 256 images, where DeiT's is for 512.
const PAPER: [(&str, Setting); 13] = [
    ("run.epochs", Setting::Whole(1000)),
    ("run.batch", Setting::Whole(768)),
    ("optim.lr", Setting::Number(3.75e-6)),
    // Not stated; that of DINO.
    ("optim.min_lr", Setting::Number(1e-6)),
    ("optim.warmup_epochs", Setting::Number(5.0)),
    ("optim.layer_decay", Setting::Number(1.0)),
    ("model.drop_path", Setting::Number(0.1)),
    ("method.label_smoothing", Setting::Number(0.1)),
    ("views.global.size", Setting::Whole(224)),
    ("views.erase", Setting::Number(0.25)),
    ("views.mixup", Setting::Number(0.8)),
    ("views.cutmix", Setting::Number(1.0)),
    ("views.rand_augment", Setting::Text("rand-m9-mstd0.5-inc1")),
];

/// A value of the paper.
#[derive(Debug, Clone, Copy)]
enum Setting {
    Whole(i64),
    Number(f64),
    Text(&'static str),
}

impl Setting {
    fn value(self) -> Value {
        match self {
            Self::Whole(number) => Value::Integer(number),
            Self::Number(number) => Value::Float(number),
            Self::Text(text) => Value::String(text.to_owned()),
        }
    }
}

/// What to do.
#[derive(Debug, Clone)]
pub struct FineTuneRequest {
    /// Network, folder of the results.
    pub protocol: ProtocolRequest,
    /// Labelled folder to learn from.
    pub train: PathBuf,
    /// Labelled folder whose images are classified.
    pub val: PathBuf,
    /// What the network begins with.
    pub start: StartFrom,
    /// Values that were given for the run; they win over all others.
    pub given: Partial,
    /// What to do if the results hold a run.
    pub when_exists: WhenExists,
}

/// What the network begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartFrom {
    /// The weights of the model.
    #[default]
    Weights,
    /// Random values: what the weights are worth shows beside it.
    Nothing,
}

/// The accuracies.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FineTuneReport {
    /// After the last epoch, percent.
    #[serde(flatten)]
    pub accuracy: Accuracy,
    /// Cross-entropy on the validation images then, nats.
    pub loss: f64,
    /// The best epoch, chosen on the validation images.
    pub best: Option<Epoch>,
    /// Every evaluation.
    pub epochs: Vec<Epoch>,
    /// Images learnt from.
    pub train: usize,
    /// Images classified.
    pub val: usize,
    /// Classes.
    pub classes: usize,
    /// Images of a step.
    pub batch: usize,
    /// Learning rate at its largest.
    pub lr: f64,
    /// Where the run is, with its whole configuration.
    pub run: PathBuf,
    /// The tuned network.
    pub weights: PathBuf,
}

/// One evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Epoch {
    /// Epochs done.
    pub epoch: usize,
    /// Percent.
    pub top1: f64,
    /// Percent.
    pub top5: f64,
    /// Cross-entropy on the validation images, nats.
    pub loss: f64,
}

/// How it ended.
#[derive(Debug, Clone)]
pub enum FineTuned {
    /// With results.
    Finished(Box<Outcome<FineTuneReport>>),
    /// Stopped before the end and saved; the same command goes on.
    Stopped(Stopped),
}

/// Trains a network with a linear classifier and measures it.
///
/// # Errors
/// If the model, the images or the options cannot be used, or the results cannot be written.
pub fn finetune(request: &FineTuneRequest) -> Result<FineTuned, RunError> {
    let session = Session::open(&request.protocol)?;
    let given = given(request, &session)?;
    let run = request.protocol.out.join(RUN);
    let training = PretrainRequest {
        given,
        out: Some(run.clone()),
        when_exists: request.when_exists,
        goal: Goal::Train,
        when_collapsed: WhenCollapsed::GoOn,
        verbosity: Verbosity::Normal,
        figures: Figures::Talk,
        progress: Progress::Lines,
    };
    let console = Console::new(training.verbosity, training.figures);
    let finished = train_run(&training, &console, |trained| {
        if trained.end == End::Stopped {
            return Ok(Err(trained.stopped.unwrap_or(Stopped::ByPerson)));
        }
        if let Err(error) = report::publish(trained, &console) {
            console.warn(&format!("the page of the run is missing: {}", error.on_one_line()));
        }
        let cpu = cpu(trained.folder.config.run.precision, &console);
        let (pool, quiet) = (Pool::new(), Console::new(Verbosity::Quiet, Figures::Talk));
        let device = Device { kernels: &cpu, pool: &pool };
        let (config, method) = (trained.folder.config.clone(), &*trained.state.method);
        let Some(judge) = Judge::open(&config, &trained.source, &quiet)? else { return Err(RunError::NoData) };
        let judged = judge.judge(method, method.backbone().1, device)?;
        Ok(Ok(Finished { config, judged, classes: trained.source.classes.clone(), tensors: tuned(trained) }))
    })?;
    match finished {
        Some(Ok(finished)) => Ok(FineTuned::Finished(Box::new(publish(session, &run, finished)?))),
        Some(Err(stopped)) => {
            console.say("the same command goes on, and writes the results at the end");
            Ok(FineTuned::Stopped(stopped))
        }
        None => Ok(FineTuned::Stopped(Stopped::ByPerson)),
    }
}

/// What a finished run leaves for the results.
struct Finished {
    config: Config,
    judged: Judged,
    classes: Vec<String>,
    tensors: Vec<NamedTensor>,
}

/// The values of the run: the paper's or those that suit, and over them what was given.
fn given(request: &FineTuneRequest, session: &Session<'_>) -> Result<Partial, RunError> {
    let mut given = Partial::default();
    let text = |path: &Path| Value::String(path.display().to_string());
    let mut put = |key: &str, value: Value| given.insert(key, value, Origin::Derived);
    put("method.name", Value::String("supervised".to_owned()))?;
    put("data.train", Value::Array(vec![text(&request.train)]))?;
    put("data.val", text(&request.val))?;
    put("eval.every_epochs", Value::Integer(1))?;
    put("eval.pictures", Value::Boolean(false))?;
    let network = session.look.model.backbone.config();
    match request.start {
        StartFrom::Weights => put("model.init", text(&request.protocol.model))?,
        StartFrom::Nothing => network_alone(&network, &mut put)?,
    }
    if session.is_reference() {
        PAPER.into_iter().try_for_each(|(key, setting)| put(key, setting.value()))?;
        put("data.exif", Value::String("ignore".to_owned()))?;
        put("views.global.scale", Value::Array(vec![Value::Float(0.08), Value::Float(1.0)]))?;
    }
    if let Some(size) = request.protocol.image_size {
        if size.width != size.height {
            let (key, allowed) = ("image size".to_owned(), "one number: crops are square".to_owned());
            let (origin, value) = (Origin::Flag("--image-size"), size.to_string());
            return Err(ConfigError::BadValue { origin, key, value, allowed }.into());
        }
        put("views.global.size", Value::Integer(size.width as i64))?;
    }
    if request.protocol.network == Network::Student && request.start == StartFrom::Weights {
        let (origin, key) = (Origin::Flag("--network"), "network".to_owned());
        let allowed = "teacher: a run starts from the teacher; export the student, and tune that file".to_owned();
        return Err(ConfigError::BadValue { origin, key, value: "student".to_owned(), allowed }.into());
    }
    put("run.precision", Value::try_from(request.protocol.precision).map_err(ConfigError::from)?)?;
    if request.protocol.manner == Manner::Reference {
        put("run.precision", Value::String("f32".to_owned()))?;
    }
    Ok(given.overlaid(request.given.clone()).on_recipe()?)
}

/// The sizes of a network without its weights.
fn network_alone(
    network: &BackboneConfig,
    put: &mut impl FnMut(&str, Value) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let model = Value::try_from(ModelConfig::of(network))?;
    let plain = Value::try_from(ModelConfig::default())?;
    for (key, value) in model.as_table().into_iter().flatten() {
        let size = key == "name" || ["patch_size", "image_size"].contains(&key.as_str()) && network.vit().is_some();
        if size || plain.get(key) != Some(value) {
            put(&format!("model.{key}"), value.clone())?;
        }
    }
    Ok(())
}

/// The network that is kept, under the names of timm.
fn tuned(trained: &Trained<'_>) -> Vec<NamedTensor> {
    let (backbone, params) = trained.state.method.backbone();
    let resnet = matches!(backbone.config(), BackboneConfig::ResNet(_));
    let classifier = if resnet { CLASSIFIER_OF_RESNET } else { CLASSIFIER };
    let name = |name: &str| match (name.strip_prefix(BACKBONE), name.strip_prefix(CLASSIFIER)) {
        (Some(name), _) => name.to_owned(),
        (None, Some(part)) => format!("{classifier}{part}"),
        (None, None) => name.to_owned(),
    };
    params
        .tensors()
        .map(|(spec, values)| NamedTensor::new(name(&spec.name), spec.shape.clone(), values.to_vec()))
        .collect()
}

/// Writes the weights, the tables and the curves.
fn publish(mut session: Session<'_>, run: &Path, finished: Finished) -> Result<Outcome<FineTuneReport>, RunError> {
    let Finished { config, judged, classes, tensors: network } = finished;
    deviations(&mut session, &config);
    let weights = session.file(WEIGHTS);
    let model = Model::load(run, Network::Teacher)?;
    debug_assert_eq!(tensors(&model).len() + 2, network.len(), "a weight and a bias beside the backbone");
    let mut texts = metadata(&model);
    texts.insert("classes".to_owned(), serde_json::to_string(&classes).unwrap_or_default());
    let written: Vec<_> = network.iter().map(NamedTensor::as_tensor_ref).collect();
    safetensors::write(&weights, &written, &texts)?;

    let rows = JsonLines::read(&run.join("metrics.jsonl")).into_iter();
    let epochs: Vec<Epoch> =
        rows.filter_map(|row| serde_json::from_value::<EvalRow>(row).ok()).filter_map(epoch_of).collect();
    let lines = epochs.iter().map(|at| [at.epoch.to_string(), number(at.top1), number(at.top5), number(at.loss)]);
    write_table(&session.file("epochs.csv"), ["epoch", "top1", "top5", "val_loss"], lines)?;
    let curve = |name: &str, value: fn(&Epoch) -> f64| {
        Series::new(name.to_owned(), epochs.iter().map(|at| (at.epoch as f64, value(at))).collect())
    };
    let top1 = curve("top-1", |at| at.top1);
    let chart = Chart {
        title: "Fine-tuning".to_owned(),
        x_label: "epoch".to_owned(),
        y_label: "validation images, %".to_owned(),
        // Of five classes all are among the best five.
        series: if classes.len() > 5 { vec![top1, curve("top-5", |at| at.top5)] } else { vec![top1] },
        ..Chart::default()
    };
    write_file(&session.file("accuracy.svg"), chart.to_svg_file().as_bytes())?;
    let confusion = Confusion::of(&judged.truths, &judged.predictions, classes.len());
    write_confusion(&mut session, &confusion, &classes)?;
    let later = |best: Option<Epoch>, at: &Epoch| match best {
        Some(best) if best.top1 >= at.top1 => Some(best),
        _ => Some(*at),
    };
    let report = FineTuneReport {
        accuracy: judged.accuracy,
        loss: judged.loss,
        best: epochs.iter().filter(|at| at.epoch > 0).fold(None, later),
        train: crate::run::folder::kept_images(run, 1)?.map_or(0, |source| source.len()),
        val: judged.truths.len(),
        classes: classes.len(),
        batch: config.run.batch,
        lr: config.peak_lr(),
        run: run.to_path_buf(),
        weights,
        epochs,
    };
    session.finish("finetune", report, &published::FINETUNE)
}

fn epoch_of(row: EvalRow) -> Option<Epoch> {
    Some(Epoch { epoch: row.epoch, top1: row.top1?, top5: row.top5?, loss: row.val_loss? })
}

fn number(value: f64) -> String {
    format!("{value:.4}")
}

/// Where the run differs from those of the paper.
fn deviations(session: &mut Session<'_>, config: &Config) {
    let (batch, epochs, lr) = (config.run.batch, config.run.epochs, config.peak_lr());
    if (batch, epochs) != (768, 1000) {
        session.deviates(format!(
            "batches of {batch}, {epochs} epochs, learning rate {lr:.1e}; the paper on CIFAR-10: 768, 1000, 1.1e-5"
        ));
    }
    if config.optim.layer_decay < 1.0 {
        let decay = config.optim.layer_decay;
        session.deviates(format!("each block learns at {decay} times the rate of the next; in the paper all alike"));
    }
    if config.optim.name != OptimizerName::Adamw {
        session.deviates("another optimizer than AdamW");
    }
    if config.views.global.size != 224 {
        session.deviates(format!("crops of {} pixels; the paper: 224", config.views.global.size));
    }
    if config.views.global.count < 3 {
        session.deviates("an image is once in an epoch; DeiT's repeated augmentation has three views of it in a batch");
    }
    if config.views.global.scale != [0.08, 1.0] {
        let [low, high] = config.views.global.scale;
        session.deviates(format!("crops of {low} to {high} of the area; DeiT: 0.08 to 1"));
    }
    for how in [
        "images are mixed and noise is drawn as bytes, as timm's prefetching loader mixes them; DeiT mixes normalised numbers",
        "the warm-up begins at 0 and rates change with every step; DeiT: at 1e-6, with every epoch",
        "class token and positions decay like weights; DeiT spares them",
    ] {
        session.deviates(how);
    }
}
