//! The ResNet of `nn/resnet.rs` as a graph, normalised by its running statistics, for any number and size of images.

use super::graph::{Attribute, Dim, Graph, Order, Value};
use super::vit::Output;
use crate::nn::resnet::{EPS, EXPANSION, Kind, ResNetConfig, STEM};

struct Network {
    graph: Graph,
}

/// A convolution: channels before and after, side of its kernel, stride.
#[derive(Clone, Copy)]
struct Conv {
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
}

/// The graph of a ResNet with the output `features`, `[batch, D]`, and the tokens if they are asked for.
pub(super) fn graph(config: &ResNetConfig, outputs: &[Output], input_doc: String) -> Graph {
    let mut network = Network { graph: Graph::default() };
    let channels = config.normalize.mean.len();
    let dims = [Dim::Free("batch"), Dim::Fixed(channels), Dim::Free("height"), Dim::Free("width")];
    let pixels = network.graph.input("pixel_values", &dims, input_doc);
    let mut inputs = STEM * config.width;
    let stem = Conv { channels: [channels, inputs], kernel: 7, stride: 2 };
    let x = network.conv_norm(["conv1", "bn1"], stem, &pixels);
    let x = network.graph.node("Relu", &[&x], &[]);
    let (three, two, one) = (Attribute::Ints(&[3, 3]), Attribute::Ints(&[2, 2]), Attribute::Ints(&[1, 1, 1, 1]));
    let mut x = network.graph.node("MaxPool", &[&x], &[("kernel_shape", three), ("strides", two), ("pads", one)]);
    for (stage, count) in config.blocks.into_iter().enumerate() {
        let middle = (STEM * config.width) << stage;
        for number in 0..count {
            let stride = if number == 0 && stage > 0 { 2 } else { 1 };
            (x, inputs) =
                network.block(&format!("layer{}.{number}.", stage + 1), config.kind, [inputs, middle, stride], &x);
        }
    }
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

    /// A block with `middle` channels inside, and the number of its output's channels.
    fn block(&mut self, name: &str, kind: Kind, [inputs, middle, stride]: [usize; 3], x: &Value) -> (Value, usize) {
        let conv = |from: usize, to: usize, kernel: usize, stride: usize| Conv { channels: [from, to], kernel, stride };
        let (layers, outputs) = match kind {
            Kind::Basic => (vec![conv(inputs, middle, 3, stride), conv(middle, middle, 3, 1)], middle),
            Kind::Bottleneck => {
                let outputs = EXPANSION * middle;
                let layers =
                    vec![conv(inputs, middle, 1, 1), conv(middle, middle, 3, stride), conv(middle, outputs, 1, 1)];
                (layers, outputs)
            }
        };
        let mut skip = x.clone();
        if stride > 1 || inputs != outputs {
            let names = [format!("{name}downsample.0"), format!("{name}downsample.1")];
            skip = self.conv_norm([&names[0], &names[1]], conv(inputs, outputs, 1, stride), x);
        }
        let (last, mut out) = (layers.len(), x.clone());
        for (number, layer) in (1..).zip(layers) {
            let names = [format!("{name}conv{number}"), format!("{name}bn{number}")];
            out = self.conv_norm([&names[0], &names[1]], layer, &out);
            if number == last {
                out = self.graph.node("Add", &[&out, &skip], &[]);
            }
            out = self.graph.node("Relu", &[&out], &[]);
        }
        (out, outputs)
    }

    fn conv_norm(&mut self, [conv, norm]: [&str; 2], layer: Conv, x: &Value) -> Value {
        let Conv { channels: [inputs, outputs], kernel, stride } = layer;
        let graph = &mut self.graph;
        graph.enter(conv);
        let weight = graph.weight(format!("{conv}.weight"), &[outputs, inputs, kernel, kernel], Order::Kept);
        let (sides, strides, pads) = ([kernel as i64; 2], [stride as i64; 2], [(kernel / 2) as i64; 4]);
        let attributes = [
            ("kernel_shape", Attribute::Ints(&sides)),
            ("strides", Attribute::Ints(&strides)),
            ("pads", Attribute::Ints(&pads)),
        ];
        let x = graph.node("Conv", &[x, &weight], &attributes);
        graph.enter(norm);
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| graph.weight(format!("{norm}.{part}"), &[outputs], Order::Kept));
        let epsilon = Attribute::Float(EPS as f32);
        graph.node("BatchNormalization", &[&x, &gamma, &beta, &mean, &variance], &[("epsilon", epsilon)])
    }
}
