//! Images whose classes are learnt from: the labelled folder of the supervised method.

use std::path::{Path, PathBuf};

use dinoxide_views::Source;
use toml::Value;

use super::RunError;
use crate::config::{ConfigError, MethodName, Origin, Partial};

/// Images that cannot be learnt from by their classes.
#[derive(Debug, thiserror::Error)]
pub enum LabelledError {
    /// Classes of several places need not agree.
    #[error(
        "{places} places of images were given, and classes are learnt from one; link their class folders into one folder, or write \
         a .csv with paths and labels"
    )]
    SeveralPlaces {
        /// How many.
        places: usize,
    },
    /// There is nothing to tell apart.
    #[error(
        "all {images} images of `{}` are of one class, `{class}`, and a classifier needs two; give a folder with a sub-folder for \
         each class",
        path.display()
    )]
    OneClass {
        /// The folder or table.
        path: PathBuf,
        /// How many images.
        images: usize,
        /// The class.
        class: String,
    },
}

/// Whether what is given asks for a method that learns from classes.
pub(super) fn is_wanted(given: &Partial) -> bool {
    let name = given.value("method.name").and_then(|name| name.clone().try_into::<MethodName>().ok());
    name.is_some_and(MethodName::learns_from_labels)
}

/// The images of a labelled folder or table; classes without images are left out.
///
/// # Errors
/// If there are several places, no classes or a single one.
pub(super) fn open(places: &[String]) -> Result<Source, RunError> {
    let [place] = places else { return Err(LabelledError::SeveralPlaces { places: places.len() }.into()) };
    let mut source = Source::labelled(Path::new(place))?;
    source.drop_empty_classes();
    if let [class] = source.classes.as_slice() {
        return Err(LabelledError::OneClass { path: place.into(), images: source.len(), class: class.clone() }.into());
    }
    Ok(source)
}

/// Notes how many classes there are.
///
/// # Errors
/// If another number was given.
pub(super) fn count_classes(given: &mut Partial, source: &Source) -> Result<(), RunError> {
    const KEY: &str = "method.classes";
    let classes = source.classes.len();
    match given.whole(KEY) {
        Some(asked) if asked != classes => Err(RunError::Config(ConfigError::BadValue {
            origin: given.origin(KEY),
            key: KEY.to_owned(),
            value: asked.to_string(),
            allowed: format!("{classes}, the classes of the images; it can be left away"),
        })),
        Some(_) => Ok(()),
        None => Ok(given.insert(KEY, Value::Integer(classes as i64), Origin::Derived)?),
    }
}
