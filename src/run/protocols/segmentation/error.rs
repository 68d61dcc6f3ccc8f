//! What can be wrong with images and their masks, by what the user has to do about it.

use std::path::{Path, PathBuf};

/// Masks or their images that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentationError {
    /// The folder is laid out as nothing that is known.
    #[error(
        "`{}` has neither `images/` and `masks/`, matched by their names, nor `JPEGImages/` and `SegmentationObject/` (or `SegmentationClass/`) as PASCAL VOC has",
        path.display()
    )]
    NoData {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without images.
    #[error("there is no image (.{}) in `{}`", endings.join(", ."), path.display())]
    NoFiles {
        /// The folder.
        path: PathBuf,
        /// Endings that are looked for.
        endings: Vec<&'static str>,
    },
    /// Two files of one name.
    #[error("`{}` and `{}` have the same name, so that it is not known which one is meant; remove one", first.display(), second.display())]
    Twice {
        /// One of them.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// Files without their counterpart.
    #[error(
        "{count} files are missing, {} among them; complete the folders, or leave them out with `--missing skip`",
        listed(first)
    )]
    Missing {
        /// How many.
        count: usize,
        /// Some of them.
        first: Vec<PathBuf>,
    },
    /// Nothing is left to be measured.
    #[error("no name in `{}` is also one in `{}`; an image and its mask have the same name but for the ending", images.display(), masks.display())]
    NothingMatches {
        /// The folder of the images.
        images: PathBuf,
        /// That of the masks.
        masks: PathBuf,
    },
    /// No mask shows anything.
    #[error(
        "no mask shows an object: of gray masks levels above 128 are one, of indexed ones every index but 0; `--masks indices` or `--masks gray` says which they are, `--unknown none` that no level is unknown"
    )]
    NoObjects,
    /// More objects than anybody labels.
    #[error("`{}` has {found} indices, which are rather levels of gray; say `--masks gray`, or write one index for each object", path.display())]
    TooManyObjects {
        /// The mask.
        path: PathBuf,
        /// Objects found.
        found: usize,
    },
    /// The level that is to be ignored is none.
    #[error("`{text}` is no level; write a number from 1 to 255, or `none`")]
    Level {
        /// What was written.
        text: String,
    },
    /// A mask is not one of its image.
    #[error(
        "the mask `{}` has {}x{} pixels, its image {}x{} (width x height), which is another shape; an image that its EXIF data turns is left as stored with `--reference-exact`",
        path.display(), mask.0, mask.1, image.0, image.1
    )]
    Shape {
        /// The mask.
        path: PathBuf,
        /// Its width and height.
        mask: (usize, usize),
        /// Those of the image.
        image: (usize, usize),
    },
    /// A map and a mask of several sizes.
    #[error("the map `{}` has {}x{} pixels, its mask {}x{} (width x height); save maps at the size of the masks", path.display(), map.0, map.1, mask.0, mask.1)]
    MapSize {
        /// The map.
        path: PathBuf,
        /// Its width and height.
        map: (usize, usize),
        /// Those of the mask.
        mask: (usize, usize),
    },
    /// A file is no picture.
    #[error("`{}` cannot be read as a picture: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why.
        source: image::ImageError,
    },
    /// Every pixel of a mask is unknown.
    #[error("`{}` has no pixel that is not unknown; `--unknown none` takes them all", path.display())]
    AllUnknown {
        /// The mask.
        path: PathBuf,
    },
}

impl SegmentationError {
    /// For files that have no counterpart.
    pub(super) fn missing(files: &[PathBuf]) -> Self {
        const SHOWN: usize = 3;
        Self::Missing { count: files.len(), first: files.iter().take(SHOWN).cloned().collect() }
    }

    /// For `map_err` where a file turns out to be no picture.
    pub(super) fn picture(path: &Path) -> impl FnOnce(image::ImageError) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Picture { path, source }
    }
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}
