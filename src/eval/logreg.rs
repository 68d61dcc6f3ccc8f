//! Multinomial logistic regression on frozen features, in f64 and without an intercept: the paper's low-shot protocol (DINO, Caron et al. 2021,
//! tables 10 and 12), which minimises by cyanure
//!
//! `f(W) = 1/n Σ_i −log softmax(W x_i)[y_i] + λ/2 ‖W‖²`, with λ = penalty/n and penalty = 0.1, for x of unit length.
//!
//! That is scikit-learn's `LogisticRegression(C=1/penalty, fit_intercept=False)`. f is λ-strongly convex, so that ‖∇f‖²/(2λ) bounds how far
//! f is above its minimum: training ends when that is below a share of f. The minimiser is L-BFGS (Nocedal 1980) with a bisection for the weak Wolfe
//! conditions (Lewis & Overton 2013). It is our own because general minimisers ask for f and ∇f one after the other, and here both come from
//! one pass of products.

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

use super::EvalError;
use super::classifier::{Accuracy, ClassifierError, LabelledRows, best, rank};

/// The paper's penalty: λ times the number of training rows.
pub const PENALTY: f64 = 0.1;
/// Share of the loss that it may be above the smallest.
pub const TOLERANCE: f64 = 1e-4;
/// Iterations before training gives up.
pub const MOST_ITERATIONS: usize = 2000;
/// Pairs of steps and changes of the gradient that are kept.
const MEMORY: usize = 10;
/// Rows of one product.
const BLOCK: usize = 256;
/// Sums of gradients that run side by side, whatever the number of threads, so that it changes no bit.
const SUMS: usize = 16;
/// Sufficient decrease and curvature of the Wolfe conditions.
const WOLFE: (f64, f64) = (1e-4, 0.9);
/// Trials of a step's length.
const MOST_TRIALS: usize = 50;

/// How a regression is solved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogRegConfig {
    /// λ times the number of training rows.
    pub penalty: f64,
    /// Share of the loss that it may be above the smallest.
    pub tolerance: f64,
    /// Iterations before training gives up.
    pub most_iterations: usize,
}

impl LogRegConfig {
    /// Checks all numbers.
    ///
    /// # Errors
    /// [`ClassifierError::NotPositive`] for a penalty or tolerance that is not above 0.
    pub fn check(&self) -> Result<(), ClassifierError> {
        for (what, value, example) in [("the penalty", self.penalty, "0.1"), ("the tolerance", self.tolerance, "1e-4")]
        {
            if !(value > 0.0 && value.is_finite()) {
                return Err(ClassifierError::NotPositive { what, value, example });
            }
        }
        Ok(())
    }
}

impl Default for LogRegConfig {
    fn default() -> Self {
        Self { penalty: PENALTY, tolerance: TOLERANCE, most_iterations: MOST_ITERATIONS }
    }
}

/// A solved regression.
#[derive(Debug, Clone, PartialEq)]
pub struct LogReg {
    /// `[classes, D]`
    pub weight: Vec<f64>,
    /// f, penalty included, nats.
    pub loss: f64,
    /// f is at most so far above its minimum.
    pub gap: f64,
    /// Iterations taken.
    pub iterations: usize,
    /// Whether the tolerance was reached.
    pub converged: bool,
    classes: usize,
}

impl LogReg {
    /// Solves the regression of these rows, taken as they are.
    ///
    /// # Errors
    /// [`ClassifierError::NotPositive`] for a penalty or tolerance that is not above 0, [`ClassifierError::OneClass`].
    pub fn fit(rows: LabelledRows<'_>, config: LogRegConfig) -> Result<Self, EvalError> {
        config.check()?;
        let rows = rows.to_learn_from()?;
        let problem = Problem { rows, lambda: config.penalty / rows.count() as f64 };
        let mut at = problem.point(vec![0.0; rows.classes() * rows.dim()]);
        let mut memory = Memory::default();
        let gap = |at: &Point| dot(&at.grad, &at.grad) / (2.0 * problem.lambda);
        let mut iterations = 0;
        while gap(&at) > config.tolerance * at.loss && iterations < config.most_iterations {
            iterations += 1;
            let Some(next) = problem.step(&at, memory.direction(&at.grad), iterations) else { break };
            memory.add(&at, &next);
            at = next;
        }
        let gap = gap(&at);
        let converged = gap <= config.tolerance * at.loss;
        Ok(Self { weight: at.weight, loss: at.loss, gap, iterations, converged, classes: rows.classes() })
    }

    /// Accuracy on labelled rows, and the class that each row is taken for.
    pub fn evaluate(&self, rows: LabelledRows<'_>) -> (Accuracy, Vec<u32>) {
        let (classes, dim) = (self.classes, rows.dim());
        let weight = MatRef::from_row_major_slice(&self.weight, classes, dim);
        let blocks = rows.features().par_chunks(BLOCK * dim).zip(rows.labels().par_chunks(BLOCK));
        let found = blocks.map(|(features, labels)| {
            let features: Vec<f64> = features.iter().map(|value| f64::from(*value)).collect();
            let logits = products(&features, weight, labels.len());
            let ranked = logits.chunks_exact(classes).zip(labels);
            ranked.map(|(logits, label)| (rank(logits, *label), best(logits))).collect::<Vec<_>>()
        });
        let (ranks, predictions): (Vec<usize>, Vec<u32>) = found.collect::<Vec<_>>().into_iter().flatten().unzip();
        (Accuracy::of(ranks.into_iter()), predictions)
    }
}

/// `x·wᵀ`, `[rows, classes]`.
fn products(x: &[f64], weight: MatRef<'_, f64>, rows: usize) -> Vec<f64> {
    let mut logits = vec![0.0; rows * weight.nrows()];
    let target = MatMut::from_row_major_slice_mut(&mut logits, rows, weight.nrows());
    let x = MatRef::from_row_major_slice(x, rows, weight.ncols());
    matmul(target, Accum::Replace, x, weight.transpose(), 1.0, Par::Seq);
    logits
}

/// Weights with f and its gradient there.
struct Point {
    weight: Vec<f64>,
    loss: f64,
    grad: Vec<f64>,
}

struct Problem<'a> {
    rows: LabelledRows<'a>,
    lambda: f64,
}

impl Problem<'_> {
    fn point(&self, weight: Vec<f64>) -> Point {
        let rows = self.rows;
        let (dim, count) = (rows.dim(), rows.count());
        let share = count.div_ceil(SUMS).next_multiple_of(BLOCK);
        let shares = rows.features().par_chunks(share * dim).zip(rows.labels().par_chunks(share));
        let sums: Vec<(f64, Vec<f64>)> = shares.map(|(x, labels)| self.sums(x, labels, &weight)).collect();
        let mut grad: Vec<f64> = weight.iter().map(|value| self.lambda * value).collect();
        let mut loss = self.lambda / 2.0 * dot(&weight, &weight);
        for (of_share, grad_of_share) in sums {
            loss += of_share / count as f64;
            grad.iter_mut().zip(grad_of_share).for_each(|(sum, value)| *sum += value / count as f64);
        }
        Point { weight, loss, grad }
    }

    /// Sums of losses and of their gradients over some rows.
    fn sums(&self, x: &[f32], labels: &[u32], weight: &[f64]) -> (f64, Vec<f64>) {
        let (classes, dim) = (self.rows.classes(), self.rows.dim());
        let weight = MatRef::from_row_major_slice(weight, classes, dim);
        let (mut loss, mut grad) = (0.0, vec![0.0; classes * dim]);
        for (x, labels) in x.chunks(BLOCK * dim).zip(labels.chunks(BLOCK)) {
            let x: Vec<f64> = x.iter().map(|value| f64::from(*value)).collect();
            let mut logits = products(&x, weight, labels.len());
            for (logits, label) in logits.chunks_exact_mut(classes).zip(labels) {
                loss += softmax_to_gradient(logits, *label as usize);
            }
            let errors = MatRef::from_row_major_slice(&logits, labels.len(), classes);
            let x = MatRef::from_row_major_slice(&x, labels.len(), dim);
            let target = MatMut::from_row_major_slice_mut(&mut grad, classes, dim);
            matmul(target, Accum::Add, errors.transpose(), x, 1.0, Par::Seq);
        }
        (loss, grad)
    }

    /// A point further along a direction that meets the weak Wolfe conditions; none if rounding leaves no way down.
    fn step(&self, from: &Point, direction: Vec<f64>, iteration: usize) -> Option<Point> {
        let slope = dot(&direction, &from.grad);
        let (mut low, mut high) = (0.0, f64::INFINITY);
        // The first direction is the bare gradient, whose length says nothing about the way.
        let mut length = if iteration == 1 { 1.0 / dot(&direction, &direction).sqrt() } else { 1.0 };
        for _ in 0..MOST_TRIALS {
            let weight = from.weight.iter().zip(&direction).map(|(value, along)| value + length * along).collect();
            let point = self.point(weight);
            let falls = point.loss <= from.loss + WOLFE.0 * length * slope;
            if falls && dot(&direction, &point.grad) >= WOLFE.1 * slope {
                return Some(point);
            }
            if falls {
                low = length;
            } else {
                high = length;
            }
            length = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * low };
        }
        None
    }
}

/// Turns the logits of a row into the gradient of its cross-entropy, and returns that.
fn softmax_to_gradient(logits: &mut [f64], label: usize) -> f64 {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let own = logits[label] - max;
    logits.iter_mut().for_each(|logit| *logit = (*logit - max).exp());
    let sum: f64 = logits.iter().sum();
    logits.iter_mut().for_each(|value| *value /= sum);
    logits[label] -= 1.0;
    sum.ln() - own
}

/// The last steps and changes of the gradient, oldest first, with 1/(step·change).
#[derive(Default)]
struct Memory(std::collections::VecDeque<(Vec<f64>, Vec<f64>, f64)>);

impl Memory {
    fn add(&mut self, from: &Point, to: &Point) {
        let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let (step, change) = (difference(&to.weight, &from.weight), difference(&to.grad, &from.grad));
        let curvature = dot(&step, &change);
        if curvature > 0.0 {
            if self.0.len() == MEMORY {
                self.0.pop_front();
            }
            self.0.push_back((step, change, curvature.recip()));
        }
    }

    /// Where to go from a point with this gradient: minus the inverse of the Hessian, as the memory has it, times the gradient.
    fn direction(&self, grad: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = grad.iter().map(|value| -value).collect();
        let mut shares = Vec::with_capacity(self.0.len());
        for (step, change, inverse) in self.0.iter().rev() {
            let share = inverse * dot(step, &direction);
            add(&mut direction, -share, change);
            shares.push(share);
        }
        if let Some((_, change, inverse)) = self.0.back() {
            let scale = 1.0 / (inverse * dot(change, change));
            direction.iter_mut().for_each(|value| *value *= scale);
        }
        for ((step, change, inverse), share) in self.0.iter().zip(shares.into_iter().rev()) {
            let other = inverse * dot(change, &direction);
            add(&mut direction, share - other, step);
        }
        direction
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, value)| *to += factor * value);
}
