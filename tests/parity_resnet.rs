//! ResNets against torchvision: features, gradients and running statistics of two groups of images, and evaluation.

mod support;

use dinoxide::nn::init::Registry;
use dinoxide::nn::resnet::{ResNet, ResNetConfig};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::{Params, Role};
use dinoxide_engine::tape::{Images, Statistics, Tape};
use dinoxide_engine::tensor::Pool;
use support::{Fixture, assert_close, assert_statistics, fill, filler, filler_bytes, gradient_errors, imagenet};

/// f32 against f64.
const TOLERANCE: f64 = 2e-5;

/// See `parity/generate/resnet.py`.
const BRANCH: f32 = 0.25;
const GROUPS: [(usize, usize, usize); 2] = [(3, 64, 64), (2, 41, 70)];

fn filled(config: ResNetConfig) -> (ResNet, Params) {
    let mut registry = Registry::new();
    let network = ResNet::new(config, "", &mut registry);
    let mut params = registry.undrawn();
    fill(&mut params);
    for spec in params.layout().specs().to_vec().iter().filter(|spec| spec.name.ends_with("bn3.weight")) {
        params.values_mut()[spec.range()].iter_mut().for_each(|value| *value *= BRANCH);
    }
    (network, params)
}

/// `gradient` bounds the error of every tensor's gradient; that of most is within [`TOLERANCE`].
fn check(name: &str, config: ResNetConfig, gradient: f64) {
    let fixture = Fixture::open(&format!("resnet/{name}.safetensors"));
    let (network, mut params) = filled(config);
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let pixels = GROUPS.map(|(images, height, width)| images * height * width * 3);
    let pixels: Vec<Vec<u8>> =
        pixels.into_iter().enumerate().map(|(group, len)| filler_bytes(&format!("image.{group}"), len)).collect();
    let images = |group: usize| {
        let (images, height, width) = GROUPS[group];
        Images { pixels: (&pixels[group]).into(), patches: network.patches(images, height, width) }
    };
    let mut grads = vec![0.0; params.values().len()];
    let mut both = Tape::infer(&cpu, &params, &pool);
    for group in 0..GROUPS.len() {
        network.features(&mut both, &[images(group)]);
        let mut tape = Tape::train(&cpu, &params, &pool);
        let out = network.features(&mut tape, &[images(group)]);
        assert_eq!(out.columns(), network.config().features());
        let expected = fixture.values(&format!("out.{group}"));
        assert_close(&format!("features of group {group}"), out.values().iter().copied(), &expected, TOLERANCE);
        tape.backward_from(&out, &filler(&format!("grad.{group}"), out.values().len(), 1.0, 0.0), &mut grads);
    }
    let errors = gradient_errors(&params, &grads, &fixture, gradient);
    let middle = errors[errors.len() / 2];
    assert!(middle <= TOLERANCE, "half of all gradients are off by more than {middle}");
    let statistics = both.take_statistics();
    drop(both);
    for (id, values) in statistics {
        params.get_mut(id).copy_from_slice(&values);
    }
    assert_statistics(&params, &fixture, TOLERANCE);
    let mut tape = Tape::infer(&cpu, &params, &pool);
    tape.normalize_by(Statistics::Running);
    let out = network.features(&mut tape, &[images(0)]);
    assert_close("evaluation", out.values().iter().copied(), &fixture.values("evaluated"), TOLERANCE);
}

#[test]
fn resnet18_equals_torchvision() {
    check("resnet18", ResNetConfig::of_depth(18, 1, imagenet()).unwrap(), 5e-5);
}

#[test]
fn resnet50_equals_torchvision() {
    // A value that f32 has on the other side of a ReLU's zero changes the gradients of all layers before it: PyTorch in f32 is
    // off by up to 1.7e-3 here.
    check("resnet50", ResNetConfig::of_depth(50, 1, imagenet()).unwrap(), 1e-2);
}

#[test]
fn parameters_are_counted_as_published() {
    // Without the classifier: torchvision's counts less (features + 1) x 1000.
    for (depth, width, expected) in [
        (18, 1, 11_176_512),
        (34, 1, 21_284_672),
        (50, 1, 23_508_032),
        (101, 1, 42_500_160),
        (152, 1, 58_143_808),
        // He et al.'s layers twice and four times as wide, as BYOL and SimCLR count them: 94 and 375 million with all of them.
        (50, 2, 93_907_072),
        (50, 4, 375_378_176),
    ] {
        let mut registry = Registry::new();
        let config = ResNetConfig::of_depth(depth, width, imagenet()).unwrap();
        ResNet::new(config, "", &mut registry);
        let layout = registry.into_layout();
        let trained = layout.specs().iter().filter(|spec| spec.role == Role::Trained);
        assert_eq!(trained.map(|spec| spec.len).sum::<usize>(), expected, "ResNet-{depth} x {width}");
    }
    assert!(ResNetConfig::of_depth(51, 1, imagenet()).is_none());
}
