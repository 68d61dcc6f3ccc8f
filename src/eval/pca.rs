//! Principal components of frozen features, for pictures in three colours: DINOv2 (Oquab et al. 2023), figures 1 and 9.
//!
//! The basis is that of `sklearn.decomposition.PCA` (full solver), its signs included: the largest loading of every axis is
//! positive. Sums are in f64, rows in their order, so that the same features give the same bits.
//!
//! **Stable axes.** Between two epochs of a training, axes of nearly equal variance change places or turn within their plane, and
//! signs flip; a film would flicker. [`matched`] turns the projections of an epoch to those of an earlier one *on the same patches*:
//! orthogonal Procrustes (Schönemann 1966) on projections of unit variance. It is not a permutation with signs, since that jumps
//! where two axes turn into one another (halfway both correlate equally with both), and it compares projections, not bases, since
//! the coordinates of a network that learns are others after every epoch. Unit variance, since that is how colours are scaled: else
//! the first component alone would decide.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};

use super::EvalError;

/// Components that become red, green and blue.
pub const COLOURS: usize = 3;
/// Shares of the values that lie below the darkest and the brightest level of a colour.
pub const CLIPPED: [f64; 2] = [0.01, 0.99];
/// Rows of one product: bounds the memory in f64.
const BLOCK: usize = 1024;

/// The leading principal components of some features.
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    mean: Vec<f64>, // [D]
    axes: Vec<f64>, // [K, D], orthonormal rows
    variances: Vec<f64>,
    total: f64,
}

impl Pca {
    /// Fits the first `count` components, or as many as there are dimensions.
    ///
    /// # Shapes
    /// `features` is `[N, D]` for `dim` = D.
    ///
    /// # Errors
    /// No features, a length that is no multiple of D, a value that is not finite.
    pub fn fit(features: &[f32], dim: usize, count: usize) -> Result<Self, EvalError> {
        check(features, dim)?;
        let rows = features.len() / dim;
        let mut mean = vec![0.0; dim];
        for row in features.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        mean.iter_mut().for_each(|sum| *sum /= rows as f64);
        if rows < dim && rows > count {
            return Self::of_few(features, mean, count);
        }
        let covariance = covariance(features, &mean);
        let total = (0..dim).map(|place| covariance[(place, place)]).sum();
        let eigen = covariance.self_adjoint_eigen(Side::Lower).map_err(|_| EvalError::NoDecomposition)?;
        let (vectors, values) = (eigen.U(), eigen.S().column_vector());
        // Eigenvalues come in ascending order.
        let leading: Vec<usize> = (0..dim).rev().take(count).collect();
        let axes = leading.iter().flat_map(|&place| signed((0..dim).map(|row| vectors[(row, place)]).collect()));
        let axes = axes.collect();
        // Rounding may leave an empty direction a little below zero.
        let variances = leading.iter().map(|&place| values[place].max(0.0)).collect();
        Ok(Self { mean, axes, variances, total })
    }

    /// The same for fewer rows than dimensions: the products of rows with each other have the same eigenvalues, and an axis is the sum of the
    /// rows that its eigenvector weighs.
    fn of_few(features: &[f32], mean: Vec<f64>, count: usize) -> Result<Self, EvalError> {
        let dim = mean.len();
        let block = centred(features, &mean);
        let rows = block.len() / dim;
        let block = MatRef::from_row_major_slice(&block, rows, dim);
        let mut products = Mat::zeros(rows, rows);
        matmul(products.as_mut(), Accum::Replace, block, block.transpose(), 1.0 / (rows - 1) as f64, Par::Seq);
        let total = (0..rows).map(|place| products[(place, place)]).sum();
        let eigen = products.self_adjoint_eigen(Side::Lower).map_err(|_| EvalError::NoDecomposition)?;
        let (vectors, values) = (eigen.U(), eigen.S().column_vector());
        let leading: Vec<usize> = (0..rows).rev().take(count).collect();
        let mut axes = Vec::with_capacity(leading.len() * dim);
        for &place in &leading {
            let axis: Vec<f64> =
                (0..dim).map(|at| (0..rows).map(|row| vectors[(row, place)] * block[(row, at)]).sum()).collect();
            let length = axis.iter().map(|value| value * value).sum::<f64>().sqrt();
            // An empty direction has no rows to be made of; nothing lies along it.
            let scale = if length > 0.0 { length.recip() } else { 0.0 };
            axes.extend(signed(axis.into_iter().map(|value| value * scale).collect()));
        }
        let variances = leading.iter().map(|&place| values[place].max(0.0)).collect();
        Ok(Self { mean, axes, variances, total })
    }

    /// Returns the number of components.
    pub fn components(&self) -> usize {
        self.variances.len()
    }

    /// Returns the axes, `[K, D]`: orthonormal rows, the largest loading of each positive.
    pub fn axes(&self) -> &[f64] {
        &self.axes
    }

    /// Returns the variance along every axis, with N − 1 in the denominator; descending.
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// Returns the share of the variance that lies along every axis, 0 to 1.
    pub fn explained(&self) -> Vec<f64> {
        let share = |variance: &f64| if self.total > 0.0 { variance / self.total } else { 0.0 };
        self.variances.iter().map(share).collect()
    }

    /// Returns the coordinates of features, these or others, along the axes.
    ///
    /// # Shapes
    /// `features` is `[N, D]`, the result `[N, K]`.
    ///
    /// # Errors
    /// No features, a length that is no multiple of D, a value that is not finite.
    pub fn project(&self, features: &[f32]) -> Result<Vec<f32>, EvalError> {
        let (dim, count) = (self.mean.len(), self.components());
        check(features, dim)?;
        let axes = MatRef::from_row_major_slice(&self.axes, count, dim);
        let mut projections = Vec::with_capacity(features.len() / dim * count);
        let mut product = vec![0.0; BLOCK * count];
        for rows in features.chunks(BLOCK * dim) {
            let block = centred(rows, &self.mean);
            let height = rows.len() / dim;
            let product = &mut product[..height * count];
            let block = MatRef::from_row_major_slice(&block, height, dim);
            let target = MatMut::from_row_major_slice_mut(product, height, count);
            matmul(target, Accum::Replace, block, axes.transpose(), 1.0, Par::Seq);
            projections.extend(product.iter().map(|value| *value as f32));
        }
        Ok(projections)
    }
}

/// Returns projections turned as close as a rotation (or reflection) can bring them to those of the same patches before, both
/// scaled to mean 0 and variance 1 along every axis.
///
/// # Shapes
/// `now` and `before` are `[N, K]`, row by row of the same patch; so is the result.
///
/// # Errors
/// Empty or differing sizes, a value that is not finite.
pub fn matched(now: &[f32], before: &[f32], count: usize) -> Result<Vec<f32>, EvalError> {
    check(now, count)?;
    check(before, count)?;
    if now.len() != before.len() {
        return Err(EvalError::Size { what: "the earlier projections", found: before.len(), expected: now.len() });
    }
    let rows = now.len() / count;
    let (now, before) = (standardised(now, count), standardised(before, count));
    let [now, before] = [&now, &before].map(|values| MatRef::from_row_major_slice(values, rows, count));
    let mut correlation = Mat::<f64>::zeros(count, count);
    matmul(correlation.as_mut(), Accum::Replace, now.transpose(), before, 1.0, Par::Seq);
    let svd = correlation.svd().map_err(|_| EvalError::NoDecomposition)?;
    let turned = now * (svd.U() * svd.V().transpose());
    Ok((0..rows).flat_map(|row| (0..count).map(move |axis| (row, axis))).map(|at| turned[at] as f32).collect())
}

/// Returns projections as colours, 0 to 1: of every component the values from the 1st to the 99th percentile, what lies outside
/// clipped. A component that is the same everywhere becomes 0.5.
///
/// # Shapes
/// `projections` is `[N, K]`, so is the result.
///
/// # Errors
/// No projections, a length that is no multiple of K, a value that is not finite.
pub fn colours(projections: &[f32], count: usize) -> Result<Vec<f32>, EvalError> {
    colours_within(projections, &colour_ranges(projections, count)?)
}

/// Returns the values that become the darkest and the brightest level of each component: their 1st and 99th percentile.
///
/// # Shapes
/// `projections` is `[N, K]`, the result `[K]`.
///
/// # Errors
/// As [`colours`].
pub fn colour_ranges(projections: &[f32], count: usize) -> Result<Vec<[f32; 2]>, EvalError> {
    check(projections, count)?;
    let range = |axis: usize| {
        let mut sorted: Vec<f32> = projections.iter().skip(axis).step_by(count).copied().collect();
        sorted.sort_unstable_by(f32::total_cmp);
        CLIPPED.map(|share| percentile(&sorted, share))
    };
    Ok((0..count).map(range).collect())
}

/// Returns projections as colours within given ranges, so that those of several frames mean the same.
///
/// # Shapes
/// `projections` is `[N, K]` for K ranges, so is the result.
///
/// # Errors
/// As [`colours`].
pub fn colours_within(projections: &[f32], ranges: &[[f32; 2]]) -> Result<Vec<f32>, EvalError> {
    check(projections, ranges.len())?;
    let mut colours = projections.to_vec();
    for row in colours.chunks_exact_mut(ranges.len()) {
        for (value, &[low, high]) in row.iter_mut().zip(ranges) {
            *value = if high > low { ((*value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 };
        }
    }
    Ok(colours)
}

/// The value below which a share of ascending values lies, between two of them in proportion (`numpy.percentile`).
fn percentile(sorted: &[f32], share: f64) -> f32 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract() as f32
}

fn check(features: &[f32], dim: usize) -> Result<(), EvalError> {
    const WHAT: &str = "the list of features";
    if features.is_empty() || dim == 0 {
        return Err(EvalError::Empty { what: WHAT });
    }
    if !features.len().is_multiple_of(dim) {
        let expected = features.len() / dim * dim;
        return Err(EvalError::Size { what: WHAT, found: features.len(), expected });
    }
    match features.iter().position(|value| !value.is_finite()) {
        Some(place) => Err(EvalError::BadValue { what: WHAT, row: place / dim, value: features[place] }),
        None => Ok(()),
    }
}

fn centred(rows: &[f32], mean: &[f64]) -> Vec<f64> {
    rows.chunks_exact(mean.len()).flat_map(|row| row.iter().zip(mean).map(|(v, m)| f64::from(*v) - m)).collect()
}

/// The covariance, `[D, D]`, with N − 1 in the denominator; zeros for a single row.
fn covariance(features: &[f32], mean: &[f64]) -> Mat<f64> {
    let dim = mean.len();
    let scale = 1.0 / (features.len() / dim - 1).max(1) as f64;
    let mut covariance = Mat::zeros(dim, dim);
    for rows in features.chunks(BLOCK * dim) {
        let block = centred(rows, mean);
        let block = MatRef::from_row_major_slice(&block, rows.len() / dim, dim);
        matmul(covariance.as_mut(), Accum::Add, block.transpose(), block, scale, Par::Seq);
    }
    covariance
}

/// The axis with its largest loading positive; of equally large ones the first decides.
fn signed(mut axis: Vec<f64>) -> Vec<f64> {
    let larger = |most: f64, loading: &f64| if loading.abs() > most.abs() { *loading } else { most };
    if axis.iter().fold(0.0, larger) < 0.0 {
        axis.iter_mut().for_each(|loading| *loading = -*loading);
    }
    axis
}

/// Every column with mean 0 and variance 1; a constant one becomes 0.
fn standardised(values: &[f32], count: usize) -> Vec<f64> {
    let rows = (values.len() / count) as f64;
    let mut out: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
    for axis in 0..count {
        let column = |values: &[f64]| values.iter().skip(axis).step_by(count).copied().collect::<Vec<_>>();
        let mean = column(&out).iter().sum::<f64>() / rows;
        let variance = column(&out).iter().map(|value| (value - mean).powi(2)).sum::<f64>() / rows;
        let scale = if variance > 0.0 { variance.sqrt().recip() } else { 0.0 };
        out.iter_mut().skip(axis).step_by(count).for_each(|value| *value = (*value - mean) * scale);
    }
    out
}
