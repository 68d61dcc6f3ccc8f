//! The Vision Transformer of DINO, tensor for tensor (`vision_transformer.py:VisionTransformer`; Dosovitskiy et al. 2021,
//! DeiT's sizes). Pre-norm blocks, learned positions, erf-GELU, LayerNorm eps 1e-6, no dropout.
//!
//! All crops of a batch, whatever their size, travel as one packed token matrix: every linear layer sees all of them at
//! once, and attention stays within each sequence.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use dinoxide_engine::kernels::{Normalize, Patches, RowMix, Segment};
use dinoxide_engine::params::{ParamId, Role};
use dinoxide_engine::tape::{Heads, Images, Norm, Tape, TokenGroup, TokenParams};
use dinoxide_engine::tensor::Matrix;
use serde::{Deserialize, Serialize};

use super::drop_path::{DropPath, Kept, KeptBranches};
use super::init::{Init, Registry};
use super::pos_embed::{Resampling, position_mix};

mod cost;
mod patches;

pub use patches::{Patchwise, Sight};

/// LayerNorm epsilon of every ViT here (the factory functions of the reference override PyTorch's 1e-5).
pub const LAYER_NORM_EPS: f64 = 1e-6;
/// Standard deviation of the class token and the positions at the start.
const TOKEN_STD: f64 = 0.02;
/// Standard deviation of registers at the start, and of a class token beside what DINOv2 adds.
const REGISTER_STD: f64 = 1e-6;
/// What LayerScale begins with in DINOv2.
pub const LAYER_SCALE: f64 = 1e-5;

/// Sizes of a ViT.
#[derive(Debug, Clone, PartialEq)]
pub struct VitConfig {
    /// Side in pixels of the square images whose patch grid `pos_embed` stores.
    pub image_size: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Token width, D.
    pub embed_dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Attention heads; divides `embed_dim`.
    pub num_heads: usize,
    /// Hidden width of the MLP over `embed_dim`.
    pub mlp_ratio: f64,
    /// Mean and deviation of the pixel channels.
    pub normalize: Normalize,
    /// What DINOv2 adds.
    pub extras: Extras,
}

/// What the ViTs of DINOv2 have beyond those of DINO (Oquab et al. 2023; Darcet et al. 2023); nothing of it by default.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Extras {
    /// LayerScale after both branches, with this at the start (Touvron et al. 2021).
    pub layer_scale: Option<f64>,
    /// Register tokens, R.
    pub registers: usize,
    /// What is between the two layers of a block's second branch.
    pub ffn: Ffn,
    /// Whether there is a token that stands for masked patches.
    pub mask_token: MaskToken,
    /// How positions become those of another grid.
    pub resampling: Resampling,
}

/// What is between the two layers of a block's second branch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ffn {
    /// A GELU.
    #[default]
    Mlp,
    /// SwiGLU: the first layer gives twice the hidden width.
    SwiGlu,
}

/// Whether there is a token that stands for masked patches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MaskToken {
    /// There is none.
    #[default]
    Absent,
    /// One is stored, and kept as it is.
    Stored,
    /// One is trained.
    Trained,
}

/// One transformer block's tensors.
#[derive(Debug, Clone, Copy)]
struct Block {
    norm1: Norm,
    qkv: (ParamId, ParamId),
    proj: (ParamId, ParamId),
    norm2: Norm,
    fc1: (ParamId, ParamId),
    fc2: (ParamId, ParamId),
    ffn: Ffn,
    /// LayerScale of the two branches.
    scales: [Option<ParamId>; 2],
}

/// A Vision Transformer: names and sizes; the values live in the tape's parameters.
#[derive(Debug, Clone)]
pub struct Vit {
    config: VitConfig,
    tokens: TokenParams,
    mask_token: Option<ParamId>,
    patch_embed: (ParamId, ParamId),
    blocks: Vec<Block>,
    norm: Norm,
    grids: RefCell<Grids>,
}

/// Positions by height and width of the image; nothing where the stored ones fit.
type Grids = HashMap<(usize, usize), Option<Rc<RowMix<f32>>>>;

/// Packed sequences of a batch.
#[derive(Debug, Clone)]
pub struct Sequences {
    /// One row per token, `[T, D]`.
    pub tokens: Matrix,
    /// Heads and the place of each sequence, in the order of the images.
    pub heads: Heads,
}

impl Sequences {
    /// The row of each sequence's class token.
    fn class_rows(&self) -> Rc<[u32]> {
        self.heads.segments.iter().map(|segment| segment.start as u32).collect()
    }

    /// The class tokens, as sequences of one token each.
    fn class_tokens(&self, tape: &mut Tape<'_>) -> Self {
        let tokens = tape.gather_rows(&self.tokens, self.class_rows());
        let segments = (0..tokens.rows()).map(|start| Segment { start, len: 1 }).collect();
        Self { tokens, heads: Heads::new(self.heads.count, segments) }
    }

    /// The rows of some sequences, one after the other.
    fn rows_of(&self, sequences: &[u32]) -> Rc<[u32]> {
        let segments = sequences.iter().map(|sequence| self.heads.segments[*sequence as usize]);
        segments.flat_map(|segment| segment.start as u32..(segment.start + segment.len) as u32).collect()
    }

    /// Some sequences, packed anew; all of them are taken as they are.
    fn only(&self, tape: &mut Tape<'_>, sequences: &[u32]) -> Self {
        if sequences.len() == self.heads.segments.len() {
            return self.clone();
        }
        let mut start = 0;
        let segments = sequences.iter().map(|sequence| {
            let len = self.heads.segments[*sequence as usize].len;
            start += len;
            Segment { start: start - len, len }
        });
        let heads = Heads { segments: segments.collect(), ..self.heads.clone() };
        Self { tokens: tape.gather_rows(&self.tokens, self.rows_of(sequences)), heads }
    }
}

impl Vit {
    /// How many layers are above the tensor `name` (without a prefix), as learning rates that decay by layers count them: none above
    /// the last norm, one above the last block, `depth + 1` above patches, positions and class token (BEiT, Bao et al. 2022).
    pub fn layers_above(&self, name: &str) -> usize {
        let block = name.strip_prefix("blocks.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
        match block {
            Some(block) => self.config.depth.saturating_sub(block),
            None if name.starts_with("norm.") => 0,
            None => self.config.depth + 1,
        }
    }

    /// Registers all tensors under `prefix` (for example `backbone.`), initialised as the reference does.
    pub fn new(config: VitConfig, prefix: &str, registry: &mut Registry) -> Self {
        let (width, patch) = (config.embed_dim, config.patch_size);
        let channels = config.normalize.mean.len();
        let (hidden, extras) = (config.hidden(), config.extras);
        let (token, register) = (Init::TruncNormal(TOKEN_STD), Init::TruncNormal(REGISTER_STD));
        let class = if extras.is_none() { token } else { register };
        let cls = registry.trained(format!("{prefix}cls_token"), &[1, 1, width], class);
        let positions = config.base_grid() * config.base_grid() + 1;
        let pos_embed = registry.trained(format!("{prefix}pos_embed"), &[1, positions, width], token);
        let registers = (extras.registers > 0)
            .then(|| registry.trained(format!("{prefix}register_tokens"), &[1, extras.registers, width], register));
        let role = match extras.mask_token {
            MaskToken::Absent => None,
            MaskToken::Stored => Some(Role::Fixed),
            MaskToken::Trained => Some(Role::Trained),
        };
        let mask_token = role.map(|role| registry.push(format!("{prefix}mask_token"), &[1, width], role, Init::Zeros));
        // The reference leaves this convolution at PyTorch's default initialisation.
        let fan_in = Init::FanIn(channels * patch * patch);
        let shape = [width, channels, patch, patch];
        let kernel = registry.push(format!("{prefix}patch_embed.proj.weight"), &shape, Role::Trained, fan_in);
        let bias = registry.trained(format!("{prefix}patch_embed.proj.bias"), &[width], fan_in);
        let blocks = (0..config.depth)
            .map(|i| {
                let name = |part: &str| format!("{prefix}blocks.{i}.{part}");
                let (first, second) = match extras.ffn {
                    Ffn::Mlp => ("mlp.fc1", "mlp.fc2"),
                    Ffn::SwiGlu => ("mlp.w12", "mlp.w3"),
                };
                let scale = |registry: &mut Registry, part: &str| {
                    let start = extras.layer_scale?;
                    Some(registry.trained(name(part), &[width], Init::Constant(start)))
                };
                Block {
                    norm1: norm(registry, &name("norm1"), width),
                    qkv: registry.linear(&name("attn.qkv"), 3 * width, width),
                    proj: registry.linear(&name("attn.proj"), width, width),
                    norm2: norm(registry, &name("norm2"), width),
                    fc1: registry.linear(&name(first), extras.ffn.outputs(hidden), width),
                    fc2: registry.linear(&name(second), width, hidden),
                    ffn: extras.ffn,
                    scales: [scale(registry, "ls1.gamma"), scale(registry, "ls2.gamma")],
                }
            })
            .collect();
        let norm = norm(registry, &format!("{prefix}norm"), width);
        let grids = RefCell::default();
        let tokens = TokenParams { cls, pos_embed, registers };
        Self { config, tokens, mask_token, patch_embed: (kernel, bias), blocks, norm, grids }
    }

    /// The sizes.
    pub fn config(&self) -> &VitConfig {
        &self.config
    }

    /// Class tokens after the final norm, one row per image in the order of the groups: `[Σ images, D]`.
    ///
    /// In the last block only the class token is a query, and only its row goes through projection and MLP: nothing else
    /// is read.
    pub fn class_tokens(&self, tape: &mut Tape<'_>, groups: &[Images<'_>], drop: Option<&KeptBranches>) -> Matrix {
        let mut sequences = self.embed(tape, groups, None);
        let last = self.blocks.len() - 1;
        for block in 0..last {
            sequences.tokens = self.block(tape, block, &sequences, drop);
        }
        let block = self.blocks[last];
        let mut class = sequences.class_tokens(tape);
        sequences.heads.queries = 1;
        class.tokens = add_branch(tape, [&class, &sequences], block.scales[0], kept(drop, last, 0), |tape, taking| {
            let attended = block.attend(tape, taking);
            let attended = tape.gather_rows(&attended, taking.class_rows());
            tape.linear(&attended, block.proj.0, Some(block.proj.1))
        });
        class.tokens = add_branch(tape, [&class, &class], block.scales[1], kept(drop, last, 1), |tape, taking| {
            block.ffn(tape, &taking.tokens)
        });
        tape.layer_norm(&class.tokens, self.norm)
    }

    /// All tokens of the last `n` blocks after the final norm, oldest first (`get_intermediate_layers`).
    pub fn intermediate_layers(&self, tape: &mut Tape<'_>, groups: &[Images<'_>], n: usize) -> Vec<Sequences> {
        let mut sequences = self.embed(tape, groups, None);
        let mut layers = Vec::with_capacity(n);
        for block in 0..self.blocks.len() {
            sequences.tokens = self.block(tape, block, &sequences, None);
            if self.blocks.len() - block <= n {
                let tokens = tape.layer_norm(&sequences.tokens, self.norm);
                layers.push(Sequences { tokens, heads: sequences.heads.clone() });
            }
        }
        layers
    }

    /// Attention of the class token in the last block to all tokens, itself first: `[heads, N + 1]` per image
    /// (the first row of `get_last_selfattention`).
    pub fn last_class_attention(&self, tape: &mut Tape<'_>, groups: &[Images<'_>]) -> Vec<f32> {
        let mut sequences = self.embed(tape, groups, None);
        let last = self.blocks.len() - 1;
        for block in 0..last {
            sequences.tokens = self.block(tape, block, &sequences, None);
        }
        let Block { norm1, qkv, .. } = self.blocks[last];
        tape.first_token_attention(&sequences.tokens, norm1, qkv, &sequences.heads)
    }

    /// Draws the stochastic depth of one step for `views` views of `images` images.
    pub fn drop_path(&self, draw: &DropPath, views: usize, images: usize) -> Option<KeptBranches> {
        (draw.rate > 0.0).then(|| draw.draw(self.blocks.len(), views, images))
    }

    /// The geometry of a batch of byte images for this network.
    pub fn patches(&self, images: usize, height: usize, width: usize) -> Patches {
        Patches { images, height, width, channels: self.config.normalize.mean.len(), patch: self.config.patch_size }
    }

    /// Class token and patches of each image after the final norm, `[images, 1 + N, D]`, the class token first; no registers.
    pub fn tokens(&self, tape: &mut Tape<'_>, images: Images<'_>) -> Vec<f32> {
        let (width, registers) = (self.config.embed_dim, self.config.extras.registers);
        let mut tokens = Vec::new();
        for layer in self.intermediate_layers(tape, &[images], 1) {
            let values = layer.tokens.values();
            for segment in layer.heads.segments.iter() {
                let sequence = &values[segment.start * width..(segment.start + segment.len) * width];
                tokens.extend_from_slice(&sequence[..width]);
                tokens.extend_from_slice(&sequence[(1 + registers) * width..]);
            }
        }
        tokens
    }

    /// The tokens that the first block takes; the mask token stands for the patches `masked` of the first group.
    fn embed(&self, tape: &mut Tape<'_>, groups: &[Images<'_>], masked: Option<&Rc<[u32]>>) -> Sequences {
        let mut packed = Vec::with_capacity(groups.len());
        let mut segments = Vec::new();
        let mut start = 0;
        for (number, group) in groups.iter().enumerate() {
            let rows = tape.patchify(*group, &self.config.normalize);
            let mut patches = tape.linear(&rows, self.patch_embed.0, Some(self.patch_embed.1));
            if let (0, Some(masked), Some(token)) = (number, masked, self.mask_token) {
                let tokens = tape.repeat(token, masked.len());
                patches = tape.replace_rows(&patches, Rc::clone(masked), &tokens);
            }
            let len = group.patches.per_image() + self.config.leading_tokens();
            segments.extend((0..group.patches.images).map(|image| Segment { start: start + image * len, len }));
            start += group.patches.images * len;
            packed.push(TokenGroup { patches, images: group.patches.images, positions: self.positions(group.patches) });
        }
        let tokens = tape.tokens(packed, self.tokens); // [T, D]
        Sequences { tokens, heads: Heads::new(self.config.num_heads, segments.into()) }
    }

    fn positions(&self, patches: Patches) -> Option<Rc<RowMix<f32>>> {
        let mut grids = self.grids.borrow_mut();
        let make = || {
            let (rows, columns) = patches.grid();
            let square = patches.height == patches.width;
            position_mix(self.config.base_grid(), [rows, columns], square, self.config.extras.resampling).map(Rc::new)
        };
        grids.entry((patches.height, patches.width)).or_insert_with(make).clone()
    }

    fn block(&self, tape: &mut Tape<'_>, block: usize, x: &Sequences, drop: Option<&KeptBranches>) -> Matrix {
        let kept = [0, 1].map(|branch| kept(drop, block, branch).cloned());
        let (block, heads) = (self.blocks[block], x.heads.clone());
        tape.part(&x.tokens, move |tape, tokens| {
            let x = Sequences { tokens: tokens.clone(), heads: heads.clone() };
            block.forward(tape, &x, [kept[0].as_ref(), kept[1].as_ref()])
        })
    }
}

impl Block {
    fn forward(self, tape: &mut Tape<'_>, x: &Sequences, kept: [Option<&Kept>; 2]) -> Matrix {
        let tokens = add_branch(tape, [x, x], self.scales[0], kept[0], |tape, taking| {
            let attended = self.attend(tape, taking);
            tape.linear(&attended, self.proj.0, Some(self.proj.1))
        });
        let x = Sequences { tokens, heads: x.heads.clone() };
        add_branch(tape, [&x, &x], self.scales[1], kept[1], |tape, taking| self.ffn(tape, &taking.tokens))
    }

    fn attend(self, tape: &mut Tape<'_>, x: &Sequences) -> Matrix {
        tape.attention(&x.tokens, self.norm1, self.qkv, &x.heads) // [T, D]
    }

    fn ffn(self, tape: &mut Tape<'_>, x: &Matrix) -> Matrix {
        match self.ffn {
            Ffn::Mlp => tape.mlp(x, Some(self.norm2), &[self.fc1], self.fc2),
            Ffn::SwiGlu => {
                let normed = tape.layer_norm(x, self.norm2);
                let both = tape.linear(&normed, self.fc1.0, Some(self.fc1.1));
                let hidden = tape.swiglu(&both);
                tape.linear(&hidden, self.fc2.0, Some(self.fc2.1))
            }
        }
    }
}

fn norm(registry: &mut Registry, name: &str, width: usize) -> Norm {
    let (gamma, beta) = registry.norm(name, width);
    Norm { gamma, beta, eps: LAYER_NORM_EPS }
}

/// Who takes a branch; absent when all take it as it is.
fn kept(drop: Option<&KeptBranches>, block: usize, branch: usize) -> Option<&Kept> {
    drop.and_then(|drop| drop.of(block, branch))
}

/// A residual connection: what `branch` makes of the sequences in `from` is added to the same sequences in `to`, times a factor
/// for each column if there is a LayerScale. A sequence that skips the branch is not computed; the others are packed anew.
fn add_branch(
    tape: &mut Tape<'_>,
    [to, from]: [&Sequences; 2],
    scale: Option<ParamId>,
    kept: Option<&Kept>,
    branch: impl FnOnce(&mut Tape<'_>, &Sequences) -> Matrix,
) -> Matrix {
    let Some(Kept { sequences, factor }) = kept else {
        let values = branch(tape, from);
        return tape.residual(&to.tokens, &values, scale);
    };
    if sequences.is_empty() {
        return to.tokens.clone();
    }
    let taking = from.only(tape, sequences);
    let values = branch(tape, &taking);
    let values = scale.map_or_else(|| values.clone(), |gamma| tape.scale(&values, gamma));
    tape.residual_rows(&to.tokens, &values, to.rows_of(sequences), *factor)
}

impl Extras {
    /// Whether it is a ViT of DINO, with nothing added but perhaps a mask token, which DINO's own networks are trained with too (iBOT).
    pub fn is_none(&self) -> bool {
        *self == Self { mask_token: self.mask_token, ..Self::default() }
    }
}

impl Ffn {
    /// Outputs of the first of the two layers, for a hidden width.
    pub fn outputs(self, hidden: usize) -> usize {
        match self {
            Self::Mlp => hidden,
            Self::SwiGlu => 2 * hidden,
        }
    }
}

impl VitConfig {
    /// The ratio which, times the width and cut to an integer as `Mlp` does, gives `hidden`.
    pub fn mlp_ratio_of(hidden: usize, width: usize) -> f64 {
        let ratio = hidden as f64 / width as f64;
        if (width as f64 * ratio) as usize == hidden { ratio } else { (hidden as f64 + 0.5) / width as f64 }
    }

    /// Side of the stored position grid, √N₀.
    pub fn base_grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Width between the two layers of a block's second branch.
    pub fn hidden(&self) -> usize {
        (self.embed_dim as f64 * self.mlp_ratio) as usize
    }

    /// Tokens of a sequence that are not patches: the class token and registers.
    pub fn leading_tokens(&self) -> usize {
        1 + self.extras.registers
    }
}
