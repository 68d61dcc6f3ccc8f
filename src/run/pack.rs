//! `dinoxide pack`: images in a few tar files, made smaller where they are larger than training needs.
//!
//! For slow disks and for folders of very many files: `dinoxide pretrain 'packed/*.tar'` reads members by their place.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use dinoxide_views::resample::{Filter, resize};
use dinoxide_views::samples::{Alpha, Samples, Values};
use dinoxide_views::source::SourceImage;
use dinoxide_views::{Image, Reading, Skipped, Source, Stored, decode_samples};
use image::ExtendedColorType;
use image::codecs::jpeg::JpegEncoder;
use rayon::prelude::*;
use serde::Serialize;

use super::RunError;
use super::console::{Console, Figures, Verbosity};
use super::counter::Counter;
use super::images::warn_of_skipped;
use crate::eval::EvalError;

/// Images that are read and encoded at a time, in memory.
const AT_ONCE: usize = 256;
/// Quality of re-encoded images: no difference to the eye, a third of the bytes of a camera's file.
const JPEG_QUALITY: u8 = 92;
/// Ending of a shard that is being filled.
const INCOMPLETE: &str = "incomplete";

/// What to pack, and how.
#[derive(Debug, Clone)]
pub struct PackRequest {
    /// Folders, files, lists, tables, archives or globs.
    pub data: Vec<String>,
    /// A folder that is empty or does not exist.
    pub out: PathBuf,
    /// Shorter sides above this many pixels become this long; other images are copied as they are.
    pub side: u32,
    /// A shard is closed when it has this many bytes.
    pub shard_bytes: u64,
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackReport {
    /// Images written.
    pub images: usize,
    /// Those of them that were made smaller.
    pub resized: usize,
    /// Images that could not be read.
    pub skipped: usize,
    /// Bytes of the images as they were.
    pub bytes_before: u64,
    /// Bytes of the images as written.
    pub bytes_after: u64,
    /// The tar files.
    pub shards: Vec<PathBuf>,
}

/// One image, ready to be written.
struct Packed {
    name: String,
    bytes: Vec<u8>,
    bytes_before: u64,
    resized: bool,
}

/// Packs the images in order.
///
/// # Errors
/// If there are no images, none can be read, the folder is not empty, or a file cannot be written.
pub fn pack(request: &PackRequest) -> Result<PackReport, RunError> {
    let console = Console::new(Verbosity::Normal, Figures::Talk);
    let source = Source::open(&request.data)?;
    let mut shards = Shards::create(&request.out, request.shard_bytes)?;
    let counter = Counter::start(source.len());
    let mut skipped = Vec::new();
    let (mut images, mut resized, mut bytes_before, mut bytes_after) = (0, 0, 0, 0);
    for some in source.images.chunks(AT_ONCE) {
        let work = |image| {
            let packed = packed(image, request.side);
            counter.one();
            packed
        };
        for packed in some.par_iter().map(work).collect::<Vec<_>>() {
            match packed {
                Ok(packed) => {
                    shards.push(&packed)?;
                    images += 1;
                    resized += usize::from(packed.resized);
                    bytes_before += packed.bytes_before;
                    bytes_after += packed.bytes.len() as u64;
                }
                Err(bad) => skipped.push(bad),
            }
        }
    }
    drop(counter);
    let shards = shards.finish()?;
    warn_of_skipped(&console, &skipped);
    if images == 0 {
        return Err(EvalError::NoImages.into());
    }
    Ok(PackReport { images, resized, skipped: skipped.len(), bytes_before, bytes_after, shards })
}

/// Reads an image, and makes it smaller if it is larger than needed. What cannot be decoded is not packed.
fn packed(image: &SourceImage, side: u32) -> Result<Packed, Skipped> {
    let bad = |reason: String| Skipped { path: image.path(), reason };
    let bytes = image.read().map_err(|error| bad(error.to_string()))?;
    let bytes_before = bytes.len() as u64;
    let reading = Reading::upright();
    let (samples, stored) = decode_samples(&bytes, &reading).map_err(|error| bad(error.to_string()))?;
    let shorter = samples.width.min(samples.height);
    let photo = is_photo(&samples, &stored);
    if shorter <= side || !photo {
        return Ok(Packed { name: image.name.to_string(), bytes, bytes_before, resized: false });
    }
    let pixels = samples.into_image(&reading).map_err(|error| bad(error.to_string()))?;
    let scaled = |length: u32| (f64::from(length) * f64::from(side) / f64::from(shorter)).round() as u32;
    let small = resize(&pixels, scaled(pixels.width), scaled(pixels.height), Filter::Bicubic);
    let bytes = jpeg(&small).map_err(|error| bad(error.to_string()))?;
    // Two files that differ in their ending only stay two.
    let ending = if stored.format == "JPEG" { "" } else { ".jpg" };
    Ok(Packed { name: format!("{}{ending}", image.name), bytes, bytes_before, resized: true })
}

/// Whether a JPEG keeps what training reads: it would lose other channels, transparency, further pages and all but 8 bits.
fn is_photo(samples: &Samples, stored: &Stored) -> bool {
    let Values::U8(values) = &samples.values else { return false };
    let mut last = values.iter().skip(samples.channels - 1).step_by(samples.channels);
    let opaque = samples.alpha == Alpha::None || last.all(|&alpha| alpha == u8::MAX);
    let pages = stored.format == "TIFF" && samples.channels == 1;
    opaque && !pages && matches!(samples.opaque_channels(), 1 | 3)
}

fn jpeg(image: &Image) -> Result<Vec<u8>, image::ImageError> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
    encoder.encode(&image.pixels, image.width, image.height, ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

/// The tar files of a folder, one after the other.
struct Shards {
    folder: PathBuf,
    most_bytes: u64,
    open: Option<Shard>,
    done: Vec<PathBuf>,
}

struct Shard {
    path: PathBuf,
    tar: tar::Builder<BufWriter<File>>,
    bytes: u64,
}

impl Shards {
    fn create(folder: &Path, most_bytes: u64) -> Result<Self, RunError> {
        std::fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
        let mut entries = std::fs::read_dir(folder).map_err(RunError::file("read", folder))?;
        if entries.next().is_some() {
            return Err(RunError::NotEmpty { path: folder.to_path_buf() });
        }
        Ok(Self { folder: folder.to_path_buf(), most_bytes, open: None, done: Vec::new() })
    }

    fn push(&mut self, packed: &Packed) -> Result<(), RunError> {
        let mut shard = match self.open.take() {
            Some(shard) => shard,
            None => self.next()?,
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(packed.bytes.len() as u64);
        header.set_mode(0o644);
        let appended = shard.tar.append_data(&mut header, &packed.name, &packed.bytes[..]);
        appended.map_err(RunError::file("write", &shard.path))?;
        shard.bytes += packed.bytes.len() as u64;
        if shard.bytes >= self.most_bytes {
            self.close(shard)?
        } else {
            self.open = Some(shard)
        }
        Ok(())
    }

    fn next(&self) -> Result<Shard, RunError> {
        let path = self.folder.join(format!("shard-{:05}.tar", self.done.len()));
        let filling = path.with_extension(INCOMPLETE);
        let file = File::create(&filling).map_err(RunError::file("create", &filling))?;
        Ok(Shard { path, tar: tar::Builder::new(BufWriter::new(file)), bytes: 0 })
    }

    /// Gives a filled shard its name.
    fn close(&mut self, shard: Shard) -> Result<(), RunError> {
        let write = || {
            let mut buffered = shard.tar.into_inner()?;
            buffered.flush()?;
            buffered.get_ref().sync_all()?;
            std::fs::rename(shard.path.with_extension(INCOMPLETE), &shard.path)
        };
        write().map_err(RunError::file("write", &shard.path))?;
        self.done.push(shard.path);
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<PathBuf>, RunError> {
        if let Some(shard) = self.open.take() {
            self.close(shard)?;
        }
        Ok(self.done)
    }
}
