//! Collapses that really happen are named, with what to do; healthy figures are left alone.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::path::Path;

use dinoxide::config::Config;
use dinoxide::run::health::{Finding, Monitor, Pulse};
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
        "dino.centering=centering",
        "dino.center_momentum=0.9999999",
        "dino.teacher_temp=[0.005, 0.005]",
        "run.epochs=90",
        "optim.lr=0.05",
        "optim.warmup_epochs=1",
    ];
    trained(folder.path(), &values).expect(0).saying(&["one-prototype collapse", "sinkhorn_knopp"]);
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

fn pulse() -> Pulse {
    Pulse { loss: 3.0, entropy: 2.0, kl: 1.0, batch_entropy: 3.5, grad_norm: 1.0 }
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
    let uniform = Pulse { loss: ln_k, entropy: 0.999 * ln_k, kl: 0.001 * ln_k, ..pulse() };
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
        (Pulse { batch_entropy: 0.3, entropy: 0.1, loss: 0.4, ..pulse() }, Some(Finding::OnePrototypeCollapse)),
        (Pulse { kl: 1e-4, loss: 2.0, ..pulse() }, Some(Finding::NothingLeft)),
        (Pulse { grad_norm: 0.0, ..pulse() }, Some(Finding::NotLearning)),
        (pulse(), None),
        // A network that has just begun: at ln K, but the teacher tells images apart.
        (Pulse { loss: 8.32, entropy: 7.9, kl: 0.42, batch_entropy: 4.8, grad_norm: 0.3 }, None),
    ];
    for (pulse, expected) in cases {
        let mut monitor = monitor();
        let found: Vec<Finding> =
            (100..400).step_by(10).flat_map(|step| monitor.look(step, &pulse)).map(|(finding, _)| finding).collect();
        assert_eq!(found, Vec::from_iter(expected), "{pulse:?}");
    }
}
