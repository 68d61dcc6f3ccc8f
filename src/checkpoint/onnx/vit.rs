//! The ViT of `nn/vit.rs` as a graph (`vision_transformer.py:VisionTransformer`; DINO, Caron et al. 2021), for any number and size of images.
//!
//! Written so that runtimes find the patterns they fuse: `LayerNormalization`, the GELU of five operations, a bias added
//! to a product with constants on the right.

use std::f32::consts::SQRT_2;

use super::graph::{Attribute, Dim, Graph, Order, Value};
use crate::nn::vit::{LAYER_NORM_EPS, VitConfig};

/// What a graph can give besides the features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// `tokens`, `[batch, tokens, D]`: all tokens after the final norm, the class token first.
    Tokens,
    /// `attention`, `[batch, heads, patches]`: the class token's attention to the patches in the last block.
    Attention,
}

/// Which tokens ask in a block. The others are keys and values all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queries {
    All,
    /// The class token: where nothing else is read afterwards, nothing else is computed.
    Class,
}

/// Added to the target grid by the reference; part of the definition (`nn/pos_embed.rs`).
const OFFSET: f32 = 0.1;
/// PyTorch's cubic convolution coefficient.
const CUBIC: f32 = -0.75;

struct Network<'a> {
    graph: Graph,
    config: &'a VitConfig,
}

/// The graph of a ViT with the output `features`, `[batch, D]`, and the others asked for.
pub(super) fn graph(config: &VitConfig, outputs: &[Output], input_doc: String) -> Graph {
    let mut network = Network { graph: Graph::default(), config };
    let dims = [Dim::Free("batch"), Dim::Fixed(config.normalize.mean.len()), Dim::Free("height"), Dim::Free("width")];
    let pixels = network.graph.input("pixel_values", &dims, input_doc);
    let mut tokens = network.embed(&pixels); // [B, T, D]
    let mut attention = None;
    for block in 0..config.depth {
        let is_last = block + 1 == config.depth;
        let queries = if is_last && !outputs.contains(&Output::Tokens) { Queries::Class } else { Queries::All };
        let (after, probs) = network.block(&format!("blocks.{block}"), &tokens, queries);
        tokens = after;
        attention = Some(probs); // [B, H, T or 1, T]
    }
    let tokens = network.layer_norm("norm", &tokens); // [B, T or 1, D]
    network.outputs(&tokens, attention.as_ref(), outputs);
    network.graph
}

impl Network<'_> {
    /// Names what the caller gets; `tokens` and `attention` hold at least the class token's row.
    fn outputs(&mut self, tokens: &Value, attention: Option<&Value>, outputs: &[Output]) {
        let Self { graph, config } = self;
        let (batch, width) = (Dim::Free("batch"), Dim::Fixed(config.embed_dim));
        graph.enter("features");
        let first = graph.int(0);
        let features = graph.node("Gather", &[tokens, &first], &[("axis", Attribute::Int(1))]); // [B, D]
        graph.output(&features, "features", &[batch, width], "Class token after the final norm.");
        if outputs.contains(&Output::Tokens) {
            let doc = "All tokens after the final norm: the class token, then the patches row by row.";
            graph.output(tokens, "tokens", &[batch, Dim::Free("tokens"), width], doc);
        }
        if let (true, Some(probs)) = (outputs.contains(&Output::Attention), attention) {
            graph.enter("attention");
            let class = graph.node("Gather", &[probs, &first], &[("axis", Attribute::Int(2))]); // [B, H, T]
            let patches = slice(graph, &class, 2, 1..i64::MAX); // [B, H, N]
            let dims = [batch, Dim::Fixed(config.num_heads), Dim::Free("patches")];
            graph.output(
                &patches,
                "attention",
                &dims,
                "Attention of the class token to the patches in the last block.",
            );
        }
    }

    /// Patches, positions and class token: `[B, T, D]`.
    fn embed(&mut self, pixels: &Value) -> Value {
        let (width, patch) = (self.config.embed_dim, self.config.patch_size);
        let stored = self.config.base_grid() * self.config.base_grid();
        self.graph.enter("pos_embed");
        let pos_embed = self.graph.weight("pos_embed", &[1, stored + 1, width], Order::Kept);
        let positions = self.positions(pixels, &pos_embed); // [1, D, a, b]
        let Self { graph, config } = self;
        graph.enter("patch_embed");
        let kernel = [width, config.normalize.mean.len(), patch, patch];
        let kernel = graph.weight("patch_embed.proj.weight", &kernel, Order::Kept);
        let bias = graph.weight("patch_embed.proj.bias", &[width], Order::Kept);
        let sides = Attribute::Ints(&[patch as i64; 2]);
        let patches = graph.node("Conv", &[pixels, &kernel, &bias], &[("kernel_shape", sides), ("strides", sides)]);
        let patches = graph.node("Add", &[&patches, &positions], &[]); // [B, D, a, b]
        let flat = graph.ints(&[0, 0, -1]);
        let patches = graph.node("Reshape", &[&patches, &flat], &[]); // [B, D, N]
        let patches = transpose(graph, &patches, &[0, 2, 1]); // [B, N, D]
        graph.enter("cls_token");
        let class = graph.weight("cls_token", &[1, 1, width], Order::Kept);
        let position = slice(graph, &pos_embed, 1, 0..1);
        let class = graph.node("Add", &[&class, &position], &[]);
        let batch = graph.node("Shape", &[pixels], &[("start", Attribute::Int(0)), ("end", Attribute::Int(1))]);
        let one = graph.ints(&[1]);
        let shape = graph.node("Concat", &[&batch, &one, &one], &[("axis", Attribute::Int(0))]);
        let class = graph.node("Expand", &[&class, &shape], &[]); // [B, 1, D]
        graph.node("Concat", &[&class, &patches], &[("axis", Attribute::Int(1))]) // [B, T, D]
    }

    /// The patches' positions for the size of `pixels`, `[1, D, a, b]`, as `interpolate_pos_encoding` has them: unchanged for a square
    /// image with the stored grid; otherwise bicubic by the factor (grid + 0.1) / stored grid, which is also that of the coordinates.
    fn positions(&mut self, pixels: &Value, pos_embed: &Value) -> Value {
        let Self { graph, config } = self;
        let (side, width) = (config.base_grid() as i64, config.embed_dim as i64);
        let stored = slice(graph, pos_embed, 1, 1..i64::MAX);
        let square = graph.ints(&[1, side, side, width]);
        let stored = graph.node("Reshape", &[&stored, &square], &[]);
        let stored = transpose(graph, &stored, &[0, 3, 1, 2]); // [1, D, side, side]

        let size = graph.node("Shape", &[pixels], &[("start", Attribute::Int(2))]); // height, width
        let patch = graph.ints(&[config.patch_size as i64]);
        let grid = graph.node("Div", &[&size, &patch], &[]); // a, b
        // For a square image both fit or neither does, so that each side may be compared by itself.
        let [height, width] = graph.node_with_outputs("Split", &[&size], &[("axis", Attribute::Int(0))]);
        let is_square = graph.node("Equal", &[&height, &width], &[]);
        let stored_side = graph.ints(&[side]);
        let fits = graph.node("Equal", &[&grid, &stored_side], &[]);
        let unchanged = graph.node("And", &[&fits, &is_square], &[]);

        let grid = graph.node("Cast", &[&grid], &[("to", Attribute::Int(super::proto::FLOAT.into()))]);
        let offset = graph.float(OFFSET);
        let grid = graph.node("Add", &[&grid, &offset], &[]);
        let side = graph.float(side as f32);
        let factor = graph.node("Div", &[&grid, &side], &[]);
        let one = graph.float(1.0);
        let factor = graph.node("Where", &[&unchanged, &one, &factor], &[]);
        let ones = graph.floats(&[1.0, 1.0]);
        let factors = graph.node("Concat", &[&ones, &factor], &[("axis", Attribute::Int(0))]);
        let cubic = [
            ("mode", Attribute::Text("cubic")),
            ("cubic_coeff_a", Attribute::Float(CUBIC)),
            ("coordinate_transformation_mode", Attribute::Text("half_pixel")),
        ];
        graph.node("Resize", &[&stored, &Value::none(), &factors], &cubic)
    }

    /// One block: the tokens that ask, after it, `[B, Q, D]`, and what they attended to, `[B, H, Q, T]`.
    fn block(&mut self, name: &str, x: &Value, queries: Queries) -> (Value, Value) {
        let normed = self.layer_norm(&format!("{name}.norm1"), x);
        let (attended, probs) = self.attention(&format!("{name}.attn"), &normed, queries);
        let x = self.asking(x, queries);
        let x = self.graph.node("Add", &[&x, &attended], &[]);
        let normed = self.layer_norm(&format!("{name}.norm2"), &x);
        let values = self.mlp(&format!("{name}.mlp"), &normed);
        (self.graph.node("Add", &[&x, &values], &[]), probs)
    }

    /// Multi-head attention of `x`, `[B, T, D]`: `[B, Q, D]`, and its probabilities, `[B, H, Q, T]`.
    fn attention(&mut self, name: &str, x: &Value, queries: Queries) -> (Value, Value) {
        let (width, heads) = (self.config.embed_dim, self.config.num_heads);
        let head_dim = width / heads;
        let qkv = self.linear(&format!("{name}.qkv"), x, [width, 3 * width]);
        self.graph.enter(name);
        let [q, k, v] = self.graph.node_with_outputs("Split", &[&qkv], &[("axis", Attribute::Int(-1))]);
        let q = self.asking(&q, queries);
        let graph = &mut self.graph;
        let split = graph.ints(&[0, 0, heads as i64, head_dim as i64]);
        let [q, k, v] = [q, k, v].map(|x| graph.node("Reshape", &[&x, &split], &[])); // [B, T, H, D/H]
        let q = transpose(graph, &q, &[0, 2, 1, 3]);
        let k = transpose(graph, &k, &[0, 2, 3, 1]);
        let v = transpose(graph, &v, &[0, 2, 1, 3]);
        let scale = graph.float((head_dim as f32).sqrt().recip());
        let q = graph.node("Mul", &[&q, &scale], &[]);
        let scores = graph.node("MatMul", &[&q, &k], &[]);
        let probs = graph.node("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]); // [B, H, Q, T]
        let attended = graph.node("MatMul", &[&probs, &v], &[]);
        let attended = transpose(graph, &attended, &[0, 2, 1, 3]);
        let join = graph.ints(&[0, 0, width as i64]);
        let attended = graph.node("Reshape", &[&attended, &join], &[]); // [B, Q, D]
        (self.linear(&format!("{name}.proj"), &attended, [width, width]), probs)
    }

    fn mlp(&mut self, name: &str, x: &Value) -> Value {
        let width = self.config.embed_dim;
        let hidden = self.config.hidden();
        let x = self.linear(&format!("{name}.fc1"), x, [width, hidden]);
        let x = self.gelu(&x);
        self.linear(&format!("{name}.fc2"), &x, [hidden, width])
    }

    /// x/2 · (1 + erf(x/√2)), in the order of operations by which runtimes know it.
    fn gelu(&mut self, x: &Value) -> Value {
        let graph = &mut self.graph;
        let [root, one, half] = [SQRT_2, 1.0, 0.5].map(|value| graph.float(value));
        let erf = graph.node("Div", &[x, &root], &[]);
        let erf = graph.node("Erf", &[&erf], &[]);
        let sum = graph.node("Add", &[&erf, &one], &[]);
        let product = graph.node("Mul", &[x, &sum], &[]);
        graph.node("Mul", &[&product, &half], &[])
    }

    /// `x·wᵀ + bias` from `inputs` to `outputs`; the file holds wᵀ, so that nothing is left to transpose.
    fn linear(&mut self, name: &str, x: &Value, [inputs, outputs]: [usize; 2]) -> Value {
        let graph = &mut self.graph;
        graph.enter(name);
        let weight = graph.weight(format!("{name}.weight"), &[outputs, inputs], Order::Transposed);
        let bias = graph.weight(format!("{name}.bias"), &[outputs], Order::Kept);
        let product = graph.node("MatMul", &[x, &weight], &[]);
        graph.node("Add", &[&product, &bias], &[])
    }

    fn layer_norm(&mut self, name: &str, x: &Value) -> Value {
        let Self { graph, config } = self;
        graph.enter(name);
        let gamma = graph.weight(format!("{name}.weight"), &[config.embed_dim], Order::Kept);
        let beta = graph.weight(format!("{name}.bias"), &[config.embed_dim], Order::Kept);
        let epsilon = Attribute::Float(LAYER_NORM_EPS as f32);
        graph.node("LayerNormalization", &[x, &gamma, &beta], &[("axis", Attribute::Int(-1)), ("epsilon", epsilon)])
    }

    /// The rows of `x`, `[B, T, D]`, that ask.
    fn asking(&mut self, x: &Value, queries: Queries) -> Value {
        match queries {
            Queries::All => x.clone(),
            Queries::Class => slice(&mut self.graph, x, 1, 0..1),
        }
    }
}

fn transpose(graph: &mut Graph, x: &Value, axes: &[i64]) -> Value {
    graph.node("Transpose", &[x], &[("perm", Attribute::Ints(axes))])
}

fn slice(graph: &mut Graph, x: &Value, axis: i64, range: std::ops::Range<i64>) -> Value {
    let [start, end, axis] = [range.start, range.end, axis].map(|value| graph.ints(&[value]));
    graph.node("Slice", &[x, &start, &end, &axis], &[])
}
