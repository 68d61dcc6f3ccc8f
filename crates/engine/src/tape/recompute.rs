//! Recomputation: of a part of a network only the input is kept, and the gradient runs the part again (Chen et al. 2016,
//! "Training Deep Nets with Sublinear Memory Cost").

use std::cell::Cell;
use std::rc::Rc;

use super::{Record, Tape};
use crate::tensor::Matrix;

/// What a part of a network leaves in memory for its gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Whatever its operations need.
    Everything,
    /// Its input; everything else is computed again.
    Inputs,
}

impl<'a> Tape<'a> {
    /// What parts run by [`Tape::part`] keep from now on; at first, everything.
    pub fn keep(&mut self, keep: Keep) {
        self.keep = keep;
    }

    /// Runs a part of a network on `x`. With [`Keep::Inputs`] the same values cost one more forward pass of the part and
    /// the memory of its input instead of that of everything in it; `run` must do the same each time.
    pub fn part(&mut self, x: &Matrix, run: impl Fn(&mut Tape<'a>, &Matrix) -> Matrix + 'a) -> Matrix {
        if self.keep == Keep::Everything || self.record == Record::Nothing {
            return run(self, x);
        }
        let mut first = Tape::infer(self.kernels, self.params, self.pool);
        first.statistics = std::mem::take(&mut self.statistics);
        let out = run(&mut first, x);
        self.statistics = first.statistics;
        let input = x.clone();
        self.push_shared(out.buffer, out.columns, move |back, d_out| {
            let mut again = Tape::train(back.kernels, back.params, back.pool);
            let gradient = Rc::new(Cell::new(None));
            let caught = Rc::clone(&gradient);
            let x = again.push_shared(Rc::clone(&input.buffer), input.columns, move |_, d_x| caught.set(Some(d_x)));
            let out = run(&mut again, &x);
            again.replay(out.slot(), d_out, back.grads);
            if let Some(d_x) = gradient.take() {
                back.give(input.slot(), d_x);
            }
        })
    }
}
