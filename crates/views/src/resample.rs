//! Resizing with the arithmetic of Pillow's `Image.resize`: antialiased, separable, 8 bits between the passes.
//!
//! The kernel is stretched by the down-scaling factor, its weights are normalised in f64 and rounded to
//! fixed point (`taps`). Rows come first, then columns, except where Pillow 13 turns the order
//! round, see `PassOrder`. Results equal Pillow 13's bit for bit.
//!
//! The pass along rows turns sixteen rows into columns first, so that its inner loop runs over rows.
use std::ops::Range;

use crate::pixel::{Crop, Image};
use crate::planes::Planes;
use crate::simd::{LANES, vectorised};
pub use crate::taps::Filter;
use crate::taps::{PRECISION_BITS, Taps};
use crate::transpose::{SIDE, transposed};

/// A half, so that cutting a sum rounds it.
const HALF: [i32; SIDE] = [1 << (PRECISION_BITS - 1); SIDE];

/// Returns the image at another size, as Pillow's `image.resize((width, height), filter)`.
pub fn resize(image: &Image, width: u32, height: u32, filter: Filter) -> Image {
    resize_crop(image, image.bounds(), (width, height), filter)
}

/// Returns a crop at another size `(width, height)`, as Pillow's `image.crop(…).resize(size, filter)`:
/// pixels outside the crop have no influence.
///
/// # Panics
/// If the crop leaves the image or is empty.
pub fn resize_crop(image: &Image, crop: Crop, size: (u32, u32), filter: Filter) -> Image {
    let whole = Crop { x: 0, y: 0, width: size.0, height: size.1 };
    resize_window(image, crop, size, Window { rectangle: whole, filter })
}

/// The part of a resized image that is wanted.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The rectangle on the resized image.
    pub rectangle: Crop,
    /// The filter of the resize.
    pub filter: Filter,
}

/// Returns `window.rectangle` of what [`resize_crop`] would return, without computing the rest.
///
/// # Panics
/// If a rectangle leaves its image or the crop is empty.
pub fn resize_window(image: &Image, crop: Crop, size: (u32, u32), window: Window) -> Image {
    let mut planes = Planes::default();
    Resampler::default().resize(image, Resize { crop, size, window, mirrored: false, upside_down: false }, &mut planes);
    Image::from(&planes)
}

/// What becomes of an image.
#[derive(Debug, Clone, Copy)]
pub struct Resize {
    /// The part of the image that is resized.
    pub crop: Crop,
    /// Its new width and height.
    pub size: (u32, u32),
    /// The part of the result that is computed.
    pub window: Window,
    /// Whether that part is mirrored left to right.
    pub mirrored: bool,
    /// Whether it is mirrored top to bottom.
    pub upside_down: bool,
}

/// Which pass rounds to 8 bits first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PassOrder {
    RowsFirst,
    ColumnsFirst,
}

impl PassOrder {
    /// Since version 13 Pillow begins with the columns where the height loses more than twice what the width loses
    /// (found by experiment, 3,000 random sizes without exception; its pull request 9549). Before, rows were first.
    fn of(crop: Crop, size: (u32, u32)) -> Self {
        let lost = |from: u32, to: u32| i64::from(from) - i64::from(to);
        let (width, height) = (lost(crop.width, size.0), lost(crop.height, size.1));
        if height > 0 && width != 0 && height > 2 * width { Self::ColumnsFirst } else { Self::RowsFirst }
    }
}

/// Resizes images and keeps its working memory.
#[derive(Debug, Default)]
pub struct Resampler {
    columns: Taps,
    rows: Taps,
    strip: Strip,
    middle: Vec<u8>,
}

/// Sixteen rows as columns.
#[derive(Debug, Default)]
struct Strip {
    /// One for each byte of the rows.
    inputs: Vec<[i32; SIDE]>,
    /// One for each byte of the resized rows: all of the first channel, then all of the second.
    outputs: Vec<[u8; SIDE]>,
}

/// Rows of neighbouring pixels.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    stride: usize,
    /// Bytes of a pixel.
    channels: usize,
}

impl<'a> Rows<'a> {
    /// The bytes of some pixels of a row.
    #[inline(always)]
    fn part(self, row: usize, pixels: &Range<usize>) -> &'a [u8] {
        &self.bytes[row * self.stride..][self.channels * pixels.start..self.channels * pixels.end]
    }
}

impl Resampler {
    /// Resizes into `out`, whose size becomes that of the window.
    ///
    /// # Panics
    /// If a rectangle leaves its image or the crop is empty.
    pub fn resize(&mut self, image: &Image, what: Resize, out: &mut Planes) {
        let Resize { crop, size, window: Window { rectangle: want, filter }, mirrored, upside_down } = what;
        image.assert_inside(crop);
        assert!(crop.width > 0 && crop.height > 0, "cannot resize an empty crop {crop:?}");
        let inside = |from: u32, length: u32, side: u32| u64::from(from) + u64::from(length) <= u64::from(side);
        assert!(
            inside(want.x, want.width, size.0) && inside(want.y, want.height, size.1),
            "window {want:?} leaves {size:?}"
        );
        let channels = image.channels;
        out.reset(want.width as usize, want.height as usize, channels);
        let (across, down) = (want.x..want.x + want.width, want.y..want.y + want.height);
        if filter == Filter::Nearest {
            self.columns.set_nearest(crop.width, size.0, across);
            self.rows.set_nearest(crop.height, size.1, down);
        } else {
            self.columns.set(crop.width, size.0, across, filter);
            self.rows.set(crop.height, size.1, down, filter);
        }
        if mirrored {
            self.columns.mirror();
        }
        if upside_down {
            self.rows.mirror();
        }
        self.both_passes(image, crop, PassOrder::of(crop, size), out);
    }

    /// Resizes the left upper part of an image, `extent` of its columns and rows, a fraction of the last ones included.
    pub(crate) fn resize_extent(
        &mut self,
        image: &Image,
        extent: (f64, f64),
        size: (u32, u32),
        filter: Filter,
        out: &mut Planes,
    ) {
        out.reset(size.0 as usize, size.1 as usize, image.channels);
        self.columns.set_extent((image.width, extent.0), size.0, 0..size.0, filter);
        self.rows.set_extent((image.height, extent.1), size.1, 0..size.1, filter);
        self.both_passes(image, image.bounds(), PassOrder::of(image.bounds(), size), out);
    }

    fn both_passes(&mut self, image: &Image, crop: Crop, order: PassOrder, out: &mut Planes) {
        let (stride, channels) = (image.stride(), image.channels);
        let first = crop.y as usize * stride + crop.x as usize * channels;
        let rows = Rows { bytes: &image.pixels[first.min(image.pixels.len())..], stride, channels };
        vectorised(
            #[inline(always)]
            // Colors have loops of their own, made for three channels.
            || {
                if channels == 3 {
                    self.passes(Rows { channels: 3, ..rows }, order, out)
                } else {
                    self.passes(rows, order, out)
                }
            },
        );
    }

    #[inline(always)]
    fn passes(&mut self, rows: Rows<'_>, order: PassOrder, out: &mut Planes) {
        let (needed, span) = (self.rows.span(), self.columns.span());
        if order == PassOrder::RowsFirst {
            let stride = out.stride();
            reserve(&mut self.middle, needed.len() * stride, 0);
            self.strip.horizontal(rows, needed.clone(), &self.columns, &mut self.middle, out.line());
            vertical(&self.middle, needed.start, &self.rows, (out.bytes_mut(), stride));
            return;
        }
        // The columns of the source, padded to whole groups, and behind them the result of their pass.
        let stride = (rows.channels * span.len()).next_multiple_of(LANES);
        let cut = needed.len() * stride;
        reserve(&mut self.middle, cut + self.rows.len() * stride, 0);
        let (source, turned) = self.middle.split_at_mut(cut);
        for (line, y) in source.chunks_exact_mut(stride.max(1)).zip(needed.clone()) {
            line[..rows.channels * span.len()].copy_from_slice(rows.part(y, &span));
        }
        let turned = &mut turned[..self.rows.len() * stride];
        vertical(source, needed.start, &self.rows, (turned, stride));
        let line = out.line();
        self.columns.shift(span.start);
        let rows = Rows { bytes: turned, stride, ..rows };
        self.strip.horizontal(rows, 0..self.rows.len(), &self.columns, out.bytes_mut(), line);
    }
}

/// Makes room; what is there stays, what is new is zero.
fn reserve<T: Clone>(memory: &mut Vec<T>, len: usize, zero: T) {
    memory.resize(memory.len().max(len), zero);
}

impl Strip {
    /// The pass along rows: rows `needed`, at the new width, as rows of planes of `line` bytes each.
    #[inline(always)]
    fn horizontal(&mut self, rows: Rows<'_>, needed: Range<usize>, taps: &Taps, out: &mut [u8], line: usize) {
        let (span, channels) = (taps.span(), rows.channels);
        let width = taps.len().next_multiple_of(SIDE);
        reserve(&mut self.inputs, (channels * span.len()).next_multiple_of(SIDE), [0; SIDE]);
        reserve(&mut self.outputs, channels * width, [0; SIDE]);
        let blocks = out.chunks_mut((SIDE * channels * line).max(1));
        for (block, top) in blocks.zip(needed.clone().step_by(SIDE)) {
            self.load(rows, top, &needed, &span);
            for output in 0..taps.len() {
                let (start, weights) = taps.of(output);
                let first = (start - span.start) * channels;
                for channel in (0..channels / 3 * 3).step_by(3) {
                    let sums = self.three_sums(first + channel, channels, weights);
                    for (next, sums) in sums.iter().enumerate() {
                        self.outputs[(channel + next) * width + output] = *sums;
                    }
                }
                for channel in channels / 3 * 3..channels {
                    self.outputs[channel * width + output] = self.one_sum(first + channel, channels, weights);
                }
            }
            for channel in 0..channels {
                let columns = self.outputs[channel * width..][..width].as_chunks::<SIDE>().0;
                for (left, square) in columns.iter().enumerate() {
                    let square = transposed(*square);
                    let lines = block.chunks_exact_mut(channels * line).take(needed.end - top);
                    for (row, values) in lines.zip(square) {
                        row[channel * line + left * SIDE..][..SIDE].copy_from_slice(&values);
                    }
                }
            }
        }
    }

    /// Takes in sixteen rows from `top` on; beyond the last one it is repeated.
    #[inline(always)]
    fn load(&mut self, rows: Rows<'_>, top: usize, needed: &Range<usize>, span: &Range<usize>) {
        let mut lines: [&[u8]; SIDE] = [&[]; SIDE];
        for (lane, line) in lines.iter_mut().enumerate() {
            *line = rows.part((top + lane).min(needed.end - 1), span);
        }
        let whole = lines[0].len() / SIDE;
        for at in 0..whole {
            let mut square = [[0; SIDE]; SIDE];
            for (values, line) in square.iter_mut().zip(lines) {
                values.copy_from_slice(&line[at * SIDE..][..SIDE]);
            }
            self.put(at, square);
        }
        if lines[0].len() > whole * SIDE {
            let mut square = [[0; SIDE]; SIDE];
            for (values, line) in square.iter_mut().zip(lines) {
                let rest = &line[whole * SIDE..];
                values[..rest.len()].copy_from_slice(rest);
            }
            self.put(whole, square);
        }
    }

    #[inline(always)]
    fn put(&mut self, at: usize, square: [[u8; SIDE]; SIDE]) {
        let columns = &mut self.inputs[at * SIDE..];
        for (input, column) in columns.iter_mut().zip(transposed(square)) {
            for (input, byte) in input.iter_mut().zip(column) {
                *input = i32::from(byte);
            }
        }
    }

    /// Σ weight · byte of three channels from byte `first` of the rows on, for sixteen rows.
    #[inline(always)]
    fn three_sums(&self, first: usize, channels: usize, weights: &[i32]) -> [[u8; SIDE]; 3] {
        let [mut red, mut green, mut blue] = [HALF; 3];
        for (tap, &weight) in weights.iter().enumerate() {
            // This way out keeps the compiler from running over taps instead of rows.
            let Some(pixel) = self.inputs[first + tap * channels..].first_chunk::<3>() else { break };
            add_weighted(&mut red, &pixel[0], weight);
            add_weighted(&mut green, &pixel[1], weight);
            add_weighted(&mut blue, &pixel[2], weight);
        }
        [rounded(red), rounded(green), rounded(blue)]
    }

    /// As [`Strip::three_sums`] for one channel.
    #[inline(always)]
    fn one_sum(&self, first: usize, channels: usize, weights: &[i32]) -> [u8; SIDE] {
        let mut sum = HALF;
        for (tap, &weight) in weights.iter().enumerate() {
            let Some(value) = self.inputs.get(first + tap * channels) else { break };
            add_weighted(&mut sum, value, weight);
        }
        rounded(sum)
    }
}

/// The pass along columns, from rows that begin at input row `first`, in rows of as many bytes.
#[inline(always)]
fn vertical(rows: &[u8], first: usize, taps: &Taps, (out, stride): (&mut [u8], usize)) {
    for (output, line) in out.chunks_exact_mut(stride.max(1)).enumerate() {
        let (start, weights) = taps.of(output);
        let rows = &rows[(start - first) * stride..];
        let (chunks, _) = line.as_chunks_mut::<LANES>();
        for (chunk, bytes) in chunks.iter_mut().enumerate() {
            let [mut left, mut right] = [HALF; 2];
            for (tap, &weight) in weights.iter().enumerate() {
                let Some(row) = rows[tap * stride + chunk * LANES..].first_chunk::<LANES>() else { break };
                let (sixteen, _) = row.as_chunks::<SIDE>();
                add_weighted(&mut left, &sixteen[0], weight);
                add_weighted(&mut right, &sixteen[1], weight);
            }
            bytes[..SIDE].copy_from_slice(&rounded(left));
            bytes[SIDE..].copy_from_slice(&rounded(right));
        }
    }
}

/// Adds the weighted bytes.
#[inline(always)]
fn add_weighted<T: Copy + Into<i32>>(sums: &mut [i32; SIDE], bytes: &[T; SIDE], weight: i32) {
    for (sum, &byte) in sums.iter_mut().zip(bytes) {
        // The weights sum to one, so nothing wraps; checked arithmetic would cost debug builds their speed.
        *sum = sum.wrapping_add(weight.wrapping_mul(byte.into()));
    }
}

/// Sums without the bits after the point, clipped to 8 bits.
#[inline(always)]
fn rounded(sums: [i32; SIDE]) -> [u8; SIDE] {
    let mut bytes = [0; SIDE];
    for (byte, sum) in bytes.iter_mut().zip(sums) {
        *byte = (sum >> PRECISION_BITS).clamp(0, 255) as u8;
    }
    bytes
}
