//! The weights of a resize along one axis, as Pillow's `Resample.c` computes them.
use std::ops::Range;

/// Bits after the point of a weight: 32 less 8 of the pixel less 2 of headroom for negative lobes.
pub(crate) const PRECISION_BITS: u32 = 32 - 8 - 2;

/// How a pixel is made of its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel: for masks.
    Nearest,
    /// A triangle of half-width 1.
    Bilinear,
    /// Keys' cubic with a = −0.5, half-width 2: for images.
    Bicubic,
    /// A sine over its argument within a wider one, half-width 3: for thumbnails.
    Lanczos,
}

impl Filter {
    fn at(self, distance: f64) -> f64 {
        const A: f64 = -0.5;
        let x = distance.abs();
        match self {
            Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Filter::Bilinear if x < 1.0 => 1.0 - x,
            Filter::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }

    fn half_width(self) -> f64 {
        match self {
            Filter::Lanczos => 3.0,
            Filter::Bicubic => 2.0,
            Filter::Bilinear | Filter::Nearest => 1.0,
        }
    }
}

/// The weights of one axis.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    /// First input index of each output.
    starts: Vec<usize>,
    /// Number of weights of each output.
    counts: Vec<usize>,
    /// `stride` weights for each output, in fixed point.
    weights: Vec<i32>,
    stride: usize,
    /// Weights of one output before they are rounded.
    kernel: Vec<f64>,
}

impl Taps {
    /// Computes the weights of the outputs `wanted` of a resize from one length to another.
    pub fn set(&mut self, from: u32, to: u32, wanted: Range<u32>, filter: Filter) {
        self.set_extent((from, f64::from(from)), to, wanted, filter);
    }

    /// The same where only a part of the last pixel belongs to what is resized: `from` pixels, of which `extent` counts.
    pub fn set_extent(&mut self, (from, extent): (u32, f64), to: u32, wanted: Range<u32>, filter: Filter) {
        self.starts.clear();
        if from == to && extent == f64::from(from) {
            self.starts.extend(wanted.map(|output| output as usize));
            return self.copy_only();
        }
        self.counts.clear();
        self.weights.clear();
        let scale = extent / f64::from(to);
        let stretch = scale.max(1.0);
        let support = filter.half_width() * stretch;
        self.stride = support.ceil() as usize * 2 + 1;
        for output in wanted {
            let center = (f64::from(output) + 0.5) * scale;
            // The casts cut towards zero and saturate, as the clamps of the original do.
            let start = (center - support + 0.5) as usize;
            let end = ((center + support + 0.5) as usize).min(from as usize);
            self.kernel.clear();
            self.kernel.extend((start..end).map(|at| filter.at((at as f64 - center + 0.5) * (1.0 / stretch))));
            let sum: f64 = self.kernel.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            let rounded = self.weights.len();
            self.weights.extend(self.kernel.iter().map(|weight| fixed_point(weight / sum)));
            self.weights.resize(rounded + self.stride, 0);
            self.starts.push(start);
            self.counts.push(end - start);
        }
    }

    /// As [`Taps::set`] for the nearest neighbour. Pillow steps by repeated addition in f64; so do we, to round alike.
    pub fn set_nearest(&mut self, from: u32, to: u32, wanted: Range<u32>) {
        let step = f64::from(from) / f64::from(to);
        let at = std::iter::successors(Some(step * 0.5), |at| Some(at + step));
        let nearest = at.map(|at| (at as usize).min(from as usize - 1));
        self.starts.clear();
        self.starts.extend(nearest.skip(wanted.start as usize).take(wanted.len()));
        self.copy_only();
    }

    /// Every output is the input where it starts.
    fn copy_only(&mut self) {
        self.stride = 1;
        self.counts.clear();
        self.counts.resize(self.starts.len(), 1);
        self.weights.clear();
        self.weights.resize(self.starts.len(), 1 << PRECISION_BITS);
    }

    /// Counts the inputs from `first` on.
    pub fn shift(&mut self, first: usize) {
        self.starts.iter_mut().for_each(|start| *start -= first);
    }

    /// Turns the order of the outputs round.
    pub fn mirror(&mut self) {
        self.starts.reverse();
        self.counts.reverse();
        let (first, second) = self.weights.split_at_mut(self.starts.len() / 2 * self.stride);
        for (weights, opposite) in first.chunks_exact_mut(self.stride).zip(second.rchunks_exact_mut(self.stride)) {
            weights.swap_with_slice(opposite);
        }
    }

    /// Number of outputs.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Input indices that any output needs.
    pub fn span(&self) -> Range<usize> {
        let ends = self.starts.iter().zip(&self.counts).map(|(start, count)| start + count);
        self.starts.iter().copied().min().unwrap_or(0)..ends.max().unwrap_or(0)
    }

    /// First input index and weights of an output.
    #[inline(always)]
    pub fn of(&self, output: usize) -> (usize, &[i32]) {
        (self.starts[output], &self.weights[output * self.stride..][..self.counts[output]])
    }
}

fn sinc(x: f64) -> f64 {
    let angle = x * std::f64::consts::PI;
    if x == 0.0 { 1.0 } else { angle.sin() / angle }
}

/// Rounds half away from zero.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1u32 << PRECISION_BITS);
    if scaled < 0.0 { (scaled - 0.5) as i32 } else { (scaled + 0.5) as i32 }
}
