//! Reads parity fixtures and computes the filler both sides agree on (`parity/README.md`).
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test uses its own part, so nothing is unused in all of them"
)]
#![allow(clippy::expect_used, clippy::panic, reason = "a fixture that cannot be read fails the test")]

use std::path::PathBuf;

use dinoxide::nn::drop_path::{Kept, KeptBranches};
use dinoxide::nn::init::Registry;
use dinoxide::nn::vit::{Extras, Vit, VitConfig};
use dinoxide_engine::kernels::{Normalize, Patches};
use dinoxide_engine::params::{Params, Role, TensorSpec};
use dinoxide_engine::tape::Images;
use rayon::prelude::*;
use safetensors::{Dtype, SafeTensors};

/// One fixture file.
pub struct Fixture {
    bytes: Vec<u8>,
    /// Sizes and options of the case.
    pub case: serde_json::Value,
}

impl Fixture {
    pub fn open(path: &str) -> Self {
        let path = fixture_path(path);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("fixture header");
        let case = metadata.metadata().as_ref().map_or("null", |entries| &entries["case"]);
        let case = serde_json::from_str(case).expect("case metadata");
        Self { bytes, case }
    }

    pub fn values(&self, name: &str) -> Vec<f64> {
        let file = SafeTensors::deserialize(&self.bytes).expect("fixture");
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("no tensor `{name}`"));
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("8 bytes"))).collect(),
            Dtype::F32 => {
                data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes")).into()).collect()
            }
            other => panic!("dtype {other:?}"),
        }
    }

    pub fn usize(&self, key: &str) -> usize {
        self.case[key].as_u64().unwrap_or_else(|| panic!("no integer `{key}` in {}", self.case)) as usize
    }

    pub fn f64(&self, key: &str) -> f64 {
        self.case[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {}", self.case))
    }
}

pub fn fixture_path(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures").join(path)
}

pub fn fixtures(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(fixture_path(folder))
        .expect("fixture folder")
        .map(|entry| format!("{folder}/{}", entry.expect("entry").file_name().to_string_lossy()))
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no fixtures in {folder}");
    names
}

fn word(name: &str, index: u64) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let mut z = hash.wrapping_add(index).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub fn filler(name: &str, len: usize, scale: f64, offset: f64) -> Vec<f32> {
    let value = |i| (offset + ((word(name, i) >> 40) as f64 / f64::from(1 << 24) - 0.5) * 2.0 * scale) as f32;
    (0..len as u64).into_par_iter().map(value).collect()
}

pub fn filler_bytes(name: &str, len: usize) -> Vec<u8> {
    (0..len as u64).map(|i| (word(name, i) >> 56) as u8).collect()
}

/// Scale and offset of a parameter (`parity/README.md`).
pub fn parameter(name: &str, shape: &[usize]) -> Vec<f32> {
    let len: usize = shape.iter().product();
    let fan_in = (len / shape.first().copied().unwrap_or(1)) as f64;
    let (scale, offset) = if name.ends_with("weight_g") {
        (0.0, 1.0)
    } else if name.ends_with("running_var") || (shape.len() == 1 && name.ends_with(".weight")) {
        (0.1, 1.0)
    } else if name.ends_with(".bias") || name.ends_with("running_mean") {
        (0.05, 0.0)
    } else if name.ends_with("cls_token") || name.ends_with("pos_embed") {
        (1.0, 0.0)
    } else if name.ends_with("attn.qkv.weight") {
        (1.5 * (3.0 / fan_in).sqrt(), 0.0)
    } else {
        ((3.0 / fan_in).sqrt(), 0.0)
    };
    filler(name, len, scale, offset)
}

/// What the last scale of a ResNet's bottleneck is multiplied by, see `parity/generate/networks.py`.
const BRANCH: f32 = 0.25;

/// A tensor of a backbone that is compared with other programs (`parity/generate/networks.py`).
pub fn value(name: &str, shape: &[usize]) -> Vec<f32> {
    let len = shape.iter().product();
    match name {
        _ if name.ends_with("temperature") => filler(name, len, 1.0, 4.0),
        _ if name.contains(".gamma") => filler(name, len, 0.1, 0.3),
        _ if name.ends_with("bn3.weight") => parameter(name, shape).iter().map(|value| value * BRANCH).collect(),
        _ => parameter(name, shape),
    }
}

/// Fills every tensor by [`value`].
pub fn fill_values(params: &mut Params) {
    for spec in params.layout().specs().to_vec().iter().filter(|spec| !spec.shape.is_empty()) {
        params.values_mut()[spec.range()].copy_from_slice(&value(&spec.name, &spec.shape));
    }
}

/// Groups of images, height, width of a fixture, and their pixels.
pub struct Groups(pub Vec<([usize; 3], Vec<u8>)>);

impl Groups {
    pub fn of(fixture: &Fixture) -> Self {
        let sizes: Vec<[usize; 3]> = serde_json::from_value(fixture.case["groups"].clone()).expect("groups");
        let pixels = |(group, size): (usize, [usize; 3])| {
            (size, filler_bytes(&format!("image.{group}"), size.iter().product::<usize>() * 3))
        };
        Self(sizes.into_iter().enumerate().map(pixels).collect())
    }

    /// The images, cut as `patches` says for images, height and width.
    pub fn images(&self, patches: impl Fn([usize; 3]) -> Patches) -> Vec<Images<'_>> {
        self.0.iter().map(|(size, pixels)| Images { pixels: pixels.into(), patches: patches(*size) }).collect()
    }

    /// The features that the fixture has, one group after the other.
    pub fn expected(&self, fixture: &Fixture) -> Vec<f64> {
        (0..self.0.len()).flat_map(|group| fixture.values(&format!("out.{group}"))).collect()
    }

    /// The gradient of features, one group after the other.
    pub fn d_features(&self, width: usize) -> Vec<f32> {
        let of = |(group, (size, _)): (usize, &([usize; 3], Vec<u8>))| {
            filler(&format!("grad.{group}"), size[0] * width, 1.0, 0.0)
        };
        self.0.iter().enumerate().flat_map(of).collect()
    }
}

/// What skips which of `per_block` branches of a block in a fixture.
pub fn kept(fixture: &Fixture, per_block: usize) -> Option<KeptBranches> {
    let kept = |branch: &serde_json::Value| {
        let sequences = branch[0].as_array()?.iter().map(|sequence| sequence.as_u64().expect("a number") as u32);
        Some(Kept { sequences: sequences.collect(), factor: branch[1].as_f64().expect("a factor") })
    };
    let branches: Vec<Option<Kept>> = fixture.case["kept"].as_array().expect("a list").iter().map(kept).collect();
    (!branches.is_empty()).then(|| KeptBranches::of_blocks(per_block, branches))
}

/// Fills every tensor.
pub fn fill(params: &mut Params) {
    let specs = params.layout().specs().to_vec();
    for spec in specs {
        if !spec.shape.is_empty() {
            params.values_mut()[spec.range()].copy_from_slice(&parameter(&spec.name, &spec.shape));
        }
    }
}

/// The backbone that a fixture's sizes describe; `image` names the side of the stored positions.
pub fn vit_config(fixture: &Fixture, image: &str) -> VitConfig {
    VitConfig {
        image_size: fixture.usize(image),
        patch_size: fixture.usize("patch"),
        embed_dim: fixture.usize("dim"),
        depth: fixture.usize("depth"),
        num_heads: fixture.usize("heads"),
        mlp_ratio: 4.0,
        normalize: imagenet(),
        extras: Extras::default(),
    }
}

/// A backbone with filler weights under the official names without a prefix.
pub fn filled_vit(config: VitConfig) -> (Vit, Params) {
    let mut registry = Registry::new();
    let vit = Vit::new(config, "", &mut registry);
    let mut params = registry.undrawn();
    fill(&mut params);
    (vit, params)
}

pub fn imagenet() -> Normalize {
    Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] }
}

/// Largest difference over the largest reference value.
pub fn relative(ours: impl IntoIterator<Item = f32>, theirs: &[f64]) -> f64 {
    let scale = theirs.iter().fold(0.0, |m: f64, v| m.max(v.abs())).max(1e-30);
    let mut count = 0;
    let worst = ours.into_iter().zip(theirs).fold(0.0, |worst: f64, (a, b)| {
        count += 1;
        let distance = (f64::from(a) - b).abs();
        if distance.is_nan() { f64::INFINITY } else { worst.max(distance) }
    });
    assert_eq!(count, theirs.len(), "as many values as the reference has");
    worst / scale
}

/// Asserts that the largest difference is at most `tolerance` of the reference's scale.
pub fn assert_close(what: &str, ours: impl IntoIterator<Item = f32>, theirs: &[f64], tolerance: f64) {
    let error = relative(ours, theirs);
    assert!(error <= tolerance, "{what}: relative difference {error:.2e} above {tolerance:.1e}");
}

/// How far gradients are from a fixture that has two numbers for each: the product with the filler `along.{name}`, and the length. Shares
/// of the length, in ascending order.
pub fn gradient_errors(params: &Params, grads: &[f32], fixture: &Fixture, tolerance: f64) -> Vec<f64> {
    let mut errors = Vec::new();
    for spec in params.layout().specs().iter().filter(|spec| spec.role == Role::Trained) {
        let along = filler(&format!("along.{}", spec.name), spec.len, 1.0, 0.0);
        let own = || grads[spec.range()].iter().map(|value| f64::from(*value));
        let dot: f64 = own().zip(&along).map(|(a, b)| a * f64::from(*b)).sum();
        let length = own().map(|value| value * value).sum::<f64>().sqrt();
        let expected = fixture.values(&format!("grad.{}", spec.name));
        // The first number is a sum of terms of both signs, as large as the second one's.
        for (ours, theirs) in [dot, length].into_iter().zip(&expected) {
            // A branch that all images skip has no gradient at all.
            let error = (ours - theirs).abs() / expected[1].max(f64::MIN_POSITIVE);
            assert!(error <= tolerance, "`{}`: {ours} and {theirs}, off by {error}", spec.name);
            errors.push(error);
        }
    }
    errors.sort_by(f64::total_cmp);
    errors
}

/// Asserts that mean and length of every running statistic are those of a fixture.
pub fn assert_statistics(params: &Params, fixture: &Fixture, tolerance: f64) {
    let is_statistic = |spec: &&TensorSpec| spec.role == Role::Statistic && !spec.shape.is_empty();
    for spec in params.layout().specs().iter().filter(is_statistic) {
        let values = &params.values()[spec.range()];
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len() as f64;
        let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let expected = fixture.values(&format!("after.{}", spec.name));
        assert_close(&spec.name, [mean as f32, length as f32], &expected, tolerance);
    }
}
