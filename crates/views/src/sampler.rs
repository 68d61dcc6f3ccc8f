//! Sampling: which image stands where in which step, for every rank, at any step, without state.
//!
//! Ranks take turns along one permutation of the epoch, as PyTorch's `DistributedSampler` does (`seed + epoch` there).
//! A permutation that is too short for a batch is continued from its start, so that tiny folders train.
use crate::random::{Key, Purpose};

/// Bits of the epoch in a key that count the epoch; the bits above count repetitions within it.
const EPOCH_BITS: u32 = 40;

/// Returns the order of an epoch: a random permutation of `0..images`.
pub fn epoch_permutation(seed: u64, epoch: u64, images: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..images).collect();
    Key { seed, epoch, sample: 0 }.draws(0, Purpose::Permutation).shuffle(&mut order);
    order
}

/// A place in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// The image.
    pub sample: u32,
    /// How often it stood in this epoch before.
    pub repetition: u32,
}

/// Returns the order of an epoch of as many images, in which each input has its share: `weights` for inputs of `inputs` images.
///
/// Of an input that has more images than its share a random part is used, another one in each epoch; one that has fewer is used
/// several times over.
pub fn weighted_epoch(seed: u64, epoch: u64, inputs: &[u32], weights: &[f64]) -> Vec<Draw> {
    let mut draws = Vec::new();
    let (mut first, mut weight, mut taken) = (0u32, 0.0, 0usize);
    let (images, total) = (inputs.iter().sum::<u32>(), weights.iter().sum::<f64>());
    for (number, (&count, &share)) in inputs.iter().zip(weights).enumerate() {
        let mut order: Vec<u32> = (first..first + count).collect();
        Key { seed, epoch, sample: number as u64 + 1 }.draws(0, Purpose::Permutation).shuffle(&mut order);
        // Rounding the sums instead of the shares makes them add up.
        weight += share;
        let end = (f64::from(images) * (weight / total)).round() as usize;
        let repeated = (0u32..).flat_map(|repetition| order.iter().map(move |&sample| Draw { sample, repetition }));
        draws.extend(repeated.take(if order.is_empty() { 0 } else { end - taken }));
        (first, taken) = (first + count, end);
    }
    Key { seed, epoch, sample: 0 }.draws(0, Purpose::Permutation).shuffle(&mut draws);
    draws
}

/// Returns the full batches of an epoch for each rank, at least one. Images left over are not used in that epoch.
pub fn steps_per_epoch(images: u32, batch: u32, world: u32) -> u64 {
    let shard = u64::from(images).div_ceil(u64::from(world.max(1)));
    (shard / u64::from(batch.max(1))).max(1)
}

/// The division of an epoch into steps, ranks and places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampler {
    /// Images of the source.
    pub images: u32,
    /// Images of a batch on one rank.
    pub batch: u32,
    /// This process, from 0.
    pub rank: u32,
    /// Number of processes.
    pub world: u32,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
}

/// One place of a batch: where its image stands in the order of its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Index into the epoch's permutation.
    pub position: u32,
    /// How often the permutation was used up before, within this epoch.
    pub repetition: u64,
}

impl Sampler {
    /// Returns the place of slot `slot` of the batch of global step `step`.
    pub fn place(&self, step: u64, slot: u32) -> Place {
        let within = (step % self.steps_per_epoch) * u64::from(self.batch) + u64::from(slot);
        let index = within * u64::from(self.world) + u64::from(self.rank);
        let images = u64::from(self.images);
        Place { epoch: step / self.steps_per_epoch, position: (index % images) as u32, repetition: index / images }
    }
}

impl Place {
    /// Returns the epoch of the random key: an image that is used twice in an epoch gives different views.
    pub fn key_epoch(&self) -> u64 {
        self.epoch | self.repetition << EPOCH_BITS
    }
}
