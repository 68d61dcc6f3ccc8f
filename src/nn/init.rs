//! Registers tensors with their initial values, and draws these from (seed, tensor name) so that the order in which a
//! network is built changes nothing.

use std::sync::Arc;

use dinoxide_engine::params::{Layout, ParamId, Params, Role, TensorSpec};
use dinoxide_engine::tape::BatchNorm;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// How a tensor starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zeros.
    Zeros,
    /// All this.
    Constant(f64),
    /// Normal with this standard deviation, clamped to ±2 (not ±2σ): `vision_transformer.py:trunc_normal_`.
    TruncNormal(f64),
    /// Uniform in ±1/√fan_in: PyTorch's default for weights and biases of linear layers and convolutions.
    FanIn(usize),
}

/// Collects the tensors of a model.
#[derive(Debug, Default)]
pub struct Registry {
    layout: Layout,
    inits: Vec<Init>,
}

impl Registry {
    /// A registry without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a trained tensor.
    pub fn trained(&mut self, name: String, shape: &[usize], init: Init) -> ParamId {
        self.push(name, shape, Role::Trained, init)
    }

    /// Registers a tensor of any role.
    pub fn push(&mut self, name: String, shape: &[usize], role: Role, init: Init) -> ParamId {
        self.inits.push(init);
        self.layout.push(name, shape, role)
    }

    /// Registers `{name}.weight` `[outputs, inputs]` and `{name}.bias`, drawn as DINO draws linear layers.
    pub fn linear(&mut self, name: &str, outputs: usize, inputs: usize) -> (ParamId, ParamId) {
        const STD: f64 = 0.02; // vision_transformer.py:_init_weights
        let weight = self.trained(format!("{name}.weight"), &[outputs, inputs], Init::TruncNormal(STD));
        (weight, self.trained(format!("{name}.bias"), &[outputs], Init::Zeros))
    }

    /// Registers `{name}.weight` (ones) and `{name}.bias` (zeros) of a normalisation layer.
    pub fn norm(&mut self, name: &str, width: usize) -> (ParamId, ParamId) {
        let weight = self.trained(format!("{name}.weight"), &[width], Init::Constant(1.0));
        (weight, self.trained(format!("{name}.bias"), &[width], Init::Zeros))
    }

    /// Registers a batch normalisation: `{name}.weight` (ones), `{name}.bias` (zeros), and its statistics, those of values that have
    /// a mean of 0 and a variance of 1.
    pub fn batch_norm(&mut self, name: &str, width: usize) -> BatchNorm {
        let (gamma, beta) = self.norm(name, width);
        self.batch_norm_of(name, width, gamma, beta)
    }

    /// Registers the statistics of a batch normalisation whose scale and shift are there.
    pub(super) fn batch_norm_of(&mut self, name: &str, width: usize, gamma: ParamId, beta: ParamId) -> BatchNorm {
        let mut statistic =
            |part: &str, shape: &[usize], init| self.push(format!("{name}.{part}"), shape, Role::Statistic, init);
        BatchNorm {
            gamma,
            beta,
            running_mean: statistic("running_mean", &[width], Init::Zeros),
            running_var: statistic("running_var", &[width], Init::Constant(1.0)),
            batches: statistic("num_batches_tracked", &[], Init::Zeros),
        }
    }

    /// Names and shapes alone, for values that come from a file.
    pub fn into_layout(self) -> Layout {
        self.layout
    }

    /// Draws all tensors.
    pub fn finish(self, seed: u64) -> Params {
        let layout = Arc::new(self.layout);
        let mut params = Params::zeros(Arc::clone(&layout));
        let mut rest = params.values_mut();
        let mut tensors = Vec::with_capacity(self.inits.len());
        for (spec, init) in layout.specs().iter().zip(&self.inits) {
            let (values, tail) = rest.split_at_mut(spec.len);
            tensors.push((spec, init, values));
            rest = tail;
        }
        let draw_one = |(spec, init, values): (&TensorSpec, &Init, &mut [f32])| {
            draw(*init, values, &mut tensor_rng(seed, &spec.name));
        };
        tensors.into_par_iter().for_each(draw_one);
        params
    }

    /// All tensors, zero: for weights that come from elsewhere.
    pub fn undrawn(self) -> Params {
        Params::zeros(Arc::new(self.layout))
    }
}

fn tensor_rng(seed: u64, name: &str) -> ChaCha8Rng {
    let key: [u8; 32] = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(name).finalize().into();
    ChaCha8Rng::from_seed(key)
}

fn draw(init: Init, values: &mut [f32], rng: &mut ChaCha8Rng) {
    match init {
        Init::Zeros => values.fill(0.0),
        Init::Constant(value) => values.fill(value as f32),
        Init::TruncNormal(std) => values.fill_with(|| (std * standard_normal(rng)).clamp(-2.0, 2.0) as f32),
        Init::FanIn(fan_in) => {
            let bound = 1.0 / (fan_in as f64).sqrt();
            values.fill_with(|| ((2.0 * uniform(rng) - 1.0) * bound) as f32);
        }
    }
}

/// Uniform in [0, 1) with 53 bits.
fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Box–Muller: the cosine half of each pair.
pub fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(rng)).cos()
}
