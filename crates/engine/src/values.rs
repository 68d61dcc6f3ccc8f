//! Numbers in memory: in full precision, or rounded to bf16 between the operations of a branch.
//!
//! bf16 has the exponent of `f32` and eight bits of mantissa. Sums, statistics, parameters and their gradients are never
//! rounded, only what one operation of a branch hands to the next, and what products read of their operands.

use std::ops::Range;

use half::bf16;

/// What products multiply, and how values lie in memory between the operations of a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `f32`.
    F32,
    /// bf16, summed up in `f32`.
    Bf16,
}

/// Values that are read.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a, E> {
    /// In full precision.
    Full(&'a [E]),
    /// Rounded. Only kernels whose [`crate::kernels::Kernels::precision`] is bf16 are given these.
    Half(&'a [bf16]),
}

/// Values that are written.
#[derive(Debug)]
pub enum ValuesMut<'a, E> {
    /// In full precision.
    Full(&'a mut [E]),
    /// Rounded. Only kernels whose [`crate::kernels::Kernels::precision`] is bf16 are given these.
    Half(&'a mut [bf16]),
}

impl<E> Values<'_, E> {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::Full(values) => values.len(),
            Self::Half(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, E> Values<'a, E> {
    /// Some of them.
    #[inline(always)]
    pub fn part(self, range: Range<usize>) -> Self {
        match self {
            Self::Full(values) => Self::Full(&values[range]),
            Self::Half(values) => Self::Half(&values[range]),
        }
    }
}

impl<'a> Values<'a, f32> {
    /// Copies all of them.
    #[inline(always)]
    pub fn copy_to(self, to: &mut [f32]) {
        match self {
            Self::Full(values) => to.copy_from_slice(values),
            Self::Half(values) => to.iter_mut().zip(values).for_each(
                #[inline(always)]
                |(to, value)| *to = value.wide(),
            ),
        }
    }

    /// In full precision: as they are, or written to `buffer`, which is as long or longer.
    #[inline(always)]
    pub fn widened(self, buffer: &'a mut [f32]) -> &'a [f32] {
        match self {
            Self::Full(values) => values,
            Self::Half(values) => {
                let buffer = &mut buffer[..values.len()];
                self.copy_to(buffer);
                buffer
            }
        }
    }
}

impl<E> ValuesMut<'_, E> {
    /// The same values, to be read.
    pub fn read(&self) -> Values<'_, E> {
        match self {
            Self::Full(values) => Values::Full(values),
            Self::Half(values) => Values::Half(values),
        }
    }
}

impl<'a, E> From<&'a [E]> for Values<'a, E> {
    fn from(values: &'a [E]) -> Self {
        Self::Full(values)
    }
}

impl<'a, E> From<&'a Vec<E>> for Values<'a, E> {
    fn from(values: &'a Vec<E>) -> Self {
        Self::Full(values)
    }
}

impl<'a, E> From<&'a mut [E]> for ValuesMut<'a, E> {
    fn from(values: &'a mut [E]) -> Self {
        Self::Full(values)
    }
}

impl<'a, E> From<&'a mut Vec<E>> for ValuesMut<'a, E> {
    fn from(values: &'a mut Vec<E>) -> Self {
        Self::Full(values)
    }
}

/// A number in memory, computed with in `f32`.
pub trait Element: Copy + Send + Sync {
    /// Its value.
    fn wide(self) -> f32;
    /// The nearest number, halves to even.
    fn of(value: f32) -> Self;
    /// The nearest bf16.
    fn half(self) -> bf16;
}

impl Element for f32 {
    #[inline(always)]
    fn wide(self) -> f32 {
        self
    }

    #[inline(always)]
    fn of(value: f32) -> Self {
        value
    }

    #[inline(always)]
    fn half(self) -> bf16 {
        <bf16 as Element>::of(self)
    }
}

/// Without branches, so that loops become vector instructions.
impl Element for bf16 {
    #[inline(always)]
    fn wide(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn of(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
        // A NaN whose upper bits are those of an infinity must not become one.
        let quiet = bits | 0x0040_0000;
        Self::from_bits(((if value.is_nan() { quiet } else { rounded }) >> 16) as u16)
    }

    #[inline(always)]
    fn half(self) -> bf16 {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        for bits in
            (0..=u32::MAX).step_by(4_093).chain([0x3f80_8000, 0x3f81_8000, 0x7f80_0001, 0xff80_0001, 0x7f7f_ffff])
        {
            let value = f32::from_bits(bits);
            assert_eq!(<bf16 as Element>::of(value).to_bits(), bf16::from_f32(value).to_bits(), "{bits:#x}");
            let half = bf16::from_bits((bits >> 16) as u16);
            assert!(half.wide() == half.to_f32() || half.is_nan() && half.wide().is_nan(), "{bits:#x}");
        }
    }
}
