//! ResNets, tensor for tensor those of torchvision (He et al. 2015; version 1.5: a bottleneck's stride is on its 3×3 convolution).
//!
//! Activations are matrices of one row for each pixel and one column for each channel. Each group of equally sized images is
//! normalised by its own statistics, as the forward passes of the reference program are, one for each resolution
//! (`utils.py:MultiCropWrapper`).

use dinoxide_engine::kernels::{Activation, Grid, Normalize, Patches, Window};
use dinoxide_engine::tape::{BatchNorm, ConvNorm, Convolution, Images, Tape};
use dinoxide_engine::tensor::Matrix;

use super::init::{Init, Registry};
use super::work::Work;

/// Added to variances (PyTorch's default).
pub const EPS: f64 = 1e-5;
/// Channels after the stem of a network of single width.
pub const STEM: usize = 64;
/// The pooling after the stem.
const POOL: Window = Window { kernel: 3, stride: 2, padding: 1 };
/// How much wider a bottleneck's output is than its middle.
const EXPANSION: usize = 4;

/// What names begin with.
const FAMILY: &str = "resnet";
/// Layers of the networks in the paper's table 1.
const DEPTHS: [usize; 5] = [18, 34, 50, 101, 152];
/// The widest one that has a name.
pub const WIDEST: usize = 4;

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

    /// The network of a name such as `resnet50`, or `resnet50w2` for twice the width.
    pub fn named(name: &str, normalize: Normalize) -> Option<Self> {
        let sizes = name.strip_prefix(FAMILY)?;
        let (depth, width) = sizes.split_once('w').unwrap_or((sizes, "1"));
        let config = Self::of_depth(depth.parse().ok()?, width.parse().ok()?, normalize)?;
        // One name for each network.
        (config.name() == name && config.width.is_power_of_two() && config.width <= WIDEST).then_some(config)
    }

    /// Its name, such as `resnet50`, where layers and width are those of a table; `resnet` for others.
    pub fn name(&self) -> String {
        let layers = |depth: &&usize| {
            Self::of_depth(**depth, self.width, self.normalize.clone()).is_some_and(|known| known == *self)
        };
        let depth = DEPTHS.iter().find(layers).map(ToString::to_string).unwrap_or_default();
        let width = if self.width == 1 { String::new() } else { format!("w{}", self.width) };
        format!("{FAMILY}{depth}{width}")
    }

    /// The layer before all blocks.
    pub fn stem(&self) -> LayerSizes {
        let names = ["conv1", "bn1"].map(str::to_owned);
        LayerSizes::new(names, [self.normalize.mean.len(), STEM * self.width], [7, 2])
    }

    /// All blocks, in their order.
    pub fn block_sizes(&self) -> Vec<BlockSizes> {
        let mut inputs = STEM * self.width;
        let mut blocks = Vec::new();
        for (stage, count) in self.blocks.into_iter().enumerate() {
            let middle = (STEM * self.width) << stage;
            for number in 0..count {
                let stride = if number == 0 && stage > 0 { 2 } else { 1 };
                let name = format!("layer{}.{number}.", stage + 1);
                let (sizes, outputs): (Vec<[usize; 4]>, usize) = match self.kind {
                    Kind::Basic => (vec![[inputs, middle, 3, stride], [middle, middle, 3, 1]], middle),
                    Kind::Bottleneck => {
                        let outputs = EXPANSION * middle;
                        (vec![[inputs, middle, 1, 1], [middle, middle, 3, stride], [middle, outputs, 1, 1]], outputs)
                    }
                };
                let layers = (1..).zip(sizes).map(|(layer, [from, to, kernel, stride])| {
                    let names = [format!("{name}conv{layer}"), format!("{name}bn{layer}")];
                    LayerSizes::new(names, [from, to], [kernel, stride])
                });
                let names = [format!("{name}downsample.0"), format!("{name}downsample.1")];
                let downsample =
                    (stride > 1 || inputs != outputs).then(|| LayerSizes::new(names, [inputs, outputs], [1, stride]));
                blocks.push(BlockSizes { layers: layers.collect(), downsample });
                inputs = outputs;
            }
        }
        blocks
    }

    /// Width of the features, D: 512 or 2048 times the width.
    pub fn features(&self) -> usize {
        let expansion = if self.kind == Kind::Bottleneck { EXPANSION } else { 1 };
        8 * STEM * self.width * expansion
    }
}

/// Names and sizes of a convolution and the batch normalisation after it.
#[derive(Debug, Clone)]
pub struct LayerSizes {
    /// The official name of the convolution.
    pub conv: String,
    /// That of the normalisation.
    pub norm: String,
    /// Channels before and after.
    pub channels: [usize; 2],
    /// The convolution's windows.
    pub window: Window,
}

/// Those of a residual block.
#[derive(Debug, Clone)]
pub struct BlockSizes {
    /// Its layers one after the other.
    pub layers: Vec<LayerSizes>,
    /// What brings its input to their shape, if anything has to.
    pub downsample: Option<LayerSizes>,
}

impl LayerSizes {
    /// Windows of an odd side, around each of the pixels or every second one.
    pub(super) fn new([conv, norm]: [String; 2], channels: [usize; 2], [kernel, stride]: [usize; 2]) -> Self {
        Self { conv, norm, channels, window: Window { kernel, stride, padding: kernel / 2 } }
    }
}

/// A convolution and the batch normalisation after it.
#[derive(Debug, Clone, Copy)]
struct Layer {
    /// Channels before and after.
    channels: [usize; 2],
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
        let stem = layer(&config.stem(), prefix, registry);
        let block = |sizes: &BlockSizes| Block {
            layers: sizes.layers.iter().map(|sizes| layer(sizes, prefix, registry)).collect(),
            downsample: sizes.downsample.as_ref().map(|sizes| layer(sizes, prefix, registry)),
        };
        let blocks = config.block_sizes().iter().map(block).collect();
        Self { config, stem, blocks }
    }

    /// The sizes.
    pub fn config(&self) -> &ResNetConfig {
        &self.config
    }

    /// Features of groups of equally sized images, one row for each image in the order of the groups: `[Σ images, D]`.
    pub fn features(&self, tape: &mut Tape<'_>, groups: &[Images<'_>]) -> Matrix {
        let pooled = groups.iter().map(|images| {
            let (x, _) = self.last_stage(tape, *images);
            tape.mean_pool(&x, images.patches.images)
        });
        let pooled: Vec<Matrix> = pooled.collect();
        tape.stack(&pooled)
    }

    /// For each image the features and then the values that they are the mean of, those of the last stage: `[images, 1 + N, D]`.
    pub fn tokens(&self, tape: &mut Tape<'_>, images: Images<'_>) -> Vec<f32> {
        let (x, grid) = self.last_stage(tape, images);
        let pooled = tape.mean_pool(&x, grid.images);
        let (width, len) = (x.columns(), grid.height * grid.width * x.columns());
        let each = pooled.values().chunks_exact(width).zip(x.values().chunks_exact(len));
        each.flat_map(|(mean, values)| mean.iter().chain(values)).copied().collect()
    }

    /// Rows and columns of the last stage for an image of `height` × `width` pixels.
    pub fn grid(&self, height: usize, width: usize) -> (usize, usize) {
        let grid = self.walk(self.patches(1, height, width), |_, _| ());
        (grid.height, grid.width)
    }

    /// Operations on groups of equally sized images.
    pub fn work(&self, groups: &[Patches]) -> Work {
        let mut work = Work::default();
        for group in groups {
            self.walk(*group, |layer, grid| {
                let ([inputs, outputs], kernel) = (layer.channels, layer.conv.window.kernel);
                let mut product = Work::default();
                product.product(grid.windows(layer.conv.window).pixels(), inputs * kernel * kernel, outputs);
                if std::ptr::eq(layer, &raw const self.stem) {
                    // Pixels need no gradient.
                    product.backward = product.forward;
                }
                work.add(product, 1.0);
            });
        }
        work
    }

    /// Values that the gradient of these images keeps, about: those of each convolution, before and after it is normalised.
    pub fn kept_values(&self, groups: &[Patches]) -> f64 {
        let mut values = 0;
        for group in groups {
            self.walk(*group, |layer, grid| values += 2 * grid.windows(layer.conv.window).pixels() * layer.channels[1]);
        }
        values as f64
    }

    /// How many layers are above the tensor `name` (without a prefix), as learning rates that decay by layers count them: each block
    /// is one, the stem is below them all (timm's `group_matcher`).
    pub fn layers_above(&self, name: &str) -> usize {
        let place = name.strip_prefix("layer").and_then(|rest| {
            let mut numbers = rest.split('.').map_while(|part| part.parse::<usize>().ok());
            Some((numbers.next()?.checked_sub(1)?, numbers.next()?))
        });
        let below =
            place.map_or(0, |(stage, number)| 1 + number + self.config.blocks.iter().take(stage).sum::<usize>());
        self.blocks.len() + 1 - below.min(self.blocks.len())
    }

    /// Shows each layer the grid that it is computed from; returns the last one.
    fn walk(&self, patches: Patches, mut each: impl FnMut(&Layer, Grid)) -> Grid {
        let mut grid = Grid { images: patches.images, height: patches.height, width: patches.width };
        each(&self.stem, grid);
        grid = grid.windows(self.stem.conv.window).windows(POOL);
        for block in &self.blocks {
            block.downsample.iter().for_each(|layer| each(layer, grid));
            for layer in &block.layers {
                each(layer, grid);
                grid = grid.windows(layer.conv.window);
            }
        }
        grid
    }

    /// The values of the last stage, one row for each of its pixels.
    fn last_stage(&self, tape: &mut Tape<'_>, images: Images<'_>) -> (Matrix, Grid) {
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
        (x, grid)
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
        let relu = |layer: &Layer, skip| {
            let Layer { conv, norm, .. } = *layer;
            ConvNorm { conv, norm, eps: EPS, skip, activation: Activation::Relu }
        };
        let Some((last, hidden)) = self.layers.split_last() else { return (skip, grid) };
        let hidden: Vec<ConvNorm<'_>> = hidden.iter().map(|layer| relu(layer, None)).collect();
        let out = tape.conv_norms(x, grid, &hidden, relu(last, Some(&skip)));
        for layer in &self.layers {
            grid = grid.windows(layer.conv.window);
        }
        (out, grid)
    }
}

/// Registers a layer.
fn layer(sizes: &LayerSizes, prefix: &str, registry: &mut Registry) -> Layer {
    let LayerSizes { conv, norm, channels, window } = sizes;
    let [inputs, outputs] = *channels;
    let shape = [outputs, inputs, window.kernel, window.kernel];
    // `kaiming_normal_(mode="fan_out", nonlinearity="relu")`.
    let std = (2.0 / (outputs * window.kernel * window.kernel) as f64).sqrt();
    let weight = registry.trained(format!("{prefix}{conv}.weight"), &shape, Init::TruncNormal(std));
    let norm = registry.batch_norm(&format!("{prefix}{norm}"), outputs);
    Layer { channels: *channels, conv: Convolution { weight, bias: None, window: *window }, norm }
}
