//! Attention of one head over one segment, forward and backward: blocks of queries against all keys.
//!
//! Products multiply words (`word`): queries, keys, values and their gradients as well as rows of weights become words on
//! the way, along the dimension that is summed over. Scores, softmax and sums are `f32`.

use std::marker::PhantomData;

use faer::MatMut;
use pulp::{Simd, WithSimd};

use super::cache::{aligned, ask};
use super::dense::row_mut;
use super::math::{exp, join, larger};
use super::tile::{PAD, Product, multiply};
use super::transpose::{SIDE, transpose};
use super::word::Word;
use crate::kernels::{Attention, AttentionBackward, Segment, Write};
use crate::values::{Element, Values};

/// Queries of one block, an even number: 48 rows of 208 scores are 40 KB.
const QUERIES: usize = 48;

/// One segment and head: where it reads, and the pieces of the results that are its own.
pub struct Task<'a, T, const PIECES: usize> {
    /// The sequence.
    pub segment: Segment,
    /// The head.
    pub head: usize,
    /// Rows of the segment and columns of the head in each result.
    pub pieces: [MatMut<'a, T>; PIECES],
}

/// The forward pass; pieces: output, log-sum-exp.
pub struct Forward<'a, 'b, W> {
    pub op: Attention<'a, f32>,
    pub task: Task<'b, f32, 2>,
    pub scratch: &'a mut Vec<f32>,
    pub word: PhantomData<W>,
}

impl<W: Word> WithSimd for Forward<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Forward { op, mut task, scratch, .. } = self;
        let shape = Shape::<W>::new(&op, task.segment);
        let Shape { len, padded, line, lines, dim_words, .. } = shape;
        let need = dim_words * padded + lines * line + QUERIES * (2 * padded + line + dim_words) + SIDE * dim_words;
        let mut rest = aligned(scratch, need);
        let keys = take(&mut rest, dim_words * padded);
        let values = take(&mut rest, lines * line);
        let [scores, buffer] = [(); 2].map(|()| take(&mut rest, QUERIES * padded));
        let queries = take(&mut rest, QUERIES * dim_words);
        let sums = take(&mut rest, QUERIES * line);
        let [queries_of, keys_of, values_of] = shape.parts(&op, task.head);
        shape.ask_ahead(op.heads, task.head, &[queries_of, keys_of, values_of]);
        shape.transpose(keys_of, take(&mut rest, SIDE * dim_words), keys);
        shape.lines(values_of, [0, len], values);
        let asked = len.min(op.queries);
        for first in (0..asked).step_by(QUERIES) {
            let rows = QUERIES.min(asked - first);
            shape.rows(queries_of, [first, rows], queries);
            multiply::<W, S>(simd, &shape.scores(queries, keys, rows), scores, padded);
            let [out, log_sum_exp] = &mut task.pieces;
            let mut inverses = [0.0; QUERIES];
            for (row, scores) in scores.chunks_exact_mut(padded).take(rows).enumerate() {
                let (total, lse) = softmax_row(scores, len, shape.scale);
                inverses[row] = 1.0 / total;
                row_mut(log_sum_exp, first + row)[0] = lse;
            }
            let weights = W::words(Values::Full(&scores[..rows * padded]), buffer);
            multiply::<W, S>(simd, &shape.mix(weights, values, rows), sums, line);
            for (row, sums) in sums.chunks_exact(line).take(rows).enumerate() {
                write_scaled(row_mut(out, first + row), sums, inverses[row]);
            }
        }
    }
}

/// The backward pass; pieces: gradients of queries, keys and values.
pub struct Backward<'a, 'b, W, T> {
    pub op: Attention<'a, f32>,
    pub saved: AttentionBackward<'a, f32>,
    pub task: Task<'b, T, 3>,
    pub scratch: &'a mut Vec<f32>,
    pub word: PhantomData<W>,
}

impl<W: Word, T: Element> WithSimd for Backward<'_, '_, W, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Backward { op, saved, mut task, scratch, .. } = self;
        let shape = Shape::<W>::new(&op, task.segment);
        let Shape { len, padded, line, lines, dim_words, .. } = shape;
        let need = 2 * dim_words * padded
            + (lines + 2 * len) * line
            + QUERIES * (3 * padded + 3 * line + dim_words)
            + SIDE * dim_words;
        let mut rest = aligned(scratch, need);
        let [keys_t, values_t] = [(); 2].map(|()| take(&mut rest, dim_words * padded));
        let keys = take(&mut rest, lines * line);
        let [d_keys, d_values] = [(); 2].map(|()| take(&mut rest, len * line));
        let [probs, d_scores, buffer] = [(); 3].map(|()| take(&mut rest, QUERIES * padded));
        let [query_lines, d_out_lines, d_queries] = [(); 3].map(|()| take(&mut rest, QUERIES * line));
        let left = take(&mut rest, QUERIES * dim_words);
        let wide = take(&mut rest, SIDE * dim_words);
        let [queries_of, keys_of, values_of] = shape.parts(&op, task.head);
        let d_out_of = shape.part(saved.d_out.into(), op.heads * op.head_dim, task.head);
        shape.ask_ahead(op.heads, task.head, &[queries_of, keys_of, values_of, d_out_of]);
        shape.transpose(keys_of, wide, keys_t);
        shape.transpose(values_of, wide, values_t);
        shape.lines(keys_of, [0, len], keys);
        d_keys.fill(0.0);
        d_values.fill(0.0);
        let asked = len.min(op.queries);
        for first in (0..asked).step_by(QUERIES) {
            let rows = QUERIES.min(asked - first);
            shape.rows(queries_of, [first, rows], left);
            multiply::<W, S>(simd, &shape.scores(left, keys_t, rows), probs, padded);
            shape.rows(d_out_of, [first, rows], left);
            multiply::<W, S>(simd, &shape.scores(left, values_t, rows), d_scores, padded);
            let blocks = probs.chunks_exact_mut(padded).zip(d_scores.chunks_exact_mut(padded));
            for (row, (probs, d_scores)) in blocks.take(rows).enumerate() {
                let lse = saved.log_sum_exp[(shape.start + first + row) * op.heads + task.head];
                softmax_backward_row(probs, d_scores, (len, shape.scale, lse));
            }
            let weights = W::words(Values::Full(&d_scores[..rows * padded]), buffer);
            multiply::<W, S>(simd, &shape.mix(weights, keys, rows), d_queries, line);
            shape.lines(queries_of, [first, rows], query_lines);
            shape.lines(d_out_of, [first, rows], d_out_lines);
            let weights = across::<W>(d_scores, padded, rows, buffer);
            multiply::<W, S>(simd, &shape.mix_back(weights, query_lines, rows), d_keys, line);
            let weights = across::<W>(probs, padded, rows, buffer);
            multiply::<W, S>(simd, &shape.mix_back(weights, d_out_lines, rows), d_values, line);
            for (row, d_query) in d_queries.chunks_exact(line).take(rows).enumerate() {
                write_scaled(row_mut(&mut task.pieces[0], first + row), d_query, shape.scale);
            }
        }
        for silent in asked..len {
            row_mut(&mut task.pieces[0], silent).fill(T::of(0.0));
        }
        write_rows(&mut task.pieces[1], d_keys, line, shape.scale);
        write_rows(&mut task.pieces[2], d_values, line, 1.0);
    }
}

/// Writes rows that lie `line` apart, times a factor.
#[inline(always)]
fn write_rows<T: Element>(to: &mut MatMut<'_, T>, from: &[f32], line: usize, scale: f32) {
    for (row, from) in from.chunks_exact(line).enumerate() {
        write_scaled(row_mut(to, row), from, scale);
    }
}

/// Writes the unpadded part of a row times a factor.
#[inline(always)]
fn write_scaled<T: Element>(to: &mut [T], from: &[f32], scale: f32) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = T::of(from * scale);
    }
}

/// Turns a padded row of `len` scores into `e^(scale·(score − max))`, zeros in the padding; returns the sum and the
/// log-sum-exp.
#[inline(always)]
fn softmax_row(scores: &mut [f32], len: usize, scale: f32) -> (f32, f32) {
    scores[len..].fill(f32::NEG_INFINITY);
    let mut lanes = [f32::NEG_INFINITY; PAD];
    for block in scores.as_chunks::<PAD>().0 {
        for lane in 0..PAD {
            lanes[lane] = larger(lanes[lane], block[lane]);
        }
    }
    let max = join(lanes, larger);
    let mut lanes = [0.0; PAD];
    for block in scores.as_chunks_mut::<PAD>().0 {
        for lane in 0..PAD {
            block[lane] = exp((block[lane] - max) * scale);
            lanes[lane] += block[lane];
        }
    }
    let total = join(lanes, add);
    (total, max.mul_add(scale, total.ln()))
}

/// Turns a padded row of `len` scores into probabilities, and the gradient of those into that of the scores before they
/// were scaled; zeros in the padding of both.
#[inline(always)]
fn softmax_backward_row(scores: &mut [f32], d_probs: &mut [f32], (len, scale, lse): (usize, f32, f32)) {
    scores[len..].fill(f32::NEG_INFINITY);
    d_probs[len..].fill(0.0);
    let mut lanes = [0.0; PAD];
    for (block, d_probs) in scores.as_chunks_mut::<PAD>().0.iter_mut().zip(d_probs.as_chunks::<PAD>().0) {
        for lane in 0..PAD {
            block[lane] = exp(block[lane].mul_add(scale, -lse));
            lanes[lane] = block[lane].mul_add(d_probs[lane], lanes[lane]);
        }
    }
    let mean = join(lanes, add);
    for (d_prob, &prob) in d_probs.iter_mut().zip(scores.iter()) {
        *d_prob = prob * (*d_prob - mean);
    }
}

#[inline(always)]
fn add(a: f32, b: f32) -> f32 {
    a + b
}

/// Words of the columns of a block of weights, `rows` of `padded`: those of neighbouring rows share a word.
#[inline(always)]
fn across<'a, W: Word>(block: &'a [f32], padded: usize, rows: usize, buffer: &'a mut [f32]) -> &'a [f32] {
    if W::VALUES == 1 {
        return block;
    }
    let row = |row: usize| Values::Full(&block[row * padded..(row + 1) * padded]);
    for (index, to) in buffer.chunks_exact_mut(padded).take(rows.div_ceil(W::VALUES)).enumerate() {
        let first = index * W::VALUES;
        let second = if first + 1 < rows { Some(row(first + 1)) } else { None };
        W::line(row(first), second, to);
    }
    buffer
}

/// Hands out the next `len` values of the working memory.
#[inline(always)]
pub fn take<'a>(scratch: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (mine, rest) = std::mem::take(scratch).split_at_mut(len);
    *scratch = rest;
    mine
}

/// Sizes of one task.
pub struct Shape<W> {
    start: usize,
    /// Tokens.
    pub len: usize,
    /// `len` in whole vectors.
    pub padded: usize,
    /// Words that `len` values take.
    lines: usize,
    /// The head's width in whole vectors.
    pub dim: usize,
    /// Distance of rows of `dim` values: an odd number of cache lines, so that a column of them uses all of a cache.
    pub line: usize,
    /// The head's width.
    pub head_dim: usize,
    /// Words that `head_dim` values take.
    pub dim_words: usize,
    scale: f32,
    word: PhantomData<W>,
}

/// A head's columns of the segment's rows.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// The matrix.
    pub values: Values<'a, f32>,
    /// Distance of rows.
    pub stride: usize,
    /// The first value.
    pub first: usize,
}

impl<'a> Part<'a> {
    /// The first values of a row.
    #[inline(always)]
    pub fn row(&self, row: usize, len: usize) -> Values<'a, f32> {
        let first = self.first + row * self.stride;
        self.values.part(first..first + len)
    }
}

impl<W: Word> Shape<W> {
    /// The sizes of a segment and any head.
    pub fn new(op: &Attention<'_, f32>, segment: Segment) -> Self {
        let dim = op.head_dim.next_multiple_of(PAD);
        Shape {
            start: segment.start,
            len: segment.len,
            padded: segment.len.next_multiple_of(PAD),
            lines: segment.len.div_ceil(W::VALUES),
            dim,
            line: if (dim / PAD).is_multiple_of(2) { dim + PAD } else { dim },
            head_dim: op.head_dim,
            dim_words: op.head_dim.div_ceil(W::VALUES),
            scale: (op.head_dim as f32).powf(-0.5),
            word: PhantomData,
        }
    }

    /// The columns of one head among those of `stride / head_dim` in the segment's rows.
    pub fn part<'a>(&self, values: Values<'a, f32>, stride: usize, head: usize) -> Part<'a> {
        Part { values, stride, first: self.start * stride + head * self.head_dim }
    }

    /// Queries, keys and values of a head.
    pub fn parts<'a>(&self, op: &Attention<'a, f32>, head: usize) -> [Part<'a>; 3] {
        let part = |part: usize| self.part(op.qkv, 3 * op.heads * op.head_dim, part * op.heads + head);
        [part(0), part(1), part(2)]
    }

    /// Asks for what the next task reads, which most likely is this thread's: the next head's columns, or those of the first
    /// head in the next segment. Pieces of rows are too short for a processor to guess what follows.
    #[inline(always)]
    pub fn ask_ahead(&self, heads: usize, head: usize, parts: &[Part<'_>]) {
        for part in parts {
            let next = match head + 1 < heads {
                true => part.first + self.head_dim,
                false => part.first + self.len * part.stride - head * self.head_dim,
            };
            for row in 0..self.len {
                ask(part.values, next + row * part.stride, self.head_dim);
            }
        }
    }

    /// Words of some rows, one row after the other: `[rows, dim_words]`.
    #[inline(always)]
    pub fn rows(&self, part: Part<'_>, [first, rows]: [usize; 2], to: &mut [f32]) {
        for (row, to) in to.chunks_exact_mut(self.dim_words).take(rows).enumerate() {
            W::write(part.row(first + row, self.head_dim), to);
        }
    }

    /// Words of the columns of some rows: lines of `dim` values, those of neighbouring rows in a word.
    #[inline(always)]
    pub fn lines(&self, part: Part<'_>, [first, rows]: [usize; 2], to: &mut [f32]) {
        for (index, to) in to.chunks_exact_mut(self.line).take(rows.div_ceil(W::VALUES)).enumerate() {
            let row = index * W::VALUES;
            let (values, padding) = to.split_at_mut(self.head_dim);
            let second = if row + 1 < rows { Some(part.row(first + row + 1, self.head_dim)) } else { None };
            W::line(part.row(first + row, self.head_dim), second, values);
            padding.fill(0.0);
        }
    }

    /// Words of all rows, transposed: `[dim_words, padded]`. `wide` has room for four rows.
    #[inline(always)]
    pub fn transpose(&self, part: Part<'_>, wide: &mut [f32], to: &mut [f32]) {
        for first in (0..self.padded).step_by(SIDE) {
            if first >= self.len {
                to.chunks_exact_mut(self.padded).for_each(|line| line[first..].fill(0.0));
                return;
            }
            // Columns of the padding beside the last token repeat it.
            let row = |at: usize| part.row((first + at).min(self.len - 1), self.head_dim);
            let (a, rest) = wide.split_at_mut(self.dim_words);
            let (b, rest) = rest.split_at_mut(self.dim_words);
            let (c, d) = rest.split_at_mut(self.dim_words);
            let rows = [W::words(row(0), a), W::words(row(1), b), W::words(row(2), c), W::words(row(3), d)];
            transpose(rows, to, self.padded, first);
        }
    }

    /// Words of rows times a transposed matrix, `[rows, padded]`.
    #[inline(always)]
    fn scores<'a>(&self, left: &'a [f32], transposed: &'a [f32], rows: usize) -> Product<'a> {
        Product {
            left,
            left_row: self.dim_words,
            left_step: 1,
            right: transposed,
            right_stride: self.padded,
            size: [rows, self.dim_words, self.padded],
            write: Write::Replace,
        }
    }

    /// Rows of weights times the segment's `[len, dim]` matrix.
    #[inline(always)]
    fn mix<'a>(&self, weights: &'a [f32], lines: &'a [f32], rows: usize) -> Product<'a> {
        Product {
            left: weights,
            left_row: self.padded / W::VALUES,
            left_step: 1,
            right: lines,
            right_stride: self.line,
            size: [rows, self.lines, self.dim],
            write: Write::Replace,
        }
    }

    /// Transposed weights times a block of queries' rows, added to a `[len, dim]` matrix.
    #[inline(always)]
    fn mix_back<'a>(&self, weights: &'a [f32], lines: &'a [f32], rows: usize) -> Product<'a> {
        Product {
            left: weights,
            left_row: 1,
            left_step: self.padded,
            right: lines,
            right_stride: self.line,
            size: [self.len, rows.div_ceil(W::VALUES), self.dim],
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
