//! Randomness: every draw comes from a generator keyed by what it is for, never from a shared stream.
//!
//! The 32 bytes of the ChaCha8 key are (seed, epoch, sample, view, purpose). A draw therefore does not depend on
//! thread order, on the number of workers, on the position of a resume, or on other augmentations being on or off.
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a generator is for; part of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// The order of an epoch.
    Permutation = 1,
    /// The rectangle of a view.
    Crop = 2,
    /// Mirroring.
    Flip = 3,
    /// Color jitter: whether, in which order, by how much.
    Jitter = 4,
    /// Gray.
    Gray = 5,
    /// Blur: whether and how wide.
    Blur = 6,
    /// Solarisation.
    Solarize = 7,
    /// The image that stands in for an unreadable one.
    Replacement = 8,
    /// Mirroring top to bottom.
    FlipVertical = 9,
    /// Turning: whether, and how far.
    Turn = 10,
    /// Operations of RandAugment.
    RandAugment = 11,
    /// Random erasing.
    Erase = 12,
    /// Mixtures of the images of a batch.
    Mix = 13,
}

/// Names one use of one image: the part of the key that its views share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Index of the image in its source.
    pub sample: u64,
}

impl Key {
    /// Returns the generator of one view and purpose.
    pub fn draws(&self, view: u32, purpose: Purpose) -> Draws {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&self.seed.to_le_bytes());
        key[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        key[16..24].copy_from_slice(&self.sample.to_le_bytes());
        key[24..28].copy_from_slice(&view.to_le_bytes());
        key[28..].copy_from_slice(&(purpose as u32).to_le_bytes());
        Draws(ChaCha8Rng::from_seed(key))
    }
}

/// A stream of draws.
#[derive(Debug, Clone)]
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// Returns the draws of a generator.
    pub fn of(generator: ChaCha8Rng) -> Self {
        Self(generator)
    }

    /// Returns a uniform number in [0, 1) with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> (u64::BITS - f64::MANTISSA_DIGITS)) as f64 / (1u64 << f64::MANTISSA_DIGITS) as f64
    }

    /// Returns a uniform number in [low, high).
    pub fn uniform(&mut self, [low, high]: [f64; 2]) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Returns a uniform integer below `bound`; 0 if `bound` is 0. The bias is below bound / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> u64::BITS) as u64
    }

    /// Returns true with a probability; always for 1, never for 0.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Returns a standard normal number (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        // In (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Returns a number of the Beta distribution with both parameters `alpha`, which is above 0.
    pub fn beta(&mut self, alpha: f64) -> f64 {
        let (one, other) = (self.log_gamma_variate(alpha), self.log_gamma_variate(alpha));
        // Logarithms: both may be too small for a number where alpha is.
        1.0 / (1.0 + (other - one).exp())
    }

    /// Returns the logarithm of a number of the Gamma distribution with this shape (Marsaglia and Tsang 2000).
    fn log_gamma_variate(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            return self.log_gamma_variate(shape + 1.0) + (1.0 - self.unit()).ln() / shape;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && (1.0 - self.unit()).ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return (d * v).ln();
            }
        }
    }

    /// Puts a slice in a uniformly random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}
