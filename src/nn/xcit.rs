//! XCiT, tensor for tensor: transformers whose attention is between channels instead of tokens (El-Nouby et al. 2021,
//! "XCiT: Cross-Covariance Image Transformers"; `facebookresearch/xcit:xcit.py`), in the sizes that DINO was released with.
//!
//! A stem of convolutions makes the patches. Blocks work on patches alone and have three branches: cross-covariance attention, local patch
//! interaction, MLP. A class token then collects what it needs in two blocks of class attention. Each group of equally sized images is
//! normalised by its own statistics, as the forward passes of the reference program are, one for each resolution.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use dinoxide_engine::kernels::{Activation, Grid, Normalize, Patches, Segment};
use dinoxide_engine::params::ParamId;
use dinoxide_engine::tape::{
    BatchNorm, ConvNorm, Convolution, CrossCovarianceParams, Dense, Heads, Images, Keep, Norm, Tape,
};
use dinoxide_engine::tensor::Matrix;

use super::drop_path::{DropPath, Kept, KeptBranches};
use super::fourier::{FREQUENCIES, coordinates};
use super::init::{Init, Registry};
use super::resnet::LayerSizes;
use super::vit::LAYER_NORM_EPS;
use super::work::Work;

/// Added to the variances of batch normalisations (PyTorch's default).
pub const BATCH_NORM_EPS: f64 = 1e-5;
/// Standard deviation of the class token at the start.
const TOKEN_STD: f64 = 0.02;
/// Hidden width of the MLPs over `embed_dim`.
pub const MLP_RATIO: usize = 4;
/// Blocks of class attention.
pub const CLASS_BLOCKS: usize = 2;
/// Branches of a block.
const BRANCHES: usize = 3;
/// Side and stride of the stem's convolutions.
const STEM: [usize; 2] = [3, 2];

/// What DINO was released with: name without the patch, width, blocks, LayerScale at the start.
pub const RELEASED: [(&str, usize, usize, f64); 2] =
    [("xcit_small_12", 384, 12, 1.0), ("xcit_medium_24", 512, 24, 1e-5)];
/// Patches of these.
pub const PATCHES: [usize; 2] = [16, 8];

/// Sizes of an XCiT.
#[derive(Debug, Clone, PartialEq)]
pub struct XcitConfig {
    /// Side of a patch in pixels: a power of 2, the stem has a convolution for each halving.
    pub patch_size: usize,
    /// Token width, D.
    pub embed_dim: usize,
    /// Number of blocks before the class token comes.
    pub depth: usize,
    /// Attention heads; divides `embed_dim`.
    pub num_heads: usize,
    /// What LayerScale starts with.
    pub layer_scale: f64,
    /// Mean and deviation of the pixel channels.
    pub normalize: Normalize,
}

impl XcitConfig {
    /// The network of that name: `xcit_small_12_p16`, `xcit_small_12_p8`, `xcit_medium_24_p16` or `xcit_medium_24_p8`.
    pub fn named(name: &str, normalize: Normalize) -> Option<Self> {
        let (size, patch) = name.rsplit_once("_p")?;
        let patch_size = PATCHES.into_iter().find(|side| side.to_string() == patch)?;
        let (_, embed_dim, depth, layer_scale) = RELEASED.into_iter().find(|(name, ..)| *name == size)?;
        Some(Self { patch_size, embed_dim, depth, num_heads: 8, layer_scale, normalize })
    }

    /// Its name, such as `xcit_small_12_p16`; `xcit` and the patch for other sizes than the released ones.
    pub fn name(&self) -> String {
        let name = |size: &str| format!("{size}_p{}", self.patch_size);
        let mut released = RELEASED.into_iter().map(|(size, ..)| name(size));
        let known = released.find(|name| Self::named(name, self.normalize.clone()).is_some_and(|known| known == *self));
        known.unwrap_or_else(|| name("xcit"))
    }

    /// The layers of the stem: each halves the sides, the last one gives patches of the tokens' width.
    pub fn stem(&self) -> Vec<LayerSizes> {
        let layers = self.patch_size.ilog2() as usize;
        let mut inputs = self.normalize.mean.len();
        let layer = |number: usize| {
            let (from, to) = (inputs, self.embed_dim >> (layers - 1 - number));
            inputs = to;
            let names = [0, 1].map(|part| format!("patch_embed.proj.{}.{part}", 2 * number));
            LayerSizes::new(names, [from, to], STEM)
        };
        (0..layers).map(layer).collect()
    }
}

/// An XCiT: names and sizes; the values live in the tape's parameters.
#[derive(Debug, Clone)]
pub struct Xcit {
    config: XcitConfig,
    cls_token: ParamId,
    stem: Vec<StemLayer>,
    positions: Dense,
    blocks: Vec<Block>,
    class_blocks: Vec<ClassBlock>,
    norm: Norm,
    grids: RefCell<HashMap<[usize; 2], Rc<[f32]>>>,
}

/// A convolution of the stem and the batch normalisation after it.
#[derive(Debug, Clone, Copy)]
struct StemLayer {
    conv: Convolution,
    norm: BatchNorm,
}

/// One block's tensors.
#[derive(Debug, Clone, Copy)]
struct Block {
    attention: CrossCovarianceParams,
    proj: Dense,
    local: Local,
    norm2: Norm,
    fc1: Dense,
    fc2: Dense,
    /// LayerScale of attention, MLP and local patch interaction.
    gammas: [ParamId; BRANCHES],
}

/// Local patch interaction: two depthwise convolutions on the grid of patches.
#[derive(Debug, Clone, Copy)]
struct Local {
    norm3: Norm,
    conv1: Dense,
    bn: BatchNorm,
    conv2: Dense,
}

/// One block of class attention (Touvron et al. 2021, CaiT).
#[derive(Debug, Clone, Copy)]
struct ClassBlock {
    norm1: Norm,
    qkv: Dense,
    proj: Dense,
    norm2: Norm,
    fc1: Dense,
    fc2: Dense,
    /// LayerScale of attention and MLP.
    gammas: [ParamId; 2],
}

/// Patches of equally sized images, `[images·H·W, D]`.
#[derive(Clone)]
struct Shape {
    grid: Grid,
    heads: Heads,
}

impl Xcit {
    /// Registers all tensors under `prefix`, initialised as the reference does.
    pub fn new(config: XcitConfig, prefix: &str, registry: &mut Registry) -> Self {
        let width = config.embed_dim;
        let mut make = Maker { registry, prefix, config: &config };
        let cls_token = make.trained("cls_token", &[1, 1, width], Init::TruncNormal(TOKEN_STD));
        let stem = make.stem();
        let blocks = (0..config.depth).map(|i| make.block(&format!("blocks.{i}."))).collect();
        let class_blocks = (0..CLASS_BLOCKS).map(|i| make.class_block(&format!("cls_attn_blocks.{i}."))).collect();
        let norm = make.norm("norm");
        // A convolution of 1 × 1, at PyTorch's default.
        let positions = make.convolution("pos_embeder.token_projection", [width, 2 * FREQUENCIES, 1]);
        Self { config, cls_token, stem, positions, blocks, class_blocks, norm, grids: RefCell::default() }
    }

    /// The sizes.
    pub fn config(&self) -> &XcitConfig {
        &self.config
    }

    /// Class tokens after the final norm, one row per image in the order of the groups: `[Σ images, D]`. Sequences of `drop` are
    /// numbered in that order too.
    pub fn class_tokens(&self, tape: &mut Tape<'_>, groups: &[Images<'_>], drop: Option<&KeptBranches>) -> Matrix {
        let mut first = 0;
        let features = groups.iter().map(|group| {
            let sequences = first..first + group.patches.images;
            first = sequences.end;
            self.group(tape, *group, drop.map(|drop| drop.part(sequences)).as_ref())
        });
        let features: Vec<Matrix> = features.collect();
        tape.stack(&features)
    }

    /// Class token and patches of each image after the final norm: `[images, 1 + N, D]`.
    pub fn tokens(&self, tape: &mut Tape<'_>, images: Images<'_>) -> Vec<f32> {
        let (x, heads) = self.collected(tape, images, None);
        let (_, all) = self.class_attention(tape, x, &heads, self.class_blocks.len());
        tape.layer_norm(&all, self.norm).values().to_vec()
    }

    /// Rows and columns of the patches of an image.
    pub fn grid(&self, height: usize, width: usize) -> (usize, usize) {
        let pixels = Grid { images: 1, height, width };
        let grid = self.stem.iter().fold(pixels, |grid, layer| grid.windows(layer.conv.window));
        (grid.height, grid.width)
    }

    /// Operations on groups of equally sized images; `keep` is the share of images that take a block's attention and MLP.
    pub fn work(&self, groups: &[Patches], keep: f64) -> Work {
        let (width, hidden) = (self.config.embed_dim, MLP_RATIO * self.config.embed_dim);
        let mut work = Work::default();
        for group in groups {
            let mut grid = Grid { images: group.images, height: group.height, width: group.width };
            for (number, layer) in self.config.stem().iter().enumerate() {
                grid = grid.windows(layer.window);
                let [inputs, outputs] = layer.channels;
                let mut product = Work::default();
                product.product(grid.pixels(), inputs * layer.window.kernel.pow(2), outputs);
                // Pixels need no gradient.
                product.backward = if number == 0 { product.forward } else { product.backward };
                work.add(product, 1.0);
            }
            let (rows, all) = (grid.pixels(), grid.pixels() + grid.images);
            let mut block = Work::default();
            block.product(rows, width, 3 * width);
            // Channels against channels of a head, over all patches, twice.
            (0..2).for_each(|_| block.product(rows, width, width / self.config.num_heads));
            block.product(rows, width, width);
            block.product(rows, width, hidden);
            block.product(rows, hidden, width);
            block.repeated = block.forward;
            work.add(block, keep * self.blocks.len() as f64);
            let mut class = Work::default();
            class.product(all, width, 3 * width);
            class.attention(grid.images, [1, all / grid.images.max(1)], width);
            class.product(grid.images, width, width + 2 * hidden);
            work.add(class, self.class_blocks.len() as f64);
        }
        work
    }

    /// Values that the gradient of these images keeps, about: for each patch and block the inputs of the branches, queries, keys, values,
    /// both steps of the local interaction, and one row of the MLP's hidden width.
    pub fn kept_values(&self, groups: &[Patches], keep: Keep) -> f64 {
        let patches = |group: &Patches| {
            let (rows, columns) = self.grid(group.height, group.width);
            group.images * rows * columns
        };
        let (block, depth) = ((11 + MLP_RATIO) as f64, (self.blocks.len() + CLASS_BLOCKS) as f64);
        let rows = if keep == Keep::Inputs { depth + block } else { depth * block };
        (groups.iter().map(patches).sum::<usize>() * self.config.embed_dim) as f64 * (rows + 16.0)
    }

    /// How many layers are above the tensor `name` (without a prefix), as learning rates that decay by layers count them: blocks of class
    /// attention come after the others.
    pub fn layers_above(&self, name: &str) -> usize {
        let number = |prefix: &str| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok();
        match (number("blocks."), number("cls_attn_blocks.")) {
            (Some(block), _) => self.blocks.len() + CLASS_BLOCKS - block.min(self.blocks.len()),
            (None, Some(block)) => CLASS_BLOCKS - block.min(CLASS_BLOCKS),
            (None, None) if name.starts_with("norm.") => 0,
            // Beside the blocks of class attention stands the class token.
            (None, None) if name == "cls_token" => CLASS_BLOCKS + 1,
            (None, None) => self.blocks.len() + CLASS_BLOCKS + 1,
        }
    }

    /// Draws the stochastic depth of one step for `views` views of `images` images.
    pub fn drop_path(&self, draw: &DropPath, views: usize, images: usize) -> Option<KeptBranches> {
        (draw.rate > 0.0).then(|| draw.draw_constant([self.blocks.len(), BRANCHES], views, images))
    }

    /// The geometry of a batch of byte images for this network: the stem reads each pixel.
    pub fn patches(&self, images: usize, height: usize, width: usize) -> Patches {
        Patches { images, height, width, channels: self.config.normalize.mean.len(), patch: 1 }
    }

    fn group(&self, tape: &mut Tape<'_>, images: Images<'_>, drop: Option<&KeptBranches>) -> Matrix {
        let (x, heads) = self.collected(tape, images, drop);
        let (class, _) = self.class_attention(tape, x, &heads, CLASS_BLOCKS - 1);
        tape.layer_norm(&class, self.norm)
    }

    /// The patches after their blocks with a class token before them: `[B·(N + 1), D]`.
    fn collected(&self, tape: &mut Tape<'_>, images: Images<'_>, drop: Option<&KeptBranches>) -> (Matrix, Heads) {
        let (mut x, shape) = self.embed(tape, images);
        for (number, block) in self.blocks.iter().enumerate() {
            let kept = [0, 1, 2].map(|branch| drop.and_then(|drop| drop.of(number, branch)).cloned());
            let (block, shape) = (*block, shape.clone());
            x = tape.part(&x, move |tape, x| block.forward(tape, x, &shape, [0, 1, 2].map(|i| kept[i].as_ref())));
        }
        let count = shape.grid.images;
        let x = tape.prepend(&x, count, self.cls_token); // [B·(N + 1), D]
        let heads = Heads { queries: 1, ..sequences(self.config.num_heads, count, x.rows() / count.max(1)) };
        (x, heads)
    }

    /// The patches of the images with their positions.
    fn embed(&self, tape: &mut Tape<'_>, images: Images<'_>) -> (Matrix, Shape) {
        let Patches { images: count, height, width, .. } = images.patches;
        let mut grid = Grid { images: count, height, width };
        let mut x = tape.patchify(images, &self.config.normalize); // [B·H·W, C]
        for (number, &StemLayer { conv, norm }) in self.stem.iter().enumerate() {
            if number > 0 {
                x = tape.gelu(&x);
            }
            let op = ConvNorm { conv, norm, eps: BATCH_NORM_EPS, skip: None, activation: Activation::Identity };
            x = tape.conv_norm(&x, grid, op);
            grid = grid.windows(conv.window);
        }
        let cells = grid.height * grid.width;
        let sides = [grid.height, grid.width];
        let waves = Rc::clone(self.grids.borrow_mut().entry(sides).or_insert_with(|| coordinates(sides)));
        let coordinates = tape.constant(&waves, cells, 2 * FREQUENCIES);
        let positions = tape.linear(&coordinates, self.positions.0, Some(self.positions.1)); // [N, D]
        (tape.add_to_each(&x, &positions), Shape { grid, heads: sequences(self.config.num_heads, count, cells) })
    }

    /// The class tokens of sequences after all blocks of class attention, `[B·(N + 1), D]` to `[B, D]`, and all tokens after the first
    /// `patches` of them: nobody may read those after the last.
    fn class_attention(&self, tape: &mut Tape<'_>, mut x: Matrix, heads: &Heads, patches: usize) -> (Matrix, Matrix) {
        let rows: Rc<[u32]> = heads.segments.iter().map(|segment| segment.start as u32).collect();
        let mut class = tape.gather_rows(&x, Rc::clone(&rows));
        for (number, block) in self.class_blocks.iter().enumerate() {
            let attended = tape.attention(&x, block.norm1, block.qkv, heads);
            let attended = tape.gather_rows(&attended, Rc::clone(&rows));
            let attended = tape.linear(&attended, block.proj.0, Some(block.proj.1));
            class = tape.residual(&class, &attended, Some(block.gammas[0]));
            class = tape.layer_norm(&class, block.norm2);
            let hidden = tape.mlp(&class, None, &[block.fc1], block.fc2);
            class = tape.residual(&class, &hidden, Some(block.gammas[1]));
            if number < patches {
                x = block.patches(tape, &x);
                x = tape.replace_rows(&x, Rc::clone(&rows), &class);
            }
        }
        (class, x)
    }
}

impl Block {
    fn forward(self, tape: &mut Tape<'_>, x: &Matrix, shape: &Shape, kept: [Option<&Kept>; BRANCHES]) -> Matrix {
        let [attention, mlp, local] = self.gammas;
        let x = add_branch(tape, x, (shape, attention), kept[0], |tape, x, heads| {
            let attended = tape.cross_covariance(x, self.attention, heads);
            tape.linear(&attended, self.proj.0, Some(self.proj.1))
        });
        let branch = self.local.forward(tape, &x, shape.grid);
        let x = match kept[1] {
            None => tape.residual(&x, &branch, Some(local)),
            // All images make the statistics, those that skip the branch as well.
            Some(Kept { sequences, factor }) => {
                let rows = rows_of(shape, sequences);
                let taking = tape.gather_rows(&branch, Rc::clone(&rows));
                let scaled = tape.scale(&taking, local);
                tape.residual_rows(&x, &scaled, rows, *factor)
            }
        };
        add_branch(tape, &x, (shape, mlp), kept[2], |tape, x, _| tape.mlp(x, Some(self.norm2), &[self.fc1], self.fc2))
    }
}

impl Local {
    fn forward(self, tape: &mut Tape<'_>, x: &Matrix, grid: Grid) -> Matrix {
        let x = tape.layer_norm(x, self.norm3);
        let x = tape.depthwise(&x, grid, self.conv1);
        let x = tape.gelu(&x);
        let x = tape.batch_norm(&x, self.bn, BATCH_NORM_EPS);
        tape.depthwise(&x, grid, self.conv2)
    }
}

impl ClassBlock {
    /// What the block makes of patches: the class token alone attends and goes through the MLP, yet patches are scaled, normed and
    /// doubled on the way. What becomes of the class tokens' rows means nothing.
    fn patches(self, tape: &mut Tape<'_>, x: &Matrix) -> Matrix {
        let normed = tape.layer_norm(x, self.norm1);
        let x = tape.residual(x, &normed, Some(self.gammas[0]));
        let x = tape.layer_norm(&x, self.norm2);
        tape.residual(&x, &x, None)
    }
}

/// Sequences of `len` tokens, one after the other.
fn sequences(heads: usize, count: usize, len: usize) -> Heads {
    Heads::new(heads, (0..count).map(|index| Segment { start: index * len, len }).collect())
}

/// The rows of some images' patches, one after the other.
fn rows_of(shape: &Shape, images: &[u32]) -> Rc<[u32]> {
    let cells = (shape.grid.height * shape.grid.width) as u32;
    images.iter().flat_map(|image| image * cells..(image + 1) * cells).collect()
}

/// A residual connection with LayerScale. An image that skips the branch is not computed; the others are packed anew.
fn add_branch(
    tape: &mut Tape<'_>,
    x: &Matrix,
    (shape, gamma): (&Shape, ParamId),
    kept: Option<&Kept>,
    branch: impl FnOnce(&mut Tape<'_>, &Matrix, &Heads) -> Matrix,
) -> Matrix {
    let all = kept.is_none_or(|kept| kept.sequences.len() == shape.grid.images && kept.factor == 1.0);
    let Some(Kept { sequences: images, factor }) = kept.filter(|_| !all) else {
        let values = branch(tape, x, &shape.heads);
        return tape.residual(x, &values, Some(gamma));
    };
    if images.is_empty() {
        return x.clone();
    }
    let rows = rows_of(shape, images);
    let heads = sequences(shape.heads.count, images.len(), shape.grid.height * shape.grid.width);
    let taking = tape.gather_rows(x, Rc::clone(&rows));
    let values = branch(tape, &taking, &heads);
    let scaled = tape.scale(&values, gamma);
    tape.residual_rows(x, &scaled, rows, *factor)
}

/// Registers tensors under the official names.
struct Maker<'a> {
    registry: &'a mut Registry,
    prefix: &'a str,
    config: &'a XcitConfig,
}

impl Maker<'_> {
    fn stem(&mut self) -> Vec<StemLayer> {
        let layers = self.config.stem();
        let layer = |LayerSizes { conv, norm, channels: [inputs, outputs], window }: LayerSizes| {
            let shape = [outputs, inputs, window.kernel, window.kernel];
            let fan_in = Init::FanIn(inputs * window.kernel * window.kernel);
            let weight = self.trained(&format!("{conv}.weight"), &shape, fan_in);
            let norm = self.registry.batch_norm(&format!("{}{norm}", self.prefix), outputs);
            StemLayer { conv: Convolution { weight, bias: None, window }, norm }
        };
        layers.into_iter().map(layer).collect()
    }

    /// Attributes come in the order of the reference's modules, a module's own parameters first.
    fn block(&mut self, name: &str) -> Block {
        let (width, heads) = (self.config.embed_dim, self.config.num_heads);
        let name = |part: &str| format!("{name}{part}");
        let gammas = [1, 2, 3].map(|number| self.gamma(&name(&format!("gamma{number}"))));
        let norm = self.norm(&name("norm1"));
        let temperature = self.trained(&name("attn.temperature"), &[heads, 1, 1], Init::Constant(1.0));
        let qkv = self.linear(&name("attn.qkv"), [3 * width, width]);
        let proj = self.linear(&name("attn.proj"), [width, width]);
        let norm2 = self.norm(&name("norm2"));
        let fc1 = self.linear(&name("mlp.fc1"), [MLP_RATIO * width, width]);
        let fc2 = self.linear(&name("mlp.fc2"), [width, MLP_RATIO * width]);
        let local = Local {
            norm3: self.norm(&name("norm3")),
            conv1: self.convolution(&name("local_mp.conv1"), [width, 1, 3]),
            bn: self.registry.batch_norm(&format!("{}{}", self.prefix, name("local_mp.bn")), width),
            conv2: self.convolution(&name("local_mp.conv2"), [width, 1, 3]),
        };
        let attention = CrossCovarianceParams { norm, qkv, temperature };
        Block { attention, proj, local, norm2, fc1, fc2, gammas }
    }

    fn class_block(&mut self, name: &str) -> ClassBlock {
        let width = self.config.embed_dim;
        let name = |part: &str| format!("{name}{part}");
        let gammas = [1, 2].map(|number| self.gamma(&name(&format!("gamma{number}"))));
        ClassBlock {
            gammas,
            norm1: self.norm(&name("norm1")),
            qkv: self.linear(&name("attn.qkv"), [3 * width, width]),
            proj: self.linear(&name("attn.proj"), [width, width]),
            norm2: self.norm(&name("norm2")),
            fc1: self.linear(&name("mlp.fc1"), [MLP_RATIO * width, width]),
            fc2: self.linear(&name("mlp.fc2"), [width, MLP_RATIO * width]),
        }
    }

    fn trained(&mut self, name: &str, shape: &[usize], init: Init) -> ParamId {
        self.registry.trained(format!("{}{name}", self.prefix), shape, init)
    }

    fn gamma(&mut self, name: &str) -> ParamId {
        self.trained(name, &[self.config.embed_dim], Init::Constant(self.config.layer_scale))
    }

    fn norm(&mut self, name: &str) -> Norm {
        let (gamma, beta) = self.registry.norm(&format!("{}{name}", self.prefix), self.config.embed_dim);
        Norm { gamma, beta, eps: LAYER_NORM_EPS }
    }

    fn linear(&mut self, name: &str, [outputs, inputs]: [usize; 2]) -> Dense {
        self.registry.linear(&format!("{}{name}", self.prefix), outputs, inputs)
    }

    /// Weight and bias of a convolution of `kernel` × `kernel`, at PyTorch's default.
    fn convolution(&mut self, name: &str, [outputs, inputs, kernel]: [usize; 3]) -> Dense {
        let fan_in = Init::FanIn(inputs * kernel * kernel);
        let weight = self.trained(&format!("{name}.weight"), &[outputs, inputs, kernel, kernel], fan_in);
        (weight, self.trained(&format!("{name}.bias"), &[outputs], fan_in))
    }
}
