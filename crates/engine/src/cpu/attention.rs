//! Multi-head attention, one task per segment and head, without a score matrix in memory.
//!
//! A task copies its keys and values from the interleaved matrix into rows padded to whole vectors (the keys transposed),
//! then takes a block of queries at a time: scores, softmax and weighted values stay in the second-level cache. The
//! backward pass recomputes the scores from their log-sum-exp (Dao et al. 2022, FlashAttention, section 3.1).

use std::cell::RefCell;
use std::marker::PhantomData;

use faer::MatMut;
use half::bf16;
use pulp::Arch;
use rayon::prelude::*;

use super::attention_head::{Backward, Forward, Task, head_row};
use super::chunk::{check_len, rows_of};
use super::gemm::Units;
use super::math::{dot, exp, fold, join, larger, vectorised};
#[cfg(target_arch = "x86_64")]
use super::word::Hardware;
use super::word::{Pair, Single, Word};
use crate::kernels::{Attention, AttentionBackward, Segment};
use crate::values::{Element, ValuesMut};

/// Multiplications that a rayon task should have at least; short segments are joined up to it.
const TASK_WORK: usize = 1 << 20;

thread_local! {
    /// Working memory of the tasks of a thread, kept between calls.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// See [`crate::kernels::Kernels::attention`].
pub fn attention(arch: Arch, units: Units, op: Attention<'_, f32>, out: &mut [f32], log_sum_exp: &mut [f32]) {
    match units {
        Units::F32 => forward::<Single>(arch, op, out, log_sum_exp),
        Units::Pairs => forward::<Pair>(arch, op, out, log_sum_exp),
        #[cfg(target_arch = "x86_64")]
        Units::Hardware => forward::<Hardware>(arch, op, out, log_sum_exp),
    }
}

fn forward<W: Word>(arch: Arch, op: Attention<'_, f32>, out: &mut [f32], log_sum_exp: &mut [f32]) {
    let Attention { heads, head_dim, .. } = op;
    let tokens = rows_of("qkv", op.qkv.len(), 3 * heads * head_dim);
    check_len("out", out.len(), tokens * heads * head_dim);
    check_len("log_sum_exp", log_sum_exp.len(), tokens * heads);
    let out = cut(&op, MatMut::from_row_major_slice_mut(out, tokens, heads * head_dim), head_dim);
    let sums = cut(&op, MatMut::from_row_major_slice_mut(log_sum_exp, tokens, heads), 1);
    let tasks =
        out.into_iter().zip(sums).map(|(out, sums)| Task { segment: out.0, head: out.1, pieces: [out.2, sums.2] });
    run(work(&op), tasks.collect(), |task| {
        SCRATCH.with_borrow_mut(|scratch| {
            W::dispatch(arch, Forward::<'_, '_, W> { op, task, scratch, word: PhantomData })
        });
    });
}

/// See [`crate::kernels::Kernels::attention_backward`].
pub fn attention_backward(
    arch: Arch,
    units: Units,
    op: Attention<'_, f32>,
    saved: AttentionBackward<'_, f32>,
    d_qkv: ValuesMut<'_, f32>,
) {
    match units {
        Units::F32 => backward::<Single>(arch, op, saved, d_qkv),
        Units::Pairs => backward::<Pair>(arch, op, saved, d_qkv),
        #[cfg(target_arch = "x86_64")]
        Units::Hardware => backward::<Hardware>(arch, op, saved, d_qkv),
    }
}

fn backward<W: Word>(arch: Arch, op: Attention<'_, f32>, saved: AttentionBackward<'_, f32>, d_qkv: ValuesMut<'_, f32>) {
    match d_qkv {
        ValuesMut::Full(d_qkv) => backward_to::<W, f32>(arch, op, saved, d_qkv),
        ValuesMut::Half(d_qkv) => backward_to::<W, bf16>(arch, op, saved, d_qkv),
    }
}

fn backward_to<W: Word, T: Element>(
    arch: Arch,
    op: Attention<'_, f32>,
    saved: AttentionBackward<'_, f32>,
    d_qkv: &mut [T],
) {
    let Attention { heads, head_dim, .. } = op;
    let tokens = rows_of("qkv", op.qkv.len(), 3 * heads * head_dim);
    check_len("d_qkv", d_qkv.len(), op.qkv.len());
    check_len("d_out", saved.d_out.len(), tokens * heads * head_dim);
    check_len("log_sum_exp", saved.log_sum_exp.len(), tokens * heads);
    run(work(&op), tasks_of(&op, d_qkv), |task| {
        SCRATCH.with_borrow_mut(|scratch| {
            W::dispatch(arch, Backward::<'_, '_, W, T> { op, saved, task, scratch, word: PhantomData })
        });
    });
}

/// See [`crate::kernels::Kernels::first_token_attention`].
pub fn first_token_attention(arch: Arch, op: Attention<'_, f32>, out: &mut [f32]) {
    let Attention { heads, head_dim, .. } = op;
    rows_of("qkv", op.qkv.len(), 3 * heads * head_dim);
    check_len("out", out.len(), op.segments.iter().map(|segment| heads * segment.len).sum());
    let (mut rest, mut tasks) = (out, Vec::with_capacity(op.segments.len()));
    for segment in op.segments {
        let (mine, after) = rest.split_at_mut(heads * segment.len);
        tasks.push((segment, mine));
        rest = after;
    }
    let scale = (head_dim as f32).powf(-0.5);
    tasks.into_par_iter().filter(|(segment, _)| segment.len > 0).for_each(|(segment, out)| {
        vectorised(
            arch,
            #[inline(always)]
            || {
                let mut wide = vec![0.0; 2 * head_dim];
                let (query, key) = wide.split_at_mut(head_dim);
                for (head, probs) in out.chunks_exact_mut(segment.len).enumerate() {
                    let query = head_row(&op, segment.start, head).widened(query);
                    for (token, score) in probs.iter_mut().enumerate() {
                        let key = head_row(&op, segment.start + token, heads + head).widened(key);
                        *score = dot(query, key) * scale;
                    }
                    let max = join(fold(f32::NEG_INFINITY, probs, larger), larger);
                    probs.iter_mut().for_each(|score| *score = exp(*score - max));
                    let total = join(
                        fold(
                            0.0,
                            probs,
                            #[inline(always)]
                            |a, b| a + b,
                        ),
                        #[inline(always)]
                        |a, b| a + b,
                    );
                    probs.iter_mut().for_each(|prob| *prob /= total);
                }
            },
        );
    });
}

/// One task per segment and head, with its pieces of the gradients of queries, keys and values.
pub fn tasks_of<'a, T>(op: &Attention<'_, f32>, d_qkv: &'a mut [T]) -> Vec<Task<'a, T, 3>> {
    let (width, head_dim) = (op.heads * op.head_dim, op.head_dim);
    let d_qkv = MatMut::from_row_major_slice_mut(d_qkv, op.qkv.len() / (3 * width), 3 * width);
    let (d_q, d_kv) = d_qkv.split_at_col_mut(width);
    let (d_k, d_v) = d_kv.split_at_col_mut(width);
    let pieces = cut(op, d_q, head_dim).into_iter().zip(cut(op, d_k, head_dim)).zip(cut(op, d_v, head_dim));
    pieces.map(|((q, k), v)| Task { segment: q.0, head: q.1, pieces: [q.2, k.2, v.2] }).collect()
}

/// Cuts a matrix of all tokens into one piece per segment and head, `width` columns to a head.
pub fn cut<'a, T>(
    op: &Attention<'_, f32>,
    matrix: MatMut<'a, T>,
    width: usize,
) -> Vec<(Segment, usize, MatMut<'a, T>)> {
    let mut segments = op.segments.to_vec();
    segments.retain(|segment| segment.len > 0);
    segments.sort_unstable_by_key(|segment| (segment.start, segment.len));
    let (mut rest, mut next) = (matrix, 0);
    let mut pieces = Vec::with_capacity(segments.len() * op.heads);
    for segment in segments {
        assert!(
            segment.start >= next && segment.start - next + segment.len <= rest.nrows(),
            "segment {segment:?} overlaps its predecessor, which ends at {next}, or leaves the matrix"
        );
        let (_, from_start) = rest.split_at_row_mut(segment.start - next);
        let (mut rows, after) = from_start.split_at_row_mut(segment.len);
        for head in 0..op.heads {
            let (piece, others) = rows.split_at_col_mut(width);
            pieces.push((segment, head, piece));
            rows = others;
        }
        (rest, next) = (after, segment.start + segment.len);
    }
    pieces
}

/// Multiplications of all segments and heads.
fn work(op: &Attention<'_, f32>) -> usize {
    let pairs: usize = op.segments.iter().map(|segment| segment.len * segment.len.min(op.queries)).sum();
    pairs * 2 * op.head_dim * op.heads
}

/// Runs all tasks, which take about as many multiplications each, several short ones in one piece of work.
pub fn run<T: Send>(work: usize, tasks: Vec<T>, each: impl Fn(T) + Sync + Send) {
    let mean = work / tasks.len().max(1);
    tasks.into_par_iter().with_min_len((TASK_WORK / mean.max(1)).max(1)).for_each(each);
}
