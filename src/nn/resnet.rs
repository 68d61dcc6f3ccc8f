//! ResNets, tensor for tensor those of torchvision (He et al. 2015; version 1.5: a bottleneck's stride is on its 3×3 convolution).
//!
//! Activations are matrices of one row for each pixel and one column for each channel. Each group of equally sized images is
//! normalised by its own statistics, as the forward passes of the reference program are, one for each resolution
//! (`utils.py:MultiCropWrapper`).

use dinoxide_engine::kernels::{Activation, Grid, Normalize, Patches, Window};
use dinoxide_engine::tape::{BatchNorm, ConvNorm, Convolution, Images, Tape};
use dinoxide_engine::tensor::Matrix;

use super::init::{Init, Registry};

/// Added to variances (PyTorch's default).
const EPS: f64 = 1e-5;
/// Channels after the stem.
const STEM: usize = 64;
/// The pooling after the stem.
const POOL: Window = Window { kernel: 3, stride: 2, padding: 1 };
/// How much wider a bottleneck's output is than its middle.
const EXPANSION: usize = 4;

/// What a block is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Two 3×3 convolutions.
    Basic,
    /// A 3×3 convolution between two of 1×1.
    Bottleneck,
}

/// Sizes of a ResNet.
#[derive(Debug, Clone, PartialEq)]
pub struct ResNetConfig {
    /// What its blocks are made of.
    pub kind: Kind,
    /// Blocks of each stage.
    pub blocks: [usize; 4],
    /// How many times as wide every layer is: the paper's tables have 1, 2 and 4.
    pub width: usize,
    /// Mean and deviation of the pixel channels.
    pub normalize: Normalize,
}

impl ResNetConfig {
    /// The network of so many layers: 18, 34, 50, 101 or 152.
    pub fn of_depth(depth: usize, width: usize, normalize: Normalize) -> Option<Self> {
        let (kind, blocks) = match depth {
            18 => (Kind::Basic, [2, 2, 2, 2]),
            34 => (Kind::Basic, [3, 4, 6, 3]),
            50 => (Kind::Bottleneck, [3, 4, 6, 3]),
            101 => (Kind::Bottleneck, [3, 4, 23, 3]),
            152 => (Kind::Bottleneck, [3, 8, 36, 3]),
            _ => return None,
        };
        Some(Self { kind, blocks, width, normalize })
    }

    /// Width of the features, D: 512 or 2048 times the width.
    pub fn features(&self) -> usize {
        let expansion = if self.kind == Kind::Bottleneck { EXPANSION } else { 1 };
        8 * STEM * self.width * expansion
    }
}

/// A convolution and the batch normalisation after it.
#[derive(Debug, Clone, Copy)]
struct Layer {
    conv: Convolution,
    norm: BatchNorm,
}

/// A residual block: its layers one after the other, and what brings its input to their shape.
#[derive(Debug, Clone)]
struct Block {
    layers: Vec<Layer>,
    downsample: Option<Layer>,
}

/// A ResNet: names and sizes; the values live in the tape's parameters.
#[derive(Debug, Clone)]
pub struct ResNet {
    config: ResNetConfig,
    stem: Layer,
    blocks: Vec<Block>,
}

impl ResNet {
    /// Registers all tensors under `prefix`, initialised as torchvision does: convolutions normal with a variance of 2 over the values
    /// that an input reaches, scales 1.
    pub fn new(config: ResNetConfig, prefix: &str, registry: &mut Registry) -> Self {
        let mut make = Maker { registry, prefix };
        let mut inputs = STEM * config.width;
        let stem = make.layer(["conv1", "bn1"], [config.normalize.mean.len(), inputs], [7, 2]);
        let mut blocks = Vec::new();
        for (stage, count) in config.blocks.into_iter().enumerate() {
            let middle = (STEM * config.width) << stage;
            for number in 0..count {
                let stride = if number == 0 && stage > 0 { 2 } else { 1 };
                let name = format!("layer{}.{number}.", stage + 1);
                let (block, outputs) = make.block(&name, config.kind, [inputs, middle], stride);
                blocks.push(block);
                inputs = outputs;
            }
        }
        Self { config, stem, blocks }
    }

    /// The sizes.
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// Features of a group of equally sized images: the mean over the last stage's pixels, `[images, D]`.
    pub fn features(&self, tape: &mut Tape<'_>, images: Images<'_>) -> Matrix {
        let Patches { images: count, height, width, .. } = images.patches;
        let grid = Grid { images: count, height, width };
        let mut x = tape.patchify(images, &self.config.normalize); // [B·H·W, C]
        x = self.stem.forward(tape, &x, grid, Activation::Relu);
        let mut grid = grid.windows(self.stem.conv.window);
        x = tape.max_pool(&x, grid, POOL);
        grid = grid.windows(POOL);
        for block in &self.blocks {
            (x, grid) = block.forward(tape, &x, grid);
        }
        tape.mean_pool(&x, count)
    }

    /// The geometry of a batch of byte images for this network: each pixel is a patch.
    pub fn patches(&self, images: usize, height: usize, width: usize) -> Patches {
        Patches { images, height, width, channels: self.config.normalize.mean.len(), patch: 1 }
    }
}

impl Layer {
    fn forward(self, tape: &mut Tape<'_>, x: &Matrix, grid: Grid, activation: Activation) -> Matrix {
        tape.conv_norm(x, grid, ConvNorm { conv: self.conv, norm: self.norm, eps: EPS, skip: None, activation })
    }
}

impl Block {
    /// The block's output and its grid.
    fn forward(&self, tape: &mut Tape<'_>, x: &Matrix, mut grid: Grid) -> (Matrix, Grid) {
        let skip = match self.downsample {
            Some(layer) => layer.forward(tape, x, grid, Activation::Identity),
            None => x.clone(),
        };
        let mut out = x.clone();
        for (number, layer) in self.layers.iter().enumerate() {
            let skip = (number + 1 == self.layers.len()).then_some(&skip);
            let Layer { conv, norm } = *layer;
            out = tape.conv_norm(&out, grid, ConvNorm { conv, norm, eps: EPS, skip, activation: Activation::Relu });
            grid = grid.windows(conv.window);
        }
        (out, grid)
    }
}

/// Registers layers under torchvision's names.
struct Maker<'a> {
    registry: &'a mut Registry,
    prefix: &'a str,
}

impl Maker<'_> {
    /// A block with `middle` channels inside, and the number of its output's channels.
    fn block(&mut self, name: &str, kind: Kind, [inputs, middle]: [usize; 2], stride: usize) -> (Block, usize) {
        let (sizes, outputs): (Vec<[usize; 4]>, usize) = match kind {
            Kind::Basic => (vec![[inputs, middle, 3, stride], [middle, middle, 3, 1]], middle),
            Kind::Bottleneck => {
                let outputs = EXPANSION * middle;
                (vec![[inputs, middle, 1, 1], [middle, middle, 3, stride], [middle, outputs, 1, 1]], outputs)
            }
        };
        let layers = sizes.into_iter().enumerate().map(|(number, [from, to, kernel, stride])| {
            let names = [format!("{name}conv{}", number + 1), format!("{name}bn{}", number + 1)];
            self.layer([&names[0], &names[1]], [from, to], [kernel, stride])
        });
        let layers = layers.collect();
        let downsample = (stride > 1 || inputs != outputs).then(|| {
            let names = [format!("{name}downsample.0"), format!("{name}downsample.1")];
            self.layer([&names[0], &names[1]], [inputs, outputs], [1, stride])
        });
        (Block { layers, downsample }, outputs)
    }

    fn layer(&mut self, [conv, norm]: [&str; 2], [inputs, outputs]: [usize; 2], [kernel, stride]: [usize; 2]) -> Layer {
        let shape = [outputs, inputs, kernel, kernel];
        // `kaiming_normal_(mode="fan_out", nonlinearity="relu")`.
        let std = (2.0 / (outputs * kernel * kernel) as f64).sqrt();
        let name = format!("{}{conv}.weight", self.prefix);
        let weight = self.registry.trained(name, &shape, Init::TruncNormal(std));
        let norm = self.registry.batch_norm(&format!("{}{norm}", self.prefix), outputs);
        Layer { conv: Convolution { weight, bias: None, window: Window { kernel, stride, padding: kernel / 2 } }, norm }
    }
}
