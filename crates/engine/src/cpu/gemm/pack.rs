//! Copies an operand into panels: as many vectors side by side as a register tile takes, one inner index after another, so
//! that the tile reads one stream from start to end.

use std::ops::Range;

use rayon::prelude::*;

use super::super::transpose::{SIDE, transpose};
use super::{Adjacent, Operand};

/// Panels that one task packs at most: with AVX2 two kilobytes of each row where neighbouring vectors are adjacent.
const TASK: usize = 32;
/// Tasks there should be for each thread.
const TASKS_PER_THREAD: usize = 3;
/// Inner indices that are copied at a time: as many streams as a processor reads ahead of, and no more lines than one set
/// of its first-level cache holds, since rows often lie a power of two apart.
const LINES: usize = 8;
/// Inner indices that are transposed at a time: two cache lines of each vector.
const TURN: usize = 32;
/// How many inner indices ahead a copy asks for memory: rows are too far apart for the processor to guess.
const AHEAD: usize = 16;
/// Pieces of rows up to this length are over before the processor guesses that there is more.
const SHORT: usize = 128;
/// Values of a cache line.
const CACHE_LINE: usize = 16;

/// Packs `inner` of `vectors` vectors into panels of `WIDTH`, each `[inner, WIDTH]`; the last one is filled with zeros.
pub fn panels<const WIDTH: usize>(from: Operand<'_>, vectors: usize, inner: Range<usize>, to: &mut [f32]) {
    let panel = inner.len() * WIDTH;
    if panel == 0 || to.is_empty() {
        return;
    }
    let in_task = (vectors.div_ceil(WIDTH) / (TASKS_PER_THREAD * rayon::current_num_threads())).clamp(1, TASK);
    to.par_chunks_mut(in_task * panel).enumerate().for_each(|(task, to)| {
        let first = task * in_task * WIDTH;
        match from.adjacent {
            Adjacent::Inner => {
                for (index, to) in to.chunks_exact_mut(panel).enumerate() {
                    let first = first + index * WIDTH;
                    turn::<WIDTH>(from, first..vectors.min(first + WIDTH), inner.clone(), to);
                }
            }
            Adjacent::Vectors => copy::<WIDTH>(from, first..vectors, inner.clone(), to),
        }
    });
}

/// Packs one panel of vectors whose own values are adjacent.
fn turn<const WIDTH: usize>(from: Operand<'_>, vectors: Range<usize>, inner: Range<usize>, to: &mut [f32]) {
    if vectors.len() < WIDTH {
        to.fill(0.0);
    }
    for (index, to) in to.chunks_mut(TURN * WIDTH).enumerate() {
        let first = inner.start + index * TURN;
        let inner = first..first + to.len() / WIDTH;
        let row = |vector: usize| &from.values[(vectors.start + vector) * from.stride..][inner.clone()];
        let whole = vectors.len() / SIDE * SIDE;
        for column in (0..whole).step_by(SIDE) {
            transpose(std::array::from_fn(|vector| row(column + vector)), to, WIDTH, column);
        }
        for vector in whole..vectors.len() {
            to.chunks_exact_mut(WIDTH).zip(row(vector)).for_each(|(to, &value)| to[vector] = value);
        }
    }
}

/// Adds the sum of each packed vector to `sums`. The panels hold `depth` values of each.
#[inline(always)]
pub fn add_sums<const WIDTH: usize>(panels: &[f32], depth: usize, sums: &mut [f32]) {
    for (panel, sums) in panels.chunks_exact((depth * WIDTH).max(1)).zip(sums.chunks_mut(WIDTH)) {
        let mut total = [0.0; WIDTH];
        for line in panel.as_chunks::<WIDTH>().0 {
            total.iter_mut().zip(line).for_each(|(total, value)| *total += value);
        }
        sums.iter_mut().zip(total).for_each(|(sum, total)| *sum += total);
    }
}

/// Asks for memory; any address will do.
#[inline(always)]
fn prefetch(address: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Packs panels of vectors that are adjacent to each other, starting at the first of `vectors`, as many as fit in `to`.
pub fn copy<const WIDTH: usize>(from: Operand<'_>, vectors: Range<usize>, inner: Range<usize>, to: &mut [f32]) {
    let depth = inner.len();
    for line in (0..depth).step_by(LINES) {
        let lines = LINES.min(depth - line);
        let row = |k: usize| &from.values[(inner.start + line + k) * from.stride..][vectors.clone()];
        let rows: [&[f32]; LINES] = std::array::from_fn(|k| row(k.min(lines - 1)));
        let short = if vectors.len() <= SHORT { lines } else { 0 };
        for ahead in AHEAD..AHEAD + short {
            let next = from.values.as_ptr().wrapping_add((inner.start + line + ahead) * from.stride + vectors.start);
            (0..vectors.len()).step_by(CACHE_LINE).for_each(|at| prefetch(next.wrapping_add(at)));
        }
        for (index, panel) in to.chunks_exact_mut(depth * WIDTH).enumerate() {
            let (panel, _) = panel[line * WIDTH..].as_chunks_mut::<WIDTH>();
            let first = index * WIDTH;
            for (to, row) in panel.iter_mut().zip(&rows[..lines]) {
                if let Some(values) = row[first..].first_chunk::<WIDTH>() {
                    *to = *values;
                } else {
                    let rest = &row[first..];
                    to[..rest.len()].copy_from_slice(rest);
                    to[rest.len()..].fill(0.0);
                }
            }
        }
    }
}
