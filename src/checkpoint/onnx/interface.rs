//! What every graph takes, and what it can give.

use super::graph::{Attribute, Dim, Graph, Value};

/// What a graph can give besides the features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// `tokens`, `[batch, 1 + places, D]`: the features, then those of every place row by row; of transformers after the final norm.
    Tokens,
    /// `attention`, `[batch, heads, patches]`: the class token's attention to the patches in a ViT's last block.
    Attention,
}

impl Graph {
    /// The input: normalised images of any number and size.
    pub(super) fn pixels(&mut self, channels: usize, doc: String) -> Value {
        let dims = [Dim::Free("batch"), Dim::Fixed(channels), Dim::Free("height"), Dim::Free("width")];
        self.input("pixel_values", &dims, doc)
    }

    /// Names `features` and, if they are asked for, `tokens`, of which there are those asked for and at least the class token's:
    /// `[B, T or 1, D]`, after the final norm.
    pub(super) fn token_outputs(&mut self, tokens: &Value, width: usize, outputs: &[Output]) {
        let (batch, width) = (Dim::Free("batch"), Dim::Fixed(width));
        self.enter("features");
        let first = self.int(0);
        let features = self.node("Gather", &[tokens, &first], &[("axis", Attribute::Int(1))]); // [B, D]
        self.output(&features, "features", &[batch, width], "Class token after the final norm.");
        if outputs.contains(&Output::Tokens) {
            let doc = "Tokens after the final norm: the class token, then the patches row by row.";
            self.output(tokens, "tokens", &[batch, Dim::Free("tokens"), width], doc);
        }
    }
}
