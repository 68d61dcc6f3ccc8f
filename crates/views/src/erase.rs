//! Random erasing: a rectangle of noise (Zhong et al. 2020), as timm's `RandomErasing` with `mode="pixel"` draws it.
//!
//! timm erases normalised numbers with N(0, 1); here noise of ImageNet's mean and deviation becomes bytes, so that what lies beyond
//! 0 to 255 (less than 4 % of it) is cut. Other channels than red, green and blue have noise around the middle.
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::pixel::Crop;
use crate::random::Draws;

/// Share of the area that is erased.
const AREA: [f64; 2] = [0.02, 1.0 / 3.0];
/// Narrowest rectangle, height over width; the flattest is its inverse.
const ASPECT: f64 = 0.3;
/// Attempts at a rectangle that is smaller than the view on both sides.
const ATTEMPTS: usize = 10;
/// Mean and standard deviation of ImageNet's channels, and of others.
const NOISE: [(f64, f64); 3] = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];
const NOISE_OF_OTHERS: (f64, f64) = (0.5, 0.25);

/// A rectangle of noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Where.
    pub area: Crop,
    /// Seed of the noise.
    pub seed: u64,
}

impl Erased {
    /// Draws a rectangle for a view of `size` pixels a side; none if it is too small for one.
    pub fn draw(draws: &mut Draws, size: u32) -> Option<Self> {
        let (side, all) = (f64::from(size), f64::from(size).powi(2));
        for _ in 0..ATTEMPTS {
            let area = all * draws.uniform(AREA);
            let aspect = draws.uniform([ASPECT.ln(), -ASPECT.ln()]).exp();
            let height = (area * aspect).sqrt().round_ties_even();
            let width = (area / aspect).sqrt().round_ties_even();
            if width < side && height < side {
                let (width, height) = (width as u32, height as u32);
                let y = draws.below(u64::from(size - height) + 1) as u32;
                let x = draws.below(u64::from(size - width) + 1) as u32;
                let seed = draws.below(u64::MAX);
                return Some(Self { area: Crop { x, y, width, height }, seed });
            }
        }
        None
    }

    /// Writes the noise into pixels [side, side, channels].
    pub fn apply(self, pixels: &mut [u8], side: u32, channels: usize) {
        let Crop { x, y, width, height } = self.area;
        let mut draws = Draws::of(ChaCha8Rng::seed_from_u64(self.seed));
        let of = |channel: usize| if channels == NOISE.len() { NOISE[channel] } else { NOISE_OF_OTHERS };
        for row in pixels.chunks_exact_mut(side as usize * channels).skip(y as usize).take(height as usize) {
            let values = &mut row[x as usize * channels..][..width as usize * channels];
            for (index, value) in values.iter_mut().enumerate() {
                let (mean, std) = of(index % channels);
                // The cast clips.
                *value = (255.0 * (mean + std * draws.normal())).round() as u8;
            }
        }
    }
}
