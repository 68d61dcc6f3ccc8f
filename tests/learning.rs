//! What one training step may change and what it may not, through the public interface.

mod support;

use dinoxide::methods::Device;
use dinoxide::methods::EncoderConfig;
use dinoxide::methods::center::Balance;
use dinoxide::methods::dino::{Dino, DinoConfig, Objective, Predictor, Teacher};
use dinoxide::nn::dino_head::{DinoHeadConfig, HeadNorm, LastLayer};
use dinoxide::nn::drop_path::DropPath;
use dinoxide::nn::vit::{Extras, VitConfig};
use dinoxide::schedule::Scheduled;
use dinoxide::train::TrainError;
use dinoxide::train::optimizer::{Clip, Optimizer, Rule};
use dinoxide::train::step::{Crops, StepReport, TrainState};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::{Params, Role};
use dinoxide_engine::tape::{Images, Keep, Tape};
use dinoxide_engine::tensor::Pool;
use support::{filler_bytes, imagenet};

/// Images of a batch.
const IMAGES: usize = 3;
/// Prototypes.
const OUT_DIM: usize = 20;

fn vit_config() -> VitConfig {
    VitConfig {
        image_size: 32,
        patch_size: 8,
        embed_dim: 24,
        depth: 3,
        num_heads: 2,
        mlp_ratio: 4.0,
        normalize: imagenet(),
        extras: Extras::default(),
    }
}

fn config() -> DinoConfig {
    DinoConfig {
        encoder: EncoderConfig { backbone: vit_config().into(), drop_path: 0.0, seed: 5 },
        head: DinoHeadConfig {
            in_dim: 24,
            out_dim: OUT_DIM,
            hidden_dim: 32,
            bottleneck_dim: 16,
            layers: 3,
            norm: HeadNorm::None,
            last_layer: LastLayer::Free,
        },
        student_temp: 0.1,
        balance: Balance::Center { momentum: 0.9 },
        teacher: Teacher::Momentum,
        objective: Objective::CrossEntropy,
        predictor: Predictor::None,
    }
}

fn with_drop_path(drop_path: f64) -> DinoConfig {
    let config = config();
    DinoConfig { encoder: EncoderConfig { drop_path, ..config.encoder }, ..config }
}

fn scheduled(step: usize) -> Scheduled {
    Scheduled {
        step,
        epoch: 0,
        lr: 1e-3,
        weight_decay: 0.04,
        momentum: 0.9,
        teacher_temp: 0.04,
        freeze_last_layer: false,
        freeze_backbone: false,
        ends_epoch: false,
    }
}

/// A run of `config`, and how its student and teacher start.
fn start(config: DinoConfig, rule: Rule) -> (TrainState, Params) {
    let (method, student) = Dino::new(config);
    let before = student.clone();
    let optimizer = Optimizer::new(rule, &student);
    (TrainState::new(Box::new(method), student, optimizer, Clip::Tensor(3.0)), before)
}

fn step(state: &mut TrainState, at: &Scheduled) -> Result<StepReport, TrainError> {
    step_in(&Pool::new(), state, at)
}

fn step_in(pool: &Pool, state: &mut TrainState, at: &Scheduled) -> Result<StepReport, TrainError> {
    step_on(&Cpu::new(), pool, state, at)
}

fn step_on(cpu: &Cpu, pool: &Pool, state: &mut TrainState, at: &Scheduled) -> Result<StepReport, TrainError> {
    let globals = filler_bytes(&format!("global.{}", at.step), 2 * IMAGES * 32 * 32 * 3);
    let locals = filler_bytes(&format!("local.{}", at.step), 4 * IMAGES * 16 * 16 * 3);
    let crops = [Crops { pixels: &globals, side: 32, views: 2 }, Crops { pixels: &locals, side: 16, views: 4 }];
    state.step(Device { kernels: cpu, pool }, &crops, IMAGES, at)
}

fn teacher(state: &TrainState) -> Params {
    state.method.backbone().1.clone()
}

/// Names of the tensors that differ.
fn changed(before: &Params, after: &Params) -> Vec<String> {
    let pairs = before.tensors().zip(after.tensors());
    pairs.filter(|((_, a), (_, b))| a != b).map(|((spec, _), _)| spec.name.clone()).collect()
}

#[test]
fn teacher_changes_by_the_average_alone() {
    let (mut state, before) = start(config(), Rule::AdamW);
    step(&mut state, &Scheduled { momentum: 1.0, ..scheduled(0) }).expect("a finite step");
    assert!(changed(&before, &teacher(&state)).is_empty(), "with momentum 1 the teacher stands still");
    assert_eq!(changed(&before, &state.student).len(), before.layout().specs().len(), "the student learns everywhere");

    let (mut state, before) = start(config(), Rule::AdamW);
    step(&mut state, &scheduled(0)).expect("a finite step");
    let teacher = teacher(&state);
    let pairs = before.values().iter().zip(state.student.values()).zip(teacher.values());
    for ((old, student), teacher) in pairs {
        // One f32 multiplication and addition, in whatever order the kernel takes.
        let expected = 0.9 * f64::from(*old) + 0.1 * f64::from(*student);
        assert!((f64::from(*teacher) - expected).abs() <= 2e-7 * expected.abs().max(0.1));
    }
}

#[test]
fn teacher_has_no_drop_path() {
    let dropped = |rate: f64| {
        let (mut state, _) = start(with_drop_path(rate), Rule::AdamW);
        let report = step(&mut state, &scheduled(0)).expect("a finite step");
        (report, state.method.state())
    };
    let ((with, center_with), (without, center_without)) = (dropped(0.9), dropped(0.0));
    assert_eq!((with.targets, center_with), (without.targets, center_without), "the teacher sees no difference");
    assert_ne!(with.loss, without.loss, "the student does");
}

#[test]
fn drop_path_rises_over_the_blocks_and_keeps_the_mean() {
    let draw = DropPath { rate: 0.5, seed: 1, step: 2, first_image: 0 };
    assert_eq!([0, 1, 2].map(|block| draw.block_rate(block, 3)), [0.0, 0.25, 0.5]);
    let (views, images) = (8, 500);
    let kept = draw.draw(3, views, images);
    assert!(kept.of(0, 0).is_none(), "the first block drops nothing");
    let last = kept.of(2, 1).expect("the last block drops");
    assert_eq!(last.factor, 2.0);
    let mean = last.factor * last.sequences.len() as f64 / (views * images) as f64;
    // 4,000 draws of 0 or 2: the mean's standard deviation is 0.016.
    assert!((mean - 1.0).abs() < 0.08, "mean {mean}");
    assert_ne!(kept.of(2, 0).expect("drops").sequences, last.sequences, "each branch has draws of its own");
    // The second half of a batch draws what the whole batch draws for it.
    let middle = (images / 2) as u32;
    let half = DropPath { first_image: images / 2, ..draw }.draw(3, 1, images / 2);
    let whole = last.sequences.iter().filter(|sequence| (middle..2 * middle).contains(sequence));
    let whole: Vec<u32> = whole.map(|sequence| sequence - middle).collect();
    assert_eq!(half.of(2, 1).expect("drops").sequences, whole);
}

#[test]
fn memory_stays_bounded_when_every_step_drops_other_branches() {
    let held = |rate: f64, steps: usize| {
        let (mut state, _) = start(with_drop_path(rate), Rule::AdamW);
        let (cpu, pool) = (Cpu::new(), Pool::new());
        let pixels = filler_bytes("global", 2 * IMAGES * 32 * 32 * 3);
        for index in 0..steps {
            let device = Device { kernels: &cpu, pool: &pool };
            let crops = [Crops { pixels: &pixels, side: 32, views: 2 }];
            state.step(device, &crops, IMAGES, &scheduled(index)).expect("a finite step");
        }
        pool.allocated_bytes()
    };
    let (constant, varying) = (held(0.0, 3), held(0.5, 60));
    assert!(varying < 2 * constant, "{varying} bytes are allocated, {constant} where nothing is dropped");
}

#[test]
fn frozen_last_layer_stays_without_decay_or_moments_while_all_else_learns() {
    for rule in [Rule::AdamW, Rule::Sgd, Rule::Lars] {
        let (mut state, before) = start(config(), rule);
        step(&mut state, &Scheduled { freeze_last_layer: true, ..scheduled(0) }).expect("a finite step");
        let changed = changed(&before, &state.student);
        assert!(changed.iter().all(|name| !name.contains("last_layer")), "{rule:?}: {changed:?}");
        assert_eq!(changed.len() + 2, before.layout().specs().len(), "{rule:?}: two frozen tensors");
        for (index, spec) in before.layout().specs().iter().enumerate() {
            let frozen = spec.name.contains("last_layer");
            assert_eq!(state.optimizer.updates[index], u64::from(!frozen), "{}", spec.name);
            assert_eq!(
                state.optimizer.first[spec.range()].iter().all(|moment| *moment == 0.0),
                frozen,
                "{}",
                spec.name
            );
        }
        step(&mut state, &scheduled(1)).expect("a finite step");
        let now: Vec<String> = self::changed(&before, &state.student);
        assert!(now.iter().any(|name| name.ends_with("weight_v")), "{rule:?}: thawed");
    }
}

#[test]
fn frozen_backbone_stays_while_the_head_learns() {
    let (mut state, before) = start(config(), Rule::AdamW);
    for at in 0..3 {
        step(&mut state, &Scheduled { freeze_backbone: true, ..scheduled(at) }).expect("a finite step");
    }
    for params in [&state.student, &teacher(&state)] {
        let changed = changed(&before, params);
        assert!(changed.iter().all(|name| name.starts_with("head.")), "{changed:?}");
        assert!(changed.iter().any(|name| name.ends_with("weight_v")), "{changed:?}");
    }
    step(&mut state, &scheduled(3)).expect("a finite step");
    assert!(changed(&before, &state.student).iter().any(|name| name.starts_with("backbone.")), "thawed");
}

#[test]
fn normalised_last_layer_keeps_its_lengths_for_ever() {
    let mut config = config();
    config.head.last_layer = LastLayer::Normalized;
    let (mut state, _) = start(config, Rule::AdamW);
    for at in 0..3 {
        step(&mut state, &scheduled(at)).expect("a finite step");
    }
    for params in [&state.student, &teacher(&state)] {
        let id = params.layout().find("head.last_layer.weight_g").expect("weight_g");
        assert!(params.get(id).iter().all(|g| *g == 1.0));
    }
}

/// The teacher's logits of the global crops of step `at`, `[2·images, K]`, by a forward pass of our own.
fn mean_teacher_logits(params: &Params, at: usize) -> Vec<f64> {
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let mut registry = dinoxide::nn::init::Registry::new();
    let vit = dinoxide::nn::vit::Vit::new(vit_config(), "backbone.", &mut registry);
    let head = dinoxide::nn::dino_head::DinoHead::new(&config().head, "head.", &mut registry);
    let globals = filler_bytes(&format!("global.{at}"), 2 * IMAGES * 32 * 32 * 3);
    let mut tape = Tape::infer(&cpu, params, &pool);
    let images = [Images { pixels: (&globals).into(), patches: vit.patches(2 * IMAGES, 32, 32) }];
    let features = vit.class_tokens(&mut tape, &images, None);
    let logits = head.forward(&mut tape, &features);
    let column = |k: usize| (0..logits.rows()).map(|row| f64::from(logits.row(row)[k])).sum::<f64>();
    (0..OUT_DIM).map(|k| column(k) / logits.rows() as f64).collect()
}

#[test]
fn centre_follows_the_teacher_that_made_the_targets() {
    let (mut state, before) = start(config(), Rule::AdamW);
    let expected = mean_teacher_logits(&before, 0);
    // Momentum 0: after the step the teacher is the student, and no longer the one whose logits count.
    step(&mut state, &Scheduled { momentum: 0.0, ..scheduled(0) }).expect("a finite step");
    assert!(changed(&teacher(&state), &state.student).is_empty());
    let centre = state.method.state().remove(0);
    assert_eq!((centre.name, centre.shape.as_slice()), ("center", [1, OUT_DIM].as_slice()));
    for (ours, expected) in centre.values.iter().zip(expected) {
        assert!((f64::from(*ours) - 0.1 * expected).abs() <= 1e-6, "{ours} against {}", 0.1 * expected);
    }
}

#[test]
fn decay_spares_biases_and_norms_and_nothing_else() {
    let (state, _) = start(config(), Rule::AdamW);
    for spec in state.student.layout().specs() {
        let vector = spec.name.ends_with(".bias") || spec.name.contains("norm");
        assert_eq!(spec.decays(), !vector, "{} {:?}", spec.name, spec.shape);
    }
    for name in ["backbone.cls_token", "backbone.pos_embed", "head.last_layer.weight_v", "head.last_layer.weight_g"] {
        let id = state.student.layout().find(name).unwrap_or_else(|| panic!("no `{name}`"));
        assert!(state.student.layout().spec(id).decays(), "`{name}` decays in the reference program");
    }
}

#[test]
fn decay_is_seen_in_the_update() {
    // The same step with and without decay: AdamW's decay is decoupled, so the difference is lr·decay·value.
    let trained = |weight_decay: f64| {
        let (mut state, before) = start(config(), Rule::AdamW);
        step(&mut state, &Scheduled { weight_decay, lr: 0.01, ..scheduled(0) }).expect("a finite step");
        (state.student, before)
    };
    let ((plain, before), (decayed, _)) = (trained(0.0), trained(0.5));
    for (spec, values) in before.tensors() {
        if spec.role != Role::Trained {
            continue;
        }
        let (plain, decayed) = (&plain.values()[spec.range()], &decayed.values()[spec.range()]);
        let share = if spec.decays() { 0.01 * 0.5 } else { 0.0 };
        for ((value, plain), decayed) in values.iter().zip(plain).zip(decayed) {
            let difference = f64::from(*plain) - f64::from(*decayed);
            // Both sides are rounded to f32 once or twice.
            let expected = share * f64::from(*value);
            assert!((difference - expected).abs() <= 4e-7 * f64::from(value.abs()).max(0.1), "{}", spec.name);
        }
    }
}

#[test]
fn teacher_temperature_sharpens_the_targets() {
    let entropy = |teacher_temp: f64| {
        let (mut state, _) = start(config(), Rule::AdamW);
        let report = step(&mut state, &Scheduled { teacher_temp, ..scheduled(0) }).expect("a finite step");
        report.targets.expect("probabilities").entropy
    };
    let (sharp, soft) = (entropy(0.02), entropy(0.2));
    assert!(0.0 < sharp && sharp < soft && soft < (OUT_DIM as f64).ln(), "{sharp} below {soft}");
}

#[test]
fn sinkhorn_knopp_uses_every_prototype_from_the_first_step() {
    let used = |balance: Balance| {
        let (mut state, _) = start(DinoConfig { balance, ..config() }, Rule::AdamW);
        let report = step(&mut state, &scheduled(0)).expect("a finite step");
        report.targets.expect("probabilities").batch_entropy / (OUT_DIM as f64).ln()
    };
    let (centre, sinkhorn) = (used(Balance::Center { momentum: 0.9 }), used(Balance::SINKHORN_KNOPP));
    assert!(sinkhorn > 0.99 && sinkhorn > centre, "{sinkhorn} of ln K, with the centre {centre}");
}

#[test]
fn loss_is_entropy_plus_divergence() {
    let (mut state, _) = start(config(), Rule::AdamW);
    let report = step(&mut state, &scheduled(0)).expect("a finite step");
    let (targets, kl) = (report.targets.expect("probabilities"), report.kl().expect("probabilities"));
    assert!((targets.entropy + kl - report.loss).abs() < 1e-12);
    assert!(kl >= 0.0 && targets.batch_entropy >= targets.entropy);
}

#[test]
fn step_without_a_finite_gradient_changes_nothing() {
    let (mut state, _) = start(config(), Rule::AdamW);
    step(&mut state, &scheduled(0)).expect("a finite step");
    let id = state.student.layout().find("head.last_layer.weight_v").expect("weight_v");
    state.student.get_mut(id)[0] = f32::NAN;
    let (student, teacher_before) = (state.student.clone(), teacher(&state));
    let (moments, centre) = (state.optimizer.first.clone(), state.method.state());
    let error = step(&mut state, &scheduled(1)).expect_err("NaN in, error out").to_string();
    assert!(error.contains("step 1") && error.contains("optim.lr"), "{error}");
    let bits = |params: &Params| params.values().iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&student), bits(&state.student));
    assert_eq!(bits(&teacher_before), bits(&teacher(&state)));
    assert_eq!((moments, centre, state.step), (state.optimizer.first, state.method.state(), 1));
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let losses = |seed: u64| {
        let config = with_drop_path(0.3);
        let encoder = EncoderConfig { seed, ..config.encoder };
        let (mut state, _) = start(DinoConfig { encoder, ..config }, Rule::AdamW);
        (0..3).map(|at| step(&mut state, &scheduled(at)).expect("a finite step").loss.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(losses(1), losses(1));
    assert_ne!(losses(1), losses(2));
}

#[test]
fn recomputing_changes_memory_and_no_bit() {
    let train = |cpu: &Cpu, drop_path: f64, keep: Keep| {
        let backbone = VitConfig { depth: 6, ..vit_config() }.into();
        let config = with_drop_path(drop_path);
        let config = DinoConfig { encoder: EncoderConfig { backbone, ..config.encoder }, ..config };
        let (mut state, _) = start(config, Rule::AdamW);
        state.keep = keep;
        let pool = Pool::new();
        let losses: Vec<u64> = (0..3)
            .map(|at| step_on(cpu, &pool, &mut state, &scheduled(at)).expect("a finite step").loss.to_bits())
            .collect();
        let values: Vec<u32> = state.student.values().iter().map(|value| value.to_bits()).collect();
        (losses, values, pool.peak_bytes())
    };
    // At 0.7 some branches have no taker among these few sequences.
    for (cpu, drop_path) in [(Cpu::new(), 0.0), (Cpu::new(), 0.7), (Cpu::bf16_anywhere(), 0.0)] {
        let ((losses, values, kept), (again, same, less)) =
            (train(&cpu, drop_path, Keep::Everything), train(&cpu, drop_path, Keep::Inputs));
        assert_eq!((losses, values), (again, same), "drop path {drop_path} on {cpu:?}");
        assert!(less * 10 < kept * 8, "{less} bytes instead of {kept}");
    }
}
