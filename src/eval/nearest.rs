//! Exact nearest neighbours by cosine, block by block: memory does not grow with queries times images.
//!
//! Of equally near images the one with the lower index comes first. Neither memory nor the number of threads changes a bit of the
//! result.

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

use super::EvalError;
use super::unit::to_unit_length;

/// Queries of one task. With [`BANK_BLOCK`] it bounds the similarities a thread holds to 2 MB.
pub(super) const QUERY_BLOCK: usize = 128;

/// Queries of one task that ranks all rows.
const RANKED_BLOCK: usize = 8;

/// Rows of the bank in one matrix product.
const BANK_BLOCK: usize = 4096;

/// An image near a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    /// Index of the image in the bank.
    pub index: usize,
    /// Cosine of its feature with the query's.
    pub similarity: f32,
}

/// Features scaled to unit length.
#[derive(Clone, Debug)]
pub struct UnitRows {
    values: Vec<f32>, // [N, D]
    dim: usize,
}

impl UnitRows {
    /// Scales features to unit length; a row of zeros stays as it is. `what` names them in errors.
    ///
    /// # Shapes
    /// `values` is `[N, D]` for `dim` = D.
    ///
    /// # Errors
    /// Empty input, a length that is no multiple of D, a value that is not finite.
    pub fn new(mut values: Vec<f32>, dim: usize, what: &'static str) -> Result<Self, EvalError> {
        if values.is_empty() || dim == 0 {
            return Err(EvalError::Empty { what });
        }
        if !values.len().is_multiple_of(dim) {
            let expected = values.len() / dim * dim;
            return Err(EvalError::Size { what, found: values.len(), expected });
        }
        normalise_rows(&mut values, dim, (what, 0))?;
        Ok(Self { values, dim })
    }

    /// Returns the number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Returns whether there are no rows; there always are some.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the length of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Returns a row.
    ///
    /// # Panics
    /// If there is none at `index`.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dim..][..self.dim]
    }

    /// Returns all rows one after the other, `[N, D]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Returns the cosine of two rows.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn similarity(&self, a: usize, b: usize) -> f32 {
        self.row(a).iter().zip(self.row(b)).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
    }

    /// Runs `search` on blocks of unit queries, in parallel, and returns its answers in order.
    ///
    /// # Shapes
    /// `queries` is `[M, D]`, of any length of row.
    ///
    /// # Errors
    /// A number of values that is no multiple of D, a value that is not finite.
    pub(super) fn for_each_block<T: Send>(
        &self,
        queries: &[f32],
        search: impl Fn(&[f32]) -> T + Sync,
    ) -> Result<Vec<T>, EvalError> {
        self.for_each_block_from(0, queries, search)
    }

    /// The same for queries of which the first is row `first` of all, which errors count.
    fn for_each_block_from<T: Send>(
        &self,
        first: usize,
        queries: &[f32],
        search: impl Fn(&[f32]) -> T + Sync,
    ) -> Result<Vec<T>, EvalError> {
        if !queries.len().is_multiple_of(self.dim) {
            let expected = queries.len() / self.dim * self.dim;
            return Err(EvalError::Size { what: "the query features", found: queries.len(), expected });
        }
        let blocks = queries.par_chunks(QUERY_BLOCK * self.dim).enumerate().map(|(number, block)| {
            let mut unit = block.to_vec();
            normalise_rows(&mut unit, self.dim, ("the query features", first + number * QUERY_BLOCK))?;
            Ok(search(&unit))
        });
        blocks.collect()
    }

    /// Calls `each` with (place in the block, first row of the bank, similarities to the rows from there on), for every query of a
    /// block of unit queries and every block of the bank, whose rows come in order.
    pub(super) fn similarities(&self, block: &[f32], mut each: impl FnMut(usize, usize, &[f32])) {
        let count = block.len() / self.dim;
        let queries = MatRef::from_row_major_slice(block, count, self.dim); // [B, D]
        let mut similarities = vec![0.0_f32; count * BANK_BLOCK.min(self.len())];
        for (number, rows) in self.values.chunks(BANK_BLOCK * self.dim).enumerate() {
            let width = rows.len() / self.dim;
            let bank = MatRef::from_row_major_slice(rows, width, self.dim); // [W, D]
            let product = &mut similarities[..count * width];
            let target = MatMut::from_row_major_slice_mut(product, count, width); // [B, W]
            // One thread each: the blocks already fill the machine, and the order of sums stays fixed.
            matmul(target, Accum::Replace, queries, bank.transpose(), 1.0, Par::Seq);
            for (place, row) in product.chunks_exact(width).enumerate() {
                each(place, number * BANK_BLOCK, row);
            }
        }
    }

    /// Returns the `k` nearest rows of each query of a block of unit queries, nearest first.
    pub(super) fn nearest(&self, block: &[f32], k: usize) -> Vec<Vec<Neighbour>> {
        let mut nearest = vec![Nearest::new(k); block.len() / self.dim];
        self.similarities(block, |place, first, row| nearest[place].add(first, row));
        nearest.into_iter().map(Nearest::into_sorted).collect()
    }

    /// Returns the `k` nearest rows of each query, nearest first, without the query itself where `own` says which row it is; fewer if
    /// there are no more.
    ///
    /// # Shapes
    /// `queries` is `[M, D]` of any length of row, `own` `[M]`.
    ///
    /// # Errors
    /// `k` = 0, sizes that do not fit, a value that is not finite.
    pub fn nearest_others(
        &self,
        queries: &[f32],
        own: &[Option<usize>],
        k: usize,
    ) -> Result<Vec<Vec<Neighbour>>, EvalError> {
        if k == 0 {
            return Err(EvalError::NoNeighbours);
        }
        if queries.len() != own.len() * self.dim {
            let expected = own.len() * self.dim;
            return Err(EvalError::Size { what: "the query features", found: queries.len(), expected });
        }
        // One more, for the query itself may be among them.
        let found = self.for_each_block(queries, |block| self.nearest(block, k.saturating_add(1).min(self.len())))?;
        let without = |(mut found, own): (Vec<Neighbour>, &Option<usize>)| {
            found.retain(|neighbour| Some(neighbour.index) != *own);
            found.truncate(k);
            found
        };
        Ok(found.into_iter().flatten().zip(own).map(without).collect())
    }
}

impl UnitRows {
    /// Calls `each` with the number of every query and all rows, nearest first, in parallel, and returns its answers in order.
    ///
    /// # Shapes
    /// `queries` is `[M, D]`, of any length of row.
    ///
    /// # Errors
    /// A number of values that is no multiple of D, a value that is not finite.
    pub fn ranked<T: Send>(
        &self,
        queries: &[f32],
        each: impl Fn(usize, &[Neighbour]) -> T + Sync,
    ) -> Result<Vec<T>, EvalError> {
        // Few queries at a time, for each of them holds all rows.
        let blocks = queries.par_chunks(RANKED_BLOCK * self.dim).enumerate().map(|(number, block)| {
            let first = number * RANKED_BLOCK;
            let found = self.for_each_block_from(first, block, |block| self.nearest(block, self.len()))?;
            let queries = (first..).zip(found.into_iter().flatten());
            Ok(queries.map(|(query, ranking)| each(query, &ranking)).collect::<Vec<T>>())
        });
        let blocks = blocks.collect::<Result<Vec<Vec<T>>, EvalError>>()?;
        Ok(blocks.into_iter().flatten().collect())
    }
}

/// The running k nearest of one query.
#[derive(Clone, Debug)]
pub(super) struct Nearest {
    k: usize,
    found: Vec<Neighbour>, // Up to 2k candidates; beyond that all but the best k go.
    threshold: f32,        // Similarity of the k-th best at the last cut: what is not above it cannot enter.
}

impl Nearest {
    pub(super) fn new(k: usize) -> Self {
        Self { k, found: Vec::new(), threshold: f32::NEG_INFINITY }
    }

    /// Adds the similarities of rows `first`, `first` + 1, … Rows must come in order: a later row that merely equals the threshold
    /// loses its tie and is left out.
    pub(super) fn add(&mut self, first: usize, similarities: &[f32]) {
        for (offset, &similarity) in similarities.iter().enumerate() {
            if similarity > self.threshold {
                self.found.push(Neighbour { index: first + offset, similarity });
                if self.found.len() == 2 * self.k {
                    self.cut();
                }
            }
        }
    }

    fn cut(&mut self) {
        let (_, last, _) = self.found.select_nth_unstable_by(self.k - 1, nearer);
        self.threshold = last.similarity;
        self.found.truncate(self.k);
    }

    pub(super) fn into_sorted(mut self) -> Vec<Neighbour> {
        self.found.sort_unstable_by(nearer);
        self.found.truncate(self.k);
        self.found
    }
}

/// The total order of neighbours: higher similarity first, then lower index. It makes unstable sorts deterministic.
fn nearer(a: &Neighbour, b: &Neighbour) -> std::cmp::Ordering {
    b.similarity.total_cmp(&a.similarity).then(a.index.cmp(&b.index))
}

/// Scales each row of `dim` values to unit length; an error names the features and counts the rows from `first`.
fn normalise_rows(features: &mut [f32], dim: usize, (what, first): (&'static str, usize)) -> Result<(), EvalError> {
    for (row, values) in (first..).zip(features.chunks_exact_mut(dim)) {
        to_unit_length(values).map_err(|value| EvalError::BadValue { what, row, value })?;
    }
    Ok(())
}
