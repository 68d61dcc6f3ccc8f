//! Cross-covariance attention, one task per segment and head: a matrix of d × d cosines whatever the number of tokens.
//!
//! Everything between two passes over the tokens happens on such matrices, which stay in the first-level cache: nothing but q, k and v is
//! kept for the gradient. They are transposed, `[j, i]` for channel j of the keys and i of the queries, so that the softmax runs down the
//! rows and is vectorised over i. Columns are divided by their lengths after the product, not before: with S = qᵀ·k and P the
//! probabilities, the gradient of `q_i/‖q_i‖` projects out `q_i·Σ_j dz_ij·s_ij`, which takes no further pass over the tokens.

use std::cell::RefCell;
use std::marker::PhantomData;

use faer::MatMut;
use half::bf16;
use pulp::{Arch, Simd, WithSimd};

use super::attention::{cut, run, tasks_of};
use super::attention_head::{Part, Shape, Task, take};
use super::cache::aligned;
use super::chunk::{check_len, rows_of};
use super::dense::row_mut;
use super::gemm::Units;
use super::math::{dot, exp, larger, sum};
use super::tile::{Product, multiply};
#[cfg(target_arch = "x86_64")]
use super::word::Hardware;
use super::word::{Pair, Single, Word};
use crate::kernels::{Attention, CrossCovariance, Segment, Write};
use crate::values::{Element, Values, ValuesMut};

/// Tokens of one block, an even number: 64 rows of 48 values are 12 KB.
const TOKENS: usize = 64;

thread_local! {
    /// Working memory of the tasks of a thread, kept between calls.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// See [`crate::kernels::Kernels::cross_covariance`].
pub fn cross_covariance((arch, units): (Arch, Units), op: CrossCovariance<'_, f32>, out: &mut [f32]) {
    match units {
        Units::F32 => forward::<Single>(arch, op, out),
        Units::Pairs => forward::<Pair>(arch, op, out),
        #[cfg(target_arch = "x86_64")]
        Units::Hardware => forward::<Hardware>(arch, op, out),
    }
}

fn forward<W: Word>(arch: Arch, op: CrossCovariance<'_, f32>, out: &mut [f32]) {
    let (tokens, width) = (check(&op), op.heads * op.head_dim);
    check_len("out", out.len(), tokens * width);
    let out = cut(&sequences(&op), MatMut::from_row_major_slice_mut(out, tokens, width), op.head_dim);
    let tasks = out.into_iter().map(|(segment, head, out)| Task { segment, head, pieces: [out] });
    run(work(&op), tasks.collect(), |task| {
        SCRATCH.with_borrow_mut(|scratch| {
            W::dispatch(arch, Forward::<'_, '_, W> { op, task, scratch, word: PhantomData })
        });
    });
}

/// See [`crate::kernels::Kernels::cross_covariance_backward`].
pub fn cross_covariance_backward(
    (arch, units): (Arch, Units),
    op: CrossCovariance<'_, f32>,
    d_out: &[f32],
    (d_qkv, d_temperature): (ValuesMut<'_, f32>, Option<&mut [f32]>),
) {
    let d_temperatures = match units {
        Units::F32 => backward::<Single>(arch, op, d_out, d_qkv),
        Units::Pairs => backward::<Pair>(arch, op, d_out, d_qkv),
        #[cfg(target_arch = "x86_64")]
        Units::Hardware => backward::<Hardware>(arch, op, d_out, d_qkv),
    };
    if let Some(d_temperature) = d_temperature {
        check_len("d_temperature", d_temperature.len(), op.heads);
        for of_segment in d_temperatures.chunks_exact(op.heads) {
            d_temperature.iter_mut().zip(of_segment).for_each(|(to, d)| *to += d);
        }
    }
}

/// Returns the gradient of the temperature for each segment and head.
fn backward<W: Word>(arch: Arch, op: CrossCovariance<'_, f32>, d_out: &[f32], d_qkv: ValuesMut<'_, f32>) -> Vec<f32> {
    match d_qkv {
        ValuesMut::Full(d_qkv) => backward_to::<W, f32>(arch, op, d_out, d_qkv),
        ValuesMut::Half(d_qkv) => backward_to::<W, bf16>(arch, op, d_out, d_qkv),
    }
}

fn backward_to<W: Word, T: Element>(
    arch: Arch,
    op: CrossCovariance<'_, f32>,
    d_out: &[f32],
    d_qkv: &mut [T],
) -> Vec<f32> {
    check_len("d_out", d_out.len(), check(&op) * op.heads * op.head_dim);
    check_len("d_qkv", d_qkv.len(), op.qkv.len());
    let tasks = tasks_of(&sequences(&op), d_qkv);
    let mut d_temperatures = vec![0.0; tasks.len()];
    run(3 * work(&op), tasks.into_iter().zip(&mut d_temperatures).collect(), |(task, d_temperature)| {
        SCRATCH.with_borrow_mut(|scratch| {
            *d_temperature =
                W::dispatch(arch, Backward::<'_, '_, W, T> { op, d_out, task, scratch, word: PhantomData });
        });
    });
    d_temperatures
}

/// The same queries, keys and values for tokens that attend to tokens.
fn sequences<'a>(op: &CrossCovariance<'a, f32>) -> Attention<'a, f32> {
    let CrossCovariance { qkv, heads, head_dim, segments, .. } = *op;
    Attention { qkv, heads, head_dim, segments, queries: usize::MAX }
}

/// Number of tokens.
fn check(op: &CrossCovariance<'_, f32>) -> usize {
    check_len("temperature", op.temperature.len(), op.heads);
    rows_of("qkv", op.qkv.len(), 3 * op.heads * op.head_dim)
}

/// Multiplications of the forward pass.
fn work(op: &CrossCovariance<'_, f32>) -> usize {
    let tokens: usize = op.segments.iter().map(|segment| segment.len).sum();
    tokens * op.heads * op.head_dim * op.head_dim * 2
}

/// The forward pass; piece: output.
struct Forward<'a, 'b, W> {
    op: CrossCovariance<'a, f32>,
    task: Task<'b, f32, 1>,
    scratch: &'a mut Vec<f32>,
    word: PhantomData<W>,
}

impl<W: Word> WithSimd for Forward<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { op, mut task, scratch, .. } = self;
        let (tokens, head) = (sequences(&op), task.head);
        let shape = Shape::<W>::new(&tokens, task.segment);
        let Shape { len, dim, line, head_dim, dim_words, .. } = shape;
        let need = (2 * head_dim + dim_words + 3 * TOKENS) * line + 4 * dim;
        let mut rest = aligned(scratch, need);
        let [cosines, probs] = [(); 2].map(|()| take(&mut rest, head_dim * line));
        let weights = take(&mut rest, dim_words * line);
        let [lines, more, sums] = [(); 3].map(|()| take(&mut rest, TOKENS * line));
        let [inverse_q, inverse_k, most, total] = [(); 4].map(|()| take(&mut rest, dim));
        let [queries, keys, values] = shape.parts(&tokens, head);
        shape.ask_ahead(op.heads, head, &[queries, keys, values]);
        products::<W, S>(simd, &shape, [keys, queries], [&mut *lines, more], cosines);
        inverse_lengths(&shape, queries, op.eps, inverse_q);
        inverse_lengths(&shape, keys, op.eps, inverse_k);
        to_cosines(&shape, cosines, [inverse_q, inverse_k]);
        softmax(&shape, op.temperature[head], (cosines, probs), [most, total]);
        square(&tokens, &shape).lines(whole(probs, line), [0, head_dim], weights);
        for first in (0..len).step_by(TOKENS) {
            let rows = TOKENS.min(len - first);
            shape.rows(values, [first, rows], lines);
            multiply::<W, S>(simd, &mixed(&shape, lines, (weights, line), rows), sums, line);
            for (row, sums) in sums.chunks_exact(line).take(rows).enumerate() {
                row_mut(&mut task.pieces[0], first + row).copy_from_slice(&sums[..head_dim]);
            }
        }
    }
}

/// The backward pass, which returns the gradient of the temperature; pieces: gradients of queries, keys and values.
struct Backward<'a, 'b, W, T> {
    op: CrossCovariance<'a, f32>,
    d_out: &'a [f32],
    task: Task<'b, T, 3>,
    scratch: &'a mut Vec<f32>,
    word: PhantomData<W>,
}

impl<W: Word, T: Element> WithSimd for Backward<'_, '_, W, T> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let Backward { op, d_out, mut task, scratch, .. } = self;
        let (tokens, head) = (sequences(&op), task.head);
        let shape = Shape::<W>::new(&tokens, task.segment);
        let Shape { len, dim, line, head_dim, dim_words, .. } = shape;
        let wide_len = 4 * dim_words;
        let need = (3 * head_dim + 3 * dim_words + 2 * TOKENS) * line + 6 * dim + wide_len;
        let mut rest = aligned(scratch, need);
        let [cosines, probs, d_probs] = [(); 3].map(|()| take(&mut rest, head_dim * line));
        let [by_value, by_query, by_key] = [(); 3].map(|()| take(&mut rest, dim_words * line));
        let [lines, sums] = [(); 2].map(|()| take(&mut rest, TOKENS * line));
        let [inverse_q, inverse_k, most, total, along_q, along_k] = [(); 6].map(|()| take(&mut rest, dim));
        let wide = take(&mut rest, wide_len);
        let [queries, keys, values] = shape.parts(&tokens, head);
        let d_out = shape.part(d_out.into(), op.heads * head_dim, head);
        shape.ask_ahead(op.heads, head, &[queries, keys, values, d_out]);
        products::<W, S>(simd, &shape, [keys, queries], [&mut *lines, &mut *sums], cosines);
        products::<W, S>(simd, &shape, [values, d_out], [&mut *lines, &mut *sums], d_probs);
        inverse_lengths(&shape, queries, op.eps, inverse_q);
        inverse_lengths(&shape, keys, op.eps, inverse_k);
        to_cosines(&shape, cosines, [inverse_q, inverse_k]);
        let temperature = op.temperature[head];
        softmax(&shape, temperature, (cosines, probs), [&mut *most, &mut *total]);
        let square = square(&tokens, &shape);
        let stride = square.padded;
        square.transpose(whole(probs, line), wide, &mut by_value[..dim_words * stride]);
        softmax_backward(&shape, probs, (d_probs, most));
        let d_temperature = along(&shape, [cosines, d_probs], [&mut *along_q, &mut *along_k]);
        for (along, inverse) in [(&mut *along_q, &*inverse_q), (along_k, inverse_k)] {
            directions(along, inverse, temperature, op.eps);
        }
        scale(&shape, d_probs, (temperature, [inverse_q, inverse_k]));
        square.lines(whole(d_probs, line), [0, head_dim], by_key);
        square.transpose(whole(d_probs, line), wide, &mut by_query[..dim_words * stride]);
        let blocks = [(keys, &*by_key, line, queries, Some(along_q)), (queries, by_query, stride, keys, Some(along_k))];
        let blocks = blocks.into_iter().chain([(d_out, &*by_value, stride, values, None)]);
        for ((from, weights, stride, own, along), to) in blocks.zip(&mut task.pieces) {
            for first in (0..len).step_by(TOKENS) {
                let rows = TOKENS.min(len - first);
                shape.rows(from, [first, rows], lines);
                multiply::<W, S>(simd, &mixed(&shape, lines, (weights, stride), rows), sums, line);
                for (row, sums) in sums.chunks_exact_mut(line).take(rows).enumerate() {
                    if let Some(along) = &along {
                        take_off(own.row(first + row, head_dim), along, sums);
                    }
                    write(sums, row_mut(to, first + row));
                }
            }
        }
        d_temperature
    }
}

/// `to[j, i] = Σ_n left[n, j]·right[n, i]` for the channels of two parts of the head; `lines` have room for a block of each.
#[inline(always)]
fn products<W: Word, S: Simd>(
    simd: S,
    shape: &Shape<W>,
    [left, right]: [Part<'_>; 2],
    [left_lines, right_lines]: [&mut [f32]; 2],
    to: &mut [f32],
) {
    to.fill(0.0);
    for first in (0..shape.len).step_by(TOKENS) {
        let rows = TOKENS.min(shape.len - first);
        shape.lines(left, [first, rows], left_lines);
        shape.lines(right, [first, rows], right_lines);
        let product = Product {
            left: left_lines,
            left_row: 1,
            left_step: shape.line,
            right: right_lines,
            right_stride: shape.line,
            size: [shape.head_dim, rows.div_ceil(W::VALUES), shape.dim],
            write: Write::Add,
        };
        multiply::<W, S>(simd, &product, to, shape.line);
    }
}

/// Rows of words times a matrix of channels.
#[inline(always)]
fn mixed<'a, W: Word>(
    shape: &Shape<W>,
    left: &'a [f32],
    (right, right_stride): (&'a [f32], usize),
    rows: usize,
) -> Product<'a> {
    let size = [rows, shape.dim_words, shape.dim];
    Product { left, left_row: shape.dim_words, left_step: 1, right, right_stride, size, write: Write::Replace }
}

/// The sizes of a matrix of channels by channels.
#[inline(always)]
fn square<W: Word>(tokens: &Attention<'_, f32>, shape: &Shape<W>) -> Shape<W> {
    Shape::new(tokens, Segment { start: 0, len: shape.head_dim })
}

/// A matrix as a whole.
#[inline(always)]
fn whole(values: &[f32], stride: usize) -> Part<'_> {
    Part { values: Values::Full(values), stride, first: 0 }
}

/// The reciprocal length of each column, at most `1/eps`.
#[inline(always)]
fn inverse_lengths<W: Word>(shape: &Shape<W>, part: Part<'_>, eps: f64, to: &mut [f32]) {
    to.fill(0.0);
    for row in 0..shape.len {
        match part.row(row, shape.head_dim) {
            Values::Full(values) => add_squares(values, to),
            Values::Half(values) => add_squares(values, to),
        }
    }
    for value in to {
        let length = value.sqrt();
        *value = 1.0 / if length > eps as f32 { length } else { eps as f32 };
    }
}

#[inline(always)]
fn add_squares<T: Element>(values: &[T], to: &mut [f32]) {
    for (sum, value) in to.iter_mut().zip(values) {
        *sum = value.wide().mul_add(value.wide(), *sum);
    }
}

/// Divides products by the lengths of both columns.
#[inline(always)]
fn to_cosines<W: Word>(shape: &Shape<W>, products: &mut [f32], [inverse_q, inverse_k]: [&[f32]; 2]) {
    for (row, inverse_k) in products.chunks_exact_mut(shape.line).zip(inverse_k) {
        row.iter_mut().zip(inverse_q).for_each(
            #[inline(always)]
            |(value, inverse_q)| *value *= inverse_k * inverse_q,
        );
    }
}

/// Softmax down each column, of cosines times the temperature; `most` and `total` have room for a row.
#[inline(always)]
fn softmax<W: Word>(
    shape: &Shape<W>,
    temperature: f32,
    (cosines, probs): (&[f32], &mut [f32]),
    [most, total]: [&mut [f32]; 2],
) {
    most.fill(f32::NEG_INFINITY);
    for row in cosines.chunks_exact(shape.line) {
        for (most, cosine) in most.iter_mut().zip(row) {
            *most = larger(*most, temperature * cosine);
        }
    }
    total.fill(0.0);
    for (row, to) in cosines.chunks_exact(shape.line).zip(probs.chunks_exact_mut(shape.line)) {
        for (((cosine, to), most), total) in row.iter().zip(to).zip(most.iter()).zip(total.iter_mut()) {
            *to = exp(temperature * cosine - most);
            *total += *to;
        }
    }
    total.iter_mut().for_each(
        #[inline(always)]
        |total| *total = 1.0 / *total,
    );
    for row in probs.chunks_exact_mut(shape.line) {
        row.iter_mut().zip(total.iter()).for_each(
            #[inline(always)]
            |(prob, inverse)| *prob *= inverse,
        );
    }
}

/// Turns gradients of probabilities into those of what the softmax was of; `mean` has room for a row.
#[inline(always)]
fn softmax_backward<W: Word>(shape: &Shape<W>, probs: &[f32], (d_probs, mean): (&mut [f32], &mut [f32])) {
    mean.fill(0.0);
    for (probs, d_probs) in probs.chunks_exact(shape.line).zip(d_probs.chunks_exact(shape.line)) {
        for ((mean, prob), d_prob) in mean.iter_mut().zip(probs).zip(d_probs) {
            *mean = prob.mul_add(*d_prob, *mean);
        }
    }
    for (probs, d_probs) in probs.chunks_exact(shape.line).zip(d_probs.chunks_exact_mut(shape.line)) {
        for ((mean, prob), d_prob) in mean.iter().zip(probs).zip(d_probs) {
            *d_prob = prob * (*d_prob - mean);
        }
    }
}

/// Sums of products of cosines and the gradients `d` of cosines times temperature, for each channel of q and of k; returns that of all.
#[inline(always)]
fn along<W: Word>(shape: &Shape<W>, [cosines, d]: [&[f32]; 2], [of_q, of_k]: [&mut [f32]; 2]) -> f32 {
    of_q.fill(0.0);
    for ((cosines, d), of_k) in cosines.chunks_exact(shape.line).zip(d.chunks_exact(shape.line)).zip(of_k) {
        let (cosines, d) = (&cosines[..shape.head_dim], &d[..shape.head_dim]);
        *of_k = dot(cosines, d);
        for ((of_q, cosine), d) in of_q.iter_mut().zip(cosines).zip(d) {
            *of_q = cosine.mul_add(*d, *of_q);
        }
    }
    sum(&of_q[..shape.head_dim])
}

/// Turns those sums into what each column is taken off its gradient times; nothing where its length was clamped and did not
/// depend on it.
#[inline(always)]
fn directions(along: &mut [f32], inverse: &[f32], temperature: f32, eps: f64) {
    for (along, &inverse) in along.iter_mut().zip(inverse) {
        *along = if inverse < 1.0 / eps as f32 { temperature * *along * inverse * inverse } else { 0.0 };
    }
}

/// Turns gradients of cosines times temperature into those of products of columns.
#[inline(always)]
fn scale<W: Word>(shape: &Shape<W>, d: &mut [f32], (temperature, [inverse_q, inverse_k]): (f32, [&[f32]; 2])) {
    for (row, inverse_k) in d.chunks_exact_mut(shape.line).zip(inverse_k) {
        row.iter_mut().zip(inverse_q).for_each(
            #[inline(always)]
            |(d, inverse_q)| *d *= temperature * inverse_k * inverse_q,
        );
    }
}

/// Takes a row times `along` off its gradient.
#[inline(always)]
fn take_off(row: Values<'_, f32>, along: &[f32], d: &mut [f32]) {
    match row {
        Values::Full(row) => take_off_of(row, along, d),
        Values::Half(row) => take_off_of(row, along, d),
    }
}

#[inline(always)]
fn take_off_of<T: Element>(row: &[T], along: &[f32], d: &mut [f32]) {
    for ((d, value), along) in d.iter_mut().zip(row).zip(along) {
        *d = value.wide().mul_add(-along, *d);
    }
}

#[inline(always)]
fn write<T: Element>(from: &[f32], to: &mut [T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = T::of(from);
    }
}
