//! Matrix products of losses, in f32 whatever the networks compute in.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// Rows of the product that a task computes.
const BLOCK: usize = 64;

/// A row-major matrix `[rows, columns]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'v>(MatRef<'v, f32>);

impl<'v> Rows<'v> {
    /// The matrix of these values, of rows of `columns`.
    pub fn new(values: &'v [f32], columns: usize) -> Self {
        Self(MatRef::from_row_major_slice(values, values.len() / columns.max(1), columns))
    }

    /// The transposed matrix.
    pub fn transposed(self) -> Self {
        Self(self.0.transpose())
    }

    /// `self · other`, row-major; the same bits on any number of threads.
    pub fn times(self, other: Self) -> Vec<f32> {
        let (rows, columns) = (self.0.nrows(), other.0.ncols());
        let mut product = vec![0.0; rows * columns];
        product.par_chunks_mut(BLOCK * columns.max(1)).enumerate().for_each(|(number, block)| {
            let count = block.len() / columns;
            let rows = self.0.subrows(number * BLOCK, count);
            let target = MatMut::from_row_major_slice_mut(block, count, columns);
            matmul(target, Accum::Replace, rows, other.0, 1.0, Par::Seq);
        });
        product
    }
}
