//! From embedded patches to packed sequences: class tokens, registers, positions.

use std::rc::Rc;

use super::{Backward, Tape};
use crate::kernels::{RowMix, Tokens, TokensGrad};
use crate::params::ParamId;
use crate::tensor::{Buffer, Matrix, Slot};

/// One group of equally sized images on its way into a packed token matrix.
#[derive(Debug, Clone)]
pub struct TokenGroup {
    /// Embedded patches, `[images·patches, D]`.
    pub patches: Matrix,
    /// Number of images.
    pub images: usize,
    /// How the stored position grid becomes this group's; absent when the grids are the same.
    pub positions: Option<Rc<RowMix<f32>>>,
}

/// What sequences are made of besides patches.
#[derive(Debug, Clone, Copy)]
pub struct TokenParams {
    /// Class token, `[1, 1, D]`.
    pub cls: ParamId,
    /// Positions, `[1, 1 + N₀, D]`, the class token's first.
    pub pos_embed: ParamId,
    /// Registers, `[1, R, D]`: tokens without a position after the class token (Darcet et al. 2023).
    pub registers: Option<ParamId>,
}

/// What the gradient of a [`TokenGroup`] needs of it.
struct PackedGroup {
    patches: Slot,
    /// Patches and registers of all images.
    rows: usize,
    images: usize,
    positions: Option<Rc<RowMix<f32>>>,
}

impl Tape<'_> {
    /// Packs the sequences of all groups into one token matrix: for each image class token, registers, and patches plus their
    /// positions.
    pub fn tokens(&mut self, groups: Vec<TokenGroup>, with: TokenParams) -> Matrix {
        let width = self.params.get(with.cls).len();
        let registers = with.registers.map(|id| self.params.get(id)).unwrap_or_default();
        let extra = registers.len() / width;
        let lens = groups.iter().map(|group| (group.patches.rows() + group.images * (1 + extra)) * width);
        let mut out = self.pool.take(lens.sum());
        let (cls_position, grid) = self.params.get(with.pos_embed).split_at(width);
        let mut rest = &mut out[..];
        let mut packed = Vec::with_capacity(groups.len());
        for group in groups {
            let rows = group.patches.rows() + group.images * extra;
            let (part, tail) = rest.split_at_mut((rows + group.images) * width);
            rest = tail;
            let mixed = group.positions.as_ref().map(|mix| {
                let mut mixed = self.pool.take(mix.outputs() * width);
                self.kernels.mix_rows(grid, mix, width, &mut mixed);
                mixed
            });
            let positions = mixed.as_deref().unwrap_or(grid);
            let (patches, images, cls) = (group.patches.values(), group.images, self.params.get(with.cls));
            if registers.is_empty() {
                self.kernels.tokens(Tokens { patches, cls, cls_position, positions, images }, part);
            } else {
                // A register is a patch of zeros whose position is the register.
                let padded = self.padded(patches, images, registers.len());
                let positions = &self.after(registers, positions);
                self.kernels.tokens(Tokens { patches: &padded, cls, cls_position, positions, images }, part);
            }
            let (patches, images, positions) = (group.patches.slot(), group.images, group.positions);
            packed.push(PackedGroup { patches, rows, images, positions });
        }
        self.push(out, width, move |back, d_out| back.tokens(&packed, with, &d_out))
    }

    /// `extra` zeros before the values of each image.
    fn padded(&self, values: &[f32], images: usize, extra: usize) -> Buffer {
        let mut padded = self.pool.zeros(values.len() + images * extra);
        let len = values.len() / images.max(1);
        for (to, from) in padded.chunks_exact_mut(len + extra).zip(values.chunks_exact(len.max(1))) {
            to[extra..].copy_from_slice(from);
        }
        padded
    }

    fn after(&self, first: &[f32], second: &[f32]) -> Buffer {
        let mut both = self.pool.take(first.len() + second.len());
        both[..first.len()].copy_from_slice(first);
        both[first.len()..].copy_from_slice(second);
        both
    }
}

impl Backward<'_, '_> {
    fn tokens(&mut self, groups: &[PackedGroup], with: TokenParams, d_out: &[f32]) {
        let width = self.params.get(with.cls).len();
        let extra = with.registers.map_or(0, |id| self.params.get(id).len());
        let kernels = self.kernels;
        let mut rest = d_out;
        for group in groups {
            let (part, tail) = rest.split_at((group.rows + group.images) * width);
            rest = tail;
            let mut d_patches = self.pool.take(group.rows * width);
            let mut d_positions = self.pool.take(group.rows / group.images * width);
            let (Some(d_cls), Some(d_pos)) = self.two_grads(with.cls, with.pos_embed) else { continue };
            let (d_cls_position, d_grid) = d_pos.split_at_mut(width);
            let grad = TokensGrad {
                patches: &mut d_patches,
                cls: d_cls,
                cls_position: d_cls_position,
                positions: &mut d_positions,
            };
            kernels.tokens_backward(part, group.images, grad);
            let (d_registers, d_positions) = d_positions.split_at(extra);
            match &group.positions {
                Some(mix) => kernels.mix_rows_backward(d_positions, mix, width, d_grid),
                None => kernels.add(d_positions, d_grid),
            }
            if let Some(d_own) = with.registers.and_then(|id| self.grad(id)) {
                kernels.add(d_registers, d_own);
            }
            let d_patches = if extra == 0 { d_patches } else { self.unpadded(&d_patches, group.images, extra) };
            self.give(group.patches, Rc::new(d_patches));
        }
    }

    /// The values of each image without the first `extra`.
    fn unpadded(&self, values: &[f32], images: usize, extra: usize) -> Buffer {
        let mut plain = self.pool.take(values.len() - images * extra);
        let len = values.len() / images.max(1);
        for (to, from) in plain.chunks_exact_mut((len - extra).max(1)).zip(values.chunks_exact(len)) {
            to.copy_from_slice(&from[extra..]);
        }
        plain
    }
}
