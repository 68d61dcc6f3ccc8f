//! What can go wrong with videos, by what the user has to do about it.

/// A video that cannot be segmented or scored as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// Labels do not cover a mask.
    #[error("a mask of {width}x{height} needs {expected} labels, got {found}")]
    Labels {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Labels needed.
        expected: usize,
        /// Labels given.
        found: usize,
    },
    /// Two masks of a frame differ in size.
    #[error(
        "the predicted mask has {}x{} pixels and the annotation {}x{} (width x height); write masks of the annotation's size",
        predicted.0, predicted.1, truth.0, truth.1
    )]
    MaskSize {
        /// Width and height of the prediction.
        predicted: (usize, usize),
        /// Width and height of the annotation.
        truth: (usize, usize),
    },
    /// A prediction has an object that the annotation does not have.
    #[error("the prediction has object {found}, but the sequence has {objects}; objects count from 1, 0 is background")]
    UnknownObject {
        /// The highest label.
        found: usize,
        /// Objects of the sequence.
        objects: usize,
    },
    /// Features do not cover the grid.
    #[error("features of a grid of {rows}x{columns} places need {expected} values, got {found}")]
    Features {
        /// Rows of the grid.
        rows: usize,
        /// Columns of the grid.
        columns: usize,
        /// Values needed.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A feature is not a number.
    #[error(
        "the features of a frame hold the value {value} at place {place}; the network's weights are likely damaged or diverged"
    )]
    BadValue {
        /// The place on the grid, row by row, from 0.
        place: usize,
        /// The value.
        value: f32,
    },
    /// No neighbour would vote.
    #[error("`top_k` is 0, so no patch would vote; use 1 or more, the paper's is 5")]
    NoVotes,
    /// The temperature is not above 0.
    #[error("temperature {temperature} gives no votes; use a number above 0, the paper's is 0.1")]
    Temperature {
        /// The temperature asked for.
        temperature: f64,
    },
    /// Frames are too small, too large or too long.
    #[error("frames of {width}x{height} would be shown as {}x{}, {why}; choose another short side", shown.0, shown.1)]
    Size {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Width and height that the network would see.
        shown: (usize, usize),
        /// What is wrong.
        why: &'static str,
    },
}
