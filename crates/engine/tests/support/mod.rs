//! Random inputs and poisoned destinations for the kernel tests.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A generator with a literal seed.
pub fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Uniform values in -1..1.
pub fn random(rng: &mut ChaCha8Rng, len: usize) -> Vec<f64> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// A destination that is overwritten: whoever reads it or leaves a hole shows NaN.
pub fn poisoned(len: usize) -> Vec<f64> {
    vec![f64::NAN; len]
}

/// Scalar product, independent of the engine's.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
