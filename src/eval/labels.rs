//! Class names to class indices: the index is the position among the sorted names of the training classes, as in
//! torchvision's `ImageFolder`.

use std::collections::{BTreeSet, HashMap};

use super::EvalError;

/// Labels of a training and a validation set that agree on their classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// Names of the training classes, sorted by code point; a label is a position in this list.
    pub classes: Vec<String>,
    /// Label of every training image.
    pub train: Vec<u32>,
    /// Label of every validation image.
    pub val: Vec<u32>,
    /// Training classes without a validation image, sorted. Not an error, yet worth a line to the user.
    pub absent_in_val: Vec<String>,
}

impl Labels {
    /// Returns the labels of images whose class names are given in image order.
    ///
    /// # Errors
    /// [`EvalError::UnknownClasses`] lists all validation classes that no training image has: no prediction could
    /// ever be right there, so the accuracy would silently be too low.
    pub fn from_names<S: AsRef<str>>(train: &[S], val: &[S]) -> Result<Self, EvalError> {
        if train.is_empty() {
            return Err(EvalError::Empty { what: "the list of training labels" });
        }
        let train_names: BTreeSet<&str> = train.iter().map(AsRef::as_ref).collect();
        let val_names: BTreeSet<&str> = val.iter().map(AsRef::as_ref).collect();
        let unknown: Vec<String> = val_names.difference(&train_names).map(|&name| name.to_owned()).collect();
        if !unknown.is_empty() {
            return Err(EvalError::UnknownClasses { names: unknown });
        }
        let classes: Vec<&str> = train_names.iter().copied().collect();
        // Every name is known here, so the position that a failed search would give is never used.
        let label = |name: &S| classes.binary_search(&name.as_ref()).unwrap_or_else(|place| place) as u32;
        Ok(Self {
            train: train.iter().map(label).collect(),
            val: val.iter().map(label).collect(),
            absent_in_val: train_names.difference(&val_names).map(|&name| name.to_owned()).collect(),
            classes: classes.into_iter().map(str::to_owned).collect(),
        })
    }
}

/// Positions of names in a list of classes that has an order of its own, as that of a head; of a class that stands there twice the first.
///
/// # Errors
/// The names that the list lacks, sorted.
pub fn positions<S: AsRef<str>>(names: &[S], classes: &[String]) -> Result<Vec<u32>, Vec<String>> {
    let places: HashMap<&str, u32> =
        (0..classes.len() as u32).zip(classes).rev().map(|(place, class)| (class.as_str(), place)).collect();
    let missing: BTreeSet<&str> = names.iter().map(AsRef::as_ref).filter(|name| !places.contains_key(name)).collect();
    if missing.is_empty() {
        return Ok(names.iter().filter_map(|name| places.get(name.as_ref()).copied()).collect());
    }
    Err(missing.into_iter().map(str::to_owned).collect())
}
