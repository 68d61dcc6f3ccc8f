//! `dinoxide eval …`: the protocols of the paper on somebody's images, one file each, and here what they share.
//!
//! A protocol opens a `Session`, measures, notes where it differs from the original program, and ends with an [`Outcome`], which
//! is written to `results.json` in the folder of the results.

mod confusion;
pub mod copy;
mod crops;
mod dumped;
pub mod finetune;
pub mod head;
pub mod knn;
pub mod linear;
mod listing;
pub mod logreg;
mod ranking;
pub mod retrieval;
pub mod saliency;
pub mod segmentation;
pub mod video;

use std::path::{Path, PathBuf};
use std::time::Instant;

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Normalize;
use dinoxide_views::{EvalTransform, Exif, Source};
use serde::Serialize;

pub use self::copy::CopyError;
pub use self::dumped::DumpError;
use self::knn::class_names;
use self::listing::without_results;
pub use self::retrieval::RetrievalError;
pub use self::segmentation::SegmentationError;
use super::RunError;
use super::images::words;
use super::input::{ImageSize, Network};
use super::look::{Look, write_file};
use super::model::name_of;
use crate::config::Precision;
use crate::eval::labels::Labels;
use crate::eval::published::Published;
use crate::eval::readout::Readout;

/// What differs where products multiply bf16.
const BF16: &str = "products of bf16; the original computes in f32";
/// What differs where images are turned and the original does not do so.
const TURNED: &str = "images are turned as their EXIF data says; the original leaves them as stored";
/// Mean and deviation of the pixels in the original programs; one has other deviations.
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
/// File of an outcome in the folder of the results.
pub const RESULTS_FILE: &str = "results.json";

/// What every protocol is asked.
#[derive(Debug, Clone)]
pub struct ProtocolRequest {
    /// A run folder, or a file or folder of weights.
    pub model: PathBuf,
    /// Which network of a run.
    pub network: Network,
    /// Exact size to resize to; `None` for the protocol's own way.
    pub image_size: Option<ImageSize>,
    /// What products multiply.
    pub precision: Precision,
    /// Folder for `results.json`, tables and pictures.
    pub out: PathBuf,
    /// How closely the original program is followed.
    pub manner: Manner,
}

/// How closely a protocol follows the original program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// As suits the model and the images; what differs is said.
    #[default]
    Fitting,
    /// As the original does: its sizes and steps, f32, no rotation by EXIF.
    Reference,
}

/// The figures of a protocol and what is needed to judge them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome<R> {
    /// The protocol as the command line calls it.
    pub protocol: &'static str,
    /// The model that was given.
    pub model: PathBuf,
    /// Its network.
    pub network: String,
    /// The figures, at the top level of the file.
    #[serde(flatten)]
    pub result: R,
    /// Where this differs from the original program, a sentence each.
    pub deviations: Vec<String>,
    /// What was published.
    pub published: &'static [Published],
    /// Time taken.
    pub seconds: f64,
    /// Files written beside `results.json`.
    pub files: Vec<PathBuf>,
}

/// Features with their classes.
pub(super) struct Labelled {
    /// [N, D]
    pub features: Vec<f32>,
    /// [N]
    pub labels: Vec<u32>,
}

/// A protocol at work: the opened network, the folder of the results, and what is noted on the way.
pub(super) struct Session<'r> {
    pub request: &'r ProtocolRequest,
    pub look: Look,
    pub deviations: Vec<String>,
    pub files: Vec<PathBuf>,
    start: Instant,
}

impl<'r> Session<'r> {
    /// Opens the network and makes the folder of the results, from which the outcome of an earlier call goes: if this one fails, nobody is to
    /// take that for its own.
    ///
    /// # Errors
    /// If the model cannot be loaded or the folder cannot be written to.
    pub fn open(request: &'r ProtocolRequest) -> Result<Self, RunError> {
        Self::open_with(request, DEVIATION)
    }

    /// The same for a program that divides pixels by these deviations.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open_with(request: &'r ProtocolRequest, deviation: [f32; 3]) -> Result<Self, RunError> {
        let start = Instant::now();
        let reference = request.manner == Manner::Reference;
        let precision = if reference { Precision::F32 } else { request.precision };
        let mut look = Look::with(&request.model, request.network, precision, &request.out)?;
        remove_results(&request.out)?;
        let mut deviations = Vec::new();
        if precision != Precision::F32 && Cpu::bf16().is_some() {
            deviations.push(BF16.to_owned());
        }
        if reference {
            look.model.reading.exif = Exif::Ignore;
        } else if look.model.reading.exif == Exif::Apply {
            deviations.push(TURNED.to_owned());
        }
        let mut session = Self { request, look, deviations, files: Vec::new(), start };
        session.normalise_by(Normalize { mean: MEAN.to_vec(), std: deviation.to_vec() });
        Ok(session)
    }

    /// Pixels as the original has them where nothing may differ; else what differs.
    fn normalise_by(&mut self, original: Normalize) {
        let model = &mut self.look.model;
        let own = model.backbone.config().normalize().clone();
        if own == original {
            return;
        }
        if self.request.manner == Manner::Reference && model.backbone.channels() == original.mean.len() {
            model.normalize_by(original);
            return;
        }
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
        self.deviates(format!(
            "pixels less the mean {} over the deviation {} that the network learnt with; the original: {} and {}",
            list(&own.mean),
            list(&own.std),
            list(&original.mean),
            list(&original.std)
        ));
    }

    /// Whether nothing may differ from the original.
    pub fn is_reference(&self) -> bool {
        self.request.manner == Manner::Reference
    }

    /// Images are turned as their EXIF data says, as OpenCV does, which this original reads them with.
    pub fn turn_images(&mut self) {
        self.look.model.reading.exif = Exif::Apply;
        self.deviations.retain(|deviation| deviation != TURNED);
    }

    /// How images are brought to size: as asked for, else the model's own way, or `original` where nothing may differ.
    ///
    /// # Errors
    /// If the size is too large, or smaller than a patch.
    pub fn transform(&mut self, original: EvalTransform) -> Result<EvalTransform, RunError> {
        if self.is_reference() {
            self.look.model.transform = original;
        }
        let transform = self.look.model.transform(self.request.image_size.filter(|_| !self.is_reference()))?;
        if transform != original {
            self.deviates(format!("images {}; the original: {}", words(transform), words(original)));
        }
        Ok(transform)
    }

    /// The images of a labelled folder, without those of the results if these go into it.
    ///
    /// # Errors
    /// If it has no classes or no images.
    pub fn source(&self, data: &Path) -> Result<Source, RunError> {
        without_results(Source::labelled(data)?, data, &self.request.out)
    }

    /// Labels of the images of two sources; says how many classes have no validation image.
    ///
    /// # Errors
    /// If the second has a class that the first lacks.
    pub fn labels(&self, train: &Source, val: &Source) -> Result<Labels, RunError> {
        let labels = Labels::from_names(&class_names(train), &class_names(val))?;
        if !labels.absent_in_val.is_empty() {
            let (absent, classes) = (labels.absent_in_val.len(), labels.classes.len());
            self.look.console.say(&format!("{absent} of {classes} classes have no validation image"));
        }
        Ok(labels)
    }

    /// Class features of all images of a source that can be read, with their labels of `labels`; notes how many cannot.
    ///
    /// # Errors
    /// If no image can be read.
    pub fn labelled(&mut self, source: Source, labels: &[u32], transform: EvalTransform) -> Result<Labelled, RunError> {
        self.labelled_as(Readout::CLASS, source, labels, transform)
    }

    /// The same of what `readout` takes of the network, which has it.
    ///
    /// # Errors
    /// As [`Session::labelled`].
    pub fn labelled_as(
        &mut self,
        readout: Readout,
        source: Source,
        labels: &[u32],
        transform: EvalTransform,
    ) -> Result<Labelled, RunError> {
        let gallery = self.look.features_as(readout, source, transform, |_| {})?;
        self.leaves_out(gallery.skipped);
        let labels = gallery.indices.iter().map(|index| labels[*index]).collect();
        Ok(Labelled { features: gallery.features, labels })
    }

    /// Notes that so many images could not be read.
    pub fn leaves_out(&mut self, images: usize) {
        if images > 0 {
            self.deviates(format!("{images} images could not be read and are left out; the original stops"));
        }
    }

    /// Notes where this differs from the original program.
    pub fn deviates(&mut self, how: impl Into<String>) {
        self.deviations.push(how.into());
    }

    /// Path of a file in the folder of the results, which is listed in the outcome.
    pub fn file(&mut self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.request.out.join(name);
        self.files.push(path.clone());
        path
    }

    /// Writes `results.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish<R: Serialize>(
        self,
        protocol: &'static str,
        result: R,
        published: &'static [Published],
    ) -> Result<Outcome<R>, RunError> {
        self.finish_and(protocol, (result, published), |_| Ok(()))
    }

    /// Writes `results.json`, and then what else is `shown` of the result: a picture that fails costs no figures.
    ///
    /// # Errors
    /// If something cannot be written.
    pub fn finish_and<R: Serialize>(
        mut self,
        protocol: &'static str,
        (result, published): (R, &'static [Published]),
        shown: impl FnOnce(&mut Self) -> Result<(), RunError>,
    ) -> Result<Outcome<R>, RunError> {
        let out = self.request.out.clone();
        let outcome = Outcome {
            protocol,
            model: self.request.model.clone(),
            network: name_of(&self.look.model.backbone.config()),
            result,
            deviations: self.deviations.clone(),
            published,
            seconds: self.start.elapsed().as_secs_f64(),
            files: self.files.clone(),
        };
        let before = self.files.len();
        outcome.write(&out, || {
            shown(&mut self)?;
            Ok(self.files.split_off(before))
        })
    }
}

impl<R: Serialize> Outcome<R> {
    /// Writes `results.json`, and then what else is `shown`, whose files are added.
    ///
    /// # Errors
    /// If something cannot be written.
    fn write(mut self, out: &Path, shown: impl FnOnce() -> Result<Vec<PathBuf>, RunError>) -> Result<Self, RunError> {
        let path = out.join(RESULTS_FILE);
        write_results(&path, &self)?;
        let files = shown()?;
        if !files.is_empty() {
            self.files.extend(files);
            write_results(&path, &self)?;
        }
        Ok(self)
    }
}

/// Removes the outcome of an earlier call.
///
/// # Errors
/// If it is there and cannot be removed.
fn remove_results(out: &Path) -> Result<(), RunError> {
    let path = out.join(RESULTS_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RunError::file("remove", &path)(error)),
        _ => Ok(()),
    }
}

/// Writes an outcome.
///
/// # Errors
/// If it cannot be written.
fn write_results(path: &Path, outcome: &impl Serialize) -> Result<(), RunError> {
    let json = serde_json::to_vec_pretty(outcome).map_err(|error| RunError::file("write", path)(error.into()))?;
    write_file(path, &json)
}
