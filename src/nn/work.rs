//! Operations of a training step, counted in multiplications and additions of matrix products and attention: what
//! the program leaves out (attention, projection and MLP of all but the class tokens in the last block, the skipped share of drop
//! path) is left out; what it repeats (attention's scores, in the backward pass) is counted again.

use super::dino_head::DinoHeadConfig;

/// Operations of one network on some images.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Work {
    /// Forward pass.
    pub forward: f64,
    /// Gradient of every parameter.
    pub backward: f64,
    /// What the gradient does again if blocks keep their input only: the forward pass of all blocks but the last.
    pub repeated: f64,
}

impl Work {
    /// Adds a matrix product of `rows` rows: its forward pass, and the gradients of both sides.
    pub fn product(&mut self, rows: usize, inputs: usize, outputs: usize) {
        let once = 2.0 * (rows * inputs * outputs) as f64;
        self.add(Self { forward: once, backward: 2.0 * once, ..Self::default() }, 1.0);
    }

    /// Adds attention of `queries` to `len` tokens of `width` values, `sequences` times: two products forward; the scores
    /// again and four products backward.
    pub fn attention(&mut self, sequences: usize, [queries, len]: [usize; 2], width: usize) {
        let product = 2.0 * (sequences * queries * len * width) as f64;
        self.add(Self { forward: 2.0 * product, backward: 5.0 * product, ..Self::default() }, 1.0);
    }

    /// Adds a share of `other`.
    pub fn add(&mut self, other: Self, share: f64) {
        self.forward += share * other.forward;
        self.backward += share * other.backward;
        self.repeated += share * other.repeated;
    }
}

/// The projection head up to its bottleneck on `rows` features.
pub fn bottleneck(config: &DinoHeadConfig, rows: usize) -> Work {
    let mut work = Work::default();
    let mut width = config.in_dim;
    for _ in 1..config.layers.max(1) {
        work.product(rows, width, config.hidden_dim);
        width = config.hidden_dim;
    }
    work.product(rows, width, config.bottleneck_dim);
    work
}

/// The layer of prototypes on `rows` bottlenecks.
pub fn prototypes(config: &DinoHeadConfig, rows: usize) -> Work {
    let mut work = Work::default();
    work.product(rows, config.bottleneck_dim, config.out_dim);
    work
}
