//! Random draws that depend on what they are for alone, not on threads or on what was drawn before.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The draws of a key, such as (seed, step, image, purpose).
pub fn keyed(key: [u64; 4]) -> ChaCha8Rng {
    let mut seed = [0; 32];
    for (part, value) in seed.chunks_exact_mut(8).zip(key) {
        part.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(seed)
}
