//! What can go wrong with the files of videos, by what the user has to do about it.

use std::path::PathBuf;

use dinoxide_views::DecodeError;

use crate::eval::video::VideoError;

/// Videos or masks that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoDataError {
    /// The folder is not laid out as DAVIS is.
    #[error(
        "`{}` holds no videos; DATA is a folder with `JPEGImages/480p/SEQUENCE/00000.jpg` and `Annotations/480p/SEQUENCE/00000.png`, as DAVIS has",
        path.display()
    )]
    NoVideos {
        /// The folder.
        path: PathBuf,
    },
    /// A sequence is not there.
    #[error("there is no sequence `{name}`: no frame (.jpg, .jpeg, .png) in `{}`", path.display())]
    NoSequence {
        /// Its name.
        name: String,
        /// Where its frames should be.
        path: PathBuf,
    },
    /// No sequence has a first mask.
    #[error("no first frame of `{}` has a mask; label it in an indexed or black and white PNG such as `{}`", path.display(), example.display())]
    NoFirstMasks {
        /// The folder.
        path: PathBuf,
        /// Where one of the masks should be.
        example: PathBuf,
    },
    /// A sequence's first frame has no mask.
    #[error("the first frame of `{name}` has no mask; label it in an indexed or black and white PNG, `{}`", path.display())]
    NoFirstMask {
        /// The sequence.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// A file is no mask.
    #[error("`{}` cannot be used as a mask: {problem}", path.display())]
    Mask {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A frame cannot be read; those after it depend on it.
    #[error("frame `{}` cannot be read: {source}; repair it, or remove the sequence", path.display())]
    Frame {
        /// The file.
        path: PathBuf,
        /// Why.
        source: DecodeError,
    },
    /// Frames of a sequence differ in size.
    #[error("frame `{}` has {}x{} pixels, the first of its sequence {}x{} (width x height); frames of a sequence have one size", path.display(), found.0, found.1, first.0, first.1)]
    FrameSize {
        /// The file.
        path: PathBuf,
        /// Its width and height.
        found: (u32, u32),
        /// Those of the first frame.
        first: (u32, u32),
    },
    /// A frame was not predicted.
    #[error("there is no prediction `{}`; write one for every annotated frame but the first and the last", path.display())]
    NoPrediction {
        /// The file.
        path: PathBuf,
    },
    /// There is nothing to compare predictions with.
    #[error(
        "nothing can be scored in `{}`: sequences need an object in the first mask, and a mask for a frame that is neither first nor last",
        path.display()
    )]
    NothingToScore {
        /// The folder.
        path: PathBuf,
    },
    /// A mask cannot be compared with the annotation.
    #[error("`{}`: {source}", path.display())]
    Score {
        /// The predicted mask, or the frame that was segmented.
        path: PathBuf,
        /// Why.
        source: VideoError,
    },
}

impl VideoDataError {
    /// For `map_err` where a file turns out not to be a mask.
    pub(super) fn mask(path: impl Into<PathBuf>, problem: impl std::fmt::Display) -> Self {
        Self::Mask { path: path.into(), problem: problem.to_string() }
    }
}
