//! Attention of one head over one segment, forward and backward: blocks of queries against all keys.

use faer::MatMut;
use pulp::{Simd, WithSimd};

use super::dense::row_mut;
use super::math::{dot, exp, larger};
use super::tile::{PAD, Product, multiply};
use super::transpose::{SIDE, transpose};
use crate::kernels::{Attention, AttentionBackward, Segment, Write};
use crate::values::Values;

/// Queries of one block: 48 rows of 208 scores are 40 KB.
const QUERIES: usize = 48;

/// One segment and head: where it reads, and the pieces of the results that are its own.
pub struct Task<'a, const PIECES: usize> {
    /// The sequence.
    pub segment: Segment,
    /// The head.
    pub head: usize,
    /// Rows of the segment and columns of the head in each result.
    pub pieces: [MatMut<'a, f32>; PIECES],
}

/// The forward pass; pieces: output, log-sum-exp.
pub struct Forward<'a, 'b> {
    pub op: Attention<'a, f32>,
    pub task: Task<'b, 2>,
    pub scratch: &'a mut Vec<f32>,
}

impl WithSimd for Forward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { op, mut task, scratch } = self;
        let shape = Shape::new(&op, task.segment);
        let Shape { len, padded, dim, line, .. } = shape;
        scratch
            .resize((dim * padded + len * line + QUERIES * (padded + 2 * line) + SIDE * dim).max(scratch.len()), 0.0);
        let mut rest = &mut scratch[..];
        let keys = take(&mut rest, dim * padded);
        let values = take(&mut rest, len * line);
        let scores = take(&mut rest, QUERIES * padded);
        let [queries, sums] = [(); 2].map(|()| take(&mut rest, QUERIES * line));
        let mut wide = [(); SIDE].map(|()| take(&mut rest, dim));
        shape.transpose(&op, op.heads + task.head, &mut wide, keys);
        shape.copy((op.qkv, shape.stride), (2 * op.heads + task.head, 0), values);
        let asked = len.min(op.queries);
        for first in (0..asked).step_by(QUERIES) {
            let rows = QUERIES.min(asked - first);
            shape.copy((op.qkv, shape.stride), (task.head, first), &mut queries[..rows * line]);
            multiply(simd, &shape.scores(queries, keys, rows), scores, padded);
            let [out, log_sum_exp] = &mut task.pieces;
            let mut inverses = [0.0; QUERIES];
            for (row, scores) in scores.chunks_exact_mut(padded).take(rows).enumerate() {
                let (total, lse) = softmax_row(scores, len, shape.scale);
                inverses[row] = 1.0 / total;
                row_mut(log_sum_exp, first + row)[0] = lse;
            }
            multiply(simd, &shape.mix(scores, values, rows), sums, line);
            for (row, sums) in sums.chunks_exact(line).take(rows).enumerate() {
                write_scaled(row_mut(out, first + row), sums, inverses[row]);
            }
        }
    }
}

/// The backward pass; pieces: gradients of queries, keys and values.
pub struct Backward<'a, 'b> {
    pub op: Attention<'a, f32>,
    pub saved: AttentionBackward<'a, f32>,
    pub task: Task<'b, 3>,
    pub scratch: &'a mut Vec<f32>,
}

impl WithSimd for Backward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Backward { op, saved, mut task, scratch } = self;
        let shape = Shape::new(&op, task.segment);
        let Shape { len, padded, dim, line, .. } = shape;
        let need = 2 * dim * padded + 3 * len * line + QUERIES * (2 * padded + 3 * line) + SIDE * dim;
        scratch.resize(need.max(scratch.len()), 0.0);
        let mut rest = &mut scratch[..];
        let [keys_t, values_t] = [(); 2].map(|()| take(&mut rest, dim * padded));
        let [keys, d_keys, d_values] = [(); 3].map(|()| take(&mut rest, len * line));
        let [probs, d_scores] = [(); 2].map(|()| take(&mut rest, QUERIES * padded));
        let [queries, d_out, d_queries] = [(); 3].map(|()| take(&mut rest, QUERIES * line));
        let mut wide = [(); SIDE].map(|()| take(&mut rest, dim));
        shape.transpose(&op, op.heads + task.head, &mut wide, keys_t);
        shape.transpose(&op, 2 * op.heads + task.head, &mut wide, values_t);
        shape.copy((op.qkv, shape.stride), (op.heads + task.head, 0), keys);
        d_keys.fill(0.0);
        d_values.fill(0.0);
        let asked = len.min(op.queries);
        for first in (0..asked).step_by(QUERIES) {
            let rows = QUERIES.min(asked - first);
            let width = op.heads * op.head_dim;
            shape.copy((op.qkv, shape.stride), (task.head, first), &mut queries[..rows * line]);
            shape.copy((saved.d_out.into(), width), (task.head, first), &mut d_out[..rows * line]);
            multiply(simd, &shape.scores(queries, keys_t, rows), probs, padded);
            multiply(simd, &shape.scores(d_out, values_t, rows), d_scores, padded);
            let blocks = probs.chunks_exact_mut(padded).zip(d_scores.chunks_exact_mut(padded));
            for (row, (probs, d_scores)) in blocks.take(rows).enumerate() {
                let token = shape.start + first + row;
                let columns = token * width + task.head * op.head_dim..token * width + (task.head + 1) * op.head_dim;
                let along = dot(&saved.d_out[columns.clone()], &saved.out[columns]);
                let lse = saved.log_sum_exp[token * op.heads + task.head];
                // The padding's values are never used.
                for (prob, d_score) in probs.iter_mut().zip(d_scores) {
                    *prob = exp(prob.mul_add(shape.scale, -lse));
                    *d_score = *prob * (*d_score - along);
                }
            }
            multiply(simd, &shape.mix(d_scores, keys, rows), d_queries, line);
            multiply(simd, &shape.mix_back(d_scores, queries, rows), d_keys, line);
            multiply(simd, &shape.mix_back(probs, d_out, rows), d_values, line);
            for (row, d_query) in d_queries.chunks_exact(line).take(rows).enumerate() {
                write_scaled(row_mut(&mut task.pieces[0], first + row), d_query, shape.scale);
            }
        }
        for silent in asked..len {
            row_mut(&mut task.pieces[0], silent).fill(0.0);
        }
        for (token, (d_key, d_value)) in d_keys.chunks_exact(line).zip(d_values.chunks_exact(line)).enumerate() {
            write_scaled(row_mut(&mut task.pieces[1], token), d_key, shape.scale);
            write_scaled(row_mut(&mut task.pieces[2], token), d_value, 1.0);
        }
    }
}

/// Writes the unpadded part of a row times a factor.
#[inline(always)]
fn write_scaled(to: &mut [f32], from: &[f32], scale: f32) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from * scale;
    }
}

/// Turns a padded row of `len` scores into `e^(scale·(score − max))`, zeros in the padding; returns the sum and the
/// log-sum-exp.
#[inline(always)]
fn softmax_row(scores: &mut [f32], len: usize, scale: f32) -> (f32, f32) {
    scores[len..].fill(f32::NEG_INFINITY);
    let max = reduce(scores, f32::NEG_INFINITY, larger);
    for score in scores.iter_mut() {
        *score = exp((*score - max) * scale);
    }
    let total = reduce(
        scores,
        0.0,
        #[inline(always)]
        |a, b| a + b,
    );
    (total, max.mul_add(scale, total.ln()))
}

/// Hands out the next `len` values of the working memory.
#[inline(always)]
fn take<'a>(scratch: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (mine, rest) = std::mem::take(scratch).split_at_mut(len);
    *scratch = rest;
    mine
}

/// Folds a row of whole vectors in a fixed order.
#[inline(always)]
fn reduce(row: &[f32], start: f32, step: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; PAD];
    for block in row.as_chunks::<PAD>().0 {
        for lane in 0..PAD {
            lanes[lane] = step(lanes[lane], block[lane]);
        }
    }
    let mut half = PAD / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = step(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Sizes of one task.
#[derive(Clone, Copy)]
struct Shape {
    start: usize,
    len: usize,
    /// `len` in whole vectors.
    padded: usize,
    /// The head's width in whole vectors.
    dim: usize,
    /// Distance of rows of `dim` values: an odd number of cache lines, so that a column of them uses all of a cache.
    line: usize,
    head_dim: usize,
    scale: f32,
    /// Distance of two tokens in the matrix of queries, keys and values.
    stride: usize,
}

impl Shape {
    fn new(op: &Attention<'_, f32>, segment: Segment) -> Self {
        let dim = op.head_dim.next_multiple_of(PAD);
        Shape {
            start: segment.start,
            len: segment.len,
            padded: segment.len.next_multiple_of(PAD),
            dim,
            line: if (dim / PAD).is_multiple_of(2) { dim + PAD } else { dim },
            head_dim: op.head_dim,
            scale: (op.head_dim as f32).powf(-0.5),
            stride: 3 * op.heads * op.head_dim,
        }
    }

    /// Copies rows of a head's columns, from the segment's row `first` on, into padded rows.
    #[inline(always)]
    fn copy(&self, (matrix, stride): (Values<'_, f32>, usize), (part, first): (usize, usize), to: &mut [f32]) {
        for (row, to) in to.chunks_exact_mut(self.line).enumerate() {
            let (values, padding) = to.split_at_mut(self.head_dim);
            let from = (self.start + first + row) * stride + part * self.head_dim;
            matrix.part(from..from + self.head_dim).copy_to(values);
            padding.fill(0.0);
        }
    }

    /// Copies a column block of the segment's tokens into padded columns, `[head_dim, padded]`. `wide` has room for four
    /// rows, should they have to be widened.
    #[inline(always)]
    fn transpose(&self, op: &Attention<'_, f32>, part: usize, wide: &mut [&mut [f32]; SIDE], to: &mut [f32]) {
        for first in (0..self.padded).step_by(SIDE) {
            if first >= self.len {
                to.chunks_exact_mut(self.padded).for_each(|line| line[first..].fill(0.0));
                return;
            }
            // Columns of the padding beside the last token repeat it.
            let mut token = first;
            let rows = wide.each_mut().map(
                #[inline(always)]
                |wide| {
                    let row = head_row(op, self.start + token.min(self.len - 1), part);
                    token += 1;
                    row.widened(wide)
                },
            );
            transpose(rows, to, self.padded, first);
        }
    }

    /// Rows of a padded block times a transposed matrix, `[rows, padded]`.
    #[inline(always)]
    fn scores<'a>(&self, block: &'a [f32], transposed: &'a [f32], rows: usize) -> Product<'a> {
        Product {
            left: block,
            left_row: self.line,
            left_step: 1,
            right: transposed,
            right_stride: self.padded,
            size: [rows, self.head_dim, self.padded],
            write: Write::Replace,
        }
    }

    /// Rows of weights times the segment's `[len, dim]` matrix.
    #[inline(always)]
    fn mix<'a>(&self, weights: &'a [f32], matrix: &'a [f32], rows: usize) -> Product<'a> {
        Product {
            left: weights,
            left_row: self.padded,
            left_step: 1,
            right: matrix,
            right_stride: self.line,
            size: [rows, self.len, self.dim],
            write: Write::Replace,
        }
    }

    /// Transposed weights times a block of queries' rows, added to a `[len, dim]` matrix.
    #[inline(always)]
    fn mix_back<'a>(&self, weights: &'a [f32], matrix: &'a [f32], rows: usize) -> Product<'a> {
        Product {
            left: weights,
            left_row: 1,
            left_step: self.padded,
            right: matrix,
            right_stride: self.line,
            size: [self.len, rows, self.dim],
            write: Write::Add,
        }
    }
}

/// The values of one token in column block `part` (queries of all heads, then keys, then values).
#[inline(always)]
pub fn head_row<'a>(op: &Attention<'a, f32>, token: usize, part: usize) -> Values<'a, f32> {
    let first = token * 3 * op.heads * op.head_dim + part * op.head_dim;
    op.qkv.part(first..first + op.head_dim)
}
