//! The XCiT of `nn/xcit.rs` as a graph (El-Nouby et al. 2021), normalised by its running statistics, for any number and size of images.

use std::f64::consts::{FRAC_PI_2, TAU};

use super::graph::{Attribute, Graph, Order, Value};
use super::interface::Output;
use super::layer::{Attention, Bias, Conv, Queries};
use crate::nn::fourier::{FREQUENCIES, LAST_EPS, wave_lengths};
use crate::nn::resnet::LayerSizes;
use crate::nn::xcit::{BATCH_NORM_EPS, CLASS_BLOCKS, MLP_RATIO, XcitConfig};

/// The least length that a column of queries or keys is divided by (`torch.nn.functional.normalize`).
const LEAST_LENGTH: f32 = 1e-12;
/// Side, stride and padding of the local patch interaction's windows.
const LOCAL: [usize; 3] = [3, 1, 1];

struct Network<'a> {
    graph: Graph,
    config: &'a XcitConfig,
}

/// The graph of an XCiT with the output `features`, `[batch, D]`, and the tokens if they are asked for.
pub(super) fn graph(config: &XcitConfig, outputs: &[Output], input_doc: String) -> Graph {
    let mut network = Network { graph: Graph::default(), config };
    let pixels = network.graph.pixels(config.normalize.mean.len(), input_doc);
    let (mut x, shape) = network.embed(&pixels); // [B, N, D]
    for block in 0..config.depth {
        x = network.block(&format!("blocks.{block}"), &x, &shape);
    }
    let graph = &mut network.graph;
    graph.enter("cls_token");
    let class = graph.weight("cls_token", &[1, 1, config.embed_dim], Order::Kept);
    x = graph.prepend(&class, &x); // [B, 1 + N, D]
    for block in 0..CLASS_BLOCKS {
        let is_last = block + 1 == CLASS_BLOCKS;
        let keep = if is_last && !outputs.contains(&Output::Tokens) { Queries::Class } else { Queries::All };
        x = network.class_block(&format!("cls_attn_blocks.{block}"), &x, keep);
    }
    let tokens = network.graph.layer_norm("norm", &x, config.embed_dim); // [B, 1 + N or 1, D]
    network.graph.token_outputs(&tokens, config.embed_dim, outputs);
    network.graph
}

impl Network<'_> {
    /// Patches with their positions, `[B, N, D]`, and the shape of their grid: B, D, rows, columns.
    fn embed(&mut self, pixels: &Value) -> (Value, Value) {
        let mut x = pixels.clone();
        for (number, layer) in self.config.stem().iter().enumerate() {
            if number > 0 {
                x = self.graph.gelu(&x);
            }
            x = self.conv_norm(layer, &x);
        }
        let shape = self.graph.node("Shape", &[&x], &[]);
        let positions = self.positions(&shape); // [1, D, rows, columns]
        let x = self.graph.node("Add", &[&x, &positions], &[]);
        (self.graph.flattened(&x), shape)
    }

    fn conv_norm(&mut self, layer: &LayerSizes, x: &Value) -> Value {
        let LayerSizes { conv, norm, channels, window } = layer;
        let window = [window.kernel, window.stride, window.padding];
        let x = self.graph.conv(conv, x, Conv { channels: *channels, groups: 1, window, bias: Bias::Absent });
        self.graph.batch_norm(norm, &x, channels[1], BATCH_NORM_EPS)
    }

    /// The positions of a grid of this shape, `[1, D, rows, columns]`.
    fn positions(&mut self, shape: &Value) -> Value {
        let Self { graph, config } = self;
        graph.enter("pos_embeder");
        let sides = [2, 3].map(|axis| graph.element(shape, axis));
        let grid = graph.slice(shape, 0, 2..4);
        let features = graph.ints(&[FREQUENCIES as i64]);
        let wide = graph.concat(&[&grid, &features], 0); // rows, columns, 32
        let [y, x] = [(&sides[0], 1), (&sides[1], 0)].map(|(side, other)| {
            let waves = waves(graph, side); // [side, 32]
            let other = graph.ints(&[other]);
            let waves = graph.node("Unsqueeze", &[&waves, &other], &[]);
            graph.node("Expand", &[&waves, &wide], &[]) // [rows, columns, 32]
        });
        let waves = graph.concat(&[&y, &x], 2);
        let waves = graph.transpose(&waves, &[2, 0, 1]);
        let first = graph.ints(&[0]);
        let waves = graph.node("Unsqueeze", &[&waves, &first], &[]); // [1, 64, rows, columns]
        let projection = Conv::tiled([2 * FREQUENCIES, config.embed_dim], 1);
        graph.conv("pos_embeder.token_projection", &waves, projection)
    }

    /// One block of patches, `[B, N, D]`; `shape` is that of their grid.
    fn block(&mut self, name: &str, x: &Value, shape: &Value) -> Value {
        let width = self.config.embed_dim;
        let normed = self.graph.layer_norm(&format!("{name}.norm1"), x, width);
        let attended = self.cross_covariance(&format!("{name}.attn"), &normed);
        let x = self.add_scaled(&format!("{name}.gamma1"), x, &attended);
        let normed = self.graph.layer_norm(&format!("{name}.norm3"), &x, width);
        let local = self.local(&format!("{name}.local_mp"), &normed, shape);
        let x = self.add_scaled(&format!("{name}.gamma3"), &x, &local);
        let normed = self.graph.layer_norm(&format!("{name}.norm2"), &x, width);
        let values = self.graph.mlp(&format!("{name}.mlp"), &normed, [width, MLP_RATIO * width]);
        self.add_scaled(&format!("{name}.gamma2"), &x, &values)
    }

    fn add_scaled(&mut self, gamma: &str, x: &Value, branch: &Value) -> Value {
        let scaled = self.graph.scaled(gamma, branch, self.config.embed_dim);
        self.graph.node("Add", &[x, &scaled], &[])
    }

    /// Attention between the channels of each head (eq. 4): `[B, N, D]` to `[B, N, D]`.
    fn cross_covariance(&mut self, name: &str, x: &Value) -> Value {
        let Self { graph, config } = self;
        let (width, heads) = (config.embed_dim, config.num_heads);
        let qkv = graph.linear(&format!("{name}.qkv"), x, [width, 3 * width]);
        graph.enter(name);
        let parts: [Value; 3] = graph.split(&qkv, -1);
        let split = graph.ints(&[0, 0, heads as i64, (width / heads) as i64]);
        let [q, k, v] = parts.map(|x| graph.node("Reshape", &[&x, &split], &[])); // [B, N, H, d]
        let q = graph.transpose(&q, &[0, 2, 3, 1]); // [B, H, d, N]
        let k = graph.transpose(&k, &[0, 2, 1, 3]);
        let v = graph.transpose(&v, &[0, 2, 3, 1]);
        // Columns of length 1: of every channel over all patches.
        let (q, k) = (unit(graph, &q, 3), unit(graph, &k, 2));
        let cosines = graph.node("MatMul", &[&q, &k], &[]); // [B, H, d, d]
        let temperature = graph.weight(format!("{name}.temperature"), &[heads, 1, 1], Order::Kept);
        let scores = graph.node("Mul", &[&cosines, &temperature], &[]);
        let probs = graph.node("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]);
        let attended = graph.node("MatMul", &[&probs, &v], &[]); // [B, H, d, N]
        let attended = graph.transpose(&attended, &[0, 3, 1, 2]);
        let join = graph.ints(&[0, 0, width as i64]);
        let attended = graph.node("Reshape", &[&attended, &join], &[]);
        graph.linear(&format!("{name}.proj"), &attended, [width, width])
    }

    /// Local patch interaction, `[B, N, D]`: two depthwise convolutions on the grid.
    fn local(&mut self, name: &str, x: &Value, shape: &Value) -> Value {
        let Self { graph, config } = self;
        let width = config.embed_dim;
        graph.enter(name);
        let x = graph.transpose(x, &[0, 2, 1]);
        let x = graph.node("Reshape", &[&x, shape], &[]); // [B, D, rows, columns]
        let depthwise = Conv { channels: [width, width], groups: width, window: LOCAL, bias: Bias::Added };
        let x = graph.conv(&format!("{name}.conv1"), &x, depthwise);
        let x = graph.gelu(&x);
        let x = graph.batch_norm(&format!("{name}.bn"), &x, width, BATCH_NORM_EPS);
        let x = graph.conv(&format!("{name}.conv2"), &x, depthwise);
        graph.flattened(&x)
    }

    /// One block of class attention, `[B, 1 + N, D]`: the class token attends and goes through the MLP; what is kept of the patches
    /// is scaled, normed and doubled on the way.
    fn class_block(&mut self, name: &str, x: &Value, keep: Queries) -> Value {
        let (width, heads) = (self.config.embed_dim, self.config.num_heads);
        let asking = Attention { width, heads, queries: Queries::Class };
        let normed = self.graph.layer_norm(&format!("{name}.norm1"), x, width);
        let (attended, _) = self.graph.attention(&format!("{name}.attn"), &normed, asking); // [B, 1, D]
        let attended = self.before_patches(attended, &normed, keep);
        let x = self.graph.asking(x, keep);
        let x = self.add_scaled(&format!("{name}.gamma1"), &x, &attended);
        let x = self.graph.layer_norm(&format!("{name}.norm2"), &x, width);
        let class = if keep == Queries::All { self.graph.asking(&x, Queries::Class) } else { x.clone() };
        let values = self.graph.mlp(&format!("{name}.mlp"), &class, [width, MLP_RATIO * width]);
        let values = self.graph.scaled(&format!("{name}.gamma2"), &values, width);
        let values = self.before_patches(values, &x, keep);
        self.graph.node("Add", &[&x, &values], &[])
    }

    /// `class`, `[B, 1, D]`, before the patches of `x`, `[B, 1 + N, D]`, where those are kept.
    fn before_patches(&mut self, class: Value, x: &Value, keep: Queries) -> Value {
        if keep == Queries::Class {
            return class;
        }
        let patches = self.graph.slice(x, 1, 1..i64::MAX);
        self.graph.concat(&[&class, &patches], 1)
    }
}

/// The positions along an axis of `length` as waves, `[length, 32]`. A cosine is a sine a quarter of a wave ahead.
fn waves(graph: &mut Graph, length: &Value) -> Value {
    let one = graph.int(1);
    let end = graph.node("Add", &[length, &one], &[]);
    let at = graph.node("Range", &[&one, &end, &one], &[]);
    let [at, last] = [&at, length].map(|value| graph.number(value));
    let eps = graph.float(LAST_EPS as f32);
    let last = graph.node("Add", &[&last, &eps], &[]);
    let fraction = graph.node("Div", &[&at, &last], &[]);
    let columns = graph.ints(&[1]);
    let fraction = graph.node("Unsqueeze", &[&fraction, &columns], &[]); // [length, 1]
    let speeds = graph.floats(&wave_lengths().map(|length| (TAU / length) as f32));
    let phases: [f32; FREQUENCIES] = std::array::from_fn(|i| if i % 2 == 0 { 0.0 } else { FRAC_PI_2 as f32 });
    let phases = graph.floats(&phases);
    let angles = graph.node("Mul", &[&fraction, &speeds], &[]);
    let angles = graph.node("Add", &[&angles, &phases], &[]);
    graph.node("Sin", &[&angles], &[])
}

/// `x` over its length along `axis`.
fn unit(graph: &mut Graph, x: &Value, axis: i64) -> Value {
    let axes = Attribute::Ints(&[axis]);
    let length = graph.node("ReduceL2", &[x], &[("axes", axes), ("keepdims", Attribute::Int(1))]);
    let least = graph.float(LEAST_LENGTH);
    let length = graph.node("Max", &[&length, &least], &[]);
    graph.node("Div", &[x, &length], &[])
}
