//! Masked patches: rectangles of the patch grid that a student does not see.
//!
//! Block masks of BEiT (Bao et al. 2022) with the shares of DINOv2 (Oquab et al. 2023; `data/collate.py`, `data/masking.py`): some
//! crops of a batch are masked, and their shares are spread evenly over a range. Draws are keyed by (seed, step, first image of the
//! micro-batch).

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use super::draws::keyed;

/// Fewest patches a rectangle is drawn for, where so many are still to mask.
const FEWEST: f64 = 4.0;
/// Flattest rectangle: height over width; the tallest is its inverse.
const FLATTEST: f64 = 0.3;
/// Largest share of the patches that one rectangle takes.
const LARGEST: f64 = 0.5;
/// Rectangles tried before a mask stays as it is.
const TRIES: usize = 10;

/// How many crops are masked, and how much of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Masking {
    /// Share of the crops that are masked.
    pub probability: f64,
    /// Smallest and largest share of a masked crop's patches.
    pub ratio: [f64; 2],
}

/// What a draw depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskKey {
    /// The run's seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// Position of the first image of this micro-batch in the effective batch.
    pub first_image: u64,
}

/// The masked patches of some crops.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Masks {
    /// Numbers of the masked patches in ascending order, row-major, of each crop; empty for a crop that is seen whole.
    pub crops: Vec<Vec<u32>>,
}

impl Masking {
    /// Draws the masks of `crops` crops whose patches are a grid of these rows and columns.
    pub fn draw(&self, key: MaskKey, crops: usize, grid: (usize, usize)) -> Masks {
        let mut random = random(key);
        let [low, high] = self.ratio;
        let masked = (crops as f64 * self.probability) as usize;
        let bin = (high - low) / masked.max(1) as f64;
        let mut drawn: Vec<Vec<u32>> = (0..masked)
            .map(|number| {
                let share = low + bin * (number as f64 + random.random_range(0.0..1.0));
                rectangles(&mut random, grid, ((grid.0 * grid.1) as f64 * share) as usize)
            })
            .collect();
        drawn.resize_with(crops, Vec::new);
        drawn.shuffle(&mut random);
        Masks { crops: drawn }
    }
}

impl Masks {
    /// The rows of all masked patches where each crop has `patches` rows.
    pub fn rows(&self, patches: usize) -> Vec<u32> {
        let of_crop = |(crop, masked): (usize, &Vec<u32>)| {
            let start = (crop * patches) as u32;
            masked.iter().map(move |patch| start + patch).collect::<Vec<u32>>()
        };
        self.crops.iter().enumerate().flat_map(of_crop).collect()
    }

    /// What each masked patch counts: a crop's patches together as much as any other crop's.
    pub fn weights(&self) -> Vec<f64> {
        let crops = self.crops.len() as f64;
        let of_crop = |masked: &Vec<u32>| vec![1.0 / (crops * masked.len().max(1) as f64); masked.len()];
        self.crops.iter().flat_map(of_crop).collect()
    }
}

fn random(key: MaskKey) -> ChaCha8Rng {
    // The last part sets these draws apart from those of stochastic depth.
    keyed([key.seed, key.step, key.first_image, u64::MAX])
}

/// At most `wanted` patches, as overlapping rectangles; fewer where none fits any more.
fn rectangles(random: &mut impl Rng, (rows, columns): (usize, usize), wanted: usize) -> Vec<u32> {
    let mut masked = vec![false; rows * columns];
    let mut missing = wanted;
    while missing > 0 {
        let most = (missing as f64).min(LARGEST * (rows * columns) as f64);
        let Some(taken) = (0..TRIES).find_map(|_| rectangle(random, &mut masked, columns, most)) else { break };
        missing -= taken;
    }
    (0..masked.len() as u32).filter(|patch| masked[*patch as usize]).collect()
}

/// Tries one rectangle that adds at least one patch and at most `most`; how many it added.
fn rectangle(random: &mut impl Rng, masked: &mut [bool], columns: usize, most: f64) -> Option<usize> {
    let rows = masked.len() / columns;
    let fewest = FEWEST.min(most);
    let area = fewest + (most - fewest) * random.random_range(0.0..1.0);
    let aspect = (FLATTEST.ln() * random.random_range(-1.0..1.0)).exp();
    let (height, width) = ((area * aspect).sqrt().round() as usize, (area / aspect).sqrt().round() as usize);
    if height >= rows || width >= columns {
        return None;
    }
    let (top, left) = (random.random_range(0..=rows - height), random.random_range(0..=columns - width));
    let places = (top..top + height).flat_map(|row| row * columns + left..row * columns + left + width);
    let new: Vec<usize> = places.filter(|place| !masked[*place]).collect();
    if new.is_empty() || new.len() as f64 > most {
        return None;
    }
    new.iter().for_each(|place| masked[*place] = true);
    Some(new.len())
}
