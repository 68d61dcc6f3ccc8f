//! The backward pass: gradients of matrices wait here until the operation that made them is replayed.

use std::rc::Rc;

use super::branch::Run;
use super::{Loss, Tape};
use crate::kernels::{Kernels, LinearSize, Residual, Write};
use crate::params::{ParamId, Params, Role};
use crate::tensor::{Buffer, Matrix, Pool, Slot};
use crate::values::Values;

/// State of a backward pass.
pub struct Backward<'a, 'g> {
    pub(super) kernels: &'a dyn Kernels<f32>,
    pub(super) params: &'a Params,
    pub(super) pool: &'a Pool,
    pub(super) pending: Vec<Option<Rc<Buffer>>>,
    pub(super) grads: &'g mut [f32],
}

impl Tape<'_> {
    /// Adds `scale` times the gradient of `loss` to `grads`, which lies like the parameters. The tape is used up.
    ///
    /// # Panics
    /// If `grads` does not have the parameters' length.
    pub fn backward(self, loss: &Loss, scale: f32, grads: &mut [f32]) {
        self.replay_from(loss.slot, &[scale], grads);
    }

    /// Adds the gradient of the parameters to `grads`, given that of `output`. The tape is used up.
    ///
    /// # Panics
    /// If `d_output` does not have the output's length or `grads` not that of the parameters.
    pub fn backward_from(self, output: &Matrix, d_output: &[f32], grads: &mut [f32]) {
        assert_eq!(d_output.len(), output.values().len(), "the gradient of a matrix has its length");
        self.replay_from(output.slot(), d_output, grads);
    }

    fn replay_from(self, from: Slot, gradient: &[f32], grads: &mut [f32]) {
        let mut seed = self.pool.take(gradient.len());
        seed.copy_from_slice(gradient);
        self.replay(from, Rc::new(seed), grads);
    }

    pub(super) fn replay(mut self, from: Slot, gradient: Rc<Buffer>, grads: &mut [f32]) {
        assert_eq!(grads.len(), self.params.values().len(), "gradients lie like the parameters");
        let mut pending: Vec<Option<Rc<Buffer>>> = Vec::new();
        pending.resize_with(self.nodes.len(), || None);
        let mut back = Backward { kernels: self.kernels, params: self.params, pool: self.pool, pending, grads };
        back.give(from, gradient);
        while let Some(node) = self.nodes.pop() {
            if let Some(gradient) = back.pending.pop().flatten() {
                node(&mut back, gradient);
            }
        }
    }
}

impl<'a> Backward<'a, '_> {
    pub(super) fn run(&self) -> Run<'a> {
        Run { kernels: self.kernels, params: self.params, frozen: None, pool: self.pool }
    }

    /// The buffer itself if nothing else holds it, else a copy.
    pub(super) fn own(&self, shared: Rc<Buffer>) -> Buffer {
        Rc::try_unwrap(shared).unwrap_or_else(|shared| {
            let mut copy = self.pool.take(shared.len());
            copy.copy_from_slice(&shared);
            copy
        })
    }

    /// Adds a whole gradient to what waits in `slot`. Sharing the buffer is free until somebody else adds to it.
    pub(super) fn give(&mut self, slot: Slot, gradient: Rc<Buffer>) {
        let Some(node) = slot else { return };
        let total = match self.pending[node].take() {
            None => gradient,
            Some(waiting) => {
                let mut sum = self.own(waiting);
                self.kernels.add(&gradient, &mut sum);
                Rc::new(sum)
            }
        };
        self.pending[node] = Some(total);
    }

    /// Where the gradient of a matrix of `len` values can be written, and whether there is something to add to. Follow
    /// with [`Self::put`].
    pub(super) fn destination(&mut self, slot: Slot, len: usize) -> (Buffer, Write) {
        match slot.and_then(|node| self.pending[node].take()) {
            Some(waiting) => (self.own(waiting), Write::Add),
            None => (self.pool.take(len), Write::Replace),
        }
    }

    /// Stores what [`Self::destination`] lent.
    pub(super) fn put(&mut self, slot: Slot, gradient: Buffer) {
        if let Some(node) = slot {
            self.pending[node] = Some(Rc::new(gradient));
        }
    }

    /// The gradient of a trained parameter.
    pub(super) fn grad(&mut self, id: ParamId) -> Option<&mut [f32]> {
        let spec = self.params.layout().spec(id);
        (spec.role == Role::Trained).then(|| &mut self.grads[spec.range()])
    }

    /// The gradients of two different parameters at once; absent for those that are not trained.
    pub(super) fn two_grads(&mut self, a: ParamId, b: ParamId) -> (Option<&mut [f32]>, Option<&mut [f32]>) {
        let (spec_a, spec_b) = (self.params.layout().spec(a), self.params.layout().spec(b));
        let Ok([grad_a, grad_b]) = self.grads.get_disjoint_mut([spec_a.range(), spec_b.range()]) else {
            return (None, None);
        };
        let trained = |role| role == Role::Trained;
        (trained(spec_a.role).then_some(grad_a), trained(spec_b.role).then_some(grad_b))
    }

    /// The gradients of a layer's weight and bias; absent for those that are not trained.
    pub(super) fn layer_grads(
        &mut self,
        weight: ParamId,
        bias: Option<ParamId>,
    ) -> (Option<&mut [f32]>, Option<&mut [f32]>) {
        match bias {
            Some(bias) => self.two_grads(weight, bias),
            None => (self.grad(weight), None),
        }
    }

    pub(super) fn linear(&mut self, x: &Matrix, weight: ParamId, bias: Option<ParamId>, d_out: Values<'_, f32>) {
        let (values, size) = (self.params.get(weight), self.run().size([x.rows(), x.columns()], weight));
        if x.slot().is_some() {
            let (mut d_x, write) = self.destination(x.slot(), x.values().len());
            self.kernels.linear_input_grad(d_out, values, size, write, &mut d_x);
            self.put(x.slot(), d_x);
        }
        self.linear_weight(x.values().into(), size, weight, bias, d_out);
    }

    pub(super) fn linear_weight(
        &mut self,
        x: Values<'_, f32>,
        size: LinearSize,
        weight: ParamId,
        bias: Option<ParamId>,
        d_out: Values<'_, f32>,
    ) {
        let kernels = self.kernels;
        match self.layer_grads(weight, bias) {
            (Some(d_weight), d_bias) => kernels.linear_weight_grad(d_out, x, size, d_weight, d_bias),
            (None, Some(d_bias)) => kernels.add_column_sums(d_out, d_bias),
            (None, None) => {}
        }
    }

    pub(super) fn residual_branch(&mut self, d_out: &[f32], gamma: ParamId, branch: &Matrix) -> Buffer {
        let mut d_branch = self.pool.take(d_out.len());
        let (kernels, params, width) = (self.kernels, self.params, branch.columns());
        let op = Residual { branch: branch.values(), gamma: Some(params.get(gamma)), width };
        kernels.residual_backward(d_out, op, &mut d_branch, self.grad(gamma));
        d_branch
    }
}
