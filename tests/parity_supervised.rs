//! Supervised learning against timm and PyTorch in f64: the loss with its gradient, and ten steps in a row of a small ViT whose images
//! are mixed by the views crate on one side and by timm on the other (`parity/generate/supervised.py`).

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use dinoxide::loss::classification::{Target, cross_entropy_of_row};
use dinoxide::methods::supervised::{Supervised, SupervisedConfig};
use dinoxide::methods::{Device, EncoderConfig, Method};
use dinoxide::schedule::Scheduled;
use dinoxide::train::optimizer::{Clip, Optimizer, Rule};
use dinoxide::train::step::{Crops, TrainState};
use dinoxide::train::targets;
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Images, Tape};
use dinoxide_engine::tensor::Pool;
use dinoxide_views::Label;
use dinoxide_views::mix::{Mix, rectangle};
use support::{Fixture, assert_close, fill, filler, filler_bytes, vit_config};

/// Both sides compute in f64 from the same f32 logits.
const LOSS_TOLERANCE: f64 = 1e-6;
/// Ten steps in f32 against f64, of which the first begins with a learning rate of 0.
const TEN_TOLERANCE: f64 = 1e-4;
/// Sampled weights after ten steps of AdamW, whose first steps are signs of gradients.
const WEIGHT_TOLERANCE: f64 = 2e-3;
/// Values sampled of a tensor.
const SAMPLES: usize = 16;

/// What images of these classes show, mixed as the method has it.
fn mixed(labels: &[u32], share: f64) -> Vec<Target> {
    let pairs = labels.iter().zip(labels.iter().rev());
    pairs.map(|(class, other)| Target { class: *class as usize, other: *other as usize, share }).collect()
}

#[test]
fn the_loss_and_its_gradient_equal_timm() {
    let fixture = Fixture::open("supervised/losses.safetensors");
    let classes = fixture.usize("classes");
    let labels: Vec<u32> = serde_json::from_value(fixture.case["labels"].clone()).unwrap();
    for name in ["plain", "smoothed", "mixed", "sharp"] {
        let options = fixture.values(&format!("{name}.options"));
        let (share, smoothing, scale) = (options[0], options[1], options[2]);
        let logits = filler(&format!("logits.{name}"), labels.len() * classes, scale, 0.0);
        let (mut value, mut gradient) = (0.0, Vec::new());
        for (row, target) in logits.chunks_exact(classes).zip(mixed(&labels, share)) {
            let row: Vec<f64> = row.iter().map(|logit| f64::from(*logit)).collect();
            let (loss, residual) = cross_entropy_of_row(&row, &target, smoothing);
            value += loss / labels.len() as f64;
            gradient.extend(residual.iter().map(|value| (value / labels.len() as f64) as f32));
        }
        assert_close(name, [value as f32], &fixture.values(&format!("{name}.loss")), LOSS_TOLERANCE);
        assert_close(name, gradient, &fixture.values(&format!("{name}.grad")), LOSS_TOLERANCE);
    }
}

#[test]
fn the_gradient_of_the_loss_is_its_slope() {
    const STEP: f64 = 1e-6;
    let logits = [0.3, -1.2, 2.5, 0.0];
    for (target, smoothing) in [
        (Target { class: 2, other: 2, share: 1.0 }, 0.0),
        (Target { class: 1, other: 3, share: 0.35 }, 0.1),
        (Target { class: 0, other: 0, share: 0.8 }, 0.3),
    ] {
        let (_, gradient) = cross_entropy_of_row(&logits, &target, smoothing);
        for (place, slope) in gradient.iter().enumerate() {
            let at = |step: f64| {
                let mut moved = logits;
                moved[place] += step;
                cross_entropy_of_row(&moved, &target, smoothing).0
            };
            let difference = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            // Central differences in f64 are right to about STEP² and the rounding of 1e-16 / STEP.
            assert!((difference - slope).abs() < 1e-8, "{target:?}: {difference} and {slope}");
        }
        assert!(gradient.iter().sum::<f64>().abs() < 1e-12, "adding to all logits changes nothing");
    }
}

/// Sixteen values of each tensor, without the key biases, whose true gradient is 0.
fn samples(params: &Params) -> Vec<Vec<f32>> {
    let sampled = params.tensors().map(|(spec, values)| {
        let count = spec.len.min(SAMPLES);
        let value = |k: usize| {
            let index = k * spec.len / count;
            let key_bias = spec.name.ends_with("attn.qkv.bias") && (spec.len / 3..2 * spec.len / 3).contains(&index);
            if key_bias { 0.0 } else { values[index] }
        };
        (0..SAMPLES).map(|k| if k < count { value(k) } else { 0.0 }).collect()
    });
    sampled.collect()
}

/// The method of the fixture at its start.
fn start(fixture: &Fixture, clip: Clip) -> TrainState {
    let encoder = EncoderConfig { backbone: vit_config(fixture, "global").into(), drop_path: 0.0, seed: 0 };
    let (classes, label_smoothing) = (fixture.usize("classes"), fixture.f64("smoothing"));
    let (mut method, mut student) = Supervised::new(&SupervisedConfig { encoder, classes, label_smoothing });
    fill(&mut student);
    method.teacher_mut().values_mut().copy_from_slice(student.values());
    let optimizer = Optimizer::new(Rule::AdamW, &student);
    TrainState::new(Box::new(method), student, optimizer, clip)
}

fn scheduled(step: usize, lr: f64, momentum: f64) -> Scheduled {
    Scheduled {
        step,
        epoch: step,
        lr,
        weight_decay: 0.05,
        momentum,
        teacher_temp: 0.0,
        freeze_last_layer: false,
        freeze_backbone: false,
        ends_epoch: false,
    }
}

/// Ten losses, and the state after them; micro-batches of so many images.
fn ten(fixture: &Fixture, micro_batch: usize) -> (Vec<f64>, TrainState) {
    let mut state = start(fixture, Clip::Tensor(3.0));
    state.micro_batch = micro_batch;
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let (batch, side, classes) = (fixture.usize("batch"), fixture.usize("global"), fixture.usize("classes"));
    let mixes: Vec<(f64, Option<(u32, u32)>)> = serde_json::from_value(fixture.case["mixes"].clone()).unwrap();
    let rates = fixture.values("schedule.lr");
    let mut losses = Vec::new();
    for (step, ((share, center), lr)) in mixes.into_iter().zip(rates).enumerate() {
        let mut pixels = filler_bytes(&format!("global.{step}"), batch * side * side * 3);
        let mut labels: Vec<Label> = (0..batch).map(|image| Label::one(((step + image) % classes) as u32)).collect();
        let mix = center.map_or(Mix::Blend(share), |at| Mix::Paste(rectangle(share, at, side as u32)));
        mix.apply(&mut pixels, &mut labels, side as u32);
        state.method.take_targets(targets(&labels));
        let crops = [Crops { pixels: &pixels, side, views: 1 }];
        let device = Device { kernels: &cpu, pool: &pool };
        losses.push(state.step(device, &crops, batch, &scheduled(step, lr, 0.9)).unwrap().loss);
    }
    (losses, state)
}

#[test]
fn ten_losses_with_mixed_images_equal_pytorch() {
    let fixture = Fixture::open("supervised/small.safetensors");
    let (losses, state) = ten(&fixture, usize::MAX);
    for (step, (ours, theirs)) in losses.iter().zip(fixture.values("loss")).enumerate() {
        let error = (ours - theirs).abs() / theirs;
        println!("step {step}: {ours} against {theirs}, {error:.1e}");
        assert!(error <= TEN_TOLERANCE, "step {step}: {ours} against {theirs}, {error:.1e}");
    }
    for (name, params) in [("student", &state.student), ("average", state.method.backbone().1)] {
        let theirs = fixture.values(&format!("{name}.samples"));
        for (ours, theirs) in samples(params).into_iter().zip(theirs.chunks_exact(SAMPLES)) {
            assert_close(name, ours, theirs, WEIGHT_TOLERANCE);
        }
    }
}

#[test]
fn micro_batches_show_their_own_labels() {
    let fixture = Fixture::open("supervised/small.safetensors");
    let ((whole, _), (parts, _)) = (ten(&fixture, usize::MAX), ten(&fixture, 4));
    for (whole, part) in whole.iter().zip(parts) {
        // Sums in another order, through ten steps.
        assert!((whole - part).abs() < 1e-4 * whole, "{whole} and {part}");
    }
}

#[test]
fn views_of_an_image_have_one_label_and_scores_need_no_labels() {
    let fixture = Fixture::open("supervised/small.safetensors");
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let (side, classes) = (fixture.usize("global"), fixture.usize("classes"));
    let image = |name: &str| filler_bytes(name, side * side * 3);
    let loss = |names: [&str; 4], labels: &[u32], views: usize| {
        let mut state = start(&fixture, Clip::Off);
        let pixels = names.map(image).concat();
        let labels: Vec<Label> = labels.iter().map(|class| Label::one(*class)).collect();
        state.method.take_targets(targets(&labels));
        let crops = [Crops { pixels: &pixels, side, views }];
        let device = Device { kernels: &cpu, pool: &pool };
        state.step(device, &crops, 4 / views, &scheduled(0, 1e-3, 0.0)).unwrap().loss
    };
    // Two views of two images, view-major, are four images with the labels of both.
    let (twice, four) = (loss(["a", "b", "c", "d"], &[1, 2, 1, 2], 2), loss(["a", "b", "c", "d"], &[1, 2, 1, 2], 1));
    assert!((twice - four).abs() < 1e-6, "{twice} and {four}");
    assert!((loss(["a", "b", "c", "d"], &[2, 1, 2, 1], 2) - twice).abs() > 1e-3);

    let state = start(&fixture, Clip::Off);
    let (backbone, params) = state.method.backbone();
    let mut tape = Tape::infer(&cpu, params, &pool);
    let pixels = image("a");
    let images = [Images { pixels: pixels[..].into(), patches: backbone.patches(1, side, side) }];
    let scores = state.method.scores(&mut tape, &images).unwrap();
    assert_eq!((scores.rows(), scores.columns()), (1, classes));
}
