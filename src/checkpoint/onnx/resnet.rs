//! The ResNet of `nn/resnet.rs` as a graph, normalised by its running statistics, for any number and size of images.

use super::graph::{Attribute, Dim, Graph, Value};
use super::interface::Output;
use super::layer::{Bias, Conv};
use crate::nn::resnet::{BlockSizes, EPS, LayerSizes, ResNetConfig};

struct Network {
    graph: Graph,
}

/// The graph of a ResNet with the output `features`, `[batch, D]`, and the tokens if they are asked for.
pub(super) fn graph(config: &ResNetConfig, outputs: &[Output], input_doc: String) -> Graph {
    let mut network = Network { graph: Graph::default() };
    let pixels = network.graph.pixels(config.normalize.mean.len(), input_doc);
    let x = network.conv_norm(&config.stem(), &pixels);
    let x = network.graph.node("Relu", &[&x], &[]);
    let (three, two, one) = (Attribute::Ints(&[3, 3]), Attribute::Ints(&[2, 2]), Attribute::Ints(&[1, 1, 1, 1]));
    let x = network.graph.node("MaxPool", &[&x], &[("kernel_shape", three), ("strides", two), ("pads", one)]);
    let x = config.block_sizes().iter().fold(x, |x, block| network.block(block, &x));
    network.outputs(&x, config.features(), outputs);
    network.graph
}

impl Network {
    fn outputs(&mut self, x: &Value, width: usize, outputs: &[Output]) {
        let graph = &mut self.graph;
        let (batch, width) = (Dim::Free("batch"), Dim::Fixed(width));
        graph.enter("features");
        let pooled = graph.node("GlobalAveragePool", &[x], &[]); // [B, D, 1, 1]
        let features = graph.node("Flatten", &[&pooled], &[("axis", Attribute::Int(1))]);
        graph.output(&features, "features", &[batch, width], "Mean over the last stage.");
        if outputs.contains(&Output::Tokens) {
            graph.enter("tokens");
            let flat = graph.ints(&[0, 0, -1]);
            let both = [&pooled, x].map(|values| graph.node("Reshape", &[values, &flat], &[])); // [B, D, 1], [B, D, N]
            let all = graph.node("Concat", &[&both[0], &both[1]], &[("axis", Attribute::Int(2))]);
            let tokens = graph.node("Transpose", &[&all], &[("perm", Attribute::Ints(&[0, 2, 1]))]);
            let doc = "The features, then the values of the last stage row by row.";
            graph.output(&tokens, "tokens", &[batch, Dim::Free("tokens"), width], doc);
        }
    }

    fn block(&mut self, block: &BlockSizes, x: &Value) -> Value {
        let skip = block.downsample.as_ref().map_or_else(|| x.clone(), |layer| self.conv_norm(layer, x));
        let mut out = x.clone();
        for (number, layer) in (1..).zip(&block.layers) {
            out = self.conv_norm(layer, &out);
            if number == block.layers.len() {
                out = self.graph.node("Add", &[&out, &skip], &[]);
            }
            out = self.graph.node("Relu", &[&out], &[]);
        }
        out
    }

    fn conv_norm(&mut self, layer: &LayerSizes, x: &Value) -> Value {
        let LayerSizes { conv, norm, channels, window } = layer;
        let window = [window.kernel, window.stride, window.padding];
        let x = self.graph.conv(conv, x, Conv { channels: *channels, groups: 1, window, bias: Bias::Absent });
        self.graph.batch_norm(norm, &x, channels[1], EPS)
    }
}
