//! Vectors that are windows over images: a product with them is a convolution, and no matrix of windows is ever in memory.
//!
//! Chellapilla et al., "High Performance Convolutional Neural Networks for Document Processing" (2006) write the windows as a
//! matrix; here each task writes those of its own block while packing. Pixels are rows of channels, so that a line of a window is one piece
//! of memory, or the part of it that lies in the image between zeros.

use std::ops::Range;

use super::super::word::Word;
use crate::kernels::Grid;
use crate::values::Values;

/// Window i of all, in row-major order of image, y and x; its values are its lines one after the other, each of `across`
/// pixels and padded to [`Windows::line`] values.
#[derive(Debug, Clone, Copy)]
pub struct Windows {
    /// Pixels of the images.
    pub grid: Grid,
    /// Windows along the height and along the width of an image.
    pub places: [usize; 2],
    /// Lines and pixels in a line of a window.
    pub size: [usize; 2],
    /// By how many pixels a window moves.
    pub stride: usize,
    /// Line and pixel at which the first window begins, beyond the image if negative.
    pub first: [isize; 2],
    /// Values of a pixel.
    pub channels: usize,
}

/// A window's place: image, y, x.
#[derive(Debug, Clone, Copy)]
struct Place([usize; 3]);

impl Windows {
    /// Values of a line, an even number: words of two begin with one.
    pub fn line(&self) -> usize {
        (self.size[1] * self.channels).next_multiple_of(2)
    }

    /// Values of a window.
    pub fn len(&self) -> usize {
        self.size[0] * self.line()
    }

    /// Number of windows.
    pub fn count(&self) -> usize {
        self.grid.images * self.places[0] * self.places[1]
    }

    fn place(&self, window: usize) -> Place {
        let [height, width] = self.places;
        Place([window / width / height, window / width % height, window % width])
    }

    #[inline(always)]
    fn next(&self, Place([image, y, x]): Place) -> Place {
        let [height, width] = self.places;
        match (x + 1 < width, y + 1 < height) {
            (true, _) => Place([image, y, x + 1]),
            (false, true) => Place([image, y + 1, 0]),
            (false, false) => Place([image + 1, 0, 0]),
        }
    }

    /// Whether no line of a window begins or ends beyond the image.
    #[inline(always)]
    fn is_inside(&self, Place([_, _, x]): Place) -> bool {
        let column = (x * self.stride).wrapping_add_signed(self.first[1]);
        column < self.grid.width && column + self.size[1] <= self.grid.width
    }

    /// The part of a window's line that lies in the image, and the place in memory, minus where that part begins, of its
    /// values.
    #[inline(always)]
    fn inside(&self, Place([image, y, x]): Place, line: usize) -> (Range<usize>, usize) {
        let row = (y * self.stride + line).wrapping_add_signed(self.first[0]);
        let column = (x * self.stride) as isize + self.first[1];
        if row >= self.grid.height {
            return (0..0, 0);
        }
        let pixels = self.grid.width as isize - column;
        let start = (-column).clamp(0, self.size[1] as isize) as usize;
        let end = pixels.clamp(start as isize, self.size[1] as isize) as usize;
        let first = (((image * self.grid.height + row) * self.grid.width) as isize + column) * self.channels as isize;
        (start * self.channels..end * self.channels, first as usize)
    }

    /// Calls `each(to, values)` for the pieces of `inner` of one window: where they go to, counted from the first value of
    /// `inner`, and which they are; nothing is zero.
    #[inline(always)]
    fn pieces(&self, place: Place, inner: Range<usize>, mut each: impl FnMut(Range<usize>, Option<usize>)) {
        let len = self.line();
        let mut at = inner.start;
        let (mut line, mut from) = (at / len, at % len);
        while at < inner.end {
            let to = len.min(from + inner.end - at);
            let (inside, first) = self.inside(place, line);
            let (start, end) = (inside.start.clamp(from, to), inside.end.clamp(from, to));
            let base = at - inner.start;
            if start < end {
                if from < start {
                    each(base..base + start - from, None);
                }
                each(base + start - from..base + end - from, Some(first.wrapping_add(start)));
                if end < to {
                    each(base + end - from..base + to - from, None);
                }
            } else {
                each(base..base + to - from, None);
            }
            at += to - from;
            (line, from) = (line + 1, 0);
        }
    }

    /// Writes the values `inner` of each of `windows` as words, one window after the other.
    #[inline(always)]
    pub fn write<W: Word>(&self, values: Values<'_, f32>, windows: Range<usize>, inner: Range<usize>, to: &mut [f32]) {
        let depth = inner.len().div_ceil(W::VALUES);
        let mut place = self.place(windows.start);
        for (_, to) in windows.zip(to.chunks_exact_mut(depth.max(1))) {
            if self.channels.is_multiple_of(W::VALUES) || self.is_inside(place) {
                self.pieces(
                    place,
                    inner.clone(),
                    #[inline(always)]
                    |at, first| {
                        let words = at.start.div_ceil(W::VALUES)..at.end.div_ceil(W::VALUES);
                        match first {
                            Some(first) => W::write(values.part(first..first + at.len()), &mut to[words]),
                            None => to[words].fill(0.0),
                        }
                    },
                );
            } else {
                self.write_odd::<W>(values, place, inner.clone(), to);
            }
            place = self.next(place);
        }
    }

    /// The same for one window whose words may hold values of two pieces.
    fn write_odd<W: Word>(&self, values: Values<'_, f32>, place: Place, inner: Range<usize>, to: &mut [f32]) {
        const PART: usize = 64;
        let mut buffer = [0.0; PART];
        for (index, to) in to.chunks_mut(PART / W::VALUES).enumerate() {
            let first = inner.start + index * PART;
            let buffer = &mut buffer[..PART.min(inner.end - first)];
            self.copy(values, place, first..first + buffer.len(), buffer);
            W::write(Values::Full(buffer), to);
        }
    }

    /// Writes the values `inner` of one window.
    #[inline(always)]
    fn copy(&self, values: Values<'_, f32>, place: Place, inner: Range<usize>, to: &mut [f32]) {
        self.pieces(
            place,
            inner,
            #[inline(always)]
            |at, first| {
                let to = &mut to[at.clone()];
                match first {
                    Some(first) => values.part(first..first + at.len()).copy_to(to),
                    None => to.fill(0.0),
                }
            },
        );
    }

    /// Writes lines of words, one line for `W::VALUES` of `windows`, of the values `inner`.
    #[inline(always)]
    pub fn lines<W: Word, const LEN: usize>(
        &self,
        values: Values<'_, f32>,
        windows: Range<usize>,
        inner: Range<usize>,
        to: &mut [[f32; LEN]],
    ) {
        let len = inner.len();
        let mut buffers = [[0.0; LEN]; 2];
        let mut place = self.place(windows.start);
        for (window, to) in windows.clone().step_by(W::VALUES).zip(to) {
            if W::VALUES == 1 {
                self.copy(values, place, inner.clone(), &mut to[..len]);
                place = self.next(place);
                continue;
            }
            let to = &mut to[..len];
            let neighbour = self.next(place);
            if window + 1 < windows.end && self.are_inside(place, neighbour) {
                self.line_of_two::<W>(values, place, inner.clone(), to);
                place = self.next(neighbour);
                continue;
            }
            let [first, second] = &mut buffers;
            self.copy(values, place, inner.clone(), &mut first[..len]);
            place = self.next(place);
            let follows = window + 1 < windows.end;
            if follows {
                self.copy(values, place, inner.clone(), &mut second[..len]);
                place = self.next(place);
            }
            W::line(Values::Full(&first[..len]), follows.then_some(Values::Full(&second[..len])), to);
        }
    }

    /// Whether a window and the next one lie side by side, and none of their lines begins or ends beyond the image.
    #[inline(always)]
    fn are_inside(&self, place: Place, next: Place) -> bool {
        next.0[2] > 0 && self.is_inside(place) && self.is_inside(next)
    }

    /// Writes a line of words of two windows of which that is so.
    #[inline(always)]
    fn line_of_two<W: Word>(&self, values: Values<'_, f32>, place: Place, inner: Range<usize>, to: &mut [f32]) {
        let apart = self.stride * self.channels;
        self.pieces(
            place,
            inner,
            #[inline(always)]
            |at, first| {
                let to = &mut to[at.clone()];
                match first {
                    Some(first) => {
                        let [first, second] = [first, first + apart].map(|from| values.part(from..from + at.len()));
                        W::line(first, Some(second), to);
                    }
                    None => to.fill(0.0),
                }
            },
        );
    }
}
