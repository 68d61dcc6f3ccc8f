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

/// The residual branches that are taken in one step, two for each block.
#[derive(Debug, Clone)]
pub struct KeptBranches {
    branches: Vec<Option<Kept>>,
}

/// The sequences that take a residual branch where others skip it.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    /// Their numbers in ascending order, `[view, image]`-major as the rows of the class tokens.
    pub sequences: Vec<u32>,
    /// What the branch is multiplied by: 1 / keep probability.
    pub factor: f64,
}

impl DropPath {
    /// Draws for `depth` blocks with two branches each, for `views` views of `images` images.
    pub fn draw(&self, depth: usize, views: usize, images: usize) -> KeptBranches {
        let keep = |branch: usize| 1.0 - self.block_rate(branch / 2, depth);
        let none = |branch| (keep(branch) < 1.0).then(|| Kept { sequences: Vec::new(), factor: 1.0 / keep(branch) });
        let mut branches: Vec<Option<Kept>> = (0..2 * depth).map(none).collect();
        for view in 0..views {
            for image in 0..images {
                let mut rng = self.rng(view, self.first_image + image);
                for (branch, kept) in branches.iter_mut().enumerate() {
                    let takes = takes(&mut rng, keep(branch));
                    if let Some(kept) = kept.as_mut().filter(|_| takes) {
                        kept.sequences.push((view * images + image) as u32);
                    }
                }
            }
        }
        KeptBranches::new(branches)
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

impl KeptBranches {
    /// The attention branch and the MLP branch of each block in turn; absent where all sequences take a branch as it is.
    ///
    /// # Panics
    /// If the sequences of a branch are not in ascending order.
    pub fn new(branches: Vec<Option<Kept>>) -> Self {
        let ascending = branches.iter().flatten().all(|kept| kept.sequences.is_sorted_by(|a, b| a < b));
        assert!(ascending, "sequences are numbered in ascending order");
        Self { branches }
    }

    /// Who takes the attention branch (`branch` 0) or the MLP branch (1) of a block; absent when all take it as it is.
    pub fn of(&self, block: usize, branch: usize) -> Option<&Kept> {
        self.branches.get(2 * block + branch)?.as_ref()
    }
}

/// Whether a branch is taken: with probability `keep`.
fn takes(rng: &mut ChaCha8Rng, keep: f64) -> bool {
    let uniform = f64::from(rng.next_u32()) / 2_f64.powi(32);
    uniform + keep >= 1.0 // floor(uniform + keep) in the reference.
}
