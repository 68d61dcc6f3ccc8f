//! `dinoxide eval …`: the protocols of the paper on somebody's images, one file each, and here what they share.
//!
//! A protocol opens a `Session`, measures, notes where it differs from the original program, and ends with an [`Outcome`], which
//! is written to `results.json` in the folder of the results.

mod confusion;
pub mod copy;
mod crops;
pub mod finetune;
pub mod head;
pub mod knn;
pub mod linear;
pub mod logreg;
mod ranking;
pub mod retrieval;
pub mod video;

use std::path::{Path, PathBuf};
use std::time::Instant;

use dinoxide_engine::cpu::Cpu;
use dinoxide_views::{EvalTransform, Exif, Source};
use serde::Serialize;

pub use self::copy::CopyError;
pub use self::retrieval::RetrievalError;
use super::RunError;
use super::images::words;
use super::input::{ImageSize, Network};
use super::look::{Look, write_file};
use super::model::name_of;
use crate::config::Precision;
use crate::eval::published::Published;
use crate::eval::readout::Readout;

/// What differs where images are turned and the original does not do so.
const TURNED: &str = "images are turned as their EXIF data says; the original leaves them as stored";
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
    /// Opens the network and makes the folder of the results.
    ///
    /// # Errors
    /// If the model cannot be loaded or the folder cannot be written to.
    pub fn open(request: &'r ProtocolRequest) -> Result<Self, RunError> {
        let start = Instant::now();
        let reference = request.manner == Manner::Reference;
        let precision = if reference { Precision::F32 } else { request.precision };
        let mut look = Look::with(&request.model, request.network, precision, &request.out)?;
        let mut deviations = Vec::new();
        if precision != Precision::F32 && Cpu::bf16().is_some() {
            deviations.push("products of bf16; the original computes in f32".to_owned());
        }
        if reference {
            look.model.reading.exif = Exif::Ignore;
        } else if look.model.reading.exif == Exif::Apply {
            deviations.push(TURNED.to_owned());
        }
        Ok(Self { request, look, deviations, files: Vec::new(), start })
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

    /// Class features of all images of a source that can be read, with their labels of `labels`.
    ///
    /// # Errors
    /// If no image can be read.
    pub fn labelled(&self, source: Source, labels: &[u32], transform: EvalTransform) -> Result<Labelled, RunError> {
        self.labelled_as(Readout::CLASS, source, labels, transform)
    }

    /// The same of what `readout` takes of the network, which has it.
    ///
    /// # Errors
    /// As [`Session::labelled`].
    pub fn labelled_as(
        &self,
        readout: Readout,
        source: Source,
        labels: &[u32],
        transform: EvalTransform,
    ) -> Result<Labelled, RunError> {
        let gallery = self.look.features_as(readout, source, transform, |_| {})?;
        let labels = gallery.indices.iter().map(|index| labels[*index]).collect();
        Ok(Labelled { features: gallery.features, labels })
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
        let path = self.request.out.join(RESULTS_FILE);
        let outcome = Outcome {
            protocol,
            model: self.request.model.clone(),
            network: name_of(&self.look.model.backbone.config()),
            result,
            deviations: self.deviations,
            published,
            seconds: self.start.elapsed().as_secs_f64(),
            files: self.files,
        };
        let json = serde_json::to_vec_pretty(&outcome).map_err(|error| RunError::file("write", &path)(error.into()))?;
        write_file(&path, &json)?;
        Ok(outcome)
    }
}
