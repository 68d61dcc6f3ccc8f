//! AdamW, SGD and LARS against PyTorch's, with clipping per tensor and a last layer frozen for two steps.
#![expect(clippy::expect_used, reason = "a fixture that lacks a tensor fails the test")]

mod support;

use std::sync::Arc;

use dinoxide::nn::init::Registry;
use dinoxide::nn::vit::{Extras, Vit, VitConfig};
use dinoxide::train::optimizer::{Clip, Optimizer, Rule, Step};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::{Layout, Params, Role};
use support::{Fixture, assert_close, filler, imagenet};

/// Five f32 updates against f64, relative to the largest value of a tensor. AdamW's first updates divide gradients by
/// their own magnitude, which f32 does to 1e-7; nothing amplifies that here, where no gradient is near zero.
const TOLERANCE: f64 = 2e-6;

const TENSORS: [(&str, &[usize]); 3] =
    [("mlp.0.weight", &[5, 7]), ("mlp.0.bias", &[5]), ("last_layer.weight_g", &[6, 1])];

fn start() -> Params {
    let mut layout = Layout::new();
    for (name, shape) in TENSORS {
        layout.push(name, shape, Role::Trained);
    }
    let mut params = Params::zeros(Arc::new(layout));
    let specs = params.layout().specs().to_vec();
    for spec in specs {
        let values = filler(&format!("start.{}", spec.name), spec.len, 1.0, 0.0);
        params.values_mut()[spec.range()].copy_from_slice(&values);
    }
    params
}

fn gradients(fixture: &Fixture, params: &Params, step: usize) -> Vec<f32> {
    let specs = params.layout().specs().iter();
    let of = |name: &str, len| {
        let scale = fixture.case["grad_scales"][name].as_f64().expect("a scale");
        filler(&format!("grad.{step}.{name}"), len, scale, 0.0)
    };
    specs.flat_map(|spec| of(&spec.name, spec.len)).collect()
}

fn check(name: &str, rule: Rule) {
    let fixture = Fixture::open(&format!("optim/{name}.safetensors"));
    let (mut params, cpu) = (start(), Cpu::new());
    let mut optimizer = Optimizer::new(rule, &params);
    let (lr, weight_decay) = (fixture.values("lr"), fixture.values("weight_decay"));
    for step in 0..fixture.usize("steps") {
        let mut grads = gradients(&fixture, &params, step);
        let norm = grads.iter().map(|grad| f64::from(*grad).powi(2)).sum::<f64>().sqrt();
        let frozen = step < fixture.usize("frozen_last_layer_steps");
        let at = Step {
            lr: lr[step],
            weight_decay: weight_decay[step],
            clip: Clip::Tensor(fixture.f64("clip")),
            frozen: if frozen { &["last_layer"] } else { &[] },
        };
        let returned = optimizer.step(&cpu, &mut params, &mut grads, None, &at);
        assert!((returned - norm).abs() <= 1e-6 * norm, "{name}, step {step}: norm {returned} against {norm}");
        assert!(grads.iter().all(|grad| *grad == 0.0), "gradients are cleared for the next step");
        for (spec, values) in params.tensors() {
            let theirs = fixture.values(&format!("after.{step}.{}", spec.name));
            assert_close(&format!("{name}, step {step}, {}", spec.name), values.to_vec(), &theirs, TOLERANCE);
        }
    }
    // A frozen tensor's counter stands still: AdamW's bias correction starts when the tensor does.
    let frozen = fixture.usize("frozen_last_layer_steps") as u64;
    assert_eq!(optimizer.updates, [5, 5, 5 - frozen]);
}

#[test]
fn adamw_equals_pytorch() {
    check("adamw", Rule::AdamW);
}

#[test]
fn sgd_equals_pytorch() {
    check("sgd", Rule::Sgd);
}

#[test]
fn lars_equals_the_description() {
    check("lars", Rule::Lars);
}

/// The gradient that SGD's first step keeps as its momentum, which is the clipped one.
fn clipped(clip: Clip) -> (Vec<f32>, Vec<f32>) {
    let fixture = Fixture::open("optim/sgd.safetensors");
    let mut params = start();
    let mut optimizer = Optimizer::new(Rule::Sgd, &params);
    let mut grads = gradients(&fixture, &params, 2);
    let raw = grads.clone();
    let at = Step { lr: 0.0, weight_decay: 0.0, clip, frozen: &[] };
    optimizer.step(&Cpu::new(), &mut params, &mut grads, None, &at);
    (raw, optimizer.first)
}

#[test]
fn clipping_per_tensor_equals_pytorch() {
    let fixture = Fixture::open("optim/sgd.safetensors");
    let (_, ours) = clipped(Clip::Tensor(fixture.f64("clip")));
    let theirs: Vec<f64> = TENSORS.iter().flat_map(|(name, _)| fixture.values(&format!("clipped.2.{name}"))).collect();
    assert_close("clipped gradients", ours, &theirs, TOLERANCE);
}

#[test]
fn global_clipping_shortens_all_gradients_alike() {
    let (raw, ours) = clipped(Clip::Global(1.0));
    let norm = raw.iter().map(|grad| f64::from(*grad).powi(2)).sum::<f64>().sqrt();
    let expected: Vec<f64> = raw.iter().map(|grad| f64::from(*grad) / (norm + 1e-6)).collect();
    assert_close("clipped gradients", ours, &expected, TOLERANCE);
    let (raw, ours) = clipped(Clip::Global(1e9));
    assert_eq!(raw, ours, "a short gradient is left alone");
}

#[test]
fn learning_rates_decay_by_layers_as_timm_groups_them() {
    let fixture = Fixture::open("layer_decay/vit_tiny.safetensors");
    let mut registry = Registry::new();
    let (image_size, patch_size, embed_dim, depth, num_heads, mlp_ratio) = (32, 16, 8, 12, 1, 4.0);
    let normalize = imagenet();
    let config = VitConfig {
        image_size,
        patch_size,
        embed_dim,
        depth,
        num_heads,
        mlp_ratio,
        normalize,
        extras: Extras::default(),
    };
    let vit = Vit::new(config, "", &mut registry);
    let names: Vec<String> = registry.into_layout().specs().iter().map(|spec| spec.name.clone()).collect();
    assert_eq!(names.len(), 150);
    for name in names {
        if name.starts_with("norm.") {
            // timm counts it with the last block; BEiT and DINOv2, which are followed here, with the head.
            assert_eq!(vit.layers_above(&name), 0);
            continue;
        }
        let ours = fixture.f64("decay").powi(vit.layers_above(&name) as i32);
        // Both are the same power, by repeated multiplication and by `pow`.
        let theirs = fixture.values(&name)[0];
        assert!((ours - theirs).abs() <= 1e-12, "{name}: {ours} against {theirs}");
    }
}

#[test]
fn rates_multiply_the_update_of_their_tensors() {
    let (before, cpu) = (start(), Cpu::new());
    let at = Step { lr: 0.5, weight_decay: 0.0, clip: Clip::Off, frozen: &[] };
    let trained = |rate: f64| {
        let (mut params, mut grads) = (before.clone(), vec![0.25; before.values().len()]);
        let mut optimizer = Optimizer::new(Rule::Sgd, &params).with_rates(&params, |_| rate);
        optimizer.step(&cpu, &mut params, &mut grads, None, &at);
        params
    };
    let (whole, quarter) = (trained(1.0), trained(0.25));
    for (spec, start) in before.tensors().filter(|(spec, _)| spec.role == Role::Trained) {
        for ((value, whole), quarter) in
            start.iter().zip(&whole.values()[spec.range()]).zip(&quarter.values()[spec.range()])
        {
            // Sums near 1 in f32.
            assert!((value - whole - 0.125).abs() <= 1e-6, "{}", spec.name);
            assert!((value - quarter - 0.03125).abs() <= 1e-6, "{}", spec.name);
        }
    }
}
