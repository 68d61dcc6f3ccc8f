//! What the commands on a trained model share: the size of its input and which of the two networks is used.

use std::fmt;
use std::str::FromStr;

/// Which network of a run is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Network {
    /// The average of the student over time; the better one.
    #[default]
    Teacher,
    /// The trained one.
    Student,
}

/// Size images are resized to, pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSize {
    /// Width.
    pub width: usize,
    /// Height.
    pub height: usize,
}

impl FromStr for ImageSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("`{text}` is not a size; write pixels such as `224`, or width and height such as `480x320`");
        let side = |text: &str| text.trim().parse::<usize>().ok().filter(|side| *side > 0).ok_or_else(wrong);
        match text.split_once(['x', 'X', '×']) {
            None => side(text).map(|side| Self { width: side, height: side }),
            Some((width, height)) => Ok(Self { width: side(width)?, height: side(height)? }),
        }
    }
}

impl fmt::Display for ImageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}
