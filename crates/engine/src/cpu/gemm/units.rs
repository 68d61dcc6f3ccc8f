//! What multiplies, and the register tile that goes with it.

use pulp::{Arch, Simd, WithSimd};

use super::super::peak::multiply_add_rate;
#[cfg(target_arch = "x86_64")]
use super::super::word::{Hardware, available};
use super::super::word::{Pair, Single, Word};

/// Words of a vector of AVX-512.
#[cfg(target_arch = "x86_64")]
const LANES: usize = 16;

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units {
    /// Multiply-adds of `f32`.
    F32,
    /// Products of bf16 pairs, by the instructions every machine has.
    Pairs,
    /// Products of bf16 pairs, by their own instruction.
    #[cfg(target_arch = "x86_64")]
    Hardware,
}

impl Units {
    /// The most operations per second they reach together on the threads of the current rayon pool.
    pub fn peak(self, arch: Arch) -> f64 {
        match self {
            Self::F32 => multiply_add_rate::<Single>(arch),
            Self::Pairs => multiply_add_rate::<Pair>(arch),
            #[cfg(target_arch = "x86_64")]
            Self::Hardware => multiply_add_rate::<Hardware>(arch),
        }
    }

    /// Runs what depends on the register tile, for a right operand of `columns` vectors.
    pub fn with_tile<T: WithTile>(self, arch: Arch, columns: usize, task: T) -> T::Output {
        match self {
            Self::F32 => for_lanes::<Single, T>(arch, task),
            Self::Pairs => for_lanes::<Pair, T>(arch, task),
            #[cfg(target_arch = "x86_64")]
            Self::Hardware => match columns.div_ceil(LANES) {
                // A last panel of one vector: so few sums wait for each other. Tiles of four vectors leave none.
                vectors if vectors % 3 == 1 && vectors.is_multiple_of(4) => task.run::<Hardware, 6, 4, 64>(arch),
                _ => task.run::<Hardware, 8, 3, 48>(arch),
            },
        }
    }

    /// Those of this machine that multiply bf16.
    pub fn of_pairs(arch: Arch) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        if available(arch) {
            return Some(Self::Hardware);
        }
        let _ = arch;
        None
    }
}

/// What depends on the register tile: `ROWS` rows by `VECTORS` vectors, `WIDTH` columns.
pub trait WithTile {
    /// What it gives.
    type Output;

    /// Runs it.
    fn run<W: Word, const ROWS: usize, const VECTORS: usize, const WIDTH: usize>(self, arch: Arch) -> Self::Output;
}

/// The register tile for the machine's vectors: 12 or 24 sums leave room for their factors among 16 or 32 registers.
fn for_lanes<W: Word, T: WithTile>(arch: Arch, task: T) -> T::Output {
    match arch.dispatch(Lanes) {
        16 => task.run::<W, 8, 3, 48>(arch),
        8 => task.run::<W, 6, 2, 16>(arch),
        4 => task.run::<W, 6, 2, 8>(arch),
        _ => task.run::<W, 4, 4, 4>(arch),
    }
}

/// Width of a vector.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}
