//! What a ViT costs: operations, and values kept for the gradient.

use dinoxide_engine::kernels::Patches;
use dinoxide_engine::tape::Keep;

use super::Vit;
use crate::nn::work::Work;

impl Vit {
    /// Operations of class tokens of groups of equally sized images. `keep` is the share of sequences that take a block's branches.
    pub fn work(&self, groups: &[Patches], keep: impl Fn(usize) -> f64) -> Work {
        let (width, hidden) = (self.config.embed_dim, self.config.hidden());
        let outputs = self.config.extras.ffn.outputs(hidden);
        let mut work = Work::default();
        for group in groups {
            let (images, len) = (group.images, group.per_image() + self.config.leading_tokens());
            // Pixels need no gradient.
            let embed = 2.0 * (images * group.per_image() * group.patch_len() * width) as f64;
            work.add(Work { forward: embed, backward: embed, ..Work::default() }, 1.0);
            for block in 0..self.config.depth {
                let mut branches = Work::default();
                let last = block + 1 == self.config.depth;
                branches.product(images * len, width, 3 * width);
                branches.attention(images, [if last { 1 } else { len }, len], width);
                let rows = if last { images } else { images * len };
                branches.product(rows, width, width);
                branches.product(rows, width, outputs);
                branches.product(rows, hidden, width);
                if !last {
                    branches.repeated = branches.forward;
                }
                work.add(branches, keep(block));
            }
        }
        work
    }

    /// Values that the gradient of these images keeps, about: for each token and block the inputs of both branches, queries, keys,
    /// values, attention's result, and one row of the MLP's hidden width; with `keep` of inputs only, one row of each block and
    /// everything of one.
    pub fn kept_values(&self, groups: &[Patches], keep: Keep) -> f64 {
        let tokens = |group: &Patches| group.images * (group.per_image() + self.config.leading_tokens());
        let outputs = self.config.extras.ffn.outputs(self.config.hidden());
        let (block, depth) = (6.0 + outputs as f64 / self.config.embed_dim as f64, self.config.depth as f64);
        let rows = if keep == Keep::Inputs { depth + block } else { depth * block };
        groups.iter().map(tokens).sum::<usize>() as f64 * rows * self.config.embed_dim as f64
    }
}
