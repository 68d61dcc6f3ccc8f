//! The demo's procedural data set: labelled pictures with ground-truth masks, made by the program itself.
//!
//! It stands before the views: [`write()`] leaves an ordinary ImageFolder on disk. Every picture shows one object on
//! a cluttered background. The class is the object's outline together with its surface pattern; colours, place,
//! rotation, size and background are drawn from the same distributions for all classes, so that a network has to
//! see form rather than colour. A picture depends on `(seed, index)` alone.

mod background;
mod colour;
mod noise;
mod pattern;
mod scene;
mod shape;

use std::path::{Path, PathBuf};

use image::ExtendedColorType;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use thiserror::Error;

use pattern::Pattern;
use shape::Shape;

/// Side of the pictures for which the constants of the scene were chosen, in pixels.
pub const DEFAULT_SIZE: u32 = 64;

/// Index of the first validation picture; training pictures count from zero.
const VAL_START: u64 = 1 << 32;

/// What makes a class: an outline and a surface pattern.
struct Class {
    name: &'static str,
    shape: Shape,
    pattern: Pattern,
}

const CLASSES: [Class; 8] = [
    Class { name: "striped-star", shape: Shape::Star, pattern: Pattern::Stripes },
    Class { name: "checkered-ring", shape: Shape::Ring, pattern: Pattern::Checker },
    Class { name: "dotted-cross", shape: Shape::Cross, pattern: Pattern::Dots },
    Class { name: "grainy-crescent", shape: Shape::Crescent, pattern: Pattern::Grain },
    Class { name: "grooved-gear", shape: Shape::Gear, pattern: Pattern::Grooves },
    Class { name: "wavy-leaf", shape: Shape::Leaf, pattern: Pattern::Waves },
    Class { name: "honeycomb-triangle", shape: Shape::Triangle, pattern: Pattern::Honeycomb },
    Class { name: "scaly-blob", shape: Shape::Blob, pattern: Pattern::Scales },
];

/// One picture of the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// RGB bytes, row by row: `width · height · 3` values.
    pub pixels: Vec<u8>,
    /// 255 where the object is, 0 elsewhere, row by row: `width · height` values.
    pub mask: Vec<u8>,
    /// Class number, an index into [`class_names`].
    pub class: usize,
}

/// How many pictures [`write()`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Pictures under `train/`.
    pub train: u64,
    /// Pictures under `val/`, each with a mask under `masks/val/`.
    pub val: u64,
}

/// Why the data set could not be written.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The target exists and holds something.
    #[error("`{path}` exists and is not empty; remove it or choose another folder")]
    Occupied {
        /// The folder asked for.
        path: PathBuf,
    },
    /// A folder could not be made, read or moved.
    #[error("cannot create the folder `{path}`: {source}; check that its parent exists and is writable")]
    Folder {
        /// The folder in question.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A picture could not be written.
    #[error("cannot write the picture `{path}`: {source}; check the free space on that disk")]
    Picture {
        /// The file in question.
        path: PathBuf,
        /// What the encoder or the system said.
        source: image::ImageError,
    },
}

/// Names of the classes in the order of their numbers; also the folder names of [`write()`].
pub fn class_names() -> impl ExactSizeIterator<Item = &'static str> {
    CLASSES.iter().map(|class| class.name)
}

/// The picture number `index` of the data set `seed`, square, `size` pixels wide; the classes take turns.
///
/// # Panics
/// If `size` is zero.
pub fn sample(seed: u64, index: u64, size: u32) -> Sample {
    assert!(size > 0, "a picture needs at least one pixel, got size {size}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let class = (index % CLASSES.len() as u64) as usize;
    let (pixels, mask) = scene::render(&CLASSES[class], size, &mut rng);
    Sample { width: size, height: size, pixels, mask, class }
}

/// Index of validation picture `n`: validation never shares a picture with training.
pub fn val_index(n: u64) -> u64 {
    VAL_START + n
}

/// Writes `train/<class>/*.png`, `val/<class>/*.png` and `masks/val/<class>/*.png` under `dir`.
///
/// The folder appears at once, when all pictures are there. It must not exist, or be empty.
///
/// # Errors
/// If `dir` holds something already, or cannot be written.
pub fn write(dir: &Path, counts: &Counts, size: u32, seed: u64) -> Result<(), DemoError> {
    let folder_error = |path: &Path| {
        let path = path.to_path_buf();
        move |source| DemoError::Folder { path, source }
    };
    if dir.exists() && dir.read_dir().map_err(folder_error(dir))?.next().is_some() {
        return Err(DemoError::Occupied { path: dir.to_path_buf() });
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(folder_error(parent))?;
    let scratch = tempfile::tempdir_in(parent).map_err(folder_error(parent))?;
    let unfinished = scratch.path().join("demo");
    for part in ["train", "val", "masks/val"] {
        for name in class_names() {
            let folder = unfinished.join(part).join(name);
            std::fs::create_dir_all(&folder).map_err(folder_error(&folder))?;
        }
    }
    (0..counts.train).into_par_iter().try_for_each(|n| {
        let sample = sample(seed, n, size);
        write_image(&picture_path(&unfinished, "train", &sample, n), &sample)
    })?;
    (0..counts.val).into_par_iter().try_for_each(|n| {
        let sample = sample(seed, val_index(n), size);
        write_image(&picture_path(&unfinished, "val", &sample, n), &sample)?;
        write_mask(&picture_path(&unfinished, "masks/val", &sample, n), &sample)
    })?;
    std::fs::rename(&unfinished, dir).map_err(folder_error(dir))
}

fn picture_path(root: &Path, part: &str, sample: &Sample, n: u64) -> PathBuf {
    root.join(part).join(CLASSES[sample.class].name).join(format!("{n:06}.png"))
}

fn write_image(path: &Path, sample: &Sample) -> Result<(), DemoError> {
    image::save_buffer(path, &sample.pixels, sample.width, sample.height, ExtendedColorType::Rgb8)
        .map_err(|source| DemoError::Picture { path: path.to_path_buf(), source })
}

fn write_mask(path: &Path, sample: &Sample) -> Result<(), DemoError> {
    image::save_buffer(path, &sample.mask, sample.width, sample.height, ExtendedColorType::L8)
        .map_err(|source| DemoError::Picture { path: path.to_path_buf(), source })
}
