//! Nearest neighbours among features that are rounded to bf16: half of the memory, and products by the engine's instructions for bf16.
//!
//! Both sides are rounded, products are summed up in f32. A block of the bank is packed once for many queries; memory does not grow with
//! queries times images, and of equally near images the one with the lower index comes first, as in [`super::nearest`].

use dinoxide_engine::kernels::{Kernels, Linear, LinearSize};
use half::bf16;
use rayon::prelude::*;

use super::EvalError;
use super::nearest::{Nearest, Neighbour, UnitRows};

/// Queries that are searched together: the candidates of each are kept meanwhile.
const QUERIES: usize = 8192;
/// Queries of one product. With [`BANK_BLOCK`] it bounds the similarities to 4 MB.
const QUERY_BLOCK: usize = 256;
/// Rows of the bank in one product.
const BANK_BLOCK: usize = 4096;
/// Queries whose candidates one task looks for.
const TASK: usize = 16;

/// Features of unit length, rounded to bf16.
#[derive(Clone, Debug)]
pub struct RoundedRows {
    values: Vec<bf16>, // [N, D]
    dim: usize,
}

impl RoundedRows {
    /// Rounds features of unit length.
    pub fn new(rows: &UnitRows) -> Self {
        Self { values: rows.values().iter().map(|value| bf16::from_f32(*value)).collect(), dim: rows.dim() }
    }

    /// Number of rows.
    fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Calls `each` with the place of every query and its `k` nearest rows, nearest first, in parallel; returns its answers in order.
    ///
    /// # Shapes
    /// `queries` is `[M, D]`, of any length of row.
    ///
    /// # Errors
    /// A number of values that is no multiple of D, a value that is not finite.
    pub(super) fn search<T: Send>(
        &self,
        kernels: &dyn Kernels<f32>,
        (queries, k): (&[f32], usize),
        each: impl Fn(Vec<Neighbour>) -> T + Sync,
    ) -> Result<Vec<T>, EvalError> {
        if queries.is_empty() {
            return Ok(Vec::new());
        }
        let queries = UnitRows::new(queries.to_vec(), self.dim, "the query features")?;
        let mut answers = Vec::with_capacity(queries.len());
        for group in queries.values().chunks(QUERIES * self.dim) {
            let mut found = vec![Nearest::new(k.min(self.len())); group.len() / self.dim];
            for (number, bank) in self.values.chunks(BANK_BLOCK * self.dim).enumerate() {
                self.compare(kernels, group, (number * BANK_BLOCK, bank), &mut found);
            }
            answers.extend(found.into_par_iter().map(|found| each(found.into_sorted())).collect::<Vec<T>>());
        }
        Ok(answers)
    }

    /// Adds the similarities of a block of the bank, which begins at a row, to what is near the queries.
    fn compare(
        &self,
        kernels: &dyn Kernels<f32>,
        queries: &[f32],
        (first, bank): (usize, &[bf16]),
        found: &mut [Nearest],
    ) {
        let (inputs, outputs) = (self.dim, bank.len() / self.dim);
        let weight: Vec<f32> = bank.iter().map(|value| value.to_f32()).collect();
        let packed = kernels.pack(&weight, LinearSize { rows: QUERY_BLOCK, inputs, outputs });
        let mut similarities = vec![0.0; QUERY_BLOCK.min(found.len()) * outputs];
        for (x, found) in queries.chunks(QUERY_BLOCK * inputs).zip(found.chunks_mut(QUERY_BLOCK)) {
            let size = LinearSize { rows: found.len(), inputs, outputs };
            let out = &mut similarities[..found.len() * outputs]; // [B, W]
            let op = Linear { x: x.into(), weight: &weight, bias: None, size, packed: packed.as_ref() };
            kernels.linear(op, (&mut *out).into());
            let tasks = out.par_chunks(TASK * outputs).zip(found.par_chunks_mut(TASK));
            tasks.for_each(|(rows, found)| {
                rows.chunks_exact(outputs).zip(found).for_each(|(row, found)| found.add(first, row));
            });
        }
    }
}
