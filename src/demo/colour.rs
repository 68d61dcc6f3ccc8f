//! Colours of objects and backgrounds.

use super::noise::mix;

/// Red, green and blue in 0..1.
pub(super) type Colour = [f32; 3];

/// From `a` at 0 to `b` at 1, channel by channel.
pub(super) fn blend(a: Colour, b: Colour, t: f32) -> Colour {
    std::array::from_fn(|channel| mix(a[channel], b[channel], t))
}
