//! Collapses that really happen are named, with what to do; healthy figures are left alone.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::path::Path;

use dinoxide::config::{Config, MethodConfig, MethodName};
use dinoxide::run::health::{Finding, Monitor, Pulse, Sighting, Targets};
use running::{Said, make_images, pretrain, run};

/// Trains the tiny network on a few images with some values changed.
fn trained(folder: &Path, values: &[&str]) -> Said {
    let (data, out) = (folder.join("data"), folder.join("run"));
    make_images(&data, 8);
    let mut more = Vec::new();
    values.iter().for_each(|value| more.extend(["--set", value]));
    run(pretrain(&data, &out, &more))
}

fn status(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(folder.join("run/status.json")).unwrap()).unwrap()
}

/// A teacher too warm tells nothing apart (no sharpening).
const UNIFORM: [&str; 5] = [
    "dino.centering=centering",
    "dino.teacher_temp=[5.0, 5.0]",
    "run.epochs=90",
    "optim.lr=0.1",
    "optim.warmup_epochs=1",
];

#[test]
fn a_teacher_without_sharpening_is_a_uniform_collapse() {
    let folder = tempfile::tempdir().unwrap();
    let said = trained(folder.path(), &UNIFORM);
    said.expect(0).saying(&["uniform collapse", "lower `dino.teacher_temp`"]);
    assert_eq!(status(folder.path())["health"][0], "uniform_collapse");
    let page = std::fs::read_to_string(folder.path().join("run/report.html")).unwrap();
    assert!(page.contains("uniform collapse"));
}

#[test]
fn a_teacher_without_centering_is_a_one_prototype_collapse() {
    let folder = tempfile::tempdir().unwrap();
    let values = [
        "dino.centering=none",
        "dino.teacher_temp=[0.005, 0.005]",
        "run.epochs=90",
        "optim.lr=0.05",
        "optim.warmup_epochs=1",
    ];
    trained(folder.path(), &values).expect(0).saying(&["one-prototype collapse", "sinkhorn_knopp"]);
}

/// A teacher that is centred by a running mean, at a rate that the tiny network can follow.
const CENTERED: [&str; 5] = [
    "dino.centering=centering",
    "dino.teacher_temp=[0.04, 0.04]",
    "run.epochs=90",
    "optim.lr=0.02",
    "optim.warmup_epochs=1",
];

#[test]
fn a_teacher_without_momentum_is_unstable() {
    let folder = tempfile::tempdir().unwrap();
    let said = trained(folder.path(), &[&CENTERED[..], &["dino.momentum=[0.0, 0.0]"]].concat());
    said.expect(0).saying(&["unstable", "raise `dino.momentum`"]);
}

#[test]
fn a_learning_rate_too_high_is_unstable() {
    let folder = tempfile::tempdir().unwrap();
    let said = trained(folder.path(), &[&CENTERED[..], &["optim.lr=100.0"]].concat());
    said.expect(0).saying(&["unstable", "lower `optim.lr`"]);
    let health = status(folder.path())["health"].to_string();
    assert!(health.contains("unstable"), "{health}");
}

#[test]
fn weight_decay_that_leaves_few_directions_is_a_dimensional_collapse() {
    let folder = tempfile::tempdir().unwrap();
    let values = ["model.embed_dim=64", "optim.weight_decay=[20.0, 20.0]", "eval.every_epochs=10"];
    let said = trained(folder.path(), &[&CENTERED[..], &values].concat());
    said.expect(0).saying(&["dimensional collapse", "of 64 dimensions", "a weaker `optim.weight_decay`"]);
    let rows = running::rows(&folder.path().join("run"));
    let ranks: Vec<f64> = rows.iter().filter_map(|row| row["rank"].as_f64()).collect();
    assert!(ranks.last() < Some(&2.0), "{ranks:?}");
}

#[test]
fn copies_of_one_image_are_named_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    make_images(&data, 1);
    let one = data.join("cat/00.jpg");
    std::fs::remove_dir_all(data.join("dog")).unwrap();
    for number in 1..8 {
        std::fs::copy(&one, data.join(format!("cat/{number:02}.jpg"))).unwrap();
    }
    let said = run(pretrain(&data, &out, &[]));
    said.expect(0).saying(&["step 0: images alike", "dinoxide check"]);
}

#[test]
fn a_run_that_forgets_the_weights_it_started_from_stops_and_keeps_the_best() {
    let folder = tempfile::tempdir().unwrap();
    let (data, first, second) = (folder.path().join("data"), folder.path().join("first"), folder.path().join("second"));
    make_images(&data, 8);
    let labelled = ["--val", data.to_str().unwrap(), "--eval-every", "1"];
    run(pretrain(&data, &first, &labelled)).expect(0);
    let ruin = ["--init", first.to_str().unwrap(), "--set", "optim.lr=100.0", "--set", "dino.momentum=[0.0, 0.0]"];
    let more = ["--set", "run.epochs=30", "--set", "optim.warmup_epochs=0", "--set", "optim.layer_decay=1.0"];
    let ruin = [&labelled[..], &ruin, &more].concat();
    run(pretrain(&data, &second, &ruin)).expect(3).saying(&["forgetting", "at the start", "saved after step"]);
    let state = std::fs::read(second.join("checkpoints/best/state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    assert!(state.to_string().contains("\"step\":"), "{state}");
    // Its best network is there to start from, and is not deleted by who does.
    let (best, third) = (second.join("checkpoints/best"), folder.path().join("third"));
    let again = ["--init", best.to_str().unwrap()];
    run(pretrain(&data, &third, &again)).expect(0).saying(&["checkpoints/best`: 30 tensors of the backbone"]);
    let overwrite = [&again[..], &["--overwrite"]].concat();
    run(pretrain(&data, &second, &overwrite)).expect(2).saying(&["--overwrite", "which is in it", "-o"]);
    assert!(best.join("teacher.safetensors").exists());
}

#[test]
fn a_strict_run_is_stopped_with_its_own_code_and_can_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    make_images(&data, 8);
    let mut more = vec!["--strict-health"];
    UNIFORM.iter().for_each(|value| more.extend(["--set", value]));
    let said = run(pretrain(&data, &out, &more));
    said.expect(3).saying(&["uniform collapse", "saved after step"]);
    assert!(status(folder.path())["step"].as_u64().unwrap() < 360);
    // What has been said is not said again.
    let again = run(pretrain(&data, &out, &more));
    assert!(!again.text.contains("uniform collapse ("), "{}", again.text);
    // At its end it still has collapsed.
    again.expect(3);
}

fn targets(entropy: f64, batch_entropy: f64) -> Option<Targets> {
    Some(Targets { entropy, batch_entropy })
}

fn pulse() -> Pulse {
    Pulse { loss: 3.0, targets: targets(2.0, 3.5), grad_norm: 1.0 }
}

/// K = 4096, batches of 64, a long run.
fn monitor() -> Monitor {
    let mut config = Config::default();
    (config.head.out_dim, config.run.batch, config.run.epochs) = (4096, 64, 100);
    config.optim.warmup_epochs = 1.0;
    Monitor::new(&config, 100)
}

#[test]
fn a_sign_has_to_last_and_is_told_once() {
    let ln_k = 4096f64.ln();
    let uniform = Pulse { loss: ln_k, targets: targets(0.999 * ln_k, 3.5), ..pulse() };
    let mut monitor = monitor();
    let mut told = Vec::new();
    for step in 0..1000 {
        // Interrupted once, after 150 steps of it.
        let now = if step == 250 { pulse() } else { uniform };
        told.extend(monitor.look(step, &now).into_iter().map(|(finding, _)| (step, finding)));
    }
    assert_eq!(told, [(451, Finding::UniformCollapse)]);
}

#[test]
fn each_sign_has_its_name_and_healthy_figures_have_none() {
    let cases = [
        (Pulse { targets: targets(0.1, 0.3), loss: 0.4, ..pulse() }, Some(Finding::OnePrototypeCollapse)),
        (Pulse { loss: 2.0001, ..pulse() }, Some(Finding::NothingLeft)),
        (Pulse { grad_norm: 0.0, ..pulse() }, Some(Finding::NotLearning)),
        (pulse(), None),
        // A network that has just begun: at ln K, but the teacher tells images apart.
        (Pulse { loss: 8.32, targets: targets(7.9, 4.8), grad_norm: 0.3 }, None),
    ];
    for (pulse, expected) in cases {
        let mut monitor = monitor();
        let found: Vec<Finding> =
            (100..400).step_by(10).flat_map(|step| monitor.look(step, &pulse)).map(|(finding, _)| finding).collect();
        assert_eq!(found, Vec::from_iter(expected), "{pulse:?}");
    }
}

#[test]
fn swings_count_and_a_rise_and_a_fall_do_not() {
    let ln_k = 4096f64.ln();
    let found = |curve: &[f64]| {
        let mut monitor = monitor();
        let look = |(step, share): (usize, &f64)| {
            monitor.look(step, &Pulse { targets: targets(share * ln_k, 3.5), ..pulse() })
        };
        curve.iter().enumerate().flat_map(look).map(|(finding, _)| finding).collect::<Vec<_>>()
    };
    // From ln K down, up with the temperature, and down again.
    let healthy: Vec<f64> = (0..600).map(|step| 0.55 + 0.4 * (step as f64 / 130.0).cos()).collect();
    assert_eq!(found(&healthy), []);
    let swinging: Vec<f64> = (0..600).map(|step| 0.5 + 0.4 * (step as f64 / 30.0).cos()).collect();
    assert_eq!(found(&swinging), [Finding::Unstable]);
}

#[test]
fn features_of_few_directions_are_a_collapse_only_where_nothing_is_left_to_learn() {
    let found = |kl: f64, ranks: &[f64]| {
        let mut monitor = monitor();
        monitor.look(0, &Pulse { targets: targets(pulse().loss - kl, 3.5), ..pulse() });
        let sight = |rank: &f64| Sighting { rank: Some(*rank), feature_std: Some(0.01), knn_top1: None };
        let looks = ranks.iter().enumerate().flat_map(|(step, rank)| monitor.look_at_features(step, sight(rank)));
        looks.map(|(finding, _)| finding).collect::<Vec<_>>()
    };
    assert_eq!(found(0.01, &[10.4, 2.4]), [Finding::DimensionalCollapse]);
    // The demo's first epochs.
    assert_eq!(found(3.0, &[10.4, 2.4, 3.3, 4.8]), []);
}

#[test]
fn without_probabilities_the_rank_tells_and_labels_may_say_otherwise() {
    let found = |sights: &[(f64, Option<f64>)]| {
        let method = MethodConfig { name: MethodName::Simclr, ..MethodConfig::default() };
        let mut monitor = Monitor::new(&Config { method, ..Config::default() }, 100);
        let looks = sights.iter().enumerate().flat_map(|(step, (rank, knn_top1))| {
            monitor.look_at_features(step, Sighting { rank: Some(*rank), feature_std: Some(0.01), knn_top1: *knn_top1 })
        });
        looks.map(|(finding, _)| finding).collect::<Vec<_>>()
    };
    assert_eq!(found(&[(60.0, None), (2.0, None)]), [Finding::DimensionalCollapse]);
    assert_eq!(found(&[(60.0, Some(25.0)), (2.0, Some(24.0))]), [Finding::DimensionalCollapse]);
    assert_eq!(found(&[(60.0, Some(25.0)), (2.0, Some(31.0))]), [], "they separate classes better than before");
    assert_eq!(found(&[(60.0, None), (25.0, None)]), [], "fewer, but not few");
}

#[test]
fn a_step_that_is_not_finite_is_kept_and_can_be_seen_again() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    make_images(&data, 8);
    let ruin = ["--set", "optim.lr=1e30", "--set", "optim.warmup_epochs=0", "--set", "run.checkpoint_every_steps=1000"];
    run(pretrain(&data, &out, &ruin)).expect(1).saying(&["not", "nothing was updated", "dinoxide replay"]);
    let kept: Vec<_> = std::fs::read_dir(out.join("debug")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [step] = &kept[..] else { panic!("one step is kept: {kept:?}") };
    let replay = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_dinoxide"));
        command.arg("replay").arg(step).args(more);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let json: serde_json::Value = serde_json::from_str(&replay(&["--json"])).unwrap();
    assert_eq!(json["fails_again"], json["failed"]["error"], "the same step fails the same way");
    assert_eq!(json["failed"]["images"].as_array().unwrap().len(), 4);
    assert!(json["values"].as_array().unwrap().iter().any(|tensor| tensor["not_finite"] != 0), "{json}");
    assert!(replay(&[]).contains("not finite"));
    let other = std::process::Command::new(env!("CARGO_BIN_EXE_dinoxide")).arg("replay").arg(&out).output().unwrap();
    assert_eq!(other.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&other.stderr).contains("debug/step-120"));
}
