//! Micro-batches leave the running statistics that batches one after the other leave, as PyTorch does where gradients accumulate.
#![expect(clippy::expect_used, reason = "a failed step is a failed test")]

mod support;

use dinoxide::methods::Device;
use dinoxide::methods::EncoderConfig;
use dinoxide::methods::center::Balance;
use dinoxide::methods::dino::{Dino, DinoConfig, Objective, Predictor, Teacher};
use dinoxide::nn::dino_head::{DinoHeadConfig, HeadNorm, LastLayer};
use dinoxide::schedule::Scheduled;
use dinoxide::train::optimizer::{Clip, Optimizer, Rule};
use dinoxide::train::step::{Crops, TrainState};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::{Params, Role};
use dinoxide_engine::tensor::Pool;
use support::{Fixture, fill, filler_bytes, vit_config};

const IMAGES: usize = 3;
const VIEWS: usize = 2;

/// A head with batch normalisation.
fn state(fixture: &Fixture) -> TrainState {
    let head = DinoHeadConfig {
        in_dim: fixture.usize("dim"),
        out_dim: 24,
        hidden_dim: 20,
        bottleneck_dim: 12,
        layers: 3,
        norm: HeadNorm::Batch,
        last_layer: LastLayer::Normalized,
    };
    let (mut method, mut student) = Dino::new(DinoConfig {
        encoder: EncoderConfig { backbone: vit_config(fixture, "global").into(), drop_path: 0.0, seed: 0 },
        head,
        student_temp: 0.1,
        balance: Balance::Center { momentum: 0.9 },
        teacher: Teacher::Momentum,
        objective: Objective::CrossEntropy,
        predictor: Predictor::None,
    });
    fill(&mut student);
    dinoxide::methods::Method::teacher_mut(&mut method).values_mut().copy_from_slice(student.values());
    let optimizer = Optimizer::new(Rule::AdamW, &student);
    TrainState::new(Box::new(method), student, optimizer, Clip::Off)
}

/// A step that changes statistics and the centre only: `images`, each with all of its views one after the other.
fn step(state: &mut TrainState, images: &[Vec<u8>], side: usize) {
    let at = Scheduled {
        step: 0,
        epoch: 0,
        lr: 0.0,
        weight_decay: 0.0,
        momentum: 1.0,
        teacher_temp: 0.04,
        freeze_last_layer: false,
        freeze_backbone: false,
        ends_epoch: false,
    };
    let (cpu, pool, len) = (Cpu::new(), Pool::new(), side * side * 3);
    let pixels: Vec<u8> = (0..VIEWS)
        .flat_map(|view| images.iter().flat_map(move |image| &image[view * len..(view + 1) * len]))
        .copied()
        .collect();
    let crops = [Crops { pixels: &pixels, side, views: VIEWS }];
    state.step(Device { kernels: &cpu, pool: &pool }, &crops, images.len(), &at).expect("a finite step");
}

fn statistics(params: &Params) -> Vec<(String, Vec<f32>)> {
    let own = params.tensors().filter(|(spec, _)| spec.role == Role::Statistic);
    own.map(|(spec, values)| (spec.name.clone(), values.to_vec())).collect()
}

#[test]
fn micro_batches_leave_the_statistics_of_batches_one_after_the_other() {
    let fixture = Fixture::open("twenty/small_adamw.safetensors");
    let side = fixture.usize("global");
    let images: Vec<Vec<u8>> =
        (0..IMAGES).map(|image| filler_bytes(&format!("image.{image}"), VIEWS * side * side * 3)).collect();

    let (mut split, mut in_turn) = (state(&fixture), state(&fixture));
    split.micro_batch = 1;
    step(&mut split, &images, side);
    images.iter().for_each(|image| step(&mut in_turn, std::slice::from_ref(image), side));

    let student = statistics(&split.student);
    let batches = student.iter().find(|(name, _)| name.ends_with("num_batches_tracked"));
    assert_eq!(batches.map(|(_, values)| values[0]), Some(IMAGES as f32));
    assert_eq!(student, statistics(&in_turn.student));
    assert_eq!(statistics(split.method.teacher_mut()), statistics(in_turn.method.teacher_mut()));
}
