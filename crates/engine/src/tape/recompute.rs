//! Recomputation: of a part of a network only the input is kept, and the gradient runs the part again (Chen et al. 2016,
//! "Training Deep Nets with Sublinear Memory Cost").

use std::cell::Cell;
use std::rc::Rc;

use super::{Backward, Loss, Record, Tape};
use crate::tensor::{Buffer, Matrix, Slot};

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

    /// What parts keep.
    pub fn keeps(&self) -> Keep {
        self.keep
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
            back.again(&input, d_out, |tape, x| run(tape, x).slot());
        })
    }

    /// A loss of `x` and of constants, likewise.
    pub fn loss_part(&mut self, x: &Matrix, run: impl Fn(&mut Tape<'a>, &Matrix) -> Loss + 'a) -> Loss {
        if self.keep == Keep::Everything || self.record == Record::Nothing {
            return run(self, x);
        }
        let value = run(&mut Tape::infer(self.kernels, self.params, self.pool), x).value;
        let mut out = self.pool.take(1);
        out[0] = value as f32;
        let input = x.clone();
        let node = self.push(out, 1, move |back, scale| back.again(&input, scale, |tape, x| run(tape, x).slot));
        Loss { value, slot: node.slot() }
    }
}

impl<'a> Backward<'a, '_> {
    /// Runs a part that has kept `input` alone once more, and its gradient; `run` says where that of its output goes.
    fn again(&mut self, input: &Matrix, d_out: Rc<Buffer>, run: impl FnOnce(&mut Tape<'a>, &Matrix) -> Slot) {
        let mut tape = Tape::train(self.kernels, self.params, self.pool);
        let gradient = Rc::new(Cell::new(None));
        let caught = Rc::clone(&gradient);
        let x = tape.push_shared(Rc::clone(&input.buffer), input.columns, move |_, d_x| caught.set(Some(d_x)));
        let out = run(&mut tape, &x);
        tape.replay(out, d_out, self.grads);
        if let Some(d_x) = gradient.take() {
            self.give(input.slot(), d_x);
        }
    }
}
