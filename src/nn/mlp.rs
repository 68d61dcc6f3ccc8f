//! MLPs after the backbone: the projectors and predictors of BYOL, SimCLR, MoCo, SwAV and Barlow Twins. Layers are numbered as in
//! PyTorch's `Sequential`.

use dinoxide_engine::kernels::{Activation, Grid, Window};
use dinoxide_engine::params::{ParamId, Role};
use dinoxide_engine::tape::{BatchNorm, ConvNorm, Convolution, Tape};
use dinoxide_engine::tensor::Matrix;

use super::init::{Init, Registry};

/// `torch.nn.BatchNorm1d`.
const EPS: f64 = 1e-5;
/// A linear layer is a convolution of single pixels.
const PIXEL: Window = Window { kernel: 1, stride: 1, padding: 0 };

/// Sizes of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MlpConfig {
    /// Width of what comes in.
    pub in_dim: usize,
    /// Width of the hidden layers.
    pub hidden_dim: usize,
    /// Width of what goes out.
    pub out_dim: usize,
    /// Linear layers, at least 1; batch normalisation and ReLU between any two.
    pub layers: usize,
    /// The end.
    pub last: LastLayer,
}

/// The end of an MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLayer {
    /// A linear layer with a bias.
    Biased,
    /// A linear layer without.
    Unbiased,
    /// A linear layer and batch normalisation.
    Normed,
    /// A linear layer and batch normalisation without scale and shift.
    PlainNormed,
}

#[derive(Debug, Clone)]
struct Layer {
    weight: ParamId,
    norm: BatchNorm,
}

/// The MLP: names and sizes; the values live in the tape's parameters.
#[derive(Debug, Clone)]
pub struct Mlp {
    hidden: Vec<Layer>,
    weight: ParamId,
    bias: Option<ParamId>,
    norm: Option<BatchNorm>,
}

impl Mlp {
    /// Registers all tensors under `prefix`, such as `projector.`, drawn as PyTorch draws linear layers. A layer before batch
    /// normalisation has no bias, which would cancel.
    pub fn new(config: &MlpConfig, prefix: &str, registry: &mut Registry) -> Self {
        let mut inputs = config.in_dim;
        let mut weight = |registry: &mut Registry, index: usize, outputs: usize| {
            let inputs = std::mem::replace(&mut inputs, outputs);
            registry.trained(format!("{prefix}{index}.weight"), &[outputs, inputs], Init::FanIn(inputs))
        };
        let mut hidden = Vec::new();
        for layer in 1..config.layers.max(1) {
            let index = 3 * (layer - 1); // Linear, BatchNorm1d, ReLU.
            let weight = weight(registry, index, config.hidden_dim);
            hidden.push(Layer {
                weight,
                norm: registry.batch_norm(&format!("{prefix}{}", index + 1), config.hidden_dim),
            });
        }
        let (index, outputs, inputs) =
            (3 * hidden.len(), config.out_dim, hidden.last().map_or(config.in_dim, |_| config.hidden_dim));
        let weight = weight(registry, index, outputs);
        let bias = (config.last == LastLayer::Biased)
            .then(|| registry.trained(format!("{prefix}{index}.bias"), &[outputs], Init::FanIn(inputs)));
        let name = format!("{prefix}{}", index + 1);
        let norm = match config.last {
            LastLayer::Biased | LastLayer::Unbiased => None,
            LastLayer::Normed => Some(registry.batch_norm(&name, outputs)),
            LastLayer::PlainNormed => Some(registry.plain_batch_norm(&name, outputs)),
        };
        Self { hidden, weight, bias, norm }
    }

    /// Features `[R, in_dim]` to outputs `[R, out_dim]`. Each of `parts` equally many rows in turn, such as those of a view, is
    /// normalised by its own statistics.
    pub fn forward(&self, tape: &mut Tape<'_>, features: &Matrix, parts: usize) -> Matrix {
        let rows = (features.rows() / parts.max(1)) as u32;
        let part = |tape: &mut Tape<'_>, part: u32| {
            let x = tape.gather_rows(features, (part * rows..(part + 1) * rows).collect());
            self.of_part(tape, &x)
        };
        match parts {
            0 | 1 => self.of_part(tape, features),
            parts => {
                let outputs: Vec<Matrix> = (0..parts as u32).map(|number| part(tape, number)).collect();
                tape.stack(&outputs)
            }
        }
    }

    fn of_part(&self, tape: &mut Tape<'_>, x: &Matrix) -> Matrix {
        let grid = Grid { images: x.rows(), height: 1, width: 1 };
        let layer = |weight, norm, activation| {
            let conv = Convolution { weight, bias: None, window: PIXEL };
            ConvNorm { conv, norm, eps: EPS, skip: None, activation }
        };
        let hidden: Vec<ConvNorm<'_>> =
            self.hidden.iter().map(|hidden| layer(hidden.weight, hidden.norm, Activation::Relu)).collect();
        match (self.norm, hidden.split_last()) {
            (Some(norm), _) => tape.conv_norms(x, grid, &hidden, layer(self.weight, norm, Activation::Identity)),
            (None, Some((last, rest))) => {
                let x = tape.conv_norms(x, grid, rest, *last);
                tape.linear(&x, self.weight, self.bias)
            }
            (None, None) => tape.linear(x, self.weight, self.bias),
        }
    }
}

impl Registry {
    /// Registers a batch normalisation whose scale stays 1 and whose shift stays 0.
    fn plain_batch_norm(&mut self, name: &str, width: usize) -> BatchNorm {
        let gamma = self.push(format!("{name}.weight"), &[width], Role::Fixed, Init::Constant(1.0));
        let beta = self.push(format!("{name}.bias"), &[width], Role::Fixed, Init::Zeros);
        self.batch_norm_of(name, width, gamma, beta)
    }
}
