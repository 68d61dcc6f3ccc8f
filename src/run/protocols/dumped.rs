//! Features of a k-NN as files: the four that `eval_knn.py --dump_features` writes, and `classes.json` with the names of the classes, which it has not.

use std::path::{Path, PathBuf};

use super::Labelled;
use crate::checkpoint::torch_save::{self, Item};
use crate::checkpoint::{Content, NamedTensor, TensorRef, read_any};
use crate::eval::EvalError;
use crate::eval::nearest::UnitRows;
use crate::run::RunError;
use crate::run::look::write_file;

/// Files of features and labels, of the training and of the validation images.
const TRAIN: [&str; 2] = ["trainfeat.pth", "trainlabels.pth"];
const VAL: [&str; 2] = ["testfeat.pth", "testlabels.pth"];
/// File with the names of the classes, if they have any.
const CLASSES: &str = "classes.json";
/// Labels are read as f32, whose whole numbers end here.
const MOST_LABEL: f32 = 16_777_216.0;

/// Files that are no features, or do not fit together.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// A file is not there.
    #[error("there is no `{}`; the folder of `--features` holds trainfeat.pth, trainlabels.pth, testfeat.pth and testlabels.pth, as `--save-features` writes them", path.display())]
    Absent {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("`{}` holds {found}, and {expected} was expected; write the folder anew with `--save-features`", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// What is in it.
        found: String,
        /// What should be.
        expected: String,
    },
}

/// Features of unit length with labels, and the names of the classes.
#[derive(Debug, Clone)]
pub(super) struct SavedFeatures {
    pub train: (UnitRows, Vec<u32>),
    pub val: (UnitRows, Vec<u32>),
    pub classes: Vec<String>,
}

impl SavedFeatures {
    /// Features of the training and of the validation images.
    ///
    /// # Errors
    /// If a value is not finite.
    pub fn new([train, val]: [Labelled; 2], dim: usize, classes: Vec<String>) -> Result<Self, RunError> {
        let unit =
            |found: Labelled, what| Ok::<_, EvalError>((UnitRows::new(found.features, dim, what)?, found.labels));
        Ok(Self { train: unit(train, "the training features")?, val: unit(val, "the validation features")?, classes })
    }

    /// Values of an image.
    pub fn dim(&self) -> usize {
        self.train.0.dim()
    }

    /// Writes the files into a folder, and returns them.
    ///
    /// # Errors
    /// If one cannot be written.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, RunError> {
        let mut files = Vec::new();
        for ([features, labels], (rows, of_rows)) in [(TRAIN, &self.train), (VAL, &self.val)] {
            let shape = [rows.len(), rows.dim()];
            let tensor = TensorRef { name: "features", shape: &shape, values: rows.values() };
            files.push(folder.join(features));
            torch_save::write(&folder.join(features), &Item::Tensor(tensor))?;
            let longs: Vec<i64> = of_rows.iter().map(|label| i64::from(*label)).collect();
            files.push(folder.join(labels));
            torch_save::write(&folder.join(labels), &Item::Integers(&longs))?;
        }
        let path = folder.join(CLASSES);
        let json = serde_json::to_vec(&self.classes).map_err(|error| RunError::file("write", &path)(error.into()))?;
        write_file(&path, &json)?;
        files.push(path);
        Ok(files)
    }

    /// Reads the files of a folder; classes without names are called by their numbers.
    ///
    /// # Errors
    /// If one is missing or damaged, or they do not fit together.
    pub fn read(folder: &Path) -> Result<Self, RunError> {
        let (train, val) =
            (split(folder, TRAIN, "the training features")?, split(folder, VAL, "the validation features")?);
        if train.0.dim() != val.0.dim() {
            let (found, expected) = (format!("rows of {}", val.0.dim()), format!("rows of {}", train.0.dim()));
            return Err(DumpError::Other { path: folder.join(VAL[0]), found, expected }.into());
        }
        let labels = train.1.iter().chain(&val.1);
        let classes = labels.max().map_or(0, |label| *label as usize + 1);
        let path = folder.join(CLASSES);
        let names: Vec<String> = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| RunError::file("read", &path)(error.into()))?,
            Err(_) => (0..classes).map(|class| class.to_string()).collect(),
        };
        if names.len() < classes {
            let (found, expected) = (format!("{} names", names.len()), format!("a name for each of {classes} classes"));
            return Err(DumpError::Other { path, found, expected }.into());
        }
        Ok(Self { train, val, classes: names })
    }
}

/// Features and labels of one side.
fn split(folder: &Path, [features, labels]: [&str; 2], what: &'static str) -> Result<(UnitRows, Vec<u32>), RunError> {
    let (features, labels) = (folder.join(features), folder.join(labels));
    let (rows, of_rows) = (tensor(&features)?, tensor(&labels)?);
    let other = |path: &Path, tensor: &NamedTensor, expected: &str| {
        let found = format!("a tensor of shape {:?}", tensor.shape);
        RunError::from(DumpError::Other { path: path.to_path_buf(), found, expected: expected.to_owned() })
    };
    let [count, dim] = rows.shape[..] else { return Err(other(&features, &rows, "one of [images, values]")) };
    if of_rows.shape != [count] || count == 0 {
        return Err(other(&labels, &of_rows, &format!("one label for each of {count} images")));
    }
    let whole = |label: &&f32| (0.0..MOST_LABEL).contains(*label) && label.fract() == 0.0;
    if of_rows.values.iter().filter(whole).count() < count {
        return Err(other(&labels, &of_rows, "one of whole numbers from 0 on"));
    }
    let numbers = of_rows.values.iter().map(|label| *label as u32).collect();
    Ok((UnitRows::new(rows.values, dim, what)?, numbers))
}

/// The one tensor of a file.
fn tensor(path: &Path) -> Result<NamedTensor, RunError> {
    if !path.is_file() {
        return Err(DumpError::Absent { path: path.to_path_buf() }.into());
    }
    let mut tensors = match read_any(path)?.into_content() {
        Content::Safetensors(file) => file.tensors,
        Content::Pytorch(mut file) => {
            let sections = file.section_names();
            let tensors = sections.iter().map(|section| file.tensors(section)).collect::<Result<Vec<_>, _>>()?;
            tensors.into_iter().flatten().collect()
        }
    };
    match (tensors.pop(), tensors.len()) {
        (Some(tensor), 0) => Ok(tensor),
        (_, others) => {
            let (found, expected) = (format!("{} tensors", others + 1), "one tensor".to_owned());
            Err(DumpError::Other { path: path.to_path_buf(), found, expected }.into())
        }
    }
}
