//! Stochastic depth: whole residual branches are left out, sample by sample.
//!
//! The rate rises linearly over the blocks from 0 to the configured one, and a kept branch is divided by its keep
//! probability (`vision_transformer.py:DropPath`). Draws are keyed by (seed, step, image of the effective batch, view), so
//! neither threads nor micro-batches change them.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The draws of one step.
#[derive(Debug, Clone, Copy)]
pub struct DropPath {
    /// Rate of the last block; 0 drops nothing.
    pub rate: f64,
    /// The run's seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// Position of the first image of this micro-batch in the effective batch.
    pub first_image: usize,
}

/// Factor of each image's branch: `[view, image]`-major as the rows of the class tokens, one vector per branch.
#[derive(Debug, Clone)]
pub struct BranchScales {
    scales: Vec<Vec<f32>>,
}

impl DropPath {
    /// Draws the factors of `depth` blocks with two branches each, for `views` views of `images` images.
    pub fn draw(&self, depth: usize, views: usize, images: usize) -> BranchScales {
        let mut scales = vec![Vec::with_capacity(views * images); 2 * depth];
        for view in 0..views {
            for image in 0..images {
                let mut rng = self.rng(view, self.first_image + image);
                for (branch, scales) in scales.iter_mut().enumerate() {
                    scales.push(scale(&mut rng, 1.0 - self.block_rate(branch / 2, depth)));
                }
            }
        }
        BranchScales { scales }
    }

    /// The rate of block `block`: linear from 0 to `rate`.
    pub fn block_rate(&self, block: usize, depth: usize) -> f64 {
        if depth < 2 { 0.0 } else { self.rate * block as f64 / (depth - 1) as f64 }
    }

    fn rng(&self, view: usize, image: usize) -> ChaCha8Rng {
        let mut key = [0; 32];
        for (part, value) in key.chunks_exact_mut(8).zip([self.seed, self.step, image as u64, view as u64]) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

impl BranchScales {
    /// Factors of the attention branch (`branch` 0) or the MLP branch (1) of a block; absent when all are 1.
    pub fn of(&self, block: usize, branch: usize) -> Option<&[f32]> {
        let scales = &self.scales[2 * block + branch];
        scales.iter().any(|scale| *scale != 1.0).then_some(scales)
    }
}

fn scale(rng: &mut ChaCha8Rng, keep: f64) -> f32 {
    let uniform = f64::from(rng.next_u32()) / 2_f64.powi(32);
    // floor(uniform + keep) is 1 with probability `keep`.
    if uniform + keep >= 1.0 { (1.0 / keep) as f32 } else { 0.0 }
}
