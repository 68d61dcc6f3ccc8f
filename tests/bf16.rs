//! Training in bf16 against training in f32: gradients of every tensor, and the losses of 200 steps. Tolerances have their
//! reasons in RESULTS.md.
//!
//! Where the processor has no instructions for bf16, the same arithmetic runs on the ones it has.
#![expect(clippy::expect_used, reason = "a failed preparation is a failed test")]

mod support;

use dinoxide::methods::Device;
use dinoxide::methods::EncoderConfig;
use dinoxide::methods::center::Balance;
use dinoxide::methods::dino::{Dino, DinoConfig, Objective, Predictor, Teacher};
use dinoxide::nn::backbone::Backbone;
use dinoxide::nn::dino_head::{DinoHeadConfig, HeadNorm, LastLayer};
use dinoxide::nn::init::Registry;
use dinoxide::nn::vit::{Extras, VitConfig};
use dinoxide::schedule::Scheduled;
use dinoxide::train::optimizer::{Clip, Optimizer, Rule};
use dinoxide::train::step::{Crops, TrainState};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::{Params, Role, TensorSpec};
use dinoxide_engine::tape::{Images, Tape};
use dinoxide_engine::tensor::Pool;
use support::{filler, filler_bytes, imagenet};

/// Images of a batch.
const IMAGES: usize = 8;
/// Batches that take turns: a network can learn them by heart.
const BATCHES: usize = 4;

fn bf16() -> Cpu {
    Cpu::bf16().unwrap_or_else(Cpu::bf16_anywhere)
}

fn config() -> DinoConfig {
    let (embed_dim, out_dim) = (64, 256);
    let backbone = VitConfig {
        image_size: 32,
        patch_size: 8,
        embed_dim,
        depth: 4,
        num_heads: 2,
        mlp_ratio: 4.0,
        normalize: imagenet(),
        extras: Extras::default(),
    };
    let head = DinoHeadConfig {
        in_dim: embed_dim,
        out_dim,
        hidden_dim: 128,
        bottleneck_dim: 64,
        layers: 3,
        norm: HeadNorm::None,
        last_layer: LastLayer::Normalized,
    };
    DinoConfig {
        encoder: EncoderConfig { backbone: backbone.into(), drop_path: 0.0, seed: 3 },
        head,
        student_temp: 0.1,
        balance: Balance::Center { momentum: 0.9 },
        teacher: Teacher::Momentum,
        objective: Objective::CrossEntropy,
        predictor: Predictor::None,
    }
}

/// Losses of `steps` steps, and the state after them.
fn train(cpu: &Cpu, rule: Rule, steps: usize, lr: f64) -> (Vec<f64>, TrainState) {
    let (method, student) = Dino::new(config());
    let optimizer = Optimizer::new(rule, &student);
    let mut state = TrainState::new(Box::new(method), student, optimizer, Clip::Off);
    let pool = Pool::new();
    let mut losses = Vec::with_capacity(steps);
    for step in 0..steps {
        let name = |kind: &str| format!("{kind}.{}", step % BATCHES);
        let globals = filler_bytes(&name("global"), 2 * IMAGES * 32 * 32 * 3);
        let locals = filler_bytes(&name("local"), 4 * IMAGES * 16 * 16 * 3);
        let crops = [Crops { pixels: &globals, side: 32, views: 2 }, Crops { pixels: &locals, side: 16, views: 4 }];
        let (epoch, weight_decay) = (step / BATCHES, 0.0);
        let (momentum, teacher_temp, freeze_last_layer) = (0.99, 0.04, false);
        let freeze_backbone = false;
        let at = Scheduled {
            step,
            epoch,
            lr,
            weight_decay,
            momentum,
            teacher_temp,
            freeze_last_layer,
            freeze_backbone,
            ends_epoch: false,
        };
        let report = state.step(Device { kernels: cpu, pool: &pool }, &crops, IMAGES, &at).expect("a finite step");
        losses.push(report.loss);
    }
    (losses, state)
}

/// The gradient of the first step: the momentum buffer of the first step of SGD.
fn step_gradient(cpu: &Cpu) -> (Params, Vec<f32>) {
    let (_, state) = train(cpu, Rule::Sgd, 1, 0.0);
    (state.student, state.optimizer.first)
}

/// The gradient of a backbone whose class tokens have a given one.
fn backbone_gradient(cpu: &Cpu) -> (Params, Vec<f32>) {
    let mut registry = Registry::new();
    let backbone = Backbone::new(config().encoder.backbone, "", &mut registry);
    let (params, pool) = (registry.finish(3), Pool::new());
    let pixels = filler_bytes("image", IMAGES * 32 * 32 * 3);
    let mut tape = Tape::train(cpu, &params, &pool);
    let images = [Images { pixels: (&pixels).into(), patches: backbone.patches(IMAGES, 32, 32) }];
    let tokens = backbone.features(&mut tape, &images, None);
    let mut grads = vec![0.0; params.values().len()];
    tape.backward_from(&tokens, &filler("gradient", tokens.values().len(), 1.0, 0.0), &mut grads);
    (params, grads)
}

/// The largest error of a tensor's gradient, as a share of its length.
fn largest_error(gradient: fn(&Cpu) -> (Params, Vec<f32>)) -> (f64, String) {
    let ((params, exact), (_, rounded)) = (gradient(&Cpu::new()), gradient(&bf16()));
    let norm = |values: Vec<f32>| values.into_iter().map(|value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    let error = |spec: &TensorSpec| {
        let pairs = exact[spec.range()].iter().zip(&rounded[spec.range()]);
        norm(pairs.map(|(exact, rounded)| rounded - exact).collect()) / norm(exact[spec.range()].to_vec())
    };
    let trained = params.layout().specs().iter().filter(|spec| spec.role == Role::Trained);
    let errors = trained.map(|spec| (error(spec), spec.name.clone()));
    let largest = errors.max_by(|a, b| a.0.abs().total_cmp(&b.0.abs())).expect("there are tensors");
    assert!(largest.0.is_finite(), "{}: no number", largest.1);
    largest
}

#[test]
fn gradients_of_a_backbone_are_within_a_hundredth() {
    let (error, name) = largest_error(backbone_gradient);
    println!("{name}: {error:.1e}");
    // Nothing at all would be f32 under another name.
    assert!((1e-4..=1e-2).contains(&error), "{name}: off by {error:.1e} of the gradient");
}

/// A target is a softmax of logits over 0.04: what is off by a thousandth there is off by a fortieth here, and every tensor
/// hears of it alike.
#[test]
fn gradients_of_a_step_are_within_what_the_temperatures_make_of_it() {
    let (error, name) = largest_error(step_gradient);
    println!("{name}: {error:.1e}");
    assert!((1e-4..=5e-2).contains(&error), "{name}: off by {error:.1e} of the gradient");
}

#[test]
fn two_hundred_losses_stay_beside_those_in_f32() {
    let losses = |cpu: &Cpu| train(cpu, Rule::AdamW, 200, 5e-4).0;
    let (exact, rounded) = (losses(&Cpu::new()), losses(&bf16()));
    let errors = exact.iter().zip(&rounded).map(|(exact, rounded)| (rounded / exact - 1.0).abs());
    let error = errors.fold(0.0, |most, error| if error > most || error.is_nan() { error } else { most });
    println!("{error:.1e}");
    assert!((1e-5..=1e-2).contains(&error), "a loss is off by {error:.1e}");
}
