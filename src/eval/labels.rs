//! Class names to class indices: the index is the position among the sorted names of the training classes, as in
//! torchvision's `ImageFolder`.

use std::collections::BTreeSet;

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
