//! Memory as a processor's caches see it: lines, and asking for them where it does not guess what comes next.

use half::bf16;

use crate::tensor::{LINE, line_start};
use crate::values::Values;

/// Bytes of a cache line.
pub const CACHE_LINE: usize = LINE * size_of::<f32>();

/// The first `len` values of working memory that begin a cache line; it grows as needed. What they hold is arbitrary.
pub fn aligned(memory: &mut Vec<f32>, len: usize) -> &mut [f32] {
    memory.resize(memory.len().max(len + LINE), 0.0);
    let first = line_start(memory);
    &mut memory[first..first + len]
}

/// Asks for the cache line of an address; any address will do.
#[inline(always)]
pub fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for `len` values from `first` on, whether they exist or not.
#[inline(always)]
pub fn ask(values: Values<'_, f32>, first: usize, len: usize) {
    let (base, size) = match values {
        Values::Full(values) => (values.as_ptr().cast::<u8>(), size_of::<f32>()),
        Values::Half(values) => (values.as_ptr().cast::<u8>(), size_of::<bf16>()),
    };
    let start = base.wrapping_add(first * size);
    (0..len * size).step_by(CACHE_LINE).for_each(|at| prefetch(start.wrapping_add(at)));
}
