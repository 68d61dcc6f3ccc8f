//! Loops compiled for the widest vectors that the processor has.
use pulp::{Arch, Simd, WithSimd};

/// Bytes that loops take at a time; rows of working memory are padded to whole groups.
pub(crate) const LANES: usize = 32;

/// Runs loops that the compiler turns into vector instructions, compiled for each instruction set. The closure and what
/// it calls must be `#[inline(always)]`, or it stays ordinary code.
#[inline(always)]
pub(crate) fn vectorised<R>(run: impl FnMut() -> R) -> R {
    /// Calls through `FnMut`: the shim that calls a closure through `FnOnce` is not always inlined.
    struct Loop<F>(F);

    impl<R, F: FnMut() -> R> WithSimd for Loop<F> {
        type Output = R;

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) -> R {
            (self.0)()
        }
    }

    Arch::new().dispatch(Loop(run))
}

/// Bytes as numbers. `array::map` is not always inlined, so loops stand here and below.
#[inline(always)]
pub(crate) fn floats<const N: usize>(bytes: &[u8; N]) -> [f32; N] {
    let mut values = [0.0; N];
    for at in 0..N {
        values[at] = f32::from(bytes[at]);
    }
    values
}

/// Returns the values as bytes; they are whole numbers from 0 to 255. A cast would be checked, and that is slow in vectors.
#[inline(always)]
pub(crate) fn bytes<const N: usize>(values: &[f32; N]) -> [u8; N] {
    /// From here on a step of `f32` is one, and the low bits count.
    const WHOLE: f32 = (1u32 << 23) as f32;
    let mut bytes = [0; N];
    for at in 0..N {
        bytes[at] = (values[at] + WHOLE).to_bits() as u8;
    }
    bytes
}

/// The larger of two numbers. `f32::max` takes care of what is none, which costs twice as much.
#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// The smaller of two numbers.
#[inline(always)]
pub(crate) fn smaller(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}
