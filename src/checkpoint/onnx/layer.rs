//! Layers of which several networks are made.
//!
//! Written so that runtimes find the patterns they fuse: `LayerNormalization`, the GELU of five operations, a bias added
//! to a product with constants on the right.

use std::f32::consts::SQRT_2;
use std::ops::Range;

use super::graph::{Attribute, Graph, Order, Value};
use crate::nn::vit::LAYER_NORM_EPS;

/// Which tokens ask in a block. The others are keys and values all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queries {
    All,
    /// The class token: where nothing else is read afterwards, nothing else is computed.
    Class,
}

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention {
    /// Token width, D.
    pub width: usize,
    /// Heads; divides `width`.
    pub heads: usize,
    /// Which tokens ask.
    pub queries: Queries,
}

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Conv {
    /// Channels before and after.
    pub channels: [usize; 2],
    /// Groups of channels that see nothing of each other.
    pub groups: usize,
    /// Side, stride and padding of the windows.
    pub window: [usize; 3],
    /// Whether something is added.
    pub bias: Bias,
}

/// Whether a convolution has a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    Absent,
    Added,
}

impl Conv {
    /// One whose windows do not overlap, or see a single pixel.
    pub(super) fn tiled(channels: [usize; 2], side: usize) -> Self {
        Self { channels, groups: 1, window: [side, side, 0], bias: Bias::Added }
    }
}

impl Graph {
    /// `x·wᵀ + bias` from `inputs` to `outputs`; the file holds wᵀ, so that nothing is left to transpose.
    pub(super) fn linear(&mut self, name: &str, x: &Value, [inputs, outputs]: [usize; 2]) -> Value {
        self.enter(name);
        let weight = self.weight(format!("{name}.weight"), &[outputs, inputs], Order::Transposed);
        let bias = self.weight(format!("{name}.bias"), &[outputs], Order::Kept);
        let product = self.node("MatMul", &[x, &weight], &[]);
        self.node("Add", &[&product, &bias], &[])
    }

    /// A LayerNorm of the last axis.
    pub(super) fn layer_norm(&mut self, name: &str, x: &Value, width: usize) -> Value {
        self.enter(name);
        let [gamma, beta] = ["weight", "bias"].map(|part| self.weight(format!("{name}.{part}"), &[width], Order::Kept));
        let epsilon = Attribute::Float(LAYER_NORM_EPS as f32);
        self.node("LayerNormalization", &[x, &gamma, &beta], &[("axis", Attribute::Int(-1)), ("epsilon", epsilon)])
    }

    /// A batch normalisation of the second axis by its running statistics.
    pub(super) fn batch_norm(&mut self, name: &str, x: &Value, channels: usize, eps: f64) -> Value {
        self.enter(name);
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| self.weight(format!("{name}.{part}"), &[channels], Order::Kept));
        let epsilon = Attribute::Float(eps as f32);
        self.node("BatchNormalization", &[x, &gamma, &beta, &mean, &variance], &[("epsilon", epsilon)])
    }

    /// A convolution of `[B, C, H, W]`.
    pub(super) fn conv(&mut self, name: &str, x: &Value, conv: Conv) -> Value {
        let Conv { channels: [inputs, outputs], groups, window: [kernel, stride, padding], bias } = conv;
        self.enter(name);
        let shape = [outputs, inputs / groups, kernel, kernel];
        let weight = self.weight(format!("{name}.weight"), &shape, Order::Kept);
        let mut taken = vec![x.clone(), weight];
        if bias == Bias::Added {
            taken.push(self.weight(format!("{name}.bias"), &[outputs], Order::Kept));
        }
        let (sides, strides, pads) = ([kernel as i64; 2], [stride as i64; 2], [padding as i64; 4]);
        let attributes = [
            ("kernel_shape", Attribute::Ints(&sides)),
            ("strides", Attribute::Ints(&strides)),
            ("pads", Attribute::Ints(&pads)),
            ("group", Attribute::Int(groups as i64)),
        ];
        self.node("Conv", &taken.iter().collect::<Vec<_>>(), &attributes)
    }

    /// x/2 · (1 + erf(x/√2)), in the order of operations by which runtimes know it.
    pub(super) fn gelu(&mut self, x: &Value) -> Value {
        let [root, one, half] = [SQRT_2, 1.0, 0.5].map(|value| self.float(value));
        let erf = self.node("Div", &[x, &root], &[]);
        let erf = self.node("Erf", &[&erf], &[]);
        let sum = self.node("Add", &[&erf, &one], &[]);
        let product = self.node("Mul", &[x, &sum], &[]);
        self.node("Mul", &[&product, &half], &[])
    }

    /// Two layers with a GELU between them.
    pub(super) fn mlp(&mut self, name: &str, x: &Value, [width, hidden]: [usize; 2]) -> Value {
        let x = self.linear(&format!("{name}.fc1"), x, [width, hidden]);
        let x = self.gelu(&x);
        self.linear(&format!("{name}.fc2"), &x, [hidden, width])
    }

    /// `x` times the weight `name`, a factor for each column: LayerScale.
    pub(super) fn scaled(&mut self, name: &str, x: &Value, width: usize) -> Value {
        self.enter(name);
        let gamma = self.weight(name, &[width], Order::Kept);
        self.node("Mul", &[x, &gamma], &[])
    }

    /// Multi-head attention of `x`, `[B, T, D]`: `[B, Q, D]`, and its probabilities, `[B, H, Q, T]`.
    pub(super) fn attention(&mut self, name: &str, x: &Value, attention: Attention) -> (Value, Value) {
        let Attention { width, heads, queries } = attention;
        let head_dim = width / heads;
        let qkv = self.linear(&format!("{name}.qkv"), x, [width, 3 * width]);
        self.enter(name);
        let [q, k, v] = self.split(&qkv, -1);
        let q = self.asking(&q, queries);
        let split = self.ints(&[0, 0, heads as i64, head_dim as i64]);
        let [q, k, v] = [q, k, v].map(|x| self.node("Reshape", &[&x, &split], &[])); // [B, T, H, D/H]
        let q = self.transpose(&q, &[0, 2, 1, 3]);
        let k = self.transpose(&k, &[0, 2, 3, 1]);
        let v = self.transpose(&v, &[0, 2, 1, 3]);
        let scale = self.float((head_dim as f32).sqrt().recip());
        let q = self.node("Mul", &[&q, &scale], &[]);
        let scores = self.node("MatMul", &[&q, &k], &[]);
        let probs = self.node("Softmax", &[&scores], &[("axis", Attribute::Int(-1))]); // [B, H, Q, T]
        let attended = self.node("MatMul", &[&probs, &v], &[]);
        let attended = self.transpose(&attended, &[0, 2, 1, 3]);
        let join = self.ints(&[0, 0, width as i64]);
        let attended = self.node("Reshape", &[&attended, &join], &[]); // [B, Q, D]
        (self.linear(&format!("{name}.proj"), &attended, [width, width]), probs)
    }

    /// The rows of `x`, `[B, T, D]`, that ask.
    pub(super) fn asking(&mut self, x: &Value, queries: Queries) -> Value {
        match queries {
            Queries::All => x.clone(),
            Queries::Class => self.slice(x, 1, 0..1),
        }
    }

    /// `[B, D, a, b]` as tokens, `[B, a·b, D]`.
    pub(super) fn flattened(&mut self, x: &Value) -> Value {
        let flat = self.ints(&[0, 0, -1]);
        let x = self.node("Reshape", &[x, &flat], &[]); // [B, D, N]
        self.transpose(&x, &[0, 2, 1])
    }

    /// `leading` tokens, `[1, R, D]`, before those of each image, `[B, N, D]`.
    pub(super) fn prepend(&mut self, leading: &Value, x: &Value) -> Value {
        let batch = self.node("Shape", &[x], &[("start", Attribute::Int(0)), ("end", Attribute::Int(1))]);
        let one = self.ints(&[1]);
        let shape = self.concat(&[&batch, &one, &one], 0);
        let leading = self.node("Expand", &[leading, &shape], &[]); // [B, R, D]
        self.concat(&[&leading, x], 1)
    }

    pub(super) fn concat(&mut self, values: &[&Value], axis: i64) -> Value {
        self.node("Concat", values, &[("axis", Attribute::Int(axis))])
    }

    /// `N` parts of one length.
    pub(super) fn split<const N: usize>(&mut self, x: &Value, axis: i64) -> [Value; N] {
        self.node_with_outputs("Split", &[x], &[("axis", Attribute::Int(axis))])
    }

    /// An element of a vector as a scalar.
    pub(super) fn element(&mut self, x: &Value, index: i64) -> Value {
        let index = self.int(index);
        self.node("Gather", &[x, &index], &[])
    }

    pub(super) fn transpose(&mut self, x: &Value, axes: &[i64]) -> Value {
        self.node("Transpose", &[x], &[("perm", Attribute::Ints(axes))])
    }

    pub(super) fn slice(&mut self, x: &Value, axis: i64, range: Range<i64>) -> Value {
        let [start, end, axis] = [range.start, range.end, axis].map(|value| self.ints(&[value]));
        self.node("Slice", &[x, &start, &end, &axis], &[])
    }

    /// An integer as a number.
    pub(super) fn number(&mut self, x: &Value) -> Value {
        self.node("Cast", &[x], &[("to", Attribute::Int(super::proto::FLOAT.into()))])
    }
}
