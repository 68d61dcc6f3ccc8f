//! Asking for memory ahead of time, where a processor does not guess what comes next.

/// Bytes of a cache line.
pub const CACHE_LINE: usize = 64;

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
