//! Matrices that tasks write to, and what happens to a block before it is left.

use half::bf16;

use super::super::gelu;
use super::super::word::Word;
use super::{Block, Finish};
use crate::values::ValuesMut;

/// A matrix of which each task writes its own block.
pub struct Destination<T> {
    first: *mut T,
    /// Distance of rows in memory.
    stride: usize,
    /// Whether rows and columns are exchanged.
    pub transposed: bool,
}

impl<T> Clone for Destination<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Destination<T> {}

// SAFETY: tasks write disjoint blocks, and the slice behind the pointer is borrowed until all of them have ended.
unsafe impl<T: Send> Send for Destination<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Destination<T> {}

impl<T> Destination<T> {
    pub fn new(values: &mut [T], columns: usize) -> Self {
        Self { first: values.as_mut_ptr(), stride: columns, transposed: false }
    }

    pub fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    pub fn at(self, row: usize, column: usize) -> *mut T {
        let [line, at] = self.in_memory([row, column]);
        self.first.wrapping_add(line * self.stride + at)
    }

    /// A row and a column as a line and a place in it, and the other way round.
    fn in_memory(self, [row, column]: [usize; 2]) -> [usize; 2] {
        if self.transposed { [column, row] } else { [row, column] }
    }

    /// A piece of a line in memory.
    ///
    /// # Safety
    /// It lies in the matrix, and nothing else touches it.
    #[inline(always)]
    pub unsafe fn line<'a>(self, [row, column]: [usize; 2], len: usize) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at(row, column), len) }
    }

    /// Memory for one block alone, addressed as the block is in this matrix.
    pub(super) fn block<U>(self, values: &mut [U], block: Block) -> Destination<U> {
        let ([line, at], [lines, len]) = (self.in_memory(block.first), self.in_memory(block.size));
        assert!(values.len() >= lines * len, "room for a block");
        let first = values.as_mut_ptr().wrapping_sub(line * len + at);
        Destination { first, stride: len, transposed: self.transposed }
    }
}

/// A matrix in either precision.
#[derive(Clone, Copy)]
pub enum Place {
    Full(Destination<f32>),
    Half(Destination<bf16>),
}

impl Place {
    pub fn new(values: ValuesMut<'_, f32>, columns: usize) -> Self {
        match values {
            ValuesMut::Full(values) => Self::Full(Destination::new(values, columns)),
            ValuesMut::Half(values) => Self::Half(Destination::new(values, columns)),
        }
    }

    pub fn transposed(self) -> Self {
        match self {
            Self::Full(place) => Self::Full(place.transposed()),
            Self::Half(place) => Self::Half(place.transposed()),
        }
    }
}

impl Block {
    /// What follows the product, line by line in memory, whichever way it was computed. `sums` has the product's block, and
    /// is the destination unless that is rounded.
    #[inline(always)]
    pub fn finish<W: Word>(self, sums: Destination<f32>, out: Place, finish: Finish<Place>) {
        if let (Finish::Keep, Place::Full(_)) = (finish, out) {
            return;
        }
        let [first, place] = sums.in_memory(self.first);
        let [lines, len] = sums.in_memory(self.size);
        for line in first..first + lines {
            let at = sums.in_memory([line, place]);
            // SAFETY: this line of the block lies in every destination, and only one task touches it.
            let values = unsafe { sums.line(at, len) };
            match finish {
                Finish::Keep => {}
                Finish::Gelu => match out {
                    Place::Full(_) => gelu::in_place(values),
                    // As if it had been kept.
                    // SAFETY: as above.
                    Place::Half(out) => gelu_of_rounded::<W>(unsafe { out.line(at, len) }, values),
                },
                // SAFETY: as above.
                Finish::GeluOf(Place::Full(pre)) => gelu::in_place_of(unsafe { pre.line(at, len) }, values),
                // SAFETY: as above.
                Finish::GeluOf(Place::Half(pre)) => gelu_of_rounded::<W>(unsafe { pre.line(at, len) }, values),
                Finish::GeluBackward(Place::Full(x)) => {
                    // SAFETY: as above.
                    gelu::backward_and_forward(unsafe { x.line(at, len) }, values);
                }
                Finish::GeluBackward(Place::Half(x)) => {
                    // SAFETY: as above.
                    gelu::backward_and_forward_rounded::<W>(unsafe { x.line(at, len) }, values);
                }
            }
            if let Place::Half(out) = out {
                // SAFETY: as above.
                W::round(values, unsafe { out.line(at, len) });
            }
        }
    }
}

/// Rounds values to `pre`, and makes them the GELU of that.
#[inline(always)]
fn gelu_of_rounded<W: Word>(pre: &mut [bf16], values: &mut [f32]) {
    W::round(values, pre);
    gelu::of_rounded(pre, values);
}
