//! ONNX files: the graph of a network written by hand, so that it takes any number and size of images and interpolates a ViT's
//! positions exactly as the network does.
//!
//! | file | holds |
//! |---|---|
//! | `vit.rs`, `resnet.rs`, `xcit.rs` | a network as a graph |
//! | `positions.rs` | a ViT's positions for images of any size |
//! | `layer.rs` | layers of which several networks are made |
//! | `interface.rs` | the input and the outputs of every graph |
//! | `graph.rs` | nodes, constants, weights, inputs and outputs, one after the other |
//! | `proto.rs` | the messages of the format |
//! | `file.rs` | graph and values into a file |
//! | `weights.rs` | the weights of such a file, to be compared |
//!
//! The one input is `pixel_values`, `[batch, channels, height, width]`: pixels scaled to 0…1, minus the mean, over the
//! deviation, of each channel. Batch, height and width are free; what is left of a side beyond whole patches of a ViT is cut off.
//! A matrix is stored transposed, since runtimes multiply with constants on the right, and is called `….weight.transposed`;
//! every other weight has the network's name and values.

mod file;
mod graph;
mod interface;
mod layer;
mod positions;
pub mod proto;
mod resnet;
mod vit;
mod weights;
mod xcit;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub use interface::Output;
pub use weights::weights;

use super::error::{CheckpointError, Result};
use super::names::match_names;
use super::tensor::{NamedTensor, TensorRef};
use crate::nn::backbone::BackboneConfig;
use file::Values;
use graph::Weight;
use proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};

/// Version of the format; the one that came with [`OPSET`].
const IR_VERSION: i64 = 8;
/// Version of the operators: the first with a LayerNormalization of its own.
const OPSET: i64 = 17;
/// The text entry that says what the input has to be.
const INPUT_KEY: &str = "input";

/// Writes the network `backbone` with these weights atomically. It gives `features`, `[batch, D]`, those of
/// [`crate::nn::backbone::Backbone::features`], and the outputs asked for. `texts` become text entries of the file, next to `input`, which says what
/// the input has to be.
///
/// # Errors
/// A weight is missing, unknown, named twice or of another shape; the file would have 2 GiB or more; or it cannot be
/// written. The old file is then as it was.
pub fn write(
    path: &Path,
    backbone: &BackboneConfig,
    weights: &[TensorRef<'_>],
    outputs: &[Output],
    texts: &BTreeMap<String, String>,
) -> Result<()> {
    let input = input_doc(backbone);
    let (graph, wanted) = match backbone {
        BackboneConfig::Vit(config) => vit::graph(config, outputs, input.clone()).finish("vit"),
        BackboneConfig::ResNet(config) => resnet::graph(config, outputs, input.clone()).finish("resnet"),
        BackboneConfig::Xcit(config) => xcit::graph(config, outputs, input.clone()).finish("xcit"),
    };
    let values = values(path, wanted, weights)?;
    let text = |(key, value): (&str, &str)| StringStringEntryProto { key: key.to_owned(), value: value.to_owned() };
    let texts = texts.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let texts = texts.filter(|(key, _)| *key != INPUT_KEY).chain([(INPUT_KEY, input.as_str())]);
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "dinoxide".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        doc_string: format!("Frozen backbone. `pixel_values`: {input}"),
        graph: None,
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: texts.map(text).collect(),
    };
    file::write(path, &model, &graph, values)
}

fn input_doc(backbone: &BackboneConfig) -> String {
    let normalize = backbone.normalize();
    let (mean, std) = (&normalize.mean, &normalize.std);
    let smallest = backbone.vit().map_or(1, |vit| vit.patch_size);
    format!(
        "[batch, channels, height, width], f32: pixels scaled to 0..1, minus the mean {mean:?}, divided by the deviation {std:?} \
         of each channel; sides of any length from {smallest} pixels on"
    )
}

/// The values of every weight that the graph takes, in its order.
fn values<'a>(path: &Path, wanted: Vec<Weight>, weights: &[TensorRef<'a>]) -> Result<Vec<Values<'a>>> {
    let mut names = BTreeSet::new();
    for weight in weights {
        weight.check()?;
        if !names.insert(weight.name) {
            return Err(CheckpointError::DuplicateName { path: path.to_path_buf(), name: weight.name.to_owned() });
        }
    }
    let expected: Vec<_> = wanted.iter().map(|weight| (weight.name.clone(), weight.shape.clone())).collect();
    let found = weights.iter().map(|weight| NamedTensor::new(weight.name, weight.shape.to_vec(), Vec::new()));
    match_names(&expected, &found.collect::<Vec<_>>(), &[]).into_result(path)?;
    let by_name: BTreeMap<_, _> = weights.iter().map(|weight| (weight.name, weight.values)).collect();
    let values = |weight: Weight| Some(Values { values: by_name.get(weight.name.as_str())?, weight });
    Ok(wanted.into_iter().filter_map(values).collect())
}
