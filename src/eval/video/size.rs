//! The size that frames are shown to the network at: `eval_video_segmentation.py:read_frame`.

use super::VideoError;

/// Shorter side of the frames, pixels.
pub const SHORT_SIDE: usize = 480;
/// The longer side is a multiple of this many pixels, so that any patch of the paper divides it.
pub const SIDE_MULTIPLE: usize = 64;
/// Longest side: a strip of paper would fill the memory.
const LONGEST: usize = 8192;

/// Width and height that frames are shown at: the shorter side as asked for, the longer one in proportion, cut to a multiple of 64, and
/// of the network's stride where 64 is none. A square counts as wide. 854x480 becomes 832x480.
///
/// # Errors
/// [`VideoError::Size`] if nothing is left, or the longer side is too long.
pub fn shown_size(
    (width, height): (usize, usize),
    short_side: usize,
    stride: usize,
) -> Result<(usize, usize), VideoError> {
    let stride = stride.max(1);
    let (short, long) = (width.min(height).max(1), width.max(height));
    let multiple = if SIDE_MULTIPLE.is_multiple_of(stride) { SIDE_MULTIPLE } else { stride };
    let shown_short = short_side - short_side % stride;
    // In floats as the program does; a whole quotient is whole there too.
    let exact = short_side as f64 * long as f64 / short as f64;
    let shown_long = (exact / multiple as f64).floor() as usize * multiple;
    let shown = if height > width { (shown_short, shown_long) } else { (shown_long, shown_short) };
    let refused = |why| Err(VideoError::Size { width, height, shown, why });
    match shown.0.max(shown.1) {
        _ if shown.0.min(shown.1) == 0 => refused("which holds no patch"),
        LONGEST.. => refused("which is too long"),
        _ => Ok(shown),
    }
}
