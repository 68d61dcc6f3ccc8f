//! Features of single patches in training, of which some are masked (iBOT, DINOv2).

use std::rc::Rc;

use dinoxide_engine::tape::{Images, Tape};
use dinoxide_engine::tensor::Matrix;

use super::Vit;
use crate::nn::drop_path::KeptBranches;

/// Patches of the first group of images whose features are asked for.
#[derive(Debug, Clone)]
pub struct Patchwise {
    /// Their numbers among the patches of the group in ascending order, image by image and row-major.
    pub rows: Rc<[u32]>,
    /// Whether the network sees them.
    pub sight: Sight,
}

/// Whether a network sees the patches that it is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// It does.
    Seen,
    /// The mask token stands for them.
    Masked,
}

impl Vit {
    /// After the final norm the class tokens of all images in the order of the groups, `[Σ images, D]`, and the tokens of some patches
    /// of the first group, `[M, D]`.
    pub fn class_and_patch_tokens(
        &self,
        tape: &mut Tape<'_>,
        groups: &[Images<'_>],
        asked: &Patchwise,
        drop: Option<&KeptBranches>,
    ) -> [Matrix; 2] {
        let masked = (asked.sight == Sight::Masked).then_some(&asked.rows);
        let mut sequences = self.embed(tape, groups, masked);
        for block in 0..self.blocks.len() {
            sequences.tokens = self.block(tape, block, &sequences, drop);
        }
        let (patches, leading) = (groups[0].patches.per_image(), self.config.leading_tokens());
        let row = |patch: &u32| {
            let (image, patch) = (*patch as usize / patches, *patch as usize % patches);
            (sequences.heads.segments[image].start + leading + patch) as u32
        };
        let rows = [sequences.class_rows(), asked.rows.iter().map(row).collect()];
        rows.map(|rows| {
            let tokens = tape.gather_rows(&sequences.tokens, rows);
            tape.layer_norm(&tokens, self.norm)
        })
    }
}
