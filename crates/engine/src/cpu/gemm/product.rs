//! What a matrix product is made of.

use std::ops::Range;

use super::super::word::Word;
use super::windows::Windows;
use crate::values::{Values, ValuesMut};

/// Vectors along the inner dimension: rows of the left operand, columns of the right one.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// All values.
    pub values: Values<'a, f32>,
    /// Distance between neighbours in memory, in the direction in which they are not adjacent.
    pub stride: usize,
    /// Which neighbours are adjacent.
    pub adjacent: Adjacent,
    /// The values are images, and the vectors, if [`Adjacent::Inner`], or their neighbours in memory are windows over them.
    pub windows: Option<Windows>,
}

/// Which values of an operand lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjacent {
    /// Those of one vector: element (i, k) is at `i·stride + k`.
    Inner,
    /// Those of neighbouring vectors: element (i, k) is at `k·stride + i`.
    Vectors,
}

impl<'a> Operand<'a> {
    /// The rows of a row-major matrix of `columns` columns.
    pub fn rows(values: impl Into<Values<'a, f32>>, columns: usize) -> Self {
        Self { values: values.into(), stride: columns, adjacent: Adjacent::Inner, windows: None }
    }

    /// The columns of a row-major matrix of `columns` columns.
    pub fn columns(values: impl Into<Values<'a, f32>>, columns: usize) -> Self {
        Self { values: values.into(), stride: columns, adjacent: Adjacent::Vectors, windows: None }
    }

    /// The rows (`Inner`) or the columns (`Vectors`) of the matrix whose rows are windows. For the left side of a product.
    pub fn windows(values: impl Into<Values<'a, f32>>, windows: Windows, adjacent: Adjacent) -> Self {
        Self { values: values.into(), stride: windows.len(), adjacent, windows: Some(windows) }
    }

    /// Some of the values that are adjacent: of vector `line`, or of the vectors at inner index `line`.
    #[inline(always)]
    pub fn line(&self, line: usize, range: Range<usize>) -> Values<'a, f32> {
        self.values.part(line * self.stride + range.start..line * self.stride + range.end)
    }

    /// Where vectors of `inner` values lie in memory as words, if they do, and how many bytes lie between them.
    #[inline(always)]
    pub fn in_place<W: Word>(&self, inner: usize) -> Option<(*const f32, usize)> {
        if self.windows.is_some() { None } else { W::in_place(self.values, self.stride, inner) }
    }

    /// Those that words of the vectors at inner index `k` are made of: at `k`, and at the next one where words hold two values
    /// and there is one before `end`.
    #[inline(always)]
    pub fn lines<W: Word>(
        &self,
        k: usize,
        vectors: &Range<usize>,
        end: usize,
    ) -> (Values<'a, f32>, Option<Values<'a, f32>>) {
        let second = if W::VALUES > 1 && k + 1 < end { Some(self.line(k + 1, vectors.clone())) } else { None };
        (self.line(k, vectors.clone()), second)
    }

    /// Values that `vectors` vectors of `depth` values reach over.
    pub fn reach(&self, vectors: usize, depth: usize) -> usize {
        let (outer, inner) = match self.adjacent {
            Adjacent::Inner => (vectors, depth),
            Adjacent::Vectors => (depth, vectors),
        };
        match self.windows {
            _ if outer == 0 || inner == 0 => 0,
            None => (outer - 1) * self.stride + inner,
            Some(windows) => {
                assert!(outer <= windows.count() && inner <= windows.len(), "{outer} windows of {inner} values");
                windows.grid.pixels() * windows.channels
            }
        }
    }
}

/// What the product is added to.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// Nothing.
    Zero,
    /// What the destination holds.
    Out,
    /// This row, one value for each column.
    Bias(&'a [f32]),
}

/// What happens to a block of the result while it is in cache; `M` is how a second matrix is held.
#[derive(Debug, Clone, Copy)]
pub enum Finish<M> {
    /// Nothing.
    Keep,
    /// It is replaced by its GELU.
    Gelu,
    /// It is replaced by its GELU, and kept as it was in a second matrix of the same shape.
    GeluOf(M),
    /// It is the gradient of the GELU of a second matrix of the same shape, and becomes that of the matrix itself, which
    /// is replaced by its GELU.
    GeluBackward(M),
}

impl<M> Finish<M> {
    pub fn map<N>(self, change: impl FnOnce(M) -> N) -> Finish<N> {
        match self {
            Self::Keep => Finish::Keep,
            Self::Gelu => Finish::Gelu,
            Self::GeluOf(second) => Finish::GeluOf(change(second)),
            Self::GeluBackward(second) => Finish::GeluBackward(change(second)),
        }
    }
}

/// `out = start + left·right`: `out[i, j] = start[i, j] + Σ_k left(i, k)·right(j, k)`.
#[derive(Debug)]
pub struct Product<'a> {
    /// `rows` vectors.
    pub left: Operand<'a>,
    /// `columns` vectors.
    pub right: Operand<'a>,
    /// What [`pack`] made of the right operand.
    pub packed: Option<&'a [f32]>,
    /// Rows and columns of the result, and the inner dimension.
    pub size: [usize; 3],
    /// What the sums start from.
    pub start: Start<'a>,
    /// What follows.
    pub finish: Finish<ValuesMut<'a, f32>>,
    /// Added to, if there are columns: the sum of each vector of the left operand, whose neighbouring vectors are adjacent.
    pub left_sums: Option<&'a mut [f32]>,
}
