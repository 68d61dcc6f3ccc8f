//! Networks that are no ViT, by the same commands: known by their tensors, trained, resumed, looked with, exported.
#![cfg(unix)]

mod running;

use std::path::Path;
use std::process::Command;

use dinoxide::checkpoint::onnx::Output;
use dinoxide::checkpoint::{NamedTensor, read_any};
use dinoxide::config::ModelConfig;
use dinoxide::nn::backbone::{Backbone, BackboneConfig};
use dinoxide::nn::init::Registry;
use dinoxide::nn::resnet::{Kind, ResNetConfig};
use dinoxide::run::export::{ExportFormat, ExportRequest, ExportWhat, export};
use dinoxide::run::input::Network;
use dinoxide::run::model::{Metadata, Model, recognise};
use dinoxide::run::verify_export::verify_export;
use dinoxide_engine::kernels::Normalize;
use running::{Outcome, Running, TINY, make_images, run};

fn gray(channels: usize) -> Normalize {
    Normalize { mean: vec![0.5; channels], std: vec![0.25; channels] }
}

/// Names and shapes of a network's tensors, without values.
fn tensors(config: BackboneConfig) -> Vec<NamedTensor> {
    let mut registry = Registry::new();
    Backbone::new(config, "", &mut registry);
    let layout = registry.into_layout();
    layout.specs().iter().map(|spec| NamedTensor::new(&spec.name, spec.shape.clone(), Vec::new())).collect()
}

#[test]
fn every_named_network_is_known_by_its_tensors() {
    for model in ModelConfig::known() {
        let config = model.backbone(gray(3)).unwrap();
        let stated = Metadata::from(["mean", "std"].map(|key| {
            let values = if key == "mean" { "[0.5, 0.5, 0.5]" } else { "[0.25, 0.25, 0.25]" };
            (key.to_owned(), values.to_owned())
        }));
        let found = recognise(&tensors(config.clone()), &stated, Path::new("file")).unwrap();
        assert_eq!(found, config, "{}", model.name);
        assert_eq!(ModelConfig::of(&found), model);
    }
    // None of the tables, for four channels.
    let odd = ResNetConfig { kind: Kind::Basic, blocks: [1, 2, 1, 3], width: 1, normalize: gray(4) };
    let found = recognise(&tensors(odd.clone().into()), &Metadata::new(), Path::new("file")).unwrap();
    assert_eq!(found, ResNetConfig { normalize: found.normalize().clone(), ..odd }.into());
    for name in ["resnet51", "resnet050", "resnet50w1", "resnet50w3", "resnet50w8", "resnet"] {
        assert!(ResNetConfig::named(name, gray(3)).is_none(), "{name}");
    }
}

#[test]
fn layers_are_counted_from_the_top() {
    let config = ResNetConfig::of_depth(18, 1, gray(3)).unwrap();
    let backbone = Backbone::new(config.into(), "", &mut Registry::new());
    for (name, layers) in [
        ("conv1.weight", 9),
        ("bn1.bias", 9),
        ("layer1.0.conv1.weight", 8),
        ("layer2.1.bn2.weight", 5),
        ("layer4.1.conv2.weight", 1),
    ] {
        assert_eq!(backbone.layers_above(name), layers, "{name}");
    }
}

/// What makes a tiny ViT of a run, which a ResNet must not be given.
const ONLY_VITS: [&str; 6] =
    ["model.embed_dim", "model.depth", "model.num_heads", "model.patch_size", "model.image_size", "model.drop_path"];

/// `dinoxide pretrain` of another network than a ViT.
fn pretrain_of(network: &str, data: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    command.arg("pretrain").arg(data).arg("-o").arg(out).args(["--model", network]);
    for value in TINY.iter().filter(|value| !ONLY_VITS.iter().any(|key| value.starts_with(key))) {
        command.args(["--set", value]);
    }
    command
}

#[test]
fn a_resnet_is_trained_resumed_and_used() {
    let place = tempfile::tempdir().unwrap();
    let (data, whole, parts) = (place.path().join("data"), place.path().join("whole"), place.path().join("parts"));
    make_images(&data, 4);
    run(pretrain_of("resnet18", &data, &whole)).expect(0);
    let mut stopped = Running::start(pretrain_of("resnet18", &data, &parts));
    stopped.wait_for_step(&parts, 3);
    stopped.signal("INT");
    stopped.end();
    run(pretrain_of("resnet18", &data, &parts)).expect(0);
    Outcome::of(&parts).assert_same(&Outcome::of(&whole), "after a stop");

    // Each trained tensor has two moments and a count, under the numbers that the official program gives.
    let checkpoint = place.path().join("checkpoint.pth");
    let what = ExportWhat::Full;
    let (network, outputs) = (Network::Teacher, Vec::new());
    export(&ExportRequest { run: whole.clone(), out: checkpoint.clone(), to: None, what, network, outputs }).unwrap();
    // 20 convolutions, 40 scales and shifts; three layers of the head, and the prototypes, whose lengths are fixed.
    assert_eq!(read_any(&checkpoint).unwrap().tensor_count("optimizer"), 3 * (60 + 6 + 1));
    let look = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
        command.arg(arguments[0]).arg(&whole).arg(&data).args(&arguments[1..]);
        command.arg("-o").arg(place.path().join(arguments[0]));
        run(command)
    };
    // Smaller than what a value of the last stage stands for.
    look(&["pca", "--image-size", "16"]).expect(0);
    look(&["attention"]).expect(1).saying(&["`resnet18` has no attention", "dinoxide pca"]);

    let model = Model::load(&whole, Network::Teacher).unwrap();
    assert_eq!(model.backbone.config().dim(), 512);
    let counted = model.params.layout().find("bn1.num_batches_tracked").unwrap();
    // The teacher sees the group of global crops in each of six steps, the student that of local ones too.
    assert_eq!(model.params.get(counted), [6.0]);
    let student = Model::load(&whole, Network::Student).unwrap();
    assert_eq!(student.params.get(counted), [12.0]);
}

#[test]
fn an_xcit_is_trained_and_exported() {
    let place = tempfile::tempdir().unwrap();
    let (data, out) = (place.path().join("data"), place.path().join("run"));
    make_images(&data, 2);
    let mut command = pretrain_of("xcit_small_12_p8", &data, &out);
    command.args(["--epochs", "1", "--set", "model.drop_path=0.1"]);
    run(command).expect(0);
    let model = Model::load(&out, Network::Teacher).unwrap();
    assert_eq!((model.backbone.dim(), model.backbone.stride(), model.backbone.grid(32, 48)), (384, 8, (4, 6)));
    for (name, to) in [
        ("timm", Some(ExportFormat::Timm)),
        ("weights.pth", None),
        ("weights.safetensors", None),
        ("weights.onnx", None),
    ] {
        let out = place.path().join(name);
        let request = ExportRequest {
            run: place.path().join("run"),
            out: out.clone(),
            to,
            what: ExportWhat::Backbone,
            network: Network::Teacher,
            outputs: Vec::new(),
        };
        export(&request).unwrap();
        verify_export(&request.run, &out, Network::Teacher).unwrap();
        let error = export(&ExportRequest { outputs: vec![Output::Attention], ..request }).unwrap_err().to_string();
        assert!(error.contains(if name == "weights.onnx" { "has no attention" } else { "--to onnx" }), "{error}");
    }
}

#[test]
fn sizes_that_only_a_vit_has_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    make_images(&data, 2);
    for (network, key) in
        [("resnet18", "model.depth=2"), ("resnet18", "model.drop_path=0.1"), ("xcit_small_12_p8", "model.patch_size=4")]
    {
        let mut command = pretrain_of(network, &data, &place.path().join("run"));
        command.args(["--set", key]);
        run(command).expect(2).saying(&[key.split('=').next().unwrap(), network, "leave"]);
    }
}
