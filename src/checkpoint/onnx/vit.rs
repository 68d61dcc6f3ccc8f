//! The ViT of `nn/vit.rs` as a graph (`vision_transformer.py:VisionTransformer`; DINO, Caron et al. 2021) with what DINOv2 adds to it
//! (Oquab et al. 2023), for any number and size of images.

use super::graph::{Attribute, Dim, Graph, Order, Value};
use super::interface::Output;
use super::layer::{Attention, Conv, Queries};
use super::positions::positions;
use crate::nn::vit::{Ffn, VitConfig};

struct Network<'a> {
    graph: Graph,
    config: &'a VitConfig,
}

/// The graph of a ViT with the output `features`, `[batch, D]`, and the others asked for.
pub(super) fn graph(config: &VitConfig, outputs: &[Output], input_doc: String) -> Graph {
    let mut network = Network { graph: Graph::default(), config };
    let pixels = network.graph.pixels(config.normalize.mean.len(), input_doc);
    let mut tokens = network.embed(&pixels); // [B, T, D]
    let mut attention = None;
    for block in 0..config.depth {
        let is_last = block + 1 == config.depth;
        let queries = if is_last && !outputs.contains(&Output::Tokens) { Queries::Class } else { Queries::All };
        let (after, probs) = network.block(&format!("blocks.{block}"), &tokens, queries);
        tokens = after;
        attention = Some(probs); // [B, H, T or 1, T]
    }
    if outputs.contains(&Output::Tokens) {
        tokens = network.without_registers(&tokens);
    }
    let tokens = network.graph.layer_norm("norm", &tokens, config.embed_dim); // [B, 1 + N or 1, D]
    network.graph.token_outputs(&tokens, config.embed_dim, outputs);
    if let (true, Some(probs)) = (outputs.contains(&Output::Attention), attention) {
        network.attention_output(&probs);
    }
    network.graph
}

impl Network<'_> {
    /// Names the class token's row of `probs`, `[B, H, T or 1, T]`.
    fn attention_output(&mut self, probs: &Value) {
        let Self { graph, config } = self;
        graph.enter("attention");
        let first = graph.int(0);
        let class = graph.node("Gather", &[probs, &first], &[("axis", Attribute::Int(2))]); // [B, H, T]
        let patches = graph.slice(&class, 2, config.leading_tokens() as i64..i64::MAX); // [B, H, N]
        let dims = [Dim::Free("batch"), Dim::Fixed(config.num_heads), Dim::Free("patches")];
        graph.output(&patches, "attention", &dims, "Attention of the class token to the patches in the last block.");
    }

    fn without_registers(&mut self, tokens: &Value) -> Value {
        if self.config.extras.registers == 0 {
            return tokens.clone();
        }
        let graph = &mut self.graph;
        graph.enter("tokens");
        let class = graph.slice(tokens, 1, 0..1);
        let patches = graph.slice(tokens, 1, self.config.leading_tokens() as i64..i64::MAX);
        graph.concat(&[&class, &patches], 1)
    }

    /// Class token, registers and patches: `[B, T, D]`.
    fn embed(&mut self, pixels: &Value) -> Value {
        let Self { graph, config } = self;
        let (width, patch) = (config.embed_dim, config.patch_size);
        let stored = config.base_grid() * config.base_grid();
        graph.enter("pos_embed");
        let pos_embed = graph.weight("pos_embed", &[1, stored + 1, width], Order::Kept);
        let positions = positions(graph, config, pixels, &pos_embed); // [1, N, D]
        let conv = Conv::tiled([config.normalize.mean.len(), width], patch);
        let patches = graph.conv("patch_embed.proj", pixels, conv);
        let patches = graph.flattened(&patches); // [B, N, D]
        let patches = graph.node("Add", &[&patches, &positions], &[]);
        graph.enter("cls_token");
        let class = graph.weight("cls_token", &[1, 1, width], Order::Kept);
        let position = graph.slice(&pos_embed, 1, 0..1);
        let mut leading = graph.node("Add", &[&class, &position], &[]);
        if config.extras.registers > 0 {
            let registers = graph.weight("register_tokens", &[1, config.extras.registers, width], Order::Kept);
            leading = graph.concat(&[&leading, &registers], 1); // [1, 1 + R, D]
        }
        graph.prepend(&leading, &patches) // [B, T, D]
    }

    /// One block: the tokens that ask, after it, `[B, Q, D]`, and what they attended to, `[B, H, Q, T]`.
    fn block(&mut self, name: &str, x: &Value, queries: Queries) -> (Value, Value) {
        let (width, heads) = (self.config.embed_dim, self.config.num_heads);
        let normed = self.graph.layer_norm(&format!("{name}.norm1"), x, width);
        let (attended, probs) =
            self.graph.attention(&format!("{name}.attn"), &normed, Attention { width, heads, queries });
        let attended = self.layer_scale(&format!("{name}.ls1.gamma"), attended);
        let x = self.graph.asking(x, queries);
        let x = self.graph.node("Add", &[&x, &attended], &[]);
        let normed = self.graph.layer_norm(&format!("{name}.norm2"), &x, width);
        let values = self.ffn(&format!("{name}.mlp"), &normed);
        let values = self.layer_scale(&format!("{name}.ls2.gamma"), values);
        (self.graph.node("Add", &[&x, &values], &[]), probs)
    }

    fn layer_scale(&mut self, name: &str, x: Value) -> Value {
        match self.config.extras.layer_scale {
            Some(_) => self.graph.scaled(name, &x, self.config.embed_dim),
            None => x,
        }
    }

    fn ffn(&mut self, name: &str, x: &Value) -> Value {
        let Self { graph, config } = self;
        let (width, hidden) = (config.embed_dim, config.hidden());
        match config.extras.ffn {
            Ffn::Mlp => graph.mlp(name, x, [width, hidden]),
            Ffn::SwiGlu => {
                let both = graph.linear(&format!("{name}.w12"), x, [width, 2 * hidden]);
                let [gate, values] = graph.split(&both, -1);
                let sigmoid = graph.node("Sigmoid", &[&gate], &[]);
                let gate = graph.node("Mul", &[&gate, &sigmoid], &[]);
                let values = graph.node("Mul", &[&gate, &values], &[]);
                graph.linear(&format!("{name}.w3"), &values, [hidden, width])
            }
        }
    }
}
