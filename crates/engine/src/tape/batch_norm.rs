//! Batch normalisation (Ioffe and Szegedy 2015): with statistics of the batch, which leave running averages behind, or with
//! these averages.

use std::rc::Rc;

use super::{Backward, Record, Tape};
use crate::kernels::{Activation, BatchNormBackward, BatchNormForward, BatchNormGrad, BatchNormOut, Passed};
use crate::params::ParamId;
use crate::tensor::{Buffer, Matrix};
use crate::values::{Values, ValuesMut};

/// The tensors of a batch normalisation.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm {
    /// Scale.
    pub gamma: ParamId,
    /// Shift.
    pub beta: ParamId,
    /// Running mean, a statistic.
    pub running_mean: ParamId,
    /// Running unbiased variance, a statistic.
    pub running_var: ParamId,
    /// Number of batches seen, a statistic.
    pub batches: ParamId,
}

/// Which statistics a batch normalisation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// Those of its rows, in training; of the student and of the teacher alike.
    Batch,
    /// The running averages, in evaluations. Without a gradient.
    Running,
}

/// A batch normalisation and what follows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Normed {
    pub norm: BatchNorm,
    pub eps: f64,
    pub activation: Activation,
}

/// Mean and biased variance of each column.
pub(super) type Moments = [Buffer; 2];

impl Tape<'_> {
    /// Running statistics that normalisation layers want to store, to be applied by the owner of the parameters. A layer that
    /// ran several times has them once, after all of its batches.
    pub fn take_statistics(&mut self) -> Vec<(ParamId, Vec<f32>)> {
        std::mem::take(&mut self.statistics)
    }

    /// Goes on from what [`Tape::take_statistics`] of an earlier tape gave, so that several tapes on the same parameters leave
    /// the statistics of all their batches, one after the other.
    ///
    /// # Panics
    /// If this tape already has statistics of its own.
    pub fn continue_statistics(&mut self, earlier: Vec<(ParamId, Vec<f32>)>) {
        assert!(self.statistics.is_empty(), "statistics of {} tensors would be lost", self.statistics.len());
        self.statistics = earlier;
    }

    /// Which statistics batch normalisations take from now on; at first, those of the batch.
    ///
    /// # Panics
    /// If the tape remembers gradients and the statistics are not the batch's.
    pub fn normalize_by(&mut self, source: Statistics) {
        assert!(source == Statistics::Batch || self.record == Record::Nothing, "running statistics have no gradient");
        self.source = source;
    }

    /// Batch normalisation over the rows with their own statistics, whose running averages are left in
    /// [`Tape::take_statistics`] (momentum 0.1 and unbiased variance, as PyTorch).
    pub fn batch_norm(&mut self, x: &Matrix, norm: BatchNorm, eps: f64) -> Matrix {
        let op = Normed { norm, eps, activation: Activation::Identity };
        let mut out = self.pool.take(x.values().len());
        let to = BatchNormOut { full: Some(&mut out), half: None };
        let moments = self.normed(x.values().into(), op, None, to);
        let input = x.clone();
        self.push(out, x.columns(), move |back, d_out| {
            let (mut d_out, mut d_x) = (back.own(d_out), back.pool.take(input.values().len()));
            back.normed(input.values().into(), (op, &moments, Passed::All), &mut d_out, (&mut d_x[..]).into());
            back.give(input.slot(), Rc::new(d_x));
        })
    }

    /// The normalisation of `x` and what follows it, to `out`; the statistics that it took.
    pub(super) fn normed(
        &mut self,
        x: Values<'_, f32>,
        op: Normed,
        skip: Option<&[f32]>,
        out: BatchNormOut<'_, f32>,
    ) -> Moments {
        let (params, Normed { norm, eps, activation }) = (self.params, op);
        let (gamma, beta) = (params.get(norm.gamma), params.get(norm.beta));
        let [mut mean, mut variance] = [0, 1].map(|_| self.pool.take(gamma.len()));
        let rows = x.len() / gamma.len();
        let op = BatchNormForward { x, gamma, beta, eps, skip, activation };
        match self.source {
            Statistics::Batch => {
                self.kernels.batch_norm(op, out, &mut mean, &mut variance);
                self.track(norm, rows, [&mean, &variance]);
            }
            Statistics::Running => {
                let [mean, variance] = [norm.running_mean, norm.running_var].map(|id| params.get(id));
                self.kernels.batch_norm_with(op, mean, variance, out);
            }
        }
        [mean, variance]
    }

    fn track(&mut self, norm: BatchNorm, rows: usize, [mean, variance]: [&[f32]; 2]) {
        const MOMENTUM: f32 = 0.1; // torch.nn.BatchNorm1d
        let unbiased = rows as f32 / rows.saturating_sub(1).max(1) as f32;
        let average = |new: &[f32], factor: f32, running: &mut [f32]| {
            running.iter_mut().zip(new).for_each(|(old, new)| *old += MOMENTUM * (factor * new - *old));
        };
        average(mean, 1.0, self.running(norm.running_mean));
        average(variance, unbiased, self.running(norm.running_var));
        self.running(norm.batches)[0] += 1.0;
    }

    /// A statistic, after the batches of this tape.
    fn running(&mut self, id: ParamId) -> &mut [f32] {
        let known = self.statistics.iter().position(|(known, _)| *known == id);
        let at = known.unwrap_or_else(|| {
            self.statistics.push((id, self.params.get(id).to_vec()));
            self.statistics.len() - 1
        });
        &mut self.statistics[at].1
    }
}

impl Backward<'_, '_> {
    /// The gradient of a normalisation's input `x`; see [`BatchNormGrad`] for what becomes of `d_out`.
    pub(super) fn normed(
        &mut self,
        x: Values<'_, f32>,
        (op, moments, passed): (Normed, &Moments, Passed<'_, f32>),
        d_out: &mut [f32],
        d_x: ValuesMut<'_, f32>,
    ) {
        let (kernels, params, Normed { norm, eps, .. }) = (self.kernels, self.params, op);
        let (gamma, beta, [mean, variance]) = (params.get(norm.gamma), params.get(norm.beta), moments);
        let op = BatchNormBackward { x, gamma, beta, mean, variance, eps, passed };
        let (d_gamma, d_beta) = self.two_grads(norm.gamma, norm.beta);
        kernels.batch_norm_backward(op, BatchNormGrad { d_out, gamma: d_gamma, beta: d_beta }, d_x);
    }
}
