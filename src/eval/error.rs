//! What can go wrong in an evaluation, by what the user has to do about it.

use std::path::{Path, PathBuf};

/// An evaluation that cannot be done as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The images cannot be loaded.
    #[error(transparent)]
    Views(#[from] dinoxide_views::Error),
    /// A classifier cannot be trained or used as asked.
    #[error(transparent)]
    Classifier(#[from] super::classifier::ClassifierError),
    /// The network has no such features.
    #[error(transparent)]
    Readout(#[from] super::readout::ReadoutError),
    /// A video cannot be segmented or scored.
    #[error(transparent)]
    Video(#[from] super::video::VideoError),
    /// No image could be read.
    #[error("none of the images could be read; look at the files, or point at another folder")]
    NoImages,
    /// A comparison needs a second image.
    #[error("there is only one image that can be read, and nothing to compare it with; give more")]
    OneImage,
    /// Too few images for a protocol.
    #[error("{images} images can be read and at least {fewest} are needed; give more")]
    FewImages {
        /// Images that can be read.
        images: usize,
        /// Images that are needed.
        fewest: usize,
    },
    /// A list names an image that does not exist.
    #[error("there is no image {index} among {images}, counted from 0; check that the lists belong to the same images")]
    NoSuchImage {
        /// Its index.
        index: usize,
        /// Number of images.
        images: usize,
    },
    /// No query has an image that should be found.
    #[error(
        "no query has an image that belongs to it, so there is nothing to find; give two or more images that belong together"
    )]
    NothingToFind,
    /// The system gives no thread.
    #[error("cannot start a thread; the system has none left")]
    NoThread,
    /// A list or matrix has another size than the rest of the input implies.
    #[error("{what} holds {found} values, but {expected} were expected; check that it belongs to the same images")]
    Size {
        /// What was measured.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The size that the rest of the input implies.
        expected: usize,
    },
    /// There is nothing to evaluate.
    #[error("{what} is empty; give at least one")]
    Empty {
        /// What is empty.
        what: &'static str,
    },
    /// A feature or attention value is NaN, infinite or, for attention, negative.
    #[error("{what} holds the value {value} in row {row}; the network's weights are likely damaged or diverged")]
    BadValue {
        /// Whose value it is.
        what: &'static str,
        /// Row of the value, counted from 0.
        row: usize,
        /// The value.
        value: f32,
    },
    /// A matrix has no decomposition.
    #[error("the principal components cannot be computed; the network's weights are likely damaged or diverged")]
    NoDecomposition,
    /// A label names no class.
    #[error("label {label} of image {index} is outside of the {classes} classes; labels count from 0")]
    Label {
        /// The label.
        label: u32,
        /// Index of the image that bears it.
        index: usize,
        /// Number of classes.
        classes: usize,
    },
    /// `k` is zero or no `k` was given.
    #[error("k-NN needs one or more `k`, each at least 1; use for example 10, 20, 100, 200")]
    NoNeighbours,
    /// No cosine reaches such a threshold, or all do.
    #[error(
        "threshold {threshold} is outside of (0, 1]; it is the cosine from which on two images are the same, such as 0.95"
    )]
    Threshold {
        /// The threshold asked for.
        threshold: f64,
    },
    /// The temperature of the votes is not above 0.
    #[error("temperature {temperature} gives no votes; use a number above 0, the paper's is 0.07")]
    Temperature {
        /// The temperature asked for.
        temperature: f64,
    },
    /// Validation images bear classes which the training images do not have.
    #[error(
        "validation has {} that training lacks: {}; use folders of the same names in both, or leave these out",
        counted(names.len()),
        listed(names)
    )]
    UnknownClasses {
        /// The classes without a training image, sorted.
        names: Vec<String>,
    },
    /// The share of attention to keep is outside of (0, 1].
    #[error("attention mass {mass} is outside of (0, 1]; the paper's figures keep 0.6")]
    Mass {
        /// The share asked for.
        mass: f64,
    },
    /// A mask does not cover the attention grid.
    #[error(
        "the mask has {}x{} pixels (height x width), the attention covers {}x{}; resize the mask as the image was",
        mask.0, mask.1, attention.0, attention.1
    )]
    MaskSize {
        /// Height and width of the mask.
        mask: (usize, usize),
        /// Height and width that the attention covers.
        attention: (usize, usize),
    },
    /// The output's file name ends in nothing that we write.
    #[error("cannot tell the format of `{}`; end the name in `.npz` or `.csv`", path.display())]
    UnknownFormat {
        /// The file asked for.
        path: PathBuf,
    },
    /// CSV has one row of columns per image, so tokens and attention do not fit.
    #[error("`{}` cannot hold {what}: CSV has one vector per image; write to a `.npz` file", path.display())]
    CsvShape {
        /// The file asked for.
        path: PathBuf,
        /// What was to be written.
        what: &'static str,
    },
    /// Reading or writing a file failed.
    #[error("cannot write `{}`: {source}; check free space and permissions", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl EvalError {
    /// Returns a function that attaches `path` to an error of writing it.
    pub(super) fn writing<E: Into<std::io::Error>>(path: &Path) -> impl FnOnce(E) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Write { path, source: source.into() }
    }
}

fn counted(classes: usize) -> String {
    if classes == 1 { "1 class".to_owned() } else { format!("{classes} classes") }
}

/// Names the first classes and counts the rest, so that the message stays readable for ImageNet.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
