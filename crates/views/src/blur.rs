//! Gaussian blur as Pillow does it: three passes of an extended box blur in each direction, 8 bits in between.
//!
//! The box has a fractional radius (Gwosdek et al. 2011, "Theoretical foundations of Gaussian convolution by
//! extended box filtering"); weights are 24-bit fixed point. The cost does not depend on the radius.
use crate::planes::Planes;
use crate::simd::{LANES, vectorised};
use crate::transpose::transpose;

/// Passes of the box blur in each direction (Pillow's `GaussianBlur`).
const PASSES: usize = 3;
/// Bits after the point of a weight.
const WEIGHT_BITS: u32 = 24;

/// Blurs images and keeps its working memory.
#[derive(Debug, Default)]
pub struct Blur {
    turned: Vec<u8>,
    spare: Vec<u8>,
    /// A running sum for each column.
    sums: Vec<u32>,
}

impl Blur {
    /// Blurs the image with a Gaussian of standard deviation `radius` pixels, as Pillow's `GaussianBlur(radius)`.
    pub fn apply(&mut self, planes: &mut Planes, radius: f64) {
        let radius = radius as f32;
        let (width, height) = (planes.width(), planes.height());
        if radius <= 0.0 || width == 0 || height == 0 {
            return;
        }
        let blur = BoxBlur::new(box_radius(radius));
        let (line, stride) = (planes.line(), planes.stride());
        let turned_stride = height.next_multiple_of(LANES);
        let len = (stride * turned_stride).max(stride * height);
        self.turned.resize(self.turned.len().max(len), 0);
        self.spare.resize(self.spare.len().max(len), 0);
        self.sums.resize(self.sums.len().max(stride).max(turned_stride), 0);
        vectorised(
            #[inline(always)]
            || {
                let turned = &mut self.turned[..stride * turned_stride];
                transpose((planes.bytes(), stride), (turned, turned_stride));
                for color in turned.chunks_exact_mut(line * turned_stride) {
                    let color = &mut color[..width * turned_stride];
                    blur.columns(color, &mut self.spare, (&mut self.sums, turned_stride));
                }
                transpose((turned, turned_stride), (planes.bytes_mut(), stride));
                blur.columns(planes.bytes_mut(), &mut self.spare, (&mut self.sums, stride));
            },
        );
    }
}

/// Returns the radius of the box whose repeated blur has the variance of the Gaussian. The mixture of f32 and f64
/// is Pillow's.
fn box_radius(sigma: f32) -> f32 {
    let variance = sigma * sigma / PASSES as f32;
    let length = (12.0 * f64::from(variance) + 1.0).sqrt() as f32;
    let whole = ((f64::from(length) - 1.0) / 2.0).floor() as f32;
    let mut fraction = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * variance);
    fraction /= 6.0 * (variance - (whole + 1.0) * (whole + 1.0));
    whole + fraction
}

/// One box.
#[derive(Clone, Copy)]
struct BoxBlur {
    /// Whole pixels on each side.
    reach: usize,
    /// Weight of a pixel inside.
    inner: u32,
    /// Weight of the two pixels at its ends.
    edge: u32,
}

impl BoxBlur {
    fn new(radius: f32) -> Self {
        let reach = radius as usize;
        let inner = ((1u32 << WEIGHT_BITS) as f32 / (radius * 2.0 + 1.0)) as u32;
        Self { reach, inner, edge: ((1u32 << WEIGHT_BITS) - (reach as u32 * 2 + 1) * inner) / 2 }
    }

    /// Blurs along the columns of a matrix of bytes.
    #[inline(always)]
    fn columns(self, image: &mut [u8], spare: &mut [u8], (sums, stride): (&mut [u32], usize)) {
        let mut blurred = &mut spare[..image.len()];
        let mut image = image;
        for _ in 0..PASSES {
            self.pass(image, blurred, &mut sums[..stride]);
            std::mem::swap(&mut image, &mut blurred);
        }
        // An odd number of passes: the result lies in the spare memory.
        blurred.copy_from_slice(image);
    }

    /// Blurs once, with one running sum for each column.
    #[inline(always)]
    fn pass(self, image: &[u8], blurred: &mut [u8], sums: &mut [u32]) {
        let stride = sums.len();
        let last = image.len() / stride - 1;
        let row = |y: usize| image[y.min(last) * stride..][..stride].as_chunks::<LANES>().0;
        let (sums, _) = sums.as_chunks_mut::<LANES>();
        // The window around row −1; rows beyond an edge repeat the edge.
        for (sums, first) in sums.iter_mut().zip(row(0)) {
            for (sum, &value) in sums.iter_mut().zip(first) {
                *sum = u32::from(value) * (self.reach as u32 + 1);
            }
        }
        for y in 0..self.reach {
            for (sums, values) in sums.iter_mut().zip(row(y)) {
                for (sum, &value) in sums.iter_mut().zip(values) {
                    *sum += u32::from(value);
                }
            }
        }
        for (y, out) in blurred.chunks_exact_mut(stride).enumerate() {
            let ends = row(y.saturating_sub(self.reach + 1)).iter().zip(row(y + self.reach + 1));
            let columns = sums.iter_mut().zip(row(y + self.reach)).zip(ends);
            for (out, ((sums, entering), (before, after))) in out.as_chunks_mut::<LANES>().0.iter_mut().zip(columns) {
                for lane in 0..LANES {
                    let (before, after) = (u32::from(before[lane]), u32::from(after[lane]));
                    // Adding first keeps the sum from passing below zero.
                    sums[lane] = sums[lane].wrapping_add(u32::from(entering[lane])).wrapping_sub(before);
                    let ends = (before + after).wrapping_mul(self.edge);
                    let total = sums[lane].wrapping_mul(self.inner).wrapping_add(ends);
                    out[lane] = (total.wrapping_add(1 << (WEIGHT_BITS - 1)) >> WEIGHT_BITS) as u8;
                }
            }
        }
    }
}
