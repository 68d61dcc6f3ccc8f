//! XCiT against timm: features, gradients and running statistics of groups of images, evaluation, and branches that images skip.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

mod support;

use dinoxide::nn::drop_path::{Kept, KeptBranches};
use dinoxide::nn::init::Registry;
use dinoxide::nn::xcit::{Xcit, XcitConfig};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::{ParamId, Params, Role};
use dinoxide_engine::tape::{Images, Keep, Statistics, Tape};
use dinoxide_engine::tensor::Pool;
use support::{Fixture, assert_close, assert_statistics, filler, filler_bytes, gradient_errors, imagenet, parameter};

/// f32 against f64: PyTorch's own features in f32 are off by up to 1e-6.
const TOLERANCE: f64 = 2e-5;
/// PyTorch's own gradients in f32 are off by up to 5e-5 of a tensor's length (`f32_relative_difference` in the fixtures).
const GRADIENT_TOLERANCE: f64 = 1e-4;

/// See `parity/generate/xcit.py`.
fn value(name: &str, shape: &[usize]) -> Vec<f32> {
    let len = shape.iter().product();
    match name {
        _ if name.ends_with("temperature") => filler(name, len, 1.0, 4.0),
        _ if name.contains(".gamma") => filler(name, len, 0.1, 0.3),
        _ => parameter(name, shape),
    }
}

fn config(fixture: &Fixture) -> XcitConfig {
    XcitConfig {
        patch_size: fixture.usize("patch"),
        embed_dim: fixture.usize("embed_dim"),
        depth: fixture.usize("depth"),
        num_heads: fixture.usize("num_heads"),
        layer_scale: fixture.f64("eta"),
        normalize: imagenet(),
    }
}

fn filled(config: XcitConfig) -> (Xcit, Params) {
    let mut registry = Registry::new();
    let network = Xcit::new(config, "", &mut registry);
    let mut params = registry.undrawn();
    for spec in params.layout().specs().to_vec().iter().filter(|spec| !spec.shape.is_empty()) {
        params.values_mut()[spec.range()].copy_from_slice(&value(&spec.name, &spec.shape));
    }
    (network, params)
}

/// Groups of images and their pixels.
struct Groups(Vec<([usize; 3], Vec<u8>)>);

impl Groups {
    fn of(fixture: &Fixture) -> Self {
        let sizes: Vec<[usize; 3]> = serde_json::from_value(fixture.case["groups"].clone()).unwrap();
        let pixels = |(group, size): (usize, [usize; 3])| {
            (size, filler_bytes(&format!("image.{group}"), size.iter().product::<usize>() * 3))
        };
        Self(sizes.into_iter().enumerate().map(pixels).collect())
    }

    fn images(&self, network: &Xcit) -> Vec<Images<'_>> {
        let patches = |[images, height, width]: [usize; 3]| network.patches(images, height, width);
        self.0.iter().map(|(size, pixels)| Images { pixels: pixels.into(), patches: patches(*size) }).collect()
    }
}

fn kept(fixture: &Fixture) -> Option<KeptBranches> {
    let kept = |branch: &serde_json::Value| {
        let sequences = branch[0].as_array()?.iter().map(|sequence| sequence.as_u64().unwrap() as u32).collect();
        Some(Kept { sequences, factor: branch[1].as_f64().unwrap() })
    };
    let branches: Vec<Option<Kept>> = fixture.case["kept"].as_array().unwrap().iter().map(kept).collect();
    (!branches.is_empty()).then(|| KeptBranches::of_blocks(3, branches))
}

/// The gradient of features, one group after the other.
fn d_features(groups: &Groups, width: usize) -> Vec<f32> {
    let of = |(group, (size, _)): (usize, &([usize; 3], Vec<u8>))| {
        filler(&format!("grad.{group}"), size[0] * width, 1.0, 0.0)
    };
    groups.0.iter().enumerate().flat_map(of).collect()
}

type Trained = (Vec<f32>, Vec<f32>, Vec<(ParamId, Vec<f32>)>);

/// Features of all groups, gradients and running statistics.
fn train(network: &Xcit, params: &Params, fixture: &Fixture, keep: Keep) -> Trained {
    let (cpu, pool, groups) = (Cpu::new(), Pool::new(), Groups::of(fixture));
    let mut tape = Tape::train(&cpu, params, &pool);
    tape.keep(keep);
    let out = network.class_tokens(&mut tape, &groups.images(network), kept(fixture).as_ref());
    let (statistics, mut grads) = (tape.take_statistics(), vec![0.0; params.values().len()]);
    tape.backward_from(&out, &d_features(&groups, out.columns()), &mut grads);
    (out.values().to_vec(), grads, statistics)
}

fn check(name: &str) {
    let fixture = Fixture::open(&format!("xcit/{name}.safetensors"));
    let (network, mut params) = filled(config(&fixture));
    let (features, grads, statistics) = train(&network, &params, &fixture, Keep::Everything);
    let groups = Groups::of(&fixture);
    let expected: Vec<f64> = (0..groups.0.len()).flat_map(|group| fixture.values(&format!("out.{group}"))).collect();
    assert_close("features", features, &expected, TOLERANCE);
    let errors = gradient_errors(&params, &grads, &fixture, GRADIENT_TOLERANCE);
    let most = errors[errors.len() * 9 / 10];
    assert!(most <= TOLERANCE, "a tenth of all gradients is off by more than {most}");
    for (id, values) in statistics {
        params.get_mut(id).copy_from_slice(&values);
    }
    assert_statistics(&params, &fixture, TOLERANCE);
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let mut tape = Tape::infer(&cpu, &params, &pool);
    tape.normalize_by(Statistics::Running);
    let out = network.class_tokens(&mut tape, &groups.images(&network)[..1], None);
    assert_close("evaluation", out.values().iter().copied(), &fixture.values("evaluated"), TOLERANCE);
}

#[test]
fn xcit_small_of_patches_of_16_equals_timm() {
    check("small_12_p16");
}

#[test]
fn xcit_small_of_patches_of_8_equals_timm() {
    check("small_12_p8");
}

#[test]
fn xcit_medium_equals_timm() {
    check("medium_24_p16");
}

#[test]
fn skipped_branches_equal_branches_times_zero() {
    check("drop_path");
}

#[test]
fn recomputed_blocks_have_the_same_bits() {
    let fixture = Fixture::open("xcit/drop_path.safetensors");
    let (network, params) = filled(config(&fixture));
    let kept = train(&network, &params, &fixture, Keep::Everything);
    assert!(kept == train(&network, &params, &fixture, Keep::Inputs), "recomputation changes values");
}

#[test]
fn parameters_are_counted_as_published() {
    // Without the classifier: timm's counts.
    for (name, expected) in [
        ("xcit_small_12_p16", 25_868_304),
        ("xcit_small_12_p8", 25_828_032),
        ("xcit_medium_24_p16", 83_882_752),
        ("xcit_medium_24_p8", 83_810_624),
    ] {
        let mut registry = Registry::new();
        Xcit::new(XcitConfig::named(name, imagenet()).unwrap(), "", &mut registry);
        let layout = registry.into_layout();
        let trained = layout.specs().iter().filter(|spec| spec.role == Role::Trained);
        assert_eq!(trained.map(|spec| spec.len).sum::<usize>(), expected, "{name}");
    }
    assert!(XcitConfig::named("xcit_small_24_p16", imagenet()).is_none());
    assert!(XcitConfig::named("xcit_small_12_p32", imagenet()).is_none());
}
