//! Images and their masks: `images/` and `masks/` with the same names, or as PASCAL VOC lays them out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dinoxide_views::source::EXTENSIONS;

use super::SegmentationError;
use crate::run::RunError;
use crate::run::protocols::retrieval::Missing;

/// Folders of somebody's own data, and of PASCAL VOC.
const OWN: (&str, &str) = ("images", "masks");
const VOC_IMAGES: &str = "JPEGImages";
const VOC_OBJECTS: &str = "SegmentationObject";
const VOC_CLASSES: &str = "SegmentationClass";
const VOC_LIST: &str = "ImageSets/Segmentation/val.txt";

/// An image, or a map, with its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Their name without its ending.
    pub name: String,
    /// The image or map.
    pub image: PathBuf,
    /// The mask.
    pub mask: PathBuf,
}

/// What masks show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Objects one by one.
    Objects,
    /// All objects of a class as one.
    Classes,
}

/// Pairs and what is without its counterpart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pairs {
    /// In the order of the list, or of their names.
    pub pairs: Vec<Pair>,
    /// Files that should be there and are not.
    pub missing: Vec<PathBuf>,
    /// What the masks show.
    pub shown: Shown,
}

/// Finds the images and masks of a folder.
///
/// # Errors
/// If it is laid out as nothing that is known, or files are missing that may not be.
pub fn find(root: &Path, missing: Missing) -> Result<Pairs, RunError> {
    let (images, masks) = (root.join(OWN.0), root.join(OWN.1));
    if images.is_dir() && masks.is_dir() {
        return matched(&images, &masks, missing);
    }
    let (objects, classes) = (root.join(VOC_OBJECTS), root.join(VOC_CLASSES));
    let (masks, shown) = if objects.is_dir() { (objects, Shown::Objects) } else { (classes, Shown::Classes) };
    let images = root.join(VOC_IMAGES);
    if !images.is_dir() || !masks.is_dir() {
        return Err(SegmentationError::NoData { path: root.to_path_buf() }.into());
    }
    let listed = listed(root)?;
    let names = if listed.is_empty() { by_name(&masks)?.into_keys().collect() } else { listed };
    Ok(Pairs { shown, ..of_names(names, &by_name(&images)?, &by_name(&masks)?, (&images, &masks), missing)? })
}

/// Matches the files of two folders by their names without endings.
///
/// # Errors
/// If a folder has no images, or files are missing that may not be.
pub fn matched(images: &Path, masks: &Path, missing: Missing) -> Result<Pairs, RunError> {
    let (of_images, of_masks) = (by_name(images)?, by_name(masks)?);
    let mut names: Vec<String> = of_images.keys().chain(of_masks.keys()).cloned().collect();
    names.sort();
    names.dedup();
    of_names(names, &of_images, &of_masks, (images, masks), missing)
}

fn of_names(
    names: Vec<String>,
    images: &BTreeMap<String, PathBuf>,
    masks: &BTreeMap<String, PathBuf>,
    folders: (&Path, &Path),
    missing: Missing,
) -> Result<Pairs, RunError> {
    let mut found = Pairs { pairs: Vec::new(), missing: Vec::new(), shown: Shown::Objects };
    for name in names {
        match (images.get(&name), masks.get(&name)) {
            (Some(image), Some(mask)) => found.pairs.push(Pair { image: image.clone(), mask: mask.clone(), name }),
            (image, mask) => {
                found.missing.extend(image.is_none().then(|| folders.0.join(&name)));
                found.missing.extend(mask.is_none().then(|| folders.1.join(&name)));
            }
        }
    }
    if found.pairs.is_empty() {
        let (images, masks) = (folders.0.to_path_buf(), folders.1.to_path_buf());
        return Err(SegmentationError::NothingMatches { images, masks }.into());
    }
    if missing == Missing::Error && !found.missing.is_empty() {
        return Err(SegmentationError::missing(&found.missing).into());
    }
    Ok(found)
}

/// Names of the official list, if there is one.
fn listed(root: &Path) -> Result<Vec<String>, RunError> {
    let path = root.join(VOC_LIST);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(RunError::file("read", &path))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// The images of a folder by their names without endings.
fn by_name(folder: &Path) -> Result<BTreeMap<String, PathBuf>, RunError> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(RunError::file("read", folder))? {
        let path = entry.map_err(RunError::file("read", folder))?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        let Some(stem) = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()) else { continue };
        if stem.starts_with('.') || !ending.is_some_and(|ending| EXTENSIONS.contains(&&*ending)) {
            continue;
        }
        if let Some(first) = found.insert(stem, path.clone()) {
            return Err(SegmentationError::Twice { first, second: path }.into());
        }
    }
    if found.is_empty() {
        return Err(SegmentationError::NoFiles { path: folder.to_path_buf(), endings: EXTENSIONS.to_vec() }.into());
    }
    Ok(found)
}
