//! Outputs over the prototypes in parts: the same loss, gradients and sums as all at once, in less memory.

mod support;

use dinoxide::methods::center::Balance;
use dinoxide::methods::dino::{Dino, DinoConfig, Objective, Predictor, Teacher};
use dinoxide::methods::ibot::{Ibot, IbotConfig};
use dinoxide::methods::{EncoderConfig, Method, Outputs, Views};
use dinoxide::nn::dino_head::{DinoHeadConfig, HeadNorm, LastLayer};
use dinoxide::nn::masking::Masking;
use dinoxide::nn::vit::{Extras, VitConfig};
use dinoxide::schedule::Scheduled;
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Images, Keep, Tape};
use dinoxide_engine::tensor::Pool;
use support::{filler_bytes, imagenet};

/// With six views each of 2^16 prototypes, three parts, the last one smaller.
const IMAGES: usize = 60;
const AT: Scheduled = Scheduled {
    step: 3,
    epoch: 0,
    lr: 1e-3,
    weight_decay: 0.0,
    momentum: 0.9,
    teacher_temp: 0.04,
    freeze_last_layer: false,
    freeze_backbone: false,
    ends_epoch: false,
};

fn vit() -> VitConfig {
    VitConfig {
        image_size: 16,
        patch_size: 4,
        embed_dim: 24,
        depth: 1,
        num_heads: 2,
        mlp_ratio: 2.0,
        normalize: imagenet(),
        extras: Extras::default(),
    }
}

fn head(out_dim: usize) -> DinoHeadConfig {
    DinoHeadConfig {
        in_dim: 24,
        out_dim,
        hidden_dim: 32,
        bottleneck_dim: 8,
        layers: 2,
        norm: HeadNorm::None,
        last_layer: LastLayer::Free,
    }
}

fn dino(balance: Balance) -> (Box<dyn Method>, Params) {
    let (method, student) = Dino::new(DinoConfig {
        encoder: EncoderConfig { backbone: vit().into(), drop_path: 0.0, seed: 1 },
        head: head(1 << 16),
        student_temp: 0.1,
        balance,
        teacher: Teacher::Momentum,
        objective: Objective::CrossEntropy,
        predictor: Predictor::None,
    });
    (Box::new(method), student)
}

fn ibot(balance: Balance) -> (Box<dyn Method>, Params) {
    let (method, student) = Ibot::new(IbotConfig {
        vit: vit(),
        drop_path: 0.0,
        seed: 1,
        head: head(1 << 10),
        patch_head: Some(head(1 << 16)),
        student_temp: 0.1,
        balance,
        masking: Masking { probability: 1.0, ratio: [0.25, 0.25] },
        patch_weight: 1.0,
        koleo_weight: 0.1,
    });
    (Box::new(method), student)
}

/// What one micro-batch gives: loss, gradient, sums, and the most memory in use.
struct Given {
    loss: f64,
    grads: Vec<f32>,
    outputs: Outputs,
    peak: usize,
}

fn run((method, student): &(Box<dyn Method>, Params), keep: Keep) -> Given {
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let (global, local) = (filler_bytes("g", 2 * IMAGES * 16 * 16 * 3), filler_bytes("l", 4 * IMAGES * 8 * 8 * 3));
    let (backbone, _) = method.backbone();
    let groups = vec![
        Images { pixels: (&global[..]).into(), patches: backbone.patches(2 * IMAGES, 16, 16) },
        Images { pixels: (&local[..]).into(), patches: backbone.patches(4 * IMAGES, 8, 8) },
    ];
    let views = Views { groups, images: IMAGES, first_image: 0, teacher_statistics: Vec::new() };
    let mut grads = vec![0.0; student.values().len()];
    let mut tape = Tape::train(&cpu, student, &pool);
    tape.keep(keep);
    let forward = method.forward(&mut tape, &views, &AT);
    tape.backward(&forward.loss, 0.5, &mut grads);
    Given { loss: forward.loss.value, grads, outputs: forward.outputs, peak: pool.peak_bytes() }
}

/// Largest difference over the largest value.
fn off(expected: &[f32], found: &[f32]) -> f32 {
    assert_eq!(expected.len(), found.len());
    let most = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    expected.iter().zip(found).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs())) / most.max(f32::MIN_POSITIVE)
}

#[test]
fn outputs_in_parts_give_the_same_in_less_memory() {
    let balances = [Balance::Center { momentum: 0.9 }, Balance::SINKHORN_KNOPP];
    let cases = balances.into_iter().flat_map(|balance| [("dino", dino(balance)), ("ibot", ibot(balance))]);
    for (name, case) in cases {
        let (whole, parts) = (run(&case, Keep::Everything), run(&case, Keep::Inputs));
        assert!((whole.loss - parts.loss).abs() < 1e-6 * whole.loss, "{name}: {} and {}", whole.loss, parts.loss);
        for (spec, _) in case.1.tensors() {
            let [expected, found] = [&whole.grads, &parts.grads].map(|grads| &grads[spec.range()]);
            // Sums of f32 in another order.
            assert!(off(expected, found) < 1e-5, "{name}: {} by {}", spec.name, off(expected, found));
        }
        let sums = |outputs: &Outputs| [outputs.targets.clone(), outputs.patch_targets.clone()];
        for (expected, found) in sums(&whole.outputs).into_iter().zip(sums(&parts.outputs)) {
            assert_eq!(expected.rows, found.rows, "{name}");
            assert!((expected.entropy - found.entropy).abs() <= 1e-6 * expected.entropy, "{name}");
            assert!(off(&expected.logits, &found.logits) < 1e-5 && off(&expected.probs, &found.probs) < 1e-4, "{name}");
        }
        assert!(parts.peak * 3 < whole.peak * 2, "{name}: {} bytes instead of {}", parts.peak, whole.peak);
    }
}
