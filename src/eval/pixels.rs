//! The pixel floor: what k-NN reaches on 8x8 thumbnails. A trained network has to beat it.

use super::EvalError;

/// Side of the thumbnail.
pub const GRID: usize = 8;

/// Length of the feature of one image: 8 x 8 cells of red, green and blue.
pub const PIXEL_DIM: usize = GRID * GRID * 3;

/// Returns the mean colour of 8x8 cells, row by row with the channels last, in levels of 0 to 255.
///
/// Cell i of a side of n pixels spans floor(i n / 8) to ceil((i + 1) n / 8): every image of at least one pixel works,
/// and cells overlap by a pixel where 8 does not divide n (PyTorch's adaptive average pooling).
///
/// # Shapes
/// `rgb` is `[H, W, 3]` for `size` = (H, W); the result is `[192]`.
///
/// # Errors
/// [`EvalError::Empty`] for an image without pixels, [`EvalError::Size`] if `rgb` is not H x W x 3 long.
pub fn pooled_pixels(rgb: &[u8], size: (usize, usize)) -> Result<Vec<f32>, EvalError> {
    let (height, width) = size;
    if height == 0 || width == 0 {
        return Err(EvalError::Empty { what: "the image" });
    }
    if rgb.len() != height * width * 3 {
        return Err(EvalError::Size { what: "the RGB image", found: rgb.len(), expected: height * width * 3 });
    }
    let mut feature = Vec::with_capacity(PIXEL_DIM);
    for row in 0..GRID {
        for column in 0..GRID {
            feature.extend(mean_colour(rgb, width, cell(row, height), cell(column, width)));
        }
    }
    Ok(feature)
}

fn cell(index: usize, side: usize) -> std::ops::Range<usize> {
    index * side / GRID..((index + 1) * side).div_ceil(GRID)
}

fn mean_colour(rgb: &[u8], width: usize, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> [f32; 3] {
    let pixels = (rows.len() * columns.len()) as f64;
    let mut sums = [0_u64; 3];
    for row in rows {
        for pixel in rgb[(row * width + columns.start) * 3..(row * width + columns.end) * 3].chunks_exact(3) {
            for (sum, &level) in sums.iter_mut().zip(pixel) {
                *sum += u64::from(level);
            }
        }
    }
    sums.map(|sum| (sum as f64 / pixels) as f32)
}

/// Subtracts the mean training feature, cell by cell, from the features of both sets.
///
/// Pixels are all positive, so without this every cosine would be close to one. The k-NN bank scales rows to unit
/// length itself.
///
/// # Shapes
/// `train` is [N, 192], `val` [M, 192], as [`pooled_pixels`] gives them one after the other.
///
/// # Errors
/// [`EvalError::Empty`] without training features, [`EvalError::Size`] if a length is no multiple of 192.
pub fn subtract_train_mean(train: &mut [f32], val: &mut [f32]) -> Result<(), EvalError> {
    if train.is_empty() {
        return Err(EvalError::Empty { what: "the list of training images" });
    }
    for (what, features) in [("train pixel features", &*train), ("validation pixel features", &*val)] {
        let rows = features.len() / PIXEL_DIM;
        if !features.len().is_multiple_of(PIXEL_DIM) {
            return Err(EvalError::Size { what, found: features.len(), expected: rows * PIXEL_DIM });
        }
    }
    let rows = (train.len() / PIXEL_DIM) as f64;
    let mut mean = [0.0_f64; PIXEL_DIM];
    for row in train.chunks_exact(PIXEL_DIM) {
        mean.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value) / rows);
    }
    for row in train.chunks_exact_mut(PIXEL_DIM).chain(val.chunks_exact_mut(PIXEL_DIM)) {
        row.iter_mut().zip(&mean).for_each(|(value, &mean)| *value = (f64::from(*value) - mean) as f32);
    }
    Ok(())
}
