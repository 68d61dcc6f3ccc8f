//! Rows put together: matrices on top of each other, a token before those of each image, rows in the place of others.

use std::rc::Rc;

use super::Tape;
use crate::kernels::{Residual, Rows, Tokens, TokensGrad};
use crate::params::ParamId;
use crate::tensor::{Matrix, Slot};

impl Tape<'_> {
    /// Matrices of the same width on top of each other, `[Σ R, D]`; a single one is taken as it is.
    ///
    /// # Panics
    /// If there are none, or their widths differ.
    pub fn stack(&mut self, parts: &[Matrix]) -> Matrix {
        if let [only] = parts {
            return only.clone();
        }
        let width = parts[0].columns();
        assert!(parts.iter().all(|part| part.columns() == width), "matrices on top of each other are equally wide");
        let mut out = self.pool.take(parts.iter().map(|part| part.values().len()).sum());
        let mut rest = &mut out[..];
        for part in parts {
            let (to, tail) = std::mem::take(&mut rest).split_at_mut(part.values().len());
            to.copy_from_slice(part.values());
            rest = tail;
        }
        let parts: Vec<(Slot, usize)> = parts.iter().map(|part| (part.slot(), part.values().len())).collect();
        self.push(out, width, move |back, d_out| {
            let mut rest = &d_out[..];
            for (slot, len) in parts {
                let (from, tail) = rest.split_at(len);
                rest = tail;
                let mut d_part = back.pool.take(len);
                d_part.copy_from_slice(from);
                back.give(slot, Rc::new(d_part));
            }
        })
    }

    /// `x` with `each` added to the rows of each image: `[B·N, D]` and `[N, D]` to `[B·N, D]`.
    ///
    /// # Panics
    /// If the two differ in width, or `x` is no whole number of images.
    pub fn add_to_each(&mut self, x: &Matrix, each: &Matrix) -> Matrix {
        let (len, width) = (each.values().len(), x.columns());
        assert!(width == each.columns() && x.values().len().is_multiple_of(len), "`x` has the shape of some images");
        let mut out = self.pool.take(x.values().len());
        for (out, x) in out.chunks_exact_mut(len).zip(x.values().chunks_exact(len)) {
            self.kernels.residual(x, Residual { branch: each.values(), gamma: None, width }, out);
        }
        let (slot, each) = (x.slot(), each.slot());
        self.push(out, width, move |back, d_out| {
            let mut d_each = back.pool.zeros(len);
            back.kernels.add_column_sums(d_out[..].into(), &mut d_each);
            back.give(each, Rc::new(d_each));
            back.give(slot, d_out);
        })
    }

    /// A token before the rows of each image: `[images·N, D]` to `[images·(N + 1), D]`.
    pub fn prepend(&mut self, x: &Matrix, images: usize, token: ParamId) -> Matrix {
        let (cls, width) = (self.params.get(token), x.columns());
        let len = x.values().len() / images.max(1);
        let zeros = self.pool.zeros(len + width);
        let (positions, cls_position) = zeros.split_at(len);
        let mut out = self.pool.take(images * (len + width));
        self.kernels.tokens(Tokens { patches: x.values(), cls, cls_position, positions, images }, &mut out);
        let slot = x.slot();
        self.push(out, width, move |back, d_out| {
            let (kernels, mut d_x) = (back.kernels, back.pool.take(images * len));
            let mut unread = back.pool.zeros(len + 2 * width);
            let (positions, rest) = unread.split_at_mut(len);
            let (cls_position, unused) = rest.split_at_mut(width);
            let cls = back.grad(token).unwrap_or(unused);
            kernels.tokens_backward(&d_out, images, TokensGrad { patches: &mut d_x, cls, cls_position, positions });
            back.give(slot, Rc::new(d_x));
        })
    }

    /// `rows` rows that all are the token: `[D]` to `[rows, D]`.
    pub fn repeat(&mut self, token: ParamId, rows: usize) -> Matrix {
        let values = self.params.get(token);
        let width = values.len();
        let mut out = self.pool.take(rows * width);
        out.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(values));
        self.push(out, width, move |back, d_out| {
            let kernels = back.kernels;
            if let Some(d_token) = back.grad(token) {
                kernels.add_column_sums(d_out[..].into(), d_token);
            }
        })
    }

    /// `x` with `values` in the place of its rows `rows`, which are distinct.
    ///
    /// # Panics
    /// If there is not one of `values` for each of `rows`.
    pub fn replace_rows(&mut self, x: &Matrix, rows: Rc<[u32]>, values: &Matrix) -> Matrix {
        let width = x.columns();
        assert_eq!((rows.len(), width), (values.rows(), values.columns()), "a row for each that is replaced");
        let mut out = self.pool.take(x.values().len());
        out.copy_from_slice(x.values());
        for (row, values) in rows.iter().zip(values.values().chunks_exact(width)) {
            out[*row as usize * width..][..width].copy_from_slice(values);
        }
        let (slot, from) = (x.slot(), values.slot());
        self.push(out, width, move |back, d_out| {
            let mut d_values = back.pool.take(rows.len() * width);
            back.kernels.gather_rows(&d_out, Rows { rows: &rows, width, factor: 1.0 }, &mut d_values);
            back.give(from, Rc::new(d_values));
            let mut d_x = back.own(d_out);
            rows.iter().for_each(|row| d_x[*row as usize * width..][..width].fill(0.0));
            back.give(slot, Rc::new(d_x));
        })
    }
}
