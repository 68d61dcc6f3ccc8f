//! Labels of the grid's places as a mask: `eval_video_segmentation.py:norm_mask` and what is around it.

use super::{Mask, VideoError};

/// The mask of soft labels: every channel is enlarged by `factor` in both directions (bilinear, corners not aligned), spread to 0..1 if
/// anything in it is above 0, and the greatest channel wins, of equals the first.
///
/// A channel that is above 0 and the same everywhere divides 0 by 0 in the program; PyTorch then takes it for the greatest, and so does
/// this.
///
/// # Shapes
/// `labels` is [rows, columns, channels]; the mask has `rows · factor` rows.
///
/// # Errors
/// [`VideoError::Labels`] if there are none, or not as many as these sizes need.
pub fn to_mask(
    labels: &[f32],
    (rows, columns): (usize, usize),
    channels: usize,
    factor: usize,
) -> Result<Mask, VideoError> {
    let (width, height) = (columns * factor, rows * factor);
    if labels.len() != rows * columns * channels || labels.is_empty() || factor == 0 {
        let expected = rows * columns * channels;
        return Err(VideoError::Labels { width: columns, height: rows, expected, found: labels.len() });
    }
    let (across, down) = (Between::of(columns, factor), Between::of(rows, factor));
    let mut greatest = vec![f32::NEG_INFINITY; width * height];
    let mut winners = vec![0_u8; width * height];
    for channel in 0..channels {
        let value = |row: usize, column: usize| labels[(row * columns + column) * channels + channel];
        let wide = |row: usize| across.iter().map(move |at| at.mix(value(row, at.first), value(row, at.second)));
        let lines: Vec<Vec<f32>> = (0..rows).map(|row| wide(row).collect()).collect(); // [rows, W]
        let mut enlarged = Vec::with_capacity(width * height); // [H, W]
        for at in &down {
            enlarged
                .extend(lines[at.first].iter().zip(&lines[at.second]).map(|(first, second)| at.mix(*first, *second)));
        }
        spread(&mut enlarged);
        for ((value, greatest), winner) in enlarged.iter().zip(&mut greatest).zip(&mut winners) {
            if value > greatest {
                (*greatest, *winner) = (*value, channel as u8);
            }
        }
    }
    Mask::new(width, height, winners)
}

/// Subtracts the least and divides by the greatest that is then there, if anything is above 0.
fn spread(values: &mut [f32]) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let high = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if high > 0.0 && low == high {
        values.fill(f32::INFINITY);
    } else if high > 0.0 {
        values.iter_mut().for_each(|value| *value = (*value - low) / (high - low));
    }
}

/// A new pixel between two old ones.
#[derive(Debug, Clone, Copy)]
struct Between {
    first: usize,
    second: usize,
    /// Share of the second.
    share: f32,
}

impl Between {
    /// All pixels of a side that is enlarged.
    fn of(old: usize, factor: usize) -> Vec<Self> {
        let between = |new: usize| {
            let place = ((new as f32 + 0.5) / factor as f32 - 0.5).max(0.0);
            let first = (place as usize).min(old - 1);
            Self { first, second: (first + 1).min(old - 1), share: place - first as f32 }
        };
        (0..old * factor).map(between).collect()
    }

    fn mix(self, first: f32, second: f32) -> f32 {
        (1.0 - self.share) * first + self.share * second
    }
}
