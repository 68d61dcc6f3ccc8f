//! The projection head against PyTorch: logits, every gradient, running statistics, in all its variants.
#![expect(clippy::expect_used, reason = "a fixture that lacks a tensor fails the test")]

mod support;

use dinoxide::nn::dino_head::{DinoHead, DinoHeadConfig, HeadNorm, LastLayer};
use dinoxide::nn::init::{Init, Registry};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::{Params, Role};
use dinoxide_engine::tape::Tape;
use dinoxide_engine::tensor::Pool;
use support::{Fixture, assert_close, fill, filler, fixtures};

/// f32 against f64 through at most four small layers, relative to the largest value of each tensor.
const TOLERANCE: f64 = 1e-5;

fn config(fixture: &Fixture) -> DinoHeadConfig {
    DinoHeadConfig {
        in_dim: fixture.usize("in_dim"),
        out_dim: fixture.usize("out_dim"),
        hidden_dim: fixture.usize("hidden"),
        bottleneck_dim: fixture.usize("bottleneck"),
        layers: fixture.usize("nlayers"),
        norm: if fixture.case["use_bn"] == true { HeadNorm::Batch } else { HeadNorm::None },
        last_layer: if fixture.case["norm_last_layer"] == true { LastLayer::Normalized } else { LastLayer::Free },
    }
}

/// The largest absolute value.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, value| most.max(value.abs()))
}

/// Gradients of every trained tensor of the head. A bias in front of a batch norm has none but rounding.
fn check_gradients(path: &str, fixture: &Fixture, params: &Params, grads: &[f32]) {
    for spec in params.layout().specs() {
        let Some(key) = spec.name.strip_prefix("head.") else { continue };
        let ours = &grads[spec.range()];
        if spec.role != Role::Trained {
            assert!(ours.iter().all(|grad| *grad == 0.0), "{path}: `{key}` is not trained");
            continue;
        }
        let before_norm = fixture.case["use_bn"] == true && spec.shape.len() == 1 && key.ends_with(".bias") && {
            let weight = params.layout().find(&spec.name.replace(".bias", ".weight")).expect("its weight");
            let is_linear = params.layout().spec(weight).shape.len() == 2;
            is_linear && spec.len == fixture.usize("hidden")
        };
        if before_norm {
            let weight = params.layout().find(&spec.name.replace(".bias", ".weight")).expect("its weight");
            let scale = largest(&grads[params.layout().spec(weight).range()]);
            assert!(largest(ours) <= 1e-5 * scale, "{path}: `{key}` cancels in the batch norm");
            continue;
        }
        let theirs = fixture.values(&format!("grad.{key}"));
        assert_close(&format!("{path}: gradient of `{key}`"), ours.iter().copied(), &theirs, TOLERANCE);
    }
}

#[test]
fn every_head_equals_pytorch() {
    for path in fixtures("head") {
        let fixture = Fixture::open(&path);
        let (rows, inputs) = (fixture.usize("batch"), fixture.usize("in_dim"));
        let mut registry = Registry::new();
        let head = DinoHead::new(&config(&fixture), "head.", &mut registry);
        // The input as a parameter, so that it has a gradient: identity · xᵀ.
        let input = registry.trained("x".to_owned(), &[inputs, rows], Init::Zeros);
        let mut params = registry.finish(0);
        fill(&mut params);
        if fixture.case["norm_last_layer"] == false {
            let id = params.layout().find("head.last_layer.weight_g").expect("weight_g");
            let len = params.get(id).len();
            params.get_mut(id).copy_from_slice(&filler("head.last_layer.weight_g", len, 0.1, 1.0));
        }
        let x = filler("x", rows * inputs, 2.0, 0.0);
        for (index, value) in params.get_mut(input).iter_mut().enumerate() {
            *value = x[(index % rows) * inputs + index / rows];
        }
        let identity: Vec<f32> = (0..rows * rows).map(|i| if i / rows == i % rows { 1.0 } else { 0.0 }).collect();
        let (cpu, pool) = (Cpu::new(), Pool::new());
        let mut tape = Tape::train(&cpu, &params, &pool);
        let identity = tape.constant(&identity, rows, rows);
        let x = tape.linear(&identity, input, None);
        let logits = head.forward(&mut tape, &x);
        assert_close(&path, logits.values().iter().copied(), &fixture.values("logits"), TOLERANCE);
        for (id, values) in tape.take_statistics() {
            let name = params.layout().spec(id).name.replace("head.", "after.");
            if name.ends_with("num_batches_tracked") {
                assert_eq!(values, [1.0]);
            } else {
                assert_close(&name, values, &fixture.values(&name), TOLERANCE);
            }
        }
        let mut grads = vec![0.0; params.values().len()];
        let d_logits = filler("grad", rows * fixture.usize("out_dim"), 1.0, 0.0);
        tape.backward_from(&logits, &d_logits, &mut grads);
        check_gradients(&path, &fixture, &params, &grads);
        let d_x = &grads[params.layout().spec(input).range()];
        let d_x = (0..rows * inputs).map(|i| d_x[(i % inputs) * rows + i / inputs]);
        assert_close(&format!("{path}: gradient of x"), d_x, &fixture.values("grad.x"), TOLERANCE);
    }
}
