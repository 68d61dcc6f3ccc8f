//! ONNX files as any reader of the format finds them. What runtimes compute from them: `tests/interop/onnx_runtime.py`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests may fail like tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use dinoxide::checkpoint::names::is_read;
use dinoxide::checkpoint::onnx::proto::{DimensionValue, GraphProto, ModelProto, TensorProto, ValueInfoProto};
use dinoxide::checkpoint::onnx::{self, Output};
use dinoxide::checkpoint::{CheckpointError, TensorRef};
use dinoxide::nn::backbone::{Backbone, BackboneConfig};
use dinoxide::nn::init::Registry;
use dinoxide::nn::pos_embed::Resampling;
use dinoxide::nn::resnet::{Kind, ResNetConfig};
use dinoxide::nn::vit::{Extras, Ffn, MaskToken, VitConfig};
use dinoxide::nn::xcit::XcitConfig;
use dinoxide_engine::kernels::Normalize;
use dinoxide_engine::params::Params;
use prost::Message;
use support::{fill, filled_vit};

const BOTH: [Output; 2] = [Output::Tokens, Output::Attention];

/// Two channels, so that no size equals another by chance.
fn config() -> VitConfig {
    VitConfig {
        image_size: 32,
        patch_size: 8,
        embed_dim: 30,
        depth: 2,
        num_heads: 5,
        mlp_ratio: 4.0,
        normalize: Normalize { mean: vec![0.25, 0.5], std: vec![0.125, 0.75] },
        extras: Extras::default(),
    }
}

/// The ViT above, one with everything that DINOv2 adds, a ResNet and an XCiT.
fn networks() -> [BackboneConfig; 4] {
    let extras = Extras {
        layer_scale: Some(0.5),
        registers: 3,
        ffn: Ffn::SwiGlu,
        mask_token: MaskToken::Stored,
        resampling: Resampling::Antialiased,
    };
    let dinov2 = VitConfig { extras, ..config() };
    let normalize = config().normalize;
    let resnet = ResNetConfig { kind: Kind::Bottleneck, blocks: [1, 1, 1, 1], width: 1, normalize: normalize.clone() };
    let xcit = XcitConfig { patch_size: 4, embed_dim: 20, depth: 2, num_heads: 5, layer_scale: 0.5, normalize };
    [config().into(), dinov2.into(), resnet.into(), xcit.into()]
}

/// All that a network can be asked for: nothing, each output, and both.
fn choices(network: &BackboneConfig) -> &'static [&'static [Output]] {
    const OF_VIT: &[&[Output]] = &[&[], &[Output::Tokens], &[Output::Attention], &BOTH];
    if network.vit().is_some() { OF_VIT } else { &OF_VIT[..2] }
}

fn refs(params: &Params) -> Vec<TensorRef<'_>> {
    let tensors = params.tensors().filter(|(spec, _)| is_read(&spec.name));
    tensors.map(|(spec, values)| TensorRef { name: &spec.name, shape: &spec.shape, values }).collect()
}

/// Writes a network and reads the file back as the messages it holds.
fn written(network: BackboneConfig, outputs: &[Output], texts: &BTreeMap<String, String>) -> (ModelProto, Params) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("network.onnx");
    let mut registry = Registry::new();
    Backbone::new(network.clone(), "", &mut registry);
    let mut params = registry.undrawn();
    fill(&mut params);
    onnx::write(&path, &network, &refs(&params), outputs, texts).unwrap();
    (ModelProto::decode(&*fs::read(&path).unwrap()).unwrap(), params)
}

fn graph(network: BackboneConfig, outputs: &[Output]) -> (GraphProto, Params) {
    let (model, params) = written(network, outputs, &BTreeMap::new());
    (model.graph.unwrap(), params)
}

/// Every graph that can be written of these networks.
fn graphs() -> impl Iterator<Item = GraphProto> {
    networks().into_iter().flat_map(|network| {
        let graph = |outputs: &&[Output]| graph(network.clone(), outputs).0;
        choices(&network).iter().map(graph).collect::<Vec<_>>()
    })
}

fn floats(tensor: &TensorProto) -> Vec<f32> {
    let (values, rest) = tensor.raw_data.as_chunks::<4>();
    assert!(rest.is_empty(), "whole values in `{}`", tensor.name);
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// Lengths of the axes, a name where one is free.
fn dims(value: &ValueInfoProto) -> Vec<String> {
    let tensor = value.kind.as_ref().unwrap().tensor_type.as_ref().unwrap();
    assert_eq!(tensor.elem_type, 1, "`{}` is f32", value.name);
    let dims = tensor.shape.as_ref().unwrap().dim.iter().map(|dim| match dim.value.as_ref().unwrap() {
        DimensionValue::DimValue(length) => length.to_string(),
        DimensionValue::DimParam(name) => name.clone(),
    });
    dims.collect()
}

fn outputs_of(graph: &GraphProto) -> Vec<(&str, Vec<String>)> {
    graph.output.iter().map(|output| (output.name.as_str(), dims(output))).collect()
}

fn owned(dims: &[&str]) -> Vec<String> {
    dims.iter().map(|dim| (*dim).to_owned()).collect()
}

fn error_of(path: &Path, config: &VitConfig, weights: &[TensorRef<'_>]) -> CheckpointError {
    match onnx::write(path, &config.clone().into(), weights, &[], &BTreeMap::new()) {
        Ok(()) => panic!("an error was expected"),
        Err(error) => error,
    }
}

#[test]
fn values_are_defined_once_and_before_they_are_used() {
    for graph in graphs() {
        let given = graph.input.iter().map(|input| input.name.as_str());
        let stored = graph.initializer.iter().map(|tensor| tensor.name.as_str());
        let mut defined: BTreeSet<&str> = BTreeSet::from_iter(given.chain(stored));
        assert_eq!(defined.len(), graph.input.len() + graph.initializer.len(), "names are used once");
        let mut names = BTreeSet::new();
        for node in &graph.node {
            assert!(names.insert(&node.name), "two nodes are named `{}`", node.name);
            let missing = node.input.iter().find(|name| !defined.contains(name.as_str()));
            assert_eq!(missing, None, "an input of `{}`", node.name);
            assert!(node.output.iter().all(|name| defined.insert(name)), "`{}` gives something anew", node.name);
        }
        assert!(graph.output.iter().all(|output| defined.contains(output.name.as_str())));
    }
}

#[test]
fn everything_stored_or_computed_is_used() {
    for graph in graphs() {
        let taken: BTreeSet<_> = graph.node.iter().flat_map(|node| &node.input).collect();
        let given: BTreeSet<_> = graph.output.iter().map(|output| &output.name).collect();
        let unused = graph.initializer.iter().find(|tensor| !taken.contains(&tensor.name));
        assert_eq!(unused.map(|tensor| &tensor.name), None);
        let computed = graph
            .node
            .iter()
            .find(|node| node.output.iter().all(|name| !taken.contains(name) && !given.contains(name)));
        assert_eq!(computed.map(|node| &node.name), None);
    }
}

#[test]
fn every_weight_is_stored_once_with_its_values() {
    for network in networks() {
        let (graph, params) = graph(network, &[Output::Tokens]);
        let mut stored: BTreeMap<_, _> = graph.initializer.iter().map(|tensor| (tensor.name.clone(), tensor)).collect();
        for TensorRef { name, shape, values } in refs(&params) {
            let dims: Vec<i64> = shape.iter().map(|dim| *dim as i64).collect();
            if let Some(tensor) = stored.remove(name) {
                assert_eq!((&tensor.dims, floats(tensor)), (&dims, values.to_vec()), "`{name}`");
                continue;
            }
            let tensor = stored.remove(&format!("{name}.transposed")).unwrap();
            let [rows, columns] = shape[..] else { panic!("`{name}` is no matrix") };
            let transposed = (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column]));
            assert_eq!(tensor.dims, [dims[1], dims[0]], "`{name}`");
            assert_eq!(floats(tensor), transposed.collect::<Vec<_>>(), "`{name}`");
        }
        assert!(stored.keys().all(|name| name.starts_with("constant_")), "only constants are left");
    }
}

#[test]
fn stored_values_fill_their_shapes() {
    for tensor in graphs().flat_map(|graph| graph.initializer) {
        let bytes = if tensor.data_type == 7 { 8 } else { 4 };
        assert_eq!(tensor.raw_data.len() as i64, bytes * tensor.dims.iter().product::<i64>(), "`{}`", tensor.name);
    }
}

#[test]
fn all_but_the_channels_is_free() {
    for network in networks() {
        let (width, attends) = (network.dim().to_string(), network.vit().is_some());
        let (graph, _) = graph(network, if attends { &BOTH } else { &BOTH[..1] });
        let [input] = &graph.input[..] else { panic!("one input") };
        assert_eq!((input.name.as_str(), dims(input)), ("pixel_values", owned(&["batch", "2", "height", "width"])));
        assert!(input.doc_string.contains("[0.25, 0.5]") && input.doc_string.contains("[0.125, 0.75]"));
        let expected = [
            ("features", owned(&["batch", &width])),
            ("tokens", owned(&["batch", "tokens", &width])),
            ("attention", owned(&["batch", "5", "patches"])),
        ];
        assert_eq!(outputs_of(&graph), expected[..if attends { 3 } else { 2 }]);
    }
}

#[test]
fn only_the_outputs_asked_for_are_there() {
    for network in networks() {
        for outputs in choices(&network) {
            let (graph, _) = graph(network.clone(), outputs);
            let found: Vec<_> = outputs_of(&graph).into_iter().map(|(name, _)| name.to_owned()).collect();
            let asked = outputs.iter().map(|output| format!("{output:?}").to_lowercase());
            assert_eq!(found, ["features".to_owned()].into_iter().chain(asked).collect::<Vec<_>>());
        }
    }
}

#[test]
fn file_says_what_wrote_it_and_what_it_takes() {
    let texts = BTreeMap::from([("architecture".to_owned(), "vit_odd".to_owned())]);
    let (model, _) = written(config().into(), &[], &texts);
    assert_eq!(
        (model.producer_name.as_str(), model.producer_version.as_str()),
        ("dinoxide", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!((model.ir_version, model.opset_import[0].domain.as_str(), model.opset_import[0].version), (8, "", 17));
    let texts: BTreeMap<_, _> = model.metadata_props.iter().map(|entry| (&*entry.key, &*entry.value)).collect();
    assert_eq!(texts["architecture"], "vit_odd");
    assert!(texts["input"].contains("minus the mean [0.25, 0.5]"), "{}", texts["input"]);
}

#[test]
fn weights_that_do_not_fit_are_listed_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vit.onnx");
    let (vit, params) = filled_vit(config());
    let mut weights = refs(&params);
    weights.retain(|weight| weight.name != "blocks.1.norm2.bias");
    let name = "head.weight";
    weights.push(TensorRef { name, shape: &[1], values: &[0.0] });
    let error = error_of(&path, vit.config(), &weights).to_string();
    assert!(error.contains("blocks.1.norm2.bias") && error.contains(name), "{error}");
    let other = VitConfig { image_size: 40, ..config() };
    let error = error_of(&path, &other, &refs(&params)).to_string();
    assert!(error.contains("pos_embed"), "{error}");
    assert!(!path.exists());
}

#[test]
fn file_of_two_gibibytes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vit.onnx");
    fs::write(&path, "the old one").unwrap();
    let large = VitConfig { embed_dim: 2048, num_heads: 32, depth: 12, ..config() };
    let mut registry = Registry::new();
    dinoxide::nn::vit::Vit::new(large.clone(), "", &mut registry);
    // All weights lie in one place: the file would be far larger than what is in memory.
    let zeros = vec![0.0; 4 * 2048 * 2048];
    let layout = registry.into_layout();
    let weights = layout.specs().iter().map(|spec| TensorRef {
        name: &spec.name,
        shape: &spec.shape,
        values: &zeros[..spec.len],
    });
    let error = error_of(&path, &large, &weights.collect::<Vec<_>>());
    assert!(matches!(error, CheckpointError::TooLong { bytes, .. } if bytes > 1 << 31), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "the old one");
}
