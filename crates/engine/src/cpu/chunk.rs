//! How work is cut: into row chunks whose size depends on the shape alone, so that neither the number of threads nor
//! their timing has a say in the order of any sum.

use std::cell::Cell;

use rayon::prelude::*;

use super::cache::aligned;

/// Values that one task handles: large against the cost of a task, small against a core's cache.
pub const CHUNK_LEN: usize = 1 << 14;

thread_local! {
    /// Partials of the sums that this thread has begun.
    static PARTIALS: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Rows of one task for rows of `width` values.
pub fn rows_per_chunk(width: usize) -> usize {
    (CHUNK_LEN / width.max(1)).max(1)
}

/// Asserts that a slice holds what its shape says.
#[track_caller]
pub fn check_len(what: &str, len: usize, expected: usize) {
    assert!(len == expected, "`{what}` has {len} values, its shape says {expected}");
}

/// Rows of a matrix whose rows have `width` values.
#[track_caller]
pub fn rows_of(what: &str, len: usize, width: usize) -> usize {
    assert!(width > 0 && len.is_multiple_of(width), "`{what}` has {len} values, not whole rows of {width}");
    len / width
}

/// Runs `each(chunk index, partial)` for every chunk on a zeroed partial as long as `total`, then adds the partials to
/// `total` in the order of the chunks.
pub fn reduce_chunks(chunks: usize, total: &mut [f32], each: impl Fn(usize, &mut [f32]) + Sync + Send) {
    let len = total.len();
    if chunks == 0 || len == 0 {
        return;
    }
    let mut memory = PARTIALS.take();
    let partials = aligned(&mut memory, chunks * len);
    partials.par_chunks_mut(len).enumerate().for_each(|(index, partial)| {
        partial.fill(0.0);
        each(index, partial);
    });
    for partial in partials.chunks_exact(len) {
        for (sum, &value) in total.iter_mut().zip(partial) {
            *sum += value;
        }
    }
    PARTIALS.set(memory);
}
