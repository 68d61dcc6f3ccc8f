//! The pixel floor: what k-NN reaches on 8x8 thumbnails. A trained network has to beat it.

use super::EvalError;

/// Side of the thumbnail.
pub const GRID: usize = 8;

/// Returns the mean colour of 8x8 cells, row by row with the channels last, in levels of 0 to 255.
///
/// Cell i of a side of n pixels spans floor(i n / 8) to ceil((i + 1) n / 8): every image of at least one pixel works,
/// and cells overlap by a pixel where 8 does not divide n (PyTorch's adaptive average pooling).
///
/// # Shapes
/// `pixels` is `[H, W, C]` for `size` = (H, W) and `channels` = C; the result is `[64 C]`.
///
/// # Errors
/// [`EvalError::Empty`] for an image without pixels, [`EvalError::Size`] if `pixels` is not H x W x C long.
pub fn pooled_pixels(pixels: &[u8], size: (usize, usize), channels: usize) -> Result<Vec<f32>, EvalError> {
    let (height, width) = size;
    if height == 0 || width == 0 {
        return Err(EvalError::Empty { what: "the image" });
    }
    let expected = height * width * channels;
    if pixels.len() != expected {
        return Err(EvalError::Size { what: "the image", found: pixels.len(), expected });
    }
    let mut feature = Vec::with_capacity(GRID * GRID * channels);
    for row in 0..GRID {
        for column in 0..GRID {
            let (rows, columns) = (cell(row, height), cell(column, width));
            let count = (rows.len() * columns.len()) as f64;
            let mut sums = vec![0_u64; channels];
            for row in rows {
                let line = &pixels[(row * width + columns.start) * channels..(row * width + columns.end) * channels];
                for pixel in line.chunks_exact(channels) {
                    sums.iter_mut().zip(pixel).for_each(|(sum, &level)| *sum += u64::from(level));
                }
            }
            feature.extend(sums.iter().map(|&sum| (sum as f64 / count) as f32));
        }
    }
    Ok(feature)
}

fn cell(index: usize, side: usize) -> std::ops::Range<usize> {
    index * side / GRID..((index + 1) * side).div_ceil(GRID)
}

/// Subtracts the mean training feature, cell by cell, from the features of both sets.
///
/// Pixels are all positive, so without this every cosine would be close to one. The k-NN bank scales rows to unit
/// length itself.
///
/// # Shapes
/// `train` is [N, 64 C], `val` [M, 64 C], as [`pooled_pixels`] gives them one after the other for `channels` = C.
///
/// # Errors
/// [`EvalError::Empty`] without training features, [`EvalError::Size`] if a length is no multiple of 64 C.
pub fn subtract_train_mean(train: &mut [f32], val: &mut [f32], channels: usize) -> Result<(), EvalError> {
    let dim = GRID * GRID * channels;
    if train.is_empty() {
        return Err(EvalError::Empty { what: "the list of training images" });
    }
    for (what, features) in [("train pixel features", &*train), ("validation pixel features", &*val)] {
        let rows = features.len() / dim;
        if !features.len().is_multiple_of(dim) {
            return Err(EvalError::Size { what, found: features.len(), expected: rows * dim });
        }
    }
    let rows = (train.len() / dim) as f64;
    let mut mean = vec![0.0_f64; dim];
    for row in train.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value) / rows);
    }
    for row in train.chunks_exact_mut(dim).chain(val.chunks_exact_mut(dim)) {
        row.iter_mut().zip(&mean).for_each(|(value, &mean)| *value = (f64::from(*value) - mean) as f32);
    }
    Ok(())
}
