//! Copies an operand into panels: as many vectors side by side as a register tile takes, one inner index after another, so
//! that the tile reads one stream from start to end.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::super::cache::ask;
use super::super::transpose::{SIDE, transpose};
use super::super::word::Word;
use super::{Adjacent, HEIGHT, Operand};

/// Panels that one task packs at most: with AVX2 two kilobytes of each row where neighbouring vectors are adjacent.
const TASK: usize = 32;
/// Tasks there should be for each thread.
const TASKS_PER_THREAD: usize = 3;
/// Inner words that are copied at a time: as many streams as a processor reads ahead of, and no more lines than one set
/// of its first-level cache holds, since rows often lie a power of two apart.
const LINES: usize = 8;
/// Inner words that are transposed at a time: two cache lines of each vector.
const TURN: usize = 32;
/// How many inner indices ahead a copy asks for memory: rows are too far apart for the processor to guess.
const AHEAD: usize = 64;
/// Pieces of rows up to this length are over before the processor guesses that there is more.
const SHORT: usize = 128;

/// Packs the values `inner` of `vectors` vectors, `words` words each, into panels of `WIDTH`, each `[words, WIDTH]`; the
/// last one is filled with zeros.
pub fn panels<W: Word, const WIDTH: usize>(
    arch: Arch,
    from: Operand<'_>,
    [vectors, words]: [usize; 2],
    inner: Range<usize>,
    to: &mut [f32],
) {
    let panel = words * WIDTH;
    let to = &mut to[..vectors.div_ceil(WIDTH) * panel];
    if to.is_empty() {
        return;
    }
    let in_task = (vectors.div_ceil(WIDTH) / (TASKS_PER_THREAD * rayon::current_num_threads())).clamp(1, TASK);
    to.par_chunks_mut(in_task * panel).enumerate().for_each(|(task, to)| {
        let vectors = task * in_task * WIDTH..vectors.min((task + 1) * in_task * WIDTH);
        W::dispatch(arch, Panels::<'_, '_, W, WIDTH> { from, vectors, inner: inner.clone(), to, word: PhantomData });
    });
}

/// Some panels.
struct Panels<'a, 'b, W, const WIDTH: usize> {
    from: Operand<'a>,
    vectors: Range<usize>,
    inner: Range<usize>,
    to: &'b mut [f32],
    word: PhantomData<W>,
}

impl<W: Word, const WIDTH: usize> WithSimd for Panels<'_, '_, W, WIDTH> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { from, vectors, inner, to, .. } = self;
        match from.adjacent {
            Adjacent::Inner => turn::<W, WIDTH>(from, vectors, inner, to),
            Adjacent::Vectors => copy::<W, WIDTH>(from, vectors, inner, to),
        }
    }
}

/// Packs panels of vectors whose own values are adjacent.
#[inline(always)]
fn turn<W: Word, const WIDTH: usize>(from: Operand<'_>, vectors: Range<usize>, inner: Range<usize>, to: &mut [f32]) {
    let panel = inner.len().div_ceil(W::VALUES) * WIDTH;
    for (index, to) in to.chunks_exact_mut(panel.max(1)).enumerate() {
        let first = vectors.start + index * WIDTH;
        turn_panel::<W, WIDTH>(from, first..vectors.end.min(first + WIDTH), inner.clone(), to);
    }
}

#[inline(always)]
fn turn_panel<W: Word, const WIDTH: usize>(
    from: Operand<'_>,
    vectors: Range<usize>,
    inner: Range<usize>,
    to: &mut [f32],
) {
    if vectors.len() < WIDTH {
        to.fill(0.0);
    }
    for (index, to) in to.chunks_mut(TURN * WIDTH).enumerate() {
        let first = inner.start + index * TURN * W::VALUES;
        let inner = first..inner.end.min(first + TURN * W::VALUES);
        let row = |vector: usize| from.line(vectors.start + vector, inner.clone());
        let whole = vectors.len() / SIDE * SIDE;
        for column in (0..whole).step_by(SIDE) {
            let [mut a, mut b, mut c, mut d] = [[0.0; TURN]; SIDE];
            let rows = [
                W::words(row(column), &mut a),
                W::words(row(column + 1), &mut b),
                W::words(row(column + 2), &mut c),
                W::words(row(column + 3), &mut d),
            ];
            transpose(rows, to, WIDTH, column);
            // What these rows give next: there are more of them than the processor follows.
            for at in column..column + SIDE {
                ask(from.values, (vectors.start + at) * from.stride + inner.end, inner.len());
            }
        }
        for vector in whole..vectors.len() {
            let mut buffer = [0.0; TURN];
            let words = W::words(row(vector), &mut buffer);
            to.chunks_exact_mut(WIDTH).zip(words).for_each(|(to, &word)| to[vector] = word);
        }
    }
}

/// Writes words of vectors whose own values are adjacent, one vector after the other.
#[inline(always)]
pub fn rows<W: Word>(from: Operand<'_>, vectors: Range<usize>, inner: Range<usize>, to: &mut [f32]) {
    if let Some(windows) = from.windows {
        windows.write::<W>(from.values, vectors, inner, to);
        return;
    }
    let depth = inner.len().div_ceil(W::VALUES);
    for (vector, to) in vectors.zip(to.chunks_exact_mut(depth.max(1))) {
        W::write(from.line(vector, inner.clone()), to);
    }
}

/// Adds the sum of each packed vector to `sums`. The panels hold `depth` words of each.
#[inline(always)]
pub fn add_sums<W: Word, const WIDTH: usize>(panels: &[f32], depth: usize, sums: &mut [f32]) {
    for (panel, sums) in panels.chunks_exact((depth * WIDTH).max(1)).zip(sums.chunks_mut(WIDTH)) {
        let mut total = [0.0; WIDTH];
        for line in panel.as_chunks::<WIDTH>().0 {
            total.iter_mut().zip(line).for_each(
                #[inline(always)]
                |(total, &word)| *total += W::sum(word),
            );
        }
        sums.iter_mut().zip(total).for_each(|(sum, total)| *sum += total);
    }
}

/// Packs panels of up to [`HEIGHT`] vectors that are adjacent to each other. Such panels are narrower than a vector
/// register, so that lines of words are made first, and then cut.
#[inline(always)]
pub fn narrow<W: Word, const WIDTH: usize>(
    from: Operand<'_>,
    vectors: Range<usize>,
    inner: Range<usize>,
    to: &mut [f32],
) {
    let depth = inner.len().div_ceil(W::VALUES);
    let mut buffers = [[0.0; HEIGHT]; LINES];
    for line in (0..depth).step_by(LINES) {
        let lines = LINES.min(depth - line);
        let first = inner.start + line * W::VALUES;
        let lines_of = first..inner.end.min(first + lines * W::VALUES);
        match from.windows {
            Some(windows) => windows.lines::<W, HEIGHT>(from.values, lines_of, vectors.clone(), &mut buffers),
            None => lines_in_place::<W>(from, &vectors, lines_of, &mut buffers),
        }
        for (index, panel) in to.chunks_exact_mut(depth * WIDTH).enumerate() {
            let (panel, _) = panel[line * WIDTH..].as_chunks_mut::<WIDTH>();
            for (to, buffer) in panel.iter_mut().zip(&buffers).take(lines) {
                to.copy_from_slice(&buffer[index * WIDTH..(index + 1) * WIDTH]);
            }
        }
    }
}

/// Lines of words of vectors that are adjacent to each other.
#[inline(always)]
fn lines_in_place<W: Word>(from: Operand<'_>, vectors: &Range<usize>, inner: Range<usize>, to: &mut [[f32; HEIGHT]]) {
    ask_ahead(from, vectors, inner.clone());
    for (k, to) in inner.clone().step_by(W::VALUES).zip(to) {
        let (first, second) = from.lines::<W>(k, vectors, inner.end);
        W::line(first, second, &mut to[..vectors.len()]);
    }
}

/// Asks for pieces of rows some way behind `lines`, if they are short.
#[inline(always)]
fn ask_ahead(from: Operand<'_>, vectors: &Range<usize>, lines: Range<usize>) {
    if vectors.len() > SHORT {
        return;
    }
    for line in lines {
        ask(from.values, (line + AHEAD) * from.stride + vectors.start, vectors.len());
    }
}

/// Packs panels of vectors that are adjacent to each other, as many as fit in `to`.
#[inline(always)]
fn copy<W: Word, const WIDTH: usize>(from: Operand<'_>, vectors: Range<usize>, inner: Range<usize>, to: &mut [f32]) {
    let depth = inner.len().div_ceil(W::VALUES);
    for line in (0..depth).step_by(LINES) {
        let lines = LINES.min(depth - line);
        let first = inner.start + line * W::VALUES;
        ask_ahead(from, &vectors, first..first + lines * W::VALUES);
        for (index, panel) in to.chunks_exact_mut(depth * WIDTH).enumerate() {
            let (panel, _) = panel[line * WIDTH..].as_chunks_mut::<WIDTH>();
            let columns = index * WIDTH..vectors.len().min((index + 1) * WIDTH);
            for (k, to) in panel.iter_mut().take(lines).enumerate() {
                let k = first + k * W::VALUES;
                let (first, second) = from.lines::<W>(k, &vectors, inner.end);
                if columns.len() == WIDTH {
                    // Of a length that the compiler knows.
                    let columns = columns.start..columns.start + WIDTH;
                    W::line(first.part(columns.clone()), second.map(|row| row.part(columns)), to);
                } else {
                    let (to, rest) = to.split_at_mut(columns.len());
                    W::line(first.part(columns.clone()), second.map(|row| row.part(columns.clone())), to);
                    rest.fill(0.0);
                }
            }
        }
    }
}
