//! The methods that DINO is compared with against PyTorch programs in f64, and lightly where it has the loss: losses with their
//! gradients, and ten steps in a row of each method on a small ViT.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod ibot;
#[path = "../support/mod.rs"]
mod support;

use dinoxide::loss::bag::{bag_divergence, bag_of_words};
use dinoxide::loss::barlow_twins::barlow_twins_loss;
use dinoxide::loss::byol::byol_loss;
use dinoxide::loss::cluster::{Clustering, cluster_cross_entropy};
use dinoxide::loss::contrast::{in_batch, nt_xent, with_queue};
use dinoxide::loss::dino::ViewCount;
use dinoxide::loss::koleo::koleo_loss;
use dinoxide::loss::masked::masked_patch_loss;
use dinoxide::methods::barlow_twins::{BarlowTwins, BarlowTwinsConfig};
use dinoxide::methods::byol::{Byol, ByolConfig};
use dinoxide::methods::center::Balance;
use dinoxide::methods::deepcluster::{DeepCluster, DeepClusterConfig};
use dinoxide::methods::dino::{Dino, DinoConfig, Objective, Predictor, Teacher};
use dinoxide::methods::moco::{Moco, MocoConfig, Negatives};
use dinoxide::methods::obow::{Obow, ObowConfig};
use dinoxide::methods::simclr::{Simclr, SimclrConfig};
use dinoxide::methods::spherical_kmeans::spherical_kmeans;
use dinoxide::methods::swav::{Swav, SwavConfig};
use dinoxide::methods::{Device, EncoderConfig, Method};
use dinoxide::nn::dino_head::{DinoHeadConfig, HeadNorm, LastLayer};
use dinoxide::schedule::Scheduled;
use dinoxide::train::optimizer::{Clip, Optimizer, Rule};
use dinoxide::train::step::{Crops, TrainState};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::{Layout, Params, Role};
use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::{Matrix, Pool};
use support::{Fixture, assert_close, fill, filler_bytes, relative, vit_config};

/// Sums of some hundred products of f32; PyTorch's own f32 losses differ by as much.
const LOSS_TOLERANCE: f64 = 1e-5;
/// Ten steps in f32 against f64.
const TEN_TOLERANCE: f64 = 1e-4;
/// Sampled weights after ten steps of AdamW, whose first steps are signs of gradients.
const WEIGHT_TOLERANCE: f64 = 2e-3;

/// Norm of a gradient that is 0 but for rounding in f64.
const NO_GRADIENT: f64 = 1e-9;

/// Value and gradient of a loss of the rows `x`, `[rows, width]`.
fn value_and_gradient(x: &[f32], width: usize, loss: impl Fn(&mut Tape<'_>, &Matrix) -> Loss) -> (f64, Vec<f32>) {
    let rows = x.len() / width;
    // The transposed rows are a parameter, so that the tape has a gradient to give: identity · parameterᵀ.
    let mut layout = Layout::default();
    let id = layout.push("x".to_owned(), &[width, rows], Role::Trained);
    let mut params = Params::zeros(std::sync::Arc::new(layout));
    let transposed = |values: &[f32], rows: usize| -> Vec<f32> {
        let width = values.len() / rows;
        (0..width).flat_map(|column| (0..rows).map(move |row| values[row * width + column])).collect()
    };
    params.get_mut(id).copy_from_slice(&transposed(x, rows));
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let mut tape = Tape::train(&cpu, &params, &pool);
    let identity: Vec<f32> = (0..rows * rows).map(|place| f32::from(u8::from(place % (rows + 1) == 0))).collect();
    let identity = tape.constant(&identity, rows, rows);
    let x = tape.linear(&identity, id, None);
    let loss = loss(&mut tape, &x);
    let mut grads = vec![0.0; params.values().len()];
    tape.backward(&loss, 1.0, &mut grads);
    (loss.value, transposed(&grads, width))
}

#[test]
fn losses_and_their_gradients_equal_pytorch_and_lightly() {
    let fixture = Fixture::open("method/losses.safetensors");
    let (images, width) = (fixture.usize("batch"), fixture.usize("width"));
    let values = |name: &str| fixture.values(name).into_iter().map(|value| value as f32).collect::<Vec<_>>();
    let (keys, queue) = (values("keys"), values("queue"));
    let check = |name: &str, width: usize, loss: &dyn Fn(&mut Tape<'_>, &Matrix) -> Loss| {
        let (value, gradient) = value_and_gradient(&values(&format!("{name}.input")), width, loss);
        assert_close(name, [value as f32], &fixture.values(&format!("{name}.loss")), LOSS_TOLERANCE);
        assert_close(name, gradient, &fixture.values(&format!("{name}.grad")), LOSS_TOLERANCE);
    };
    for student in [2, 4] {
        let views = ViewCount { images, teacher: 2, student };
        check(&format!("byol_{student}"), width, &|tape, x| byol_loss(tape, x, &keys, views));
    }
    check("nt_xent", width, &|tape, x| nt_xent(tape, x, 0.1));
    check("in_batch", width, &|tape, x| in_batch(tape, x, &keys, 0.2));
    check("with_queue", width, &|tape, x| with_queue(tape, x, &keys[..images * width], &queue, (0.2, &[1.0])));
    check("barlow_twins", width, &|tape, x| barlow_twins_loss(tape, x, 0.0051));
}

#[test]
fn losses_of_masked_patches_and_koleo_equal_pytorch_and_lightly() {
    let fixture = Fixture::open("method/masked.safetensors");
    let values = |name: &str| fixture.values(name).into_iter().map(|value| value as f32).collect::<Vec<_>>();
    let (targets, weights) =
        (values("masked.targets"), ibot::masks(&fixture, "masked.mask", fixture.usize("patches")).remove(0).weights());
    let prototypes = fixture.usize("prototypes");
    let (value, gradient) = value_and_gradient(&values("masked.input"), prototypes, |tape, x| {
        masked_patch_loss(tape, x, &targets, &weights, 0.1)
    });
    assert_close("masked", [value as f32], &fixture.values("masked.loss"), LOSS_TOLERANCE);
    assert_close("masked", gradient, &fixture.values("masked.grad"), LOSS_TOLERANCE);
    let (images, width) = (fixture.usize("batch"), fixture.usize("width"));
    let (value, gradient) = value_and_gradient(&values("koleo.input"), width, |tape, x| koleo_loss(tape, x, images));
    assert_close("koleo", [value as f32], &fixture.values("koleo.loss"), LOSS_TOLERANCE);
    assert_close("koleo", gradient, &fixture.values("koleo.grad"), LOSS_TOLERANCE);
}

#[test]
fn an_image_that_is_there_twice_has_no_direction_to_part_in() {
    let twice = [0.6_f32, 0.8, 0.6, 0.8, 0.8, -0.6];
    let (value, gradient) = value_and_gradient(&twice, 2, |tape, x| koleo_loss(tape, x, 3));
    assert!(value > 10.0 && value.is_finite(), "{value}");
    assert_eq!(gradient[2..4], [0.0; 2], "only the third image parts, from the first");
    assert!(gradient.iter().all(|value| value.abs() < 1.0), "{gradient:?}");
    let (value, gradient) = value_and_gradient(&twice[..2], 2, |tape, x| koleo_loss(tape, x, 1));
    assert_eq!((value, gradient), (0.0, vec![0.0; 2]), "one image has no other");
}

/// The method of a fixture and its student, filled.
fn build(name: &str, fixture: &Fixture) -> (Box<dyn Method>, Params) {
    fn boxed<M: Method + 'static>((method, student): (M, Params)) -> (Box<dyn Method>, Params) {
        (Box::new(method), student)
    }
    let encoder = EncoderConfig { backbone: vit_config(fixture, "global").into(), drop_path: 0.0, seed: 0 };
    let (hidden_dim, out_dim) = (fixture.usize("hidden"), fixture.usize("out_dim"));
    let moco = |negatives| {
        let (layers, temperature) = (fixture.usize("layers"), fixture.f64("temperature"));
        let (encoder, jigsaw) = (encoder.clone(), (name == "infomin").then(|| fixture.f64("jigsaw")));
        Moco::new(&MocoConfig { encoder, hidden_dim, out_dim, layers, temperature, negatives, jigsaw })
    };
    let (mut method, mut student) = match name {
        "ibot" | "dinov2" => boxed(ibot::scripted(fixture)),
        name if name.starts_with("dino_") => boxed(Dino::new(ablation(name, fixture, encoder))),
        "byol" => boxed(Byol::new(&ByolConfig { encoder, hidden_dim, out_dim })),
        "simclr" => {
            let (layers, temperature) = (fixture.usize("layers"), fixture.f64("temperature"));
            boxed(Simclr::new(&SimclrConfig { encoder, hidden_dim, out_dim, layers, temperature }))
        }
        "mocov2" | "infomin" => boxed(moco(Negatives::Queue(fixture.usize("queue")))),
        "mocov3" => boxed(moco(Negatives::Batch)),
        "swav" => boxed(Swav::new(SwavConfig {
            encoder,
            hidden_dim,
            out_dim,
            prototypes: fixture.usize("prototypes"),
            temperature: fixture.f64("temperature"),
            epsilon: fixture.f64("epsilon"),
            queue: fixture.usize("queue"),
            queue_from_epoch: fixture.usize("queue_from_step"),
        })),
        "obow" => {
            let (temperature, words) = (fixture.f64("temperature"), fixture.usize("queue"));
            boxed(Obow::new(&ObowConfig { encoder, hidden_dim, temperature, words }))
        }
        "deepcluster_v2" => boxed(DeepCluster::new(DeepClusterConfig {
            encoder,
            hidden_dim,
            out_dim,
            prototypes: fixture.usize("prototypes"),
            heads: fixture.usize("clusterings"),
            temperature: fixture.f64("temperature"),
            images: fixture.usize("images"),
        })),
        _ => {
            let (layers, off_diagonal) = (fixture.usize("layers"), fixture.f64("off_diagonal"));
            boxed(BarlowTwins::new(&BarlowTwinsConfig { encoder, out_dim, layers, off_diagonal }))
        }
    };
    fill(&mut student);
    method.teacher_mut().values_mut().copy_from_slice(student.values());
    if name == "mocov2" || name == "infomin" {
        let mut queue = support::filler("queue", fixture.usize("queue") * out_dim, 1.0, 0.0);
        for row in queue.chunks_exact_mut(out_dim) {
            let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
        }
        assert!(method.restore("queue", &queue));
    }
    if name == "obow" {
        assert!(
            method.restore("queue", &support::filler("words", fixture.usize("queue") * fixture.usize("dim"), 1.5, 0.0))
        );
    }
    (method, student)
}

/// DINO with one thing different.
fn ablation(name: &str, fixture: &Fixture, encoder: EncoderConfig) -> DinoConfig {
    let (out_dim, in_dim) = (fixture.usize("out_dim"), fixture.usize("dim"));
    let head = DinoHeadConfig {
        in_dim,
        out_dim,
        hidden_dim: fixture.usize("hidden"),
        bottleneck_dim: fixture.usize("bottleneck"),
        layers: fixture.usize("layers"),
        norm: HeadNorm::None,
        last_layer: LastLayer::Normalized,
    };
    let balance = Balance::Center { momentum: fixture.f64("center_momentum") };
    let (teacher, objective, predictor) = (Teacher::Momentum, Objective::CrossEntropy, Predictor::None);
    let student_temp = fixture.f64("student_temp");
    let plain = DinoConfig { encoder, head, student_temp, balance, teacher, objective, predictor };
    match name {
        "dino_mse" => DinoConfig { objective: Objective::Mse, ..plain },
        "dino_predictor" => DinoConfig { predictor: Predictor::LikeByol, ..plain },
        "dino_softmax_batch" => DinoConfig { balance: Balance::SOFTMAX_BATCH, ..plain },
        "dino_unbalanced" => DinoConfig { balance: Balance::None, ..plain },
        "dino_student" => DinoConfig { teacher: Teacher::Student, ..plain },
        "dino_previous_step" => DinoConfig { teacher: Teacher::PreviousStep, ..plain },
        _ => DinoConfig { teacher: Teacher::PreviousEpoch, ..plain },
    }
}

/// Sixteen values of each tensor, without the key biases, whose true gradient is 0.
fn samples(params: &Params, values: &[f32]) -> Vec<Vec<f32>> {
    let kept = params.layout().specs().iter().filter(|spec| !spec.shape.is_empty());
    let sampled = kept.map(|spec| {
        let count = spec.len.min(16);
        let value = |k: usize| {
            let index = k * spec.len / count;
            let key_bias = spec.name.ends_with("attn.qkv.bias") && (spec.len / 3..2 * spec.len / 3).contains(&index);
            if key_bias { 0.0 } else { values[spec.offset + index] }
        };
        (0..16).map(|k| if k < count { value(k) } else { 0.0 }).collect()
    });
    sampled.collect()
}

fn check(name: &str) {
    let fixture = Fixture::open(&format!("method/{name}.safetensors"));
    let (method, student) = build(name, &fixture);
    let optimizer = Optimizer::new(Rule::AdamW, &student);
    let mut state = TrainState::new(method, student, optimizer, Clip::Tensor(3.0));
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let (batch, global, local) = (fixture.usize("batch"), fixture.usize("global"), fixture.usize("local"));
    let scheduled = |name: &str| fixture.values(&format!("schedule.{name}"));
    let (lr, decay, momentum) = (scheduled("lr"), scheduled("weight_decay"), scheduled("momentum"));
    // Before that step there is nothing to learn.
    let learns_from = if name == "deepcluster_v2" { fixture.usize("learns_from") } else { 0 };
    let losses = fixture.values("loss");
    for (step, theirs) in losses.iter().enumerate() {
        let at = Scheduled {
            step,
            epoch: step,
            lr: lr[step],
            weight_decay: decay[step],
            momentum: momentum[step],
            teacher_temp: if name.starts_with("dino_") || ibot::is(name) { fixture.f64("teacher_temp") } else { 0.0 },
            freeze_last_layer: false,
            freeze_backbone: false,
            ends_epoch: (step + 1) % 3 == 0,
        };
        let views = fixture.usize("locals");
        let globals = filler_bytes(&format!("global.{step}"), 2 * batch * global * global * 3);
        let locals = filler_bytes(&format!("local.{step}"), views * batch * local * local * 3);
        let mut crops = vec![Crops { pixels: &globals, side: global, views: 2 }];
        crops.extend((views > 0).then_some(Crops { pixels: &locals, side: local, views }));
        if name == "deepcluster_v2" {
            let images = fixture.usize("images");
            let shown: Vec<u32> = (0..batch).map(|place| ((2 * step + place) % images) as u32).collect();
            state.method.take_images(&shown);
        }
        let report = state.step(Device { kernels: &cpu, pool: &pool }, &crops, batch, &at).unwrap();
        let error = (report.loss - theirs).abs() / theirs;
        println!("{name}, step {step}: loss {} against {theirs}, {error:.1e}", report.loss);
        assert!(error <= TEN_TOLERANCE, "{name}, step {step}: loss {} against {theirs}, {error:.1e}", report.loss);
        if step == learns_from {
            first_gradients(name, &state, &fixture);
        }
    }
    final_state(name, &state, &fixture);
}

/// Samples of the weights, and queues and centres.
fn final_state(name: &str, state: &TrainState, fixture: &Fixture) {
    let (theirs, norms) = (fixture.values("student.samples"), fixture.values("grad.norm"));
    for (index, ours) in samples(&state.student, state.student.values()).into_iter().enumerate() {
        // AdamW makes steps of the noise in gradients that are 0: what comes before a normalisation has no say in its mean.
        if norms[index] > NO_GRADIENT {
            assert_close(name, ours, &theirs[16 * index..16 * (index + 1)], WEIGHT_TOLERANCE);
        }
    }
    let kept = ["queue", "distance", "memory", "centroids", "labels"];
    for tensor in state.method.state() {
        let stored = match tensor.name {
            "queue" => "queue.0",
            "center" if ibot::is(name) => "queue.0",
            "center2" => "queue.1",
            other if kept.iter().any(|kept| other.starts_with(kept)) && !other.starts_with("queue_ptr") => other,
            _ => continue,
        };
        assert_close(tensor.name, tensor.values.iter().copied(), &fixture.values(stored), WEIGHT_TOLERANCE);
    }
}

/// The first moment after the first step is a tenth of the clipped gradient: the direction of each tensor's is compared.
fn first_gradients(name: &str, state: &TrainState, fixture: &Fixture) {
    let theirs = fixture.values("grad.samples");
    let specs = state.student.layout().specs().iter().filter(|spec| !spec.shape.is_empty());
    for ((index, spec), ours) in specs.enumerate().zip(samples(&state.student, &state.optimizer.first)) {
        let norm = fixture.values("grad.norm")[index];
        if norm < NO_GRADIENT {
            continue;
        }
        let clipped = (3.0 / (norm + 1e-6)).min(1.0);
        let theirs: Vec<f64> = theirs[16 * index..16 * (index + 1)].iter().map(|value| 0.1 * clipped * value).collect();
        let error = relative(ours, &theirs);
        assert!(error <= 5e-4, "{name} {}: first gradient off by {error:.1e}", spec.name);
    }
}

#[test]
fn ten_losses_of_ibot_and_dinov2_equal_pytorch() {
    check("ibot");
    check("dinov2");
}

#[test]
fn ten_losses_of_byol_with_local_crops_equal_pytorch() {
    check("byol");
}

#[test]
fn ten_losses_of_simclr_equal_pytorch() {
    check("simclr");
}

#[test]
fn ten_losses_of_moco_equal_pytorch() {
    check("mocov2");
    check("mocov3");
}

#[test]
fn shares_of_a_view_and_its_jigsaw_equal_pytorch() {
    let fixture = Fixture::open("method/infomin_loss.safetensors");
    let values = |name: &str| fixture.values(name).into_iter().map(|value| value as f32).collect::<Vec<_>>();
    let (keys, queue) = (values("keys"), values("queue"));
    let (value, gradient) = value_and_gradient(&values("input"), fixture.usize("width"), |tape, x| {
        with_queue(tape, x, &keys, &queue, (0.15, &[0.7, 0.3]))
    });
    assert_close("loss", [value as f32], &fixture.values("loss"), LOSS_TOLERANCE);
    assert_close("gradient", gradient, &fixture.values("grad"), LOSS_TOLERANCE);
}

#[test]
fn ten_losses_of_infomin_with_its_jigsaw_equal_pytorch() {
    check("infomin");
}

#[test]
fn ten_losses_of_swav_with_a_queue_equal_pytorch() {
    check("swav");
}

#[test]
fn ten_losses_of_deepcluster_with_its_memory_equal_pytorch() {
    check("deepcluster_v2");
}

#[test]
fn clusters_and_their_loss_equal_pytorch() {
    let fixture = Fixture::open("method/clusters.safetensors");
    let values = |name: &str| fixture.values(name).into_iter().map(|value| value as f32).collect::<Vec<_>>();
    let (width, centroids, labels) = (fixture.usize("width"), values("centroids"), values("labels"));
    let known = |label: &f32| (*label >= 0.0).then_some(*label as usize);
    let heads = centroids.chunks_exact(centroids.len() / 2).zip(labels.chunks_exact(labels.len() / 2));
    let clusterings: Vec<Clustering<'_>> =
        heads.map(|(centroids, labels)| Clustering { centroids, labels: labels.iter().map(known).collect() }).collect();
    let (value, gradient) =
        value_and_gradient(&values("input"), width, |tape, z| cluster_cross_entropy(tape, z, &clusterings, 0.1));
    assert_close("loss", [value as f32], &fixture.values("loss"), LOSS_TOLERANCE);
    assert_close("gradient", gradient, &fixture.values("grad"), LOSS_TOLERANCE);

    let mut centroids = values("kmeans.first");
    let of = spherical_kmeans(&values("kmeans.rows"), width, &mut centroids, fixture.usize("rounds"));
    assert_eq!(of, fixture.values("kmeans.of").into_iter().map(|of| of as usize).collect::<Vec<_>>());
    assert_close("centroids", centroids, &fixture.values("kmeans.centroids"), LOSS_TOLERANCE);
}

#[test]
fn ten_losses_of_obow_with_its_vocabulary_equal_pytorch() {
    check("obow");
}

#[test]
fn bags_and_their_divergence_equal_pytorch() {
    let fixture = Fixture::open("method/bags.safetensors");
    let values = |name: &str| fixture.values(name).into_iter().map(|value| value as f32).collect::<Vec<_>>();
    let (width, images) = (fixture.usize("width"), fixture.usize("images"));
    for views in [2, 4] {
        let count = ViewCount { images, teacher: 2, student: views };
        let (value, gradient) = value_and_gradient(&values(&format!("{views}.both")), width, |tape, both| {
            bag_divergence(tape, both, &values("bags"), count, 0.125)
        });
        assert_close("loss", [value as f32], &fixture.values(&format!("{views}.loss")), LOSS_TOLERANCE);
        assert_close("gradient", gradient, &fixture.values(&format!("{views}.grad")), LOSS_TOLERANCE);
    }
    let (bag, distance) = bag_of_words(&values("places"), &values("words"), width, fixture.f64("sharpness"));
    assert_close("bag", bag, &fixture.values("bag"), LOSS_TOLERANCE);
    assert_close("distance", [distance as f32], &fixture.values("distance"), LOSS_TOLERANCE);
}

#[test]
fn ten_losses_of_barlow_twins_equal_pytorch() {
    check("barlow_twins");
}

#[test]
fn ten_losses_of_dino_taken_apart_equal_pytorch() {
    let balances = ["softmax_batch", "unbalanced"];
    let teachers = ["student", "previous_step", "previous_epoch"];
    for name in ["mse", "predictor"].into_iter().chain(balances).chain(teachers) {
        check(&format!("dino_{name}"));
    }
}
