//! Cross-covariance attention (El-Nouby et al. 2021) with the LayerNorm before it, kept like attention's branch.

use super::{Dense, Heads, Norm, Tape};
use crate::kernels::CrossCovariance;
use crate::params::ParamId;
use crate::tensor::Matrix;
use crate::values::Values;

/// The least length that a column of queries or keys is divided by: `torch.nn.functional.normalize`.
const EPS: f64 = 1e-12;

/// The tensors of a cross-covariance attention.
#[derive(Debug, Clone, Copy)]
pub struct CrossCovarianceParams {
    /// The norm of the tokens.
    pub norm: Norm,
    /// Makes queries, keys and values, `[3·D, D]`.
    pub qkv: Dense,
    /// What the cosines of each head are multiplied by, `[heads, 1, 1]`.
    pub temperature: ParamId,
}

impl Tape<'_> {
    /// Cross-covariance attention within each segment, of the tokens' norm: `[T, D]` to `[T, D]`, before the projection.
    pub fn cross_covariance(&mut self, x: &Matrix, with: CrossCovarianceParams, heads: &Heads) -> Matrix {
        let (run, width) = (self.run(), x.columns());
        let CrossCovarianceParams { norm, qkv, temperature } = with;
        let saved = run.qkv(x, norm, qkv);
        let mut out = run.pool.take(x.rows() * width);
        run.kernels.cross_covariance(op(heads, (saved.values(), width), run.params.get(temperature)), &mut out);
        let (input, heads) = (x.clone(), heads.clone());
        self.push(out, width, move |back, d_out| {
            let (kernels, params) = (back.kernels, back.params);
            let mut d_qkv = back.run().between(saved.values().len());
            let op = op(&heads, (saved.values(), width), params.get(temperature));
            kernels.cross_covariance_backward(op, &d_out, d_qkv.values_mut(), back.grad(temperature));
            drop((saved, d_out));
            back.normed_linear(&input, norm, qkv, d_qkv);
        })
    }
}

/// `qkv` is `[T, 3·D]` for tokens of `width` D.
fn op<'x>(
    heads: &'x Heads,
    (qkv, width): (Values<'x, f32>, usize),
    temperature: &'x [f32],
) -> CrossCovariance<'x, f32> {
    let tokens = heads.op(qkv, width);
    let (heads, head_dim, segments) = (tokens.heads, tokens.head_dim, tokens.segments);
    CrossCovariance { qkv, heads, head_dim, segments, temperature, eps: EPS }
}
