//! What the commands share that show what a network has learnt: what is looked at, features of many images, files and pages.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use dinoxide_views::source::SourceImage;
use dinoxide_views::{EvalBatch, EvalTransform, Source};

use super::RunError;
use super::console::{Console, Figures, Verbosity};
use super::counter::Counter;
use super::device::cpu;
use super::images::{introduce, loader, warn_of_skipped};
use super::input::{ImageSize, Network};
use super::model::Model;
use super::report::scaled;
use crate::checkpoint::atomic::{Output, write_atomic};
use crate::config::Precision;
use crate::eval::features::extract_as;
use crate::eval::readout::Readout;
use crate::report::page::{Figure, RunPage};
use crate::report::picture::Picture;

/// What is looked at, with which network, and where the result goes.
#[derive(Debug, Clone)]
pub struct LookRequest {
    /// A run folder, `.safetensors` or `.pth`.
    pub model: PathBuf,
    /// Folders, files, lists, tables, archives or globs.
    pub data: Vec<String>,
    /// Folder for pictures, tables and the page.
    pub out: PathBuf,
    /// Exact size to resize to; `None` for the command's own way.
    pub image_size: Option<ImageSize>,
    /// Which network.
    pub network: Network,
    /// What products multiply.
    pub precision: Precision,
}

/// An opened network and the folder that results go to.
pub(super) struct Look {
    pub console: Console,
    pub model: Model,
    pub cpu: Cpu,
}

/// Features of the images that could be read.
pub(super) struct Gallery {
    pub images: Vec<SourceImage>,
    /// Their places in the source.
    pub indices: Vec<usize>,
    /// [N, D]
    pub features: Vec<f32>,
    /// Width of a feature.
    pub dim: usize,
    /// Images that could not be read.
    pub skipped: usize,
}

impl Look {
    /// Opens the network and makes the folder of the results: hours of work should not end at a folder that cannot be written.
    ///
    /// # Errors
    /// If the model cannot be loaded or the folder cannot be written to.
    pub fn open(request: &LookRequest) -> Result<Self, RunError> {
        Self::with(&request.model, request.network, request.precision, &request.out)
    }

    /// The same, of these.
    ///
    /// # Errors
    /// As [`Look::open`].
    pub fn with(model: &Path, network: Network, precision: Precision, out: &Path) -> Result<Self, RunError> {
        let console = Console::new(Verbosity::Normal, Figures::Talk);
        let model = Model::load(model, network)?;
        if out.is_file() {
            return Err(RunError::NotAFolder { path: out.to_path_buf() });
        }
        std::fs::create_dir_all(out).map_err(RunError::file("create", out))?;
        tempfile::tempfile_in(out).map_err(RunError::file("write to", out))?;
        let cpu = cpu(precision, &console);
        Ok(Self { console, model, cpu })
    }

    /// Class features of all images of a source that can be read; `each` sees every batch of images.
    ///
    /// # Errors
    /// If no image can be read.
    pub fn features(
        &self,
        source: Source,
        transform: EvalTransform,
        each: impl FnMut(&EvalBatch),
    ) -> Result<Gallery, RunError> {
        self.features_as(Readout::CLASS, source, transform, each)
    }

    /// The same of what `readout` takes of the network, which has it.
    ///
    /// # Errors
    /// As [`Look::features`].
    pub fn features_as(
        &self,
        readout: Readout,
        source: Source,
        transform: EvalTransform,
        mut each: impl FnMut(&EvalBatch),
    ) -> Result<Gallery, RunError> {
        let source = Arc::new(source);
        introduce(&self.console, &self.model, transform);
        let mut images = loader(&self.model, &source, transform)?;
        let counter = Counter::start(source.len());
        let seen = (&mut images).inspect(|batch| {
            if let Ok(batch) = batch {
                each(batch);
                counter.add(batch.samples.len());
            }
        });
        let found = extract_as(readout, [&self.model.frozen(&self.cpu, &Pool::new())], seen);
        drop(counter);
        warn_of_skipped(&self.console, images.skipped());
        let found = found?;
        let [features] = found.values;
        let dim = readout.dim(&self.model.backbone.config());
        let skipped = images.skipped().len();
        let images = found.indices.iter().map(|index| source.images[*index].clone()).collect();
        Ok(Gallery { images, indices: found.indices, features, dim, skipped })
    }

    /// A small copy of an image whose longer side is `side` pixels; gray if it cannot be read any more.
    pub fn thumbnail(&self, image: &SourceImage, side: u32) -> Picture {
        let small = |image: dinoxide_views::Image| {
            scaled(&image, f64::from(side) / f64::from(image.width.max(image.height))).ok()
        };
        image.decode(&self.model.reading).ok().and_then(small).unwrap_or_else(|| Picture::filled(side, side, [128; 3]))
    }
}

/// Some images of a source, evenly spread, if there are more than `most`; says so.
pub(super) fn thinned(console: &Console, source: Source, most: usize) -> Source {
    let all = source.len();
    if all <= most {
        return source;
    }
    console.say(&format!("{most} of {all} images are looked at, evenly spread; `--max` changes that"));
    let images = (0..most).map(|place| source.images[place * all / most].clone()).collect();
    Source { images, inputs: vec![most as u32], ..source }
}

/// The first of what was given, for a sentence.
pub(super) fn named(data: &[String]) -> String {
    const NAMED: usize = 3;
    match data.len().saturating_sub(NAMED) {
        0 => data.join(", "),
        more => format!("{} and {more} more", data[..NAMED].join(", ")),
    }
}

/// Writes a picture as PNG and returns the smaller of its PNG and JPEG files, for a page.
///
/// # Errors
/// If it cannot be encoded or written.
pub(super) fn picture_file(path: &Path, picture: &Picture) -> Result<Vec<u8>, RunError> {
    let (png, jpeg) = (picture.to_png()?, picture.to_jpeg()?);
    write_file(path, &png)?;
    Ok(if jpeg.len() < png.len() { jpeg } else { png })
}

/// A figure of a page from a picture that is also written as a file.
///
/// # Errors
/// If it cannot be encoded or written.
pub(super) fn figure(path: &Path, picture: &Picture, title: &str, caption: String) -> Result<Figure, RunError> {
    Ok(Figure { title: title.to_owned(), caption, file: picture_file(path, picture)?, film: None })
}

/// Writes a page.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_page(path: &Path, page: &RunPage) -> Result<(), RunError> {
    write_file(path, page.to_html().as_bytes())
}

/// Writes a table as CSV.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_table<const COLUMNS: usize>(
    path: &Path,
    header: [&str; COLUMNS],
    rows: impl Iterator<Item = [String; COLUMNS]>,
) -> Result<(), RunError> {
    let write = |file: &mut dyn Output| {
        let mut table = csv::Writer::from_writer(file);
        table.write_record(header)?;
        for row in rows {
            table.write_record(row)?;
        }
        table.flush()
    };
    write_atomic(path, write).map_err(RunError::file("write", path))
}

/// Replaces a file.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    write_atomic(path, |file| file.write_all(bytes)).map_err(RunError::file("write", path))
}
