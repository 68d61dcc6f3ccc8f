//! The tape: operations run at once, are remembered, and are replayed backwards for the gradient.
//!
//! Networks are written once, forward only. A tape made by [`Tape::train`] remembers what each operation needs for its
//! gradient; one made by [`Tape::infer`] remembers nothing, so that memory is free as soon as a value is out of use.
//!
//! **Invariant:** no broadcasting, no views, no laziness. A method here is one fused kernel and its gradient.

use std::rc::Rc;

use crate::kernels::{
    Attention, Kernels, LinearSize, Residual, Rows, Segment, SoftCrossEntropy, WeightNormLinear, WeightNormLinearGrad,
    Write,
};
use crate::params::{ParamId, Params};
use crate::team::Awake;
use crate::tensor::{Buffer, Matrix, Pool, Slot};
use crate::values::Values;

mod backward;
mod batch_norm;
mod branch;
mod frozen;
mod image;
mod pixels;
mod recompute;
mod rows;
mod sequence;
mod xca;
pub use backward::Backward;
pub use batch_norm::{BatchNorm, Statistics};
pub use branch::Norm;
use branch::Run;
pub use frozen::FrozenParams;
pub use image::{ConvNorm, Convolution};
pub use pixels::{Images, Pixels};
pub use recompute::Keep;
pub use sequence::{TokenGroup, TokenParams};
pub use xca::CrossCovarianceParams;

/// Runs operations on one set of parameters and remembers them.
pub struct Tape<'a> {
    kernels: &'a dyn Kernels<f32>,
    params: &'a Params,
    frozen: Option<&'a FrozenParams<'a>>,
    pool: &'a Pool,
    record: Record,
    keep: Keep,
    nodes: Vec<Node<'a>>,
    statistics: Vec<(ParamId, Vec<f32>)>,
    source: Statistics,
    _awake: Awake,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Record {
    Gradients,
    Nothing,
}

type Node<'a> = Box<dyn FnOnce(&mut Backward<'a, '_>, Rc<Buffer>) + 'a>;

/// Shapes of an attention over packed segments.
#[derive(Debug, Clone)]
pub struct Heads {
    /// Number of heads.
    pub count: usize,
    /// The sequences of the packed matrix.
    pub segments: Rc<[Segment]>,
    /// How many tokens of each sequence are queries, the first ones; rows of the others are not computed.
    pub queries: usize,
}

impl Heads {
    /// Attention in which every token is a query.
    pub fn new(count: usize, segments: Rc<[Segment]>) -> Self {
        Self { count, segments, queries: usize::MAX }
    }

    fn op<'x>(&'x self, qkv: Values<'x, f32>, width: usize) -> Attention<'x, f32> {
        let head_dim = width / self.count;
        Attention { qkv, heads: self.count, head_dim, segments: &self.segments, queries: self.queries }
    }
}

/// Weight `[outputs, inputs]` and bias of a dense layer.
pub type Dense = (ParamId, ParamId);

impl<'a> Tape<'a> {
    /// A tape that remembers what gradients need.
    pub fn train(kernels: &'a dyn Kernels<f32>, params: &'a Params, pool: &'a Pool) -> Self {
        let (record, _awake) = (Record::Gradients, kernels.stay_awake());
        Self {
            kernels,
            params,
            frozen: None,
            pool,
            record,
            keep: Keep::Everything,
            nodes: Vec::new(),
            statistics: Vec::new(),
            source: Statistics::Batch,
            _awake,
        }
    }

    /// A tape for inference: nothing is remembered.
    pub fn infer(kernels: &'a dyn Kernels<f32>, params: &'a Params, pool: &'a Pool) -> Self {
        Self { record: Record::Nothing, ..Self::train(kernels, params, pool) }
    }

    /// The parameters this tape reads.
    pub fn params(&self) -> &'a Params {
        self.params
    }

    /// The kernels this tape runs on.
    pub fn kernels(&self) -> &'a dyn Kernels<f32> {
        self.kernels
    }

    /// Where this tape's memory comes from.
    pub fn pool(&self) -> &'a Pool {
        self.pool
    }

    /// A buffer of arbitrary contents for results that have no gradient.
    pub fn scratch(&self, len: usize) -> Buffer {
        self.pool.take(len)
    }

    /// A constant matrix copied from `values`.
    ///
    /// # Panics
    /// If the length is not rows × columns.
    pub fn constant(&self, values: &[f32], rows: usize, columns: usize) -> Matrix {
        assert_eq!(values.len(), rows * columns, "a constant of {rows} x {columns} needs as many values");
        let mut buffer = self.pool.take(values.len());
        buffer.copy_from_slice(values);
        Matrix { buffer: Rc::new(buffer), rounded: None, rows, columns, node: None }
    }

    /// `x·wᵀ + b`: `[R, I]` to `[R, O]`.
    pub fn linear(&mut self, x: &Matrix, weight: ParamId, bias: Option<ParamId>) -> Matrix {
        let op = self.run().dense(x.values().into(), [x.rows, x.columns], weight, bias);
        let size = op.size;
        let mut out = self.pool.take(size.rows * size.outputs);
        self.kernels.linear(op, (&mut out[..]).into());
        let input = x.clone();
        self.push(out, size.outputs, move |back, d_out| back.linear(&input, weight, bias, d_out[..].into()))
    }

    /// `gelu(x)`, elementwise.
    pub fn gelu(&mut self, x: &Matrix) -> Matrix {
        let mut out = self.pool.take(x.values().len());
        self.kernels.gelu(x.values(), &mut out);
        let input = x.clone();
        self.push(out, x.columns, move |back, d_out| {
            let mut d_x = back.own(d_out);
            back.kernels.gelu_backward(input.values(), &mut d_x);
            back.give(input.slot(), Rc::new(d_x));
        })
    }

    /// `silu(a) ⊙ b` for rows `[a, b]`: `[R, 2·H]` to `[R, H]`.
    pub fn swiglu(&mut self, x: &Matrix) -> Matrix {
        let width = x.columns / 2;
        let mut out = self.pool.take(x.rows * width);
        self.kernels.swiglu(x.values(), width, &mut out);
        let input = x.clone();
        self.push(out, width, move |back, d_out| {
            let mut d_x = back.pool.take(input.values().len());
            back.kernels.swiglu_backward(input.values(), width, &d_out, &mut d_x);
            back.give(input.slot(), Rc::new(d_x));
        })
    }

    /// `gamma⊙x`, a factor for each column: LayerScale where the residual connection is not of all rows.
    pub fn scale(&mut self, x: &Matrix, gamma: ParamId) -> Matrix {
        let zeros = self.pool.zeros(x.values().len());
        let mut out = self.pool.take(x.values().len());
        let op = Residual { branch: x.values(), gamma: Some(self.params.get(gamma)), width: x.columns };
        self.kernels.residual(&zeros, op, &mut out);
        let input = x.clone();
        self.push(out, x.columns, move |back, d_out| {
            let d_x = back.residual_branch(&d_out, gamma, &input);
            back.give(input.slot(), Rc::new(d_x));
        })
    }

    /// LayerNorm over the columns.
    pub fn layer_norm(&mut self, x: &Matrix, norm: Norm) -> Matrix {
        let mut out = self.pool.take(x.values().len());
        let stats = self.run().norm(x, norm, (&mut out[..]).into());
        let input = x.clone();
        self.push(out, x.columns, move |back, d_out| back.layer_norm(&input, norm, &stats, &d_out))
    }

    /// `x + gamma⊙branch`: a residual connection, with LayerScale if `gamma` is given.
    ///
    /// # Panics
    /// If the two matrices differ in shape.
    pub fn residual(&mut self, x: &Matrix, branch: &Matrix, gamma: Option<ParamId>) -> Matrix {
        assert_eq!((x.rows, x.columns), (branch.rows, branch.columns), "both sides of a residual have one shape");
        let mut out = self.pool.take(x.values().len());
        let op = Residual { branch: branch.values(), gamma: gamma.map(|id| self.params.get(id)), width: x.columns };
        self.kernels.residual(x.values(), op, &mut out);
        let (skip, slot, width) = (x.slot(), branch.slot(), x.columns);
        // Only LayerScale needs the branch's values again; otherwise they are freed here.
        let saved = gamma.map(|id| (id, branch.clone()));
        self.push(out, width, move |back, d_out| {
            match saved {
                None => back.give(slot, Rc::clone(&d_out)),
                Some((gamma, branch)) => {
                    let d_branch = back.residual_branch(&d_out, gamma, &branch);
                    back.give(slot, Rc::new(d_branch));
                }
            }
            back.give(skip, d_out);
        })
    }

    /// `x` with `factor·branch[i]` added to its row `rows[i]`: a residual connection whose branch only some rows took.
    ///
    /// # Panics
    /// If the branch does not have one row for each of `rows`.
    pub fn residual_rows(&mut self, x: &Matrix, branch: &Matrix, rows: Rc<[u32]>, factor: f64) -> Matrix {
        assert_eq!((rows.len(), x.columns), (branch.rows, branch.columns), "the branch has the rows that took it");
        let width = x.columns;
        let mut out = self.pool.take(x.values().len());
        out.copy_from_slice(x.values());
        self.kernels.scatter_add_rows(branch.values(), Rows { rows: &rows, width, factor }, &mut out);
        let (skip, slot) = (x.slot(), branch.slot());
        self.push(out, width, move |back, d_out| {
            let mut d_branch = back.pool.take(rows.len() * width);
            back.kernels.gather_rows(&d_out, Rows { rows: &rows, width, factor }, &mut d_branch);
            back.give(slot, Rc::new(d_branch));
            back.give(skip, d_out);
        })
    }

    /// The rows `rows` of `x`, which are distinct.
    pub fn gather_rows(&mut self, x: &Matrix, rows: Rc<[u32]>) -> Matrix {
        let width = x.columns;
        let mut out = self.pool.take(rows.len() * width);
        self.kernels.gather_rows(x.values(), Rows { rows: &rows, width, factor: 1.0 }, &mut out);
        let (slot, len) = (x.slot(), x.values().len());
        self.push(out, width, move |back, d_out| {
            let (mut d_x, write) = back.destination(slot, len);
            if write == Write::Replace {
                d_x.fill(0.0);
            }
            back.kernels.scatter_add_rows(&d_out, Rows { rows: &rows, width, factor: 1.0 }, &mut d_x);
            back.put(slot, d_x);
        })
    }

    /// Rows divided by their Euclidean norm, clamped from below at `eps`.
    pub fn l2_normalize(&mut self, x: &Matrix, eps: f64) -> Matrix {
        let mut out = self.pool.take(x.values().len());
        let mut norms = self.pool.take(x.rows);
        self.kernels.l2_normalize(x.values(), eps, &mut out, &mut norms);
        let out = Rc::new(out);
        let (slot, saved) = (x.slot(), Rc::clone(&out));
        self.push_shared(out, x.columns, move |back, d_out| {
            let mut d_x = back.pool.take(d_out.len());
            back.kernels.l2_normalize_backward(&d_out, &saved, &norms, eps, &mut d_x);
            back.give(slot, Rc::new(d_x));
        })
    }

    /// The weight-normalised layer `g·(x·v)/‖v‖`: `[R, I]` to `[R, O]`.
    pub fn weight_norm_linear(&mut self, x: &Matrix, v: ParamId, g: ParamId) -> Matrix {
        let outputs = self.params.get(g).len();
        let size = LinearSize { rows: x.rows, inputs: x.columns, outputs };
        let params = self.params;
        let mut out = self.pool.take(size.rows * outputs);
        let mut inverse_norms = self.pool.take(outputs);
        let op = WeightNormLinear { x: x.values(), v: params.get(v), g: params.get(g), size };
        self.kernels.weight_norm_linear(op, &mut inverse_norms, &mut out);
        let input = x.clone();
        self.push(out, outputs, move |back, d_out| {
            let mut d_out = back.own(d_out);
            let (kernels, params) = (back.kernels, back.params);
            let mut d_x = input.node.map(|_| back.pool.take(input.values().len()));
            let (d_v, d_g) = back.two_grads(v, g);
            let op = WeightNormLinear { x: input.values(), v: params.get(v), g: params.get(g), size };
            let grad = WeightNormLinearGrad { x: d_x.as_deref_mut(), v: d_v, g: d_g };
            kernels.weight_norm_linear_backward(op, &inverse_norms, &mut d_out, grad);
            if let Some(d_x) = d_x {
                back.give(input.slot(), Rc::new(d_x));
            }
        })
    }

    /// The loss of [`SoftCrossEntropy`] for constant targets; see there for the order of the rows.
    pub fn soft_cross_entropy(&mut self, logits: &Matrix, op: SoftCrossEntropy<'_, f32>, targets: &Rc<Buffer>) -> Loss {
        let mut log_sum_exp = self.pool.take(logits.rows);
        let op = SoftCrossEntropy { logits: logits.values(), targets: &targets[..], ..op };
        let value = self.kernels.soft_cross_entropy(op, &mut log_sum_exp);
        let (temp, images, teacher_views, student_views) = (op.temp, op.images, op.teacher_views, op.student_views);
        let (input, targets) = (logits.clone(), Rc::clone(targets));
        let mut out = self.pool.take(1);
        out[0] = value as f32;
        let node = self.push(out, 1, move |back, scale| {
            let mut d_logits = back.pool.take(input.values().len());
            let (logits, targets) = (input.values(), &targets[..]);
            let op = SoftCrossEntropy { logits, targets, temp, images, teacher_views, student_views };
            back.kernels.soft_cross_entropy_backward(op, &log_sum_exp, f64::from(scale[0]), &mut d_logits);
            back.give(input.slot(), Rc::new(d_logits));
        });
        Loss { value, slot: node.slot() }
    }

    /// A loss that was computed from the values of `x` outside of the tape: its value and its gradient with respect to them.
    ///
    /// # Panics
    /// If the gradient does not have as many values as `x`.
    pub fn loss_from(&mut self, x: &Matrix, value: f64, gradient: Vec<f32>) -> Loss {
        assert_eq!(gradient.len(), x.values().len(), "the gradient of a matrix has its length");
        let mut out = self.pool.take(1);
        out[0] = value as f32;
        let slot = x.slot();
        let node = self.push(out, 1, move |back, scale| {
            let mut d_x = back.pool.take(gradient.len());
            d_x.iter_mut().zip(&gradient).for_each(|(to, from)| *to = scale[0] * from);
            back.give(slot, Rc::new(d_x));
        });
        Loss { value, slot: node.slot() }
    }

    /// A sum of losses, each times its weight.
    pub fn sum(&mut self, losses: &[(Loss, f64)]) -> Loss {
        let value = losses.iter().map(|(loss, weight)| weight * loss.value).sum();
        let mut out = self.pool.take(1);
        out[0] = value as f32;
        let parts: Vec<(Slot, f64)> = losses.iter().map(|(loss, weight)| (loss.slot, *weight)).collect();
        let node = self.push(out, 1, move |back, scale| {
            for (slot, weight) in parts {
                let mut d_part = back.pool.take(1);
                d_part[0] = (f64::from(scale[0]) * weight) as f32;
                back.give(slot, Rc::new(d_part));
            }
        });
        Loss { value, slot: node.slot() }
    }

    fn run(&self) -> Run<'a> {
        Run { kernels: self.kernels, params: self.params, frozen: self.frozen, pool: self.pool }
    }

    fn push(
        &mut self,
        out: Buffer,
        columns: usize,
        backward: impl FnOnce(&mut Backward<'a, '_>, Rc<Buffer>) + 'a,
    ) -> Matrix {
        self.push_shared(Rc::new(out), columns, backward)
    }

    fn push_shared(
        &mut self,
        buffer: Rc<Buffer>,
        columns: usize,
        backward: impl FnOnce(&mut Backward<'a, '_>, Rc<Buffer>) + 'a,
    ) -> Matrix {
        let rows = buffer.len().checked_div(columns).unwrap_or(0);
        let node = (self.record == Record::Gradients).then(|| {
            self.nodes.push(Box::new(backward));
            self.nodes.len() - 1
        });
        Matrix { buffer, rounded: None, rows, columns, node }
    }
}

/// A scalar to minimise.
#[derive(Debug, Clone)]
pub struct Loss {
    /// Its value.
    pub value: f64,
    slot: Slot,
}
