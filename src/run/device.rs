//! What computes.

use dinoxide_engine::cpu::Cpu;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::RunError;
use super::console::Console;
use crate::config::Precision;

/// The processor's kernels in the precision that was asked for; in f32, and with a line that says so, where bf16 was asked
/// for and the processor has no instructions for it.
pub(super) fn cpu(asked: Precision, console: &Console) -> Cpu {
    match (asked, Cpu::bf16()) {
        (Precision::F32, _) => Cpu::new(),
        (_, Some(cpu)) => cpu,
        (Precision::Auto, None) => Cpu::new(),
        (Precision::Bf16, None) => {
            console.warn("this processor has no instructions for bf16 (AVX512-BF16): computing in f32");
            Cpu::new()
        }
    }
}

/// Runs what computes on one of the threads that compute: one that only waits for them would have to wake them for every kernel.
pub(super) fn among_threads<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| run())
}

/// That many compute threads.
///
/// # Errors
/// [`RunError::Threads`] if the system refuses them.
pub(super) fn threads(count: usize) -> Result<ThreadPool, RunError> {
    ThreadPoolBuilder::new().num_threads(count).build().map_err(|source| RunError::Threads { source })
}
