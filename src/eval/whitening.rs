//! Whitening of descriptors: `utils.py:PCA` of DINO as `eval_copy_detection.py` uses it (Jégou & Chum 2012).
//!
//! The mean of other images' descriptors is subtracted, and every direction is divided by the root of its second moment. As in the
//! program the moments are those of the descriptors as they are, XᵀX / n, without the mean subtracted; moments below 1e-5 of the
//! largest are raised to that; no direction is left out.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};

use super::EvalError;

/// Share of the largest moment to which smaller ones are raised.
const SMALLEST: f64 = 1e-5;
/// Rows of one product: bounds the memory in f64.
const BLOCK: usize = 1024;

/// A mean and directions.
#[derive(Debug, Clone)]
pub struct Whitening {
    mean: Vec<f64>,
    /// Directions in columns, each divided by the root of its moment; that of the largest moment first.
    directions: Mat<f64>,
}

impl Whitening {
    /// Learns from descriptors `[N, dim]`; sums in f64.
    ///
    /// # Errors
    /// No descriptors, a length that is no multiple of `dim`, a value that is not finite.
    pub fn fit(descriptors: &[f32], dim: usize) -> Result<Self, EvalError> {
        check(descriptors, dim)?;
        let rows = (descriptors.len() / dim) as f64;
        let mut mean = vec![0.0; dim];
        let mut moments = Mat::<f64>::zeros(dim, dim);
        for block in descriptors.chunks(BLOCK * dim) {
            let block: Vec<f64> = block.iter().copied().map(f64::from).collect();
            for row in block.chunks_exact(dim) {
                mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += value / rows);
            }
            let block = MatRef::from_row_major_slice(&block, block.len() / dim, dim);
            matmul(moments.as_mut(), Accum::Add, block.transpose(), block, rows.recip(), Par::Seq);
        }
        let eigen = moments.self_adjoint_eigen(Side::Lower).map_err(|_| EvalError::NoDecomposition)?;
        let (vectors, values) = (eigen.U(), eigen.S().column_vector());
        // Moments come in ascending order.
        let floor = (values[dim - 1] * SMALLEST).max(f64::MIN_POSITIVE);
        let directions = Mat::from_fn(dim, dim, |row, column| {
            let from = dim - 1 - column;
            vectors[(row, from)] / values[from].max(floor).sqrt()
        });
        Ok(Self { mean, directions })
    }

    /// Returns other descriptors whitened, `[M, dim]` to the same.
    ///
    /// # Errors
    /// As [`Whitening::fit`].
    pub fn apply(&self, descriptors: &[f32]) -> Result<Vec<f32>, EvalError> {
        let dim = self.mean.len();
        check(descriptors, dim)?;
        let mut whitened = Vec::with_capacity(descriptors.len());
        for block in descriptors.chunks(BLOCK * dim) {
            let places = (0..dim).cycle();
            let block: Vec<f64> =
                block.iter().zip(places).map(|(value, at)| f64::from(*value) - self.mean[at]).collect();
            let rows = block.len() / dim;
            let mut product = Mat::<f64>::zeros(rows, dim);
            let block = MatRef::from_row_major_slice(&block, rows, dim);
            matmul(product.as_mut(), Accum::Replace, block, self.directions.as_ref(), 1.0, Par::Seq);
            whitened.extend((0..rows * dim).map(|at| product[(at / dim, at % dim)] as f32));
        }
        Ok(whitened)
    }
}

fn check(descriptors: &[f32], dim: usize) -> Result<(), EvalError> {
    const WHAT: &str = "the descriptors";
    if descriptors.is_empty() || dim == 0 {
        return Err(EvalError::Empty { what: WHAT });
    }
    if !descriptors.len().is_multiple_of(dim) {
        let expected = descriptors.len() / dim * dim;
        return Err(EvalError::Size { what: WHAT, found: descriptors.len(), expected });
    }
    match descriptors.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(EvalError::BadValue { what: WHAT, row: at / dim, value: descriptors[at] }),
        None => Ok(()),
    }
}
