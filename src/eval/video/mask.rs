//! The objects of a frame, as labels of its pixels.

use super::VideoError;

/// Which object each pixel belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    width: usize,
    height: usize,
    /// [H, W]: 0 is background.
    labels: Vec<u8>,
}

impl Mask {
    /// A mask from its labels, row by row.
    ///
    /// # Errors
    /// [`VideoError::Labels`] if they are none or not as many as pixels.
    pub fn new(width: usize, height: usize, labels: Vec<u8>) -> Result<Self, VideoError> {
        let expected = (width * height).max(1);
        if labels.len() != expected {
            return Err(VideoError::Labels { width, height, expected, found: labels.len() });
        }
        Ok(Self { width, height, labels })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Labels of the pixels, row by row.
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The highest label: DAVIS counts its objects from 1.
    pub fn objects(&self) -> usize {
        self.labels.iter().copied().max().map_or(0, usize::from)
    }

    /// The pixels of an object.
    pub fn object(&self, label: usize) -> Vec<bool> {
        self.labels.iter().map(|own| usize::from(*own) == label).collect()
    }

    /// The mask with other labels for its own.
    pub fn mapped(&self, label: impl Fn(u8) -> u8) -> Self {
        Self { labels: self.labels.iter().map(|own| label(*own)).collect(), ..*self }
    }

    /// The mask at another size, as Pillow's `resize(…, NEAREST)`: the pixel below the centre of each new one.
    pub fn resized(&self, width: usize, height: usize) -> Self {
        let (width, height) = (width.max(1), height.max(1));
        if (width, height) == (self.width, self.height) {
            return self.clone();
        }
        let (columns, rows) = (nearest(self.width, width), nearest(self.height, height));
        let row = |row: usize| columns.iter().map(move |column| self.labels[row * self.width + column]);
        let labels = rows.iter().flat_map(|y| row(*y)).collect();
        Self { width, height, labels }
    }
}

/// The old pixel of every new one. Pillow adds up its steps instead of multiplying them, which decides where a centre falls on an edge.
fn nearest(old: usize, new: usize) -> Vec<usize> {
    let step = old as f64 / new as f64;
    let centres = std::iter::successors(Some(0.5 * step), |centre| Some(centre + step));
    centres.take(new).map(|centre| (centre as usize).min(old - 1)).collect()
}
