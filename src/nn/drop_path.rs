//! Stochastic depth: whole residual branches are left out, sample by sample.
//!
//! The rate rises linearly over the blocks from 0 to the configured one, or is the same in all of them (XCiT), and a kept branch is
//! divided by its keep probability (`vision_transformer.py:DropPath`). Draws are keyed by (seed, step, image of the effective batch, view), so
//! neither threads nor micro-batches change them.

use std::ops::Range;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::draws::keyed;

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

/// The residual branches that are taken in one step.
#[derive(Debug, Clone)]
pub struct KeptBranches {
    /// Branches of a block.
    per_block: usize,
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
        let rates: Vec<f64> = (0..2 * depth).map(|branch| self.block_rate(branch / 2, depth)).collect();
        KeptBranches::new(self.draw_at(&rates, views, images))
    }

    /// Draws for `depth` blocks with `per_block` branches each, all at the last block's rate.
    pub fn draw_constant(&self, [depth, per_block]: [usize; 2], views: usize, images: usize) -> KeptBranches {
        KeptBranches::of_blocks(per_block, self.draw_at(&vec![self.rate; depth * per_block], views, images))
    }

    /// Draws for branches that are dropped at these rates.
    fn draw_at(&self, rates: &[f64], views: usize, images: usize) -> Vec<Option<Kept>> {
        let none = |rate: &f64| {
            let keep = 1.0 - rate;
            (keep < 1.0).then(|| Kept { sequences: Vec::new(), factor: 1.0 / keep })
        };
        let mut branches: Vec<Option<Kept>> = rates.iter().map(none).collect();
        for view in 0..views {
            for image in 0..images {
                let mut rng = self.rng(view, self.first_image + image);
                for (rate, kept) in rates.iter().zip(&mut branches) {
                    let takes = takes(&mut rng, 1.0 - rate);
                    if let Some(kept) = kept.as_mut().filter(|_| takes) {
                        kept.sequences.push((view * images + image) as u32);
                    }
                }
            }
        }
        branches
    }

    /// The rate of block `block`: linear from 0 to `rate`.
    pub fn block_rate(&self, block: usize, depth: usize) -> f64 {
        if depth < 2 { 0.0 } else { self.rate * block as f64 / (depth - 1) as f64 }
    }

    fn rng(&self, view: usize, image: usize) -> ChaCha8Rng {
        keyed([self.seed, self.step, image as u64, view as u64])
    }
}

impl KeptBranches {
    /// The attention branch and the MLP branch of each block in turn; absent where all sequences take a branch as it is.
    ///
    /// # Panics
    /// If the sequences of a branch are not in ascending order.
    pub fn new(branches: Vec<Option<Kept>>) -> Self {
        Self::of_blocks(2, branches)
    }

    /// The `per_block` branches of each block in turn.
    ///
    /// # Panics
    /// If the sequences of a branch are not in ascending order.
    pub fn of_blocks(per_block: usize, branches: Vec<Option<Kept>>) -> Self {
        let ascending = branches.iter().flatten().all(|kept| kept.sequences.is_sorted_by(|a, b| a < b));
        assert!(ascending, "sequences are numbered in ascending order");
        Self { per_block, branches }
    }

    /// Who takes a branch of a block (of two: 0 for attention, 1 for the MLP); absent when all take it as it is.
    pub fn of(&self, block: usize, branch: usize) -> Option<&Kept> {
        self.branches.get(self.per_block * block + branch)?.as_ref()
    }

    /// The same for some neighbouring sequences alone, which are numbered from 0.
    pub fn part(&self, sequences: Range<usize>) -> Self {
        let (start, end) = (sequences.start as u32, sequences.end as u32);
        let part_of = |kept: &Kept| {
            let inside = kept.sequences.iter().filter(|sequence| (start..end).contains(sequence));
            Kept { sequences: inside.map(|sequence| sequence - start).collect(), factor: kept.factor }
        };
        let branches = self.branches.iter().map(|kept| kept.as_ref().map(part_of)).collect();
        Self { per_block: self.per_block, branches }
    }
}

/// Whether a branch is taken: with probability `keep`.
fn takes(rng: &mut ChaCha8Rng, keep: f64) -> bool {
    let uniform = f64::from(rng.next_u32()) / 2_f64.powi(32);
    uniform + keep >= 1.0 // floor(uniform + keep) in the reference.
}
