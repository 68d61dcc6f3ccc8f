//! Batch normalisation over rows (Ioffe and Szegedy 2015), with the skip connection and the ReLU that may follow it.
//!
//! Bound by memory: statistics take one pass over the input (a chunk's mean, then its deviations from that while it is in cache,
//! then all chunks together: Chan et al. 1979), the output one more. The gradient takes two passes over input and gradient. What
//! a ReLU lets pass is computed again from the input, or, behind a skip connection, read off its output.

use std::cell::Cell;

use pulp::Arch;
use rayon::prelude::*;

use super::cache::aligned;
use super::chunk::{check_len, rows_of, rows_per_chunk};
use super::math::vectorised;
use crate::kernels::{Activation, BatchNormBackward, BatchNormForward, BatchNormGrad, BatchNormOut, Passed};
use crate::values::{Element, Values, ValuesMut};

/// Rows of one partial of the column sums, at least.
const SUM_ROWS: usize = 32;

thread_local! {
    /// Sums of chunks.
    static PARTIALS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    /// A row before it is rounded.
    static ROW: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// See [`crate::kernels::Kernels::batch_norm`].
pub fn batch_norm(arch: Arch, op: BatchNormForward<'_, f32>, out: BatchNormOut<'_, f32>, stats: [&mut [f32]; 2]) {
    let [mean, variance] = stats;
    for (name, len) in [("mean", mean.len()), ("variance", variance.len())] {
        check_len(name, len, op.gamma.len());
    }
    rows_of("x", op.x.len(), op.gamma.len());
    match op.x {
        Values::Full(x) => statistics(arch, x, [mean, variance]),
        Values::Half(x) => statistics(arch, x, [mean, variance]),
    }
    batch_norm_with(arch, op, [mean, variance], out);
}

/// See [`crate::kernels::Kernels::batch_norm_with`].
pub fn batch_norm_with(
    arch: Arch,
    op: BatchNormForward<'_, f32>,
    [mean, variance]: [&[f32]; 2],
    out: BatchNormOut<'_, f32>,
) {
    let width = op.gamma.len();
    rows_of("x", op.x.len(), width);
    out.lens().for_each(|len| check_len("out", len, op.x.len()));
    for (name, len) in [("beta", op.beta.len()), ("mean", mean.len()), ("variance", variance.len())] {
        check_len(name, len, width);
    }
    if let Some(skip) = op.skip {
        check_len("skip", skip.len(), op.x.len());
    }
    let columns = Columns::new([op.gamma, op.beta, mean, variance], op.eps);
    match op.x {
        Values::Full(x) => normalise(arch, x, &op, &columns, out),
        Values::Half(x) => normalise(arch, x, &op, &columns, out),
    }
}

/// What happens to each column: `(x − mean)·scale + beta`.
struct Columns<'a> {
    mean: &'a [f32],
    beta: &'a [f32],
    scale: Vec<f32>,
    /// 1/√(variance + eps).
    rstd: Vec<f32>,
}

impl<'a> Columns<'a> {
    fn new([gamma, beta, mean, variance]: [&'a [f32]; 4], eps: f64) -> Self {
        let rstd: Vec<f32> = variance.iter().map(|&v| (1.0 / (f64::from(v) + eps).sqrt()) as f32).collect();
        let scale = rstd.iter().zip(gamma).map(|(rstd, gamma)| rstd * gamma).collect();
        Self { mean, beta, scale, rstd }
    }
}

fn normalise<T: Element>(
    arch: Arch,
    x: &[T],
    op: &BatchNormForward<'_, f32>,
    columns: &Columns<'_>,
    out: BatchNormOut<'_, f32>,
) {
    let width = op.gamma.len();
    let chunk = rows_per_chunk(width) * width;
    let rows = |index: usize, len: usize, mut to: BatchNormOut<'_, f32>| {
        let part = index * chunk..index * chunk + len;
        let task =
            Rows { x: &x[part.clone()], skip: op.skip.map(|skip| &skip[part]), activation: op.activation, columns };
        let mut memory = ROW.take();
        vectorised(
            arch,
            #[inline(always)]
            || task.write(&mut to, aligned(&mut memory, width)),
        );
        ROW.set(memory);
    };
    match (out.full, out.half) {
        (Some(full), Some(half)) => {
            let tasks = full.par_chunks_mut(chunk).zip(half.par_chunks_mut(chunk)).enumerate();
            tasks.for_each(|(index, (full, half))| {
                rows(index, full.len(), BatchNormOut { full: Some(full), half: Some(half) });
            });
        }
        (Some(full), None) => full.par_chunks_mut(chunk).enumerate().for_each(|(index, full)| {
            rows(index, full.len(), BatchNormOut { full: Some(full), half: None });
        }),
        (None, Some(half)) => half.par_chunks_mut(chunk).enumerate().for_each(|(index, half)| {
            rows(index, half.len(), BatchNormOut { full: None, half: Some(half) });
        }),
        (None, None) => {}
    }
}

/// Some rows of a normalisation.
struct Rows<'a, T> {
    x: &'a [T],
    skip: Option<&'a [f32]>,
    activation: Activation,
    columns: &'a Columns<'a>,
}

impl<T: Element> Rows<'_, T> {
    /// Each row to where it belongs; `spare` is room for one.
    #[inline(always)]
    fn write(&self, to: &mut BatchNormOut<'_, f32>, spare: &mut [f32]) {
        let width = spare.len();
        for (row, x) in self.x.chunks_exact(width).enumerate() {
            let place = row * width..(row + 1) * width;
            let out = match &mut to.full {
                Some(full) => &mut full[place.clone()],
                None => &mut *spare,
            };
            match self.skip {
                Some(skip) => add_normal(x, &skip[place.clone()], self.columns, out),
                None => normal(x, self.columns, out),
            }
            if self.activation == Activation::Relu {
                out.iter_mut().for_each(
                    #[inline(always)]
                    |out| *out = if *out < 0.0 { 0.0 } else { *out },
                );
            }
            if let Some(half) = &mut to.half {
                half[place].iter_mut().zip(out).for_each(
                    #[inline(always)]
                    |(half, out)| *half = Element::of(*out),
                );
            }
        }
    }
}

#[inline(always)]
fn normal<T: Element>(x: &[T], columns: &Columns<'_>, out: &mut [f32]) {
    let columns = columns.mean.iter().zip(&columns.scale).zip(columns.beta);
    for ((out, x), ((&mean, &scale), &beta)) in out.iter_mut().zip(x).zip(columns) {
        *out = (x.wide() - mean).mul_add(scale, beta);
    }
}

#[inline(always)]
fn add_normal<T: Element>(x: &[T], skip: &[f32], columns: &Columns<'_>, out: &mut [f32]) {
    let columns = columns.mean.iter().zip(&columns.scale).zip(columns.beta);
    for (((out, x), skip), ((&mean, &scale), &beta)) in out.iter_mut().zip(x).zip(skip).zip(columns) {
        *out = (x.wide() - mean).mul_add(scale, beta) + skip;
    }
}

/// Mean and biased variance of each column.
fn statistics<T: Element>(arch: Arch, x: &[T], [mean, variance]: [&mut [f32]; 2]) {
    let width = mean.len();
    let chunk = rows_per_chunk(width).max(SUM_ROWS) * width;
    let mut memory = PARTIALS.take();
    let partials = aligned(&mut memory, x.len().div_ceil(chunk) * 2 * width);
    partials.par_chunks_mut(2 * width).zip(x.par_chunks(chunk)).for_each(|(partial, x)| {
        partial.fill(0.0);
        let (mean, squares) = partial.split_at_mut(width);
        vectorised(
            arch,
            #[inline(always)]
            || moments(x, mean, squares),
        );
    });
    // All chunks together: mean, and sum of squares of deviations from it.
    let (mut count, mut total) = (0.0, vec![[0.0f64; 2]; width]);
    for (partial, x) in partials.chunks_exact(2 * width).zip(x.chunks(chunk)) {
        let rows = (x.len() / width) as f64;
        count += rows;
        let (means, squares) = partial.split_at(width);
        for (([mean, square], &new), &more) in total.iter_mut().zip(means).zip(squares) {
            let off = f64::from(new) - *mean;
            *mean += off * rows / count;
            *square += f64::from(more) + off * off * rows * (count - rows) / count;
        }
    }
    PARTIALS.set(memory);
    for ((mean, variance), [total, square]) in mean.iter_mut().zip(variance).zip(total) {
        (*mean, *variance) = (total as f32, (square / f64::max(count, 1.0)) as f32);
    }
}

/// Mean of each column and sum of squares of deviations from it, of zeroed places.
#[inline(always)]
fn moments<T: Element>(x: &[T], mean: &mut [f32], squares: &mut [f32]) {
    let width = mean.len();
    for row in x.chunks_exact(width) {
        for (sum, x) in mean.iter_mut().zip(row) {
            *sum += x.wide();
        }
    }
    let per_row = width as f32 / x.len() as f32;
    mean.iter_mut().for_each(
        #[inline(always)]
        |mean| *mean *= per_row,
    );
    for row in x.chunks_exact(width) {
        for ((square, x), &mean) in squares.iter_mut().zip(row).zip(mean.iter()) {
            let off = x.wide() - mean;
            *square = off.mul_add(off, *square);
        }
    }
}

/// See [`crate::kernels::Kernels::batch_norm_backward`].
pub fn batch_norm_backward(
    arch: Arch,
    op: BatchNormBackward<'_, f32>,
    grad: BatchNormGrad<'_, f32>,
    d_x: ValuesMut<'_, f32>,
) {
    let width = op.gamma.len();
    let rows = rows_of("x", op.x.len(), width);
    for (name, len) in [("beta", op.beta.len()), ("mean", op.mean.len()), ("variance", op.variance.len())] {
        check_len(name, len, width);
    }
    check_len("d_out", grad.d_out.len(), op.x.len());
    check_len("d_x", d_x.read().len(), op.x.len());
    if let Passed::Positive(out) = op.passed {
        check_len("out", out.len(), op.x.len());
    }
    if rows == 0 {
        return;
    }
    let columns = Columns::new([op.gamma, op.beta, op.mean, op.variance], op.eps);
    let sums = match op.x {
        Values::Full(x) => gradient_sums(arch, x, &op, &columns, grad.d_out),
        Values::Half(x) => gradient_sums(arch, x, &op, &columns, grad.d_out),
    };
    let (d_gamma, d_beta) = sums.split_at(width);
    for (to, sums) in [(grad.gamma, d_gamma), (grad.beta, d_beta)] {
        let Some(to) = to else { continue };
        check_len("d_gamma, d_beta", to.len(), width);
        to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
    }
    let (factors, d) = (Factors::new(&columns, &sums, rows), &*grad.d_out);
    match (op.x, d_x) {
        (Values::Full(x), ValuesMut::Full(d_x)) => input_grad(arch, (x, d), (&columns, &factors), d_x),
        (Values::Full(x), ValuesMut::Half(d_x)) => input_grad(arch, (x, d), (&columns, &factors), d_x),
        (Values::Half(x), ValuesMut::Full(d_x)) => input_grad(arch, (x, d), (&columns, &factors), d_x),
        (Values::Half(x), ValuesMut::Half(d_x)) => input_grad(arch, (x, d), (&columns, &factors), d_x),
    }
}

/// Column sums of `d·n`, then of `d`, with d what passes of `d_out` and n the normalised input; `d_out`
/// becomes d.
fn gradient_sums<T: Element>(
    arch: Arch,
    x: &[T],
    op: &BatchNormBackward<'_, f32>,
    columns: &Columns<'_>,
    d_out: &mut [f32],
) -> Vec<f32> {
    let width = op.gamma.len();
    let chunk = rows_per_chunk(width).max(SUM_ROWS) * width;
    let mut memory = PARTIALS.take();
    let partials = aligned(&mut memory, x.len().div_ceil(chunk) * 2 * width);
    let tasks = partials.par_chunks_mut(2 * width).zip(x.par_chunks(chunk)).zip(d_out.par_chunks_mut(chunk));
    tasks.enumerate().for_each(|(index, ((partial, x), d_out))| {
        partial.fill(0.0);
        let (dn, d) = partial.split_at_mut(width);
        vectorised(
            arch,
            #[inline(always)]
            || {
                for (row, (x, d_out)) in x.chunks_exact(width).zip(d_out.chunks_exact_mut(width)).enumerate() {
                    match op.passed {
                        Passed::All => {}
                        Passed::Normed => pass_normed(x, columns, d_out),
                        Passed::Positive(out) => {
                            let out = &out[index * chunk + row * width..][..width];
                            d_out.iter_mut().zip(out).for_each(
                                #[inline(always)]
                                |(d, &out)| *d = if out > 0.0 { *d } else { 0.0 },
                            );
                        }
                    }
                    add_sums(x, d_out, columns, [&mut *dn, &mut *d]);
                }
            },
        );
    });
    let mut sums = vec![0.0; 2 * width];
    for partial in partials.chunks_exact(2 * width) {
        sums.iter_mut().zip(partial).for_each(|(sum, more)| *sum += more);
    }
    PARTIALS.set(memory);
    sums
}

/// What a ReLU of the normalised values lets pass, in its place.
#[inline(always)]
fn pass_normed<T: Element>(x: &[T], columns: &Columns<'_>, d: &mut [f32]) {
    let columns = columns.mean.iter().zip(&columns.scale).zip(columns.beta);
    for ((d, x), ((&mean, &scale), &beta)) in d.iter_mut().zip(x).zip(columns) {
        let out = (x.wide() - mean).mul_add(scale, beta);
        *d = if out > 0.0 { *d } else { 0.0 };
    }
}

#[inline(always)]
fn add_sums<T: Element>(x: &[T], d: &[f32], columns: &Columns<'_>, [sum_dn, sum_d]: [&mut [f32]; 2]) {
    let sums = sum_dn.iter_mut().zip(sum_d).zip(columns.mean.iter().zip(&columns.rstd));
    for ((((dn, sum), (&mean, &rstd)), x), &d) in sums.zip(x).zip(d) {
        *dn = d.mul_add((x.wide() - mean) * rstd, *dn);
        *sum += d;
    }
}

/// `d_x = gamma·rstd·(d − mean(d) − n·mean(d·n))` as `scale·d + (x − mean)·slope + shift`.
struct Factors {
    slope: Vec<f32>,
    shift: Vec<f32>,
}

impl Factors {
    fn new(columns: &Columns<'_>, sums: &[f32], rows: usize) -> Self {
        let (sum_dn, sum_d) = sums.split_at(columns.mean.len());
        let per_row = -1.0 / rows as f32;
        let of = |sums: &[f32]| columns.scale.iter().zip(sums).map(|(scale, sum)| scale * sum * per_row).collect();
        let mut slope: Vec<f32> = of(sum_dn);
        slope.iter_mut().zip(&columns.rstd).for_each(|(slope, rstd)| *slope *= rstd);
        Self { slope, shift: of(sum_d) }
    }
}

/// The gradient of `x` from what the activation lets pass, `d`.
fn input_grad<T: Element, U: Element>(
    arch: Arch,
    (x, d): (&[T], &[f32]),
    (columns, factors): (&Columns<'_>, &Factors),
    d_x: &mut [U],
) {
    let width = columns.mean.len();
    let chunk = rows_per_chunk(width) * width;
    d_x.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).zip(d.par_chunks(chunk)).for_each(|((d_x, x), d)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                for ((d_x, x), d) in d_x.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(d.chunks_exact(width)) {
                    let columns = columns.mean.iter().zip(&columns.scale).zip(&factors.slope).zip(&factors.shift);
                    for (((d_x, x), &d), (((&mean, &scale), &slope), &shift)) in
                        d_x.iter_mut().zip(x).zip(d).zip(columns)
                    {
                        *d_x = U::of(d.mul_add(scale, (x.wide() - mean).mul_add(slope, shift)));
                    }
                }
            },
        );
    });
}
