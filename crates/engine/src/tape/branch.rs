//! The two branches of a pre-norm transformer block (Vaswani et al. 2017; Dosovitskiy et al. 2021): attention and MLP, each
//! with the LayerNorm before it. What the norm and the GELUs give is not kept for the gradient but computed again: a pass over
//! memory each, for a third of the memory.

use std::rc::Rc;

use super::{Backward, Dense, FrozenParams, Heads, Record, Tape};
use crate::kernels::{AttentionBackward, Kernels, LayerNorm, LayerNormBackward, Linear, LinearSize, Write};
use crate::params::{ParamId, Params};
use crate::tensor::{Between, Buffer, Matrix, Pool};
use crate::values::{Values, ValuesMut};

/// A LayerNorm over the columns.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// Scale.
    pub gamma: ParamId,
    /// Shift.
    pub beta: ParamId,
    /// Added to the variance before the root.
    pub eps: f64,
}

/// What operations run with, on the way forward and back.
#[derive(Clone, Copy)]
pub(super) struct Run<'a> {
    pub kernels: &'a dyn Kernels<f32>,
    pub params: &'a Params,
    pub frozen: Option<&'a FrozenParams<'a>>,
    pub pool: &'a Pool,
}

impl<'a> Run<'a> {
    /// The norm of `x`, `[R, D]`, to `out`; the statistics of its rows.
    pub fn norm(self, x: &Matrix, norm: Norm, out: ValuesMut<'_, f32>) -> Buffer {
        let mut stats = self.pool.take(2 * x.rows());
        let (gamma, beta) = (self.params.get(norm.gamma), self.params.get(norm.beta));
        let op = LayerNorm { x: x.values(), gamma, beta, eps: norm.eps };
        self.kernels.layer_norm(op, out, &mut stats);
        stats
    }

    /// The norm of `x` for a product, and the statistics of its rows.
    fn normed(self, x: &Matrix, norm: Norm) -> (Between, Buffer) {
        let mut out = self.between(x.values().len());
        let stats = self.norm(x, norm, out.values_mut());
        (out, stats)
    }

    /// Room for what one operation hands to the next.
    pub fn between(self, len: usize) -> Between {
        self.pool.between(self.kernels.precision(), len)
    }

    /// Sizes of a dense layer on `rows` rows of `inputs` values.
    pub fn size(self, [rows, inputs]: [usize; 2], weight: ParamId) -> LinearSize {
        LinearSize { rows, inputs, outputs: self.params.get(weight).len() / inputs }
    }

    /// A dense layer on `rows` rows of `inputs` values.
    pub fn dense<'x>(
        self,
        x: Values<'x, f32>,
        shape: [usize; 2],
        weight: ParamId,
        bias: Option<ParamId>,
    ) -> Linear<'x, f32>
    where
        'a: 'x,
    {
        let size = self.size(shape, weight);
        let (weight_of, packed) = (self.params.get(weight), self.frozen.and_then(|frozen| frozen.packed(weight, size)));
        Linear { x, weight: weight_of, bias: bias.map(|id| self.params.get(id)), size, packed }
    }

    /// Queries, keys and values of the tokens `x`, `[T, 3·D]`.
    pub fn qkv(self, x: &Matrix, norm: Norm, qkv: Dense) -> Between {
        let (normed, _) = self.normed(x, norm);
        let op = self.dense(normed.values(), [x.rows(), x.columns()], qkv.0, Some(qkv.1));
        let mut out = self.between(op.size.rows * op.size.outputs);
        self.kernels.linear(op, out.values_mut());
        out
    }
}

impl<'a> Tape<'a> {
    /// Multi-head self-attention within each segment, of the tokens' norm: `[T, D]` to `[T, D]`, before the projection.
    /// `qkv` makes queries, keys and values, `[3·D, D]`. Rows of tokens that are no queries hold anything.
    pub fn attention(&mut self, x: &Matrix, norm: Norm, qkv: Dense, heads: &Heads) -> Matrix {
        let run = self.run();
        let saved = run.qkv(x, norm, qkv);
        let width = x.columns();
        let mut out = run.pool.take(x.rows() * width);
        let mut log_sum_exp = run.pool.take(x.rows() * heads.count);
        run.kernels.attention(heads.op(saved.values(), width), &mut out, &mut log_sum_exp);
        let (input, heads) = (x.clone(), heads.clone());
        self.push(out, width, move |back, d_out| {
            let mut d_qkv = back.run().between(saved.values().len());
            let with = AttentionBackward { d_out: &d_out, log_sum_exp: &log_sum_exp };
            back.kernels.attention_backward(heads.op(saved.values(), width), with, d_qkv.values_mut());
            drop((saved, log_sum_exp, d_out));
            back.normed_linear(&input, norm, qkv, d_qkv);
        })
    }

    /// Attention of each segment's first token to all its tokens, `[heads, len]` per segment. No gradient.
    pub fn first_token_attention(&self, x: &Matrix, norm: Norm, qkv: Dense, heads: &Heads) -> Vec<f32> {
        let tokens: usize = heads.segments.iter().map(|segment| segment.len).sum();
        let mut out = vec![0.0; tokens * heads.count];
        let qkv = self.run().qkv(x, norm, qkv);
        self.kernels.first_token_attention(heads.op(qkv.values(), x.columns()), &mut out);
        out
    }

    /// Dense layers, a GELU after each but the last, of the rows as they are or of their norm: `[R, I]` to `[R, O]`.
    pub fn mlp(&mut self, x: &Matrix, norm: Option<Norm>, hidden: &[Dense], last: Dense) -> Matrix {
        let (run, rows, mut inputs) = (self.run(), x.rows(), x.columns());
        let mut input = norm.map(|norm| run.normed(x, norm).0);
        let mut kept = Vec::with_capacity(hidden.len());
        for &(weight, bias) in hidden {
            let values = input.as_ref().map_or(x.values().into(), Between::values);
            let op = run.dense(values, [rows, inputs], weight, Some(bias));
            let columns = op.size.outputs;
            let mut out = run.between(rows * columns);
            let mut pre = (self.record == Record::Gradients).then(|| run.between(rows * columns));
            run.kernels.linear_gelu(op, pre.as_mut().map(Between::values_mut), out.values_mut());
            kept.extend(pre.map(|pre| (pre, columns)));
            (input, inputs) = (Some(out), columns);
        }
        let values = input.as_ref().map_or(x.values().into(), Between::values);
        let op = run.dense(values, [rows, inputs], last.0, Some(last.1));
        let columns = op.size.outputs;
        let mut out = run.pool.take(rows * columns);
        run.kernels.linear(op, (&mut out[..]).into());
        let (input, layers) = (x.clone(), [hidden, &[last]].concat());
        self.push(out, columns, move |back, d_out| back.mlp(&input, norm, (kept, &layers), d_out))
    }
}

impl Backward<'_, '_> {
    /// `kept` has what went into each GELU, and its columns; then come the layers.
    fn mlp(
        &mut self,
        x: &Matrix,
        norm: Option<Norm>,
        (kept, layers): (Vec<(Between, usize)>, &[Dense]),
        d_out: Rc<Buffer>,
    ) {
        let mut d_hidden: Option<Between> = None;
        for ((mut pre, inputs), &(weight, bias)) in kept.into_iter().zip(&layers[1..]).rev() {
            let (values, size) = (self.params.get(weight), self.run().size([x.rows(), inputs], weight));
            let mut d_pre = self.run().between(pre.values().len());
            let d_out = d_hidden.as_ref().map_or(d_out[..].into(), Between::values);
            self.kernels.gelu_linear_input_grad(d_out, values, size, pre.values_mut(), d_pre.values_mut());
            self.linear_weight(pre.values(), size, weight, Some(bias), d_out);
            d_hidden = Some(d_pre);
        }
        match norm {
            Some(norm) => {
                let d_out = d_hidden.unwrap_or_else(|| Between::Full(self.own(d_out)));
                self.normed_linear(x, norm, layers[0], d_out);
            }
            None => {
                let d_out = d_hidden.as_ref().map_or(d_out[..].into(), Between::values);
                self.linear(x, layers[0].0, Some(layers[0].1), d_out);
            }
        }
    }

    /// Gradients of a dense layer of the norm of `x`.
    pub(super) fn normed_linear(&mut self, x: &Matrix, norm: Norm, (weight, bias): Dense, d_out: Between) {
        let (normed, stats) = self.run().normed(x, norm);
        let (values, size) = (self.params.get(weight), self.run().size([x.rows(), x.columns()], weight));
        self.linear_weight(normed.values(), size, weight, Some(bias), d_out.values());
        drop(normed);
        let mut d_normed = self.pool.take(x.values().len());
        self.kernels.linear_input_grad(d_out.values(), values, size, Write::Replace, &mut d_normed);
        drop(d_out);
        self.layer_norm(x, norm, &stats, &d_normed);
    }

    /// Gradient of a LayerNorm from the statistics of its rows.
    pub(super) fn layer_norm(&mut self, x: &Matrix, norm: Norm, stats: &[f32], d_out: &[f32]) {
        let gamma = self.params.get(norm.gamma);
        let op = LayerNormBackward { d_out, x: x.values(), gamma, stats };
        let (kernels, (mut d_x, write)) = (self.kernels, self.destination(x.slot(), x.values().len()));
        // What is not trained is summed up for nothing.
        let mut unused = [self.pool.take(gamma.len()), self.pool.take(gamma.len())];
        let [no_gamma, no_beta] = unused.each_mut().map(|buffer| &mut buffer[..]);
        let (d_gamma, d_beta) = self.two_grads(norm.gamma, norm.beta);
        let (d_gamma, d_beta) = (d_gamma.unwrap_or(no_gamma), d_beta.unwrap_or(no_beta));
        kernels.layer_norm_backward(op, write, &mut d_x, d_gamma, d_beta);
        self.put(x.slot(), d_x);
    }
}
