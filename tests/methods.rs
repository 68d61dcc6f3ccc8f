//! The methods that DINO is compared with, by the same commands: trained, stopped and resumed, used, exported.
#![cfg(unix)]

mod running;

use std::path::Path;
use std::process::Command;

use running::{Outcome, Running, TINY, make_images, pretrain, run};

/// The methods and options that keep them small.
const METHODS: [(&str, &[&str]); 12] = [
    ("ibot", &["views.local.count=1", "method.mask_ratio=[0.3,0.8]"]),
    ("dinov2", &["views.local.count=1", "method.patch_out_dim=8", "dino.centering=sinkhorn_knopp"]),
    ("byol", &["method.hidden_dim=32", "method.out_dim=16", "views.local.count=1"]),
    ("simclr", &["method.hidden_dim=32", "method.out_dim=16", "views.local.count=0"]),
    ("mocov2", &["method.hidden_dim=32", "method.out_dim=16", "method.queue=10", "views.local.count=0"]),
    ("mocov3", &["method.hidden_dim=32", "method.out_dim=16", "views.local.count=0"]),
    (
        "swav",
        &[
            "method.hidden_dim=32",
            "method.out_dim=16",
            "method.prototypes=12",
            "method.queue=8",
            "method.queue_from_epoch=1",
            "method.freeze_prototypes_steps=1",
            "views.local.count=2",
        ],
    ),
    (
        "deepcluster_v2",
        &["method.hidden_dim=32", "method.out_dim=16", "method.prototypes=5", "method.heads=2", "views.local.count=2"],
    ),
    ("infomin", &["method.hidden_dim=32", "method.out_dim=16", "method.queue=10", "views.local.count=0"]),
    ("obow", &["method.hidden_dim=32", "method.queue=20", "views.local.count=1"]),
    ("barlow_twins", &["method.out_dim=16", "views.local.count=0"]),
    ("supervised", &["views.local.count=0", "views.global.count=2"]),
];

/// Whether a method has DINO's head and sections.
fn has_dino_head(method: &str) -> bool {
    matches!(method, "ibot" | "dinov2")
}

/// `dinoxide pretrain` of a method on a tiny ViT.
fn pretrain_by(method: &str, options: &[&str], data: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    command.arg("pretrain").arg(data).arg("-o").arg(out).args(["--method", method]);
    let others = |value: &&&str| {
        (has_dino_head(method) || !value.starts_with("head.")) && !value.starts_with("views.local.count")
    };
    for value in TINY.iter().filter(others).chain(options) {
        command.args(["--set", value]);
    }
    command
}

#[test]
fn every_method_is_trained_resumed_and_used() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    make_images(&data, 4);
    for (method, options) in METHODS {
        let [whole, parts] = ["whole", "parts"].map(|name| place.path().join(format!("{method}-{name}")));
        run(pretrain_by(method, options, &data, &whole)).expect(0);
        let mut stopped = Running::start(pretrain_by(method, options, &data, &parts));
        stopped.wait_for_step(&parts, 3);
        stopped.signal("INT");
        stopped.end();
        run(pretrain_by(method, options, &data, &parts)).expect(0);
        Outcome::of(&parts).assert_same(&Outcome::of(&whole), method);

        let rows = std::fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
        let probabilities = method == "swav" || has_dino_head(method);
        assert_eq!(rows.contains("\"entropy\""), probabilities, "{method}: only assignments are probabilities");
        assert_eq!(rows.contains("\"loss_patches\""), has_dino_head(method), "{method}: masked patches");
        assert_eq!(rows.contains("\"loss_koleo\""), method == "dinov2", "{method}: KoLeo");
        assert!(std::fs::read_to_string(whole.join("config.toml")).unwrap().contains("[method]"));
        let config = std::fs::read_to_string(whole.join("config.toml")).unwrap();
        assert_eq!(config.contains("[dino]"), has_dino_head(method), "{method}: options of DINO");
        let dinoxide = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
            command.arg(arguments[0]).arg(&whole).args(&arguments[1..]);
            run(command)
        };
        let out = |name: &str| place.path().join(format!("{method}-{name}")).display().to_string();
        dinoxide(&["embed", &data.display().to_string(), "-o", &out("features.npz")]).expect(0);
        dinoxide(&["export", "-o", &out("backbone.safetensors")]).expect(0);
        let names = |file: &str| {
            let bytes = std::fs::read(out(file)).unwrap();
            String::from_utf8_lossy(&bytes[8..bytes.len().min(1 << 16)]).into_owned()
        };
        // Other programs have no mask token in a ViT of DINO.
        assert_eq!(names("backbone.safetensors").contains("mask_token"), has_dino_head(method), "{method}");
        dinoxide(&["export", "--to", "hf", "-o", &out("hf")]).expect(0);
        assert!(!names("hf/model.safetensors").contains("mask_token"), "{method}");
        // The official program reads DINO's state alone.
        dinoxide(&["export", "--what", "full", "-o", &out("full.pth")]).expect(1).saying(&["--what backbone"]);
    }
}

/// DINO taken apart, options that do not need each other.
const ABLATIONS: [&[&str]; 3] = [
    &["dino.teacher=previous_step", "dino.loss=mse"],
    &["dino.teacher=previous_epoch", "dino.predictor=true", "dino.centering=softmax_batch"],
    &["dino.teacher=student", "dino.centering=none"],
];

#[test]
fn dino_taken_apart_is_trained_and_resumed() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    make_images(&data, 6);
    for (number, values) in ABLATIONS.iter().enumerate() {
        let [whole, parts] = ["whole", "parts"].map(|name| place.path().join(format!("{number}-{name}")));
        let sets: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
        run(pretrain(&data, &whole, &sets)).expect(0);
        let mut stopped = Running::start(pretrain(&data, &parts, &sets));
        stopped.wait_for_step(&parts, 3);
        stopped.signal("INT");
        stopped.end();
        run(pretrain(&data, &parts, &sets)).expect(0);
        Outcome::of(&parts).assert_same(&Outcome::of(&whole), values[0]);
        let rows = std::fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
        assert_eq!(rows.contains("\"entropy\""), number > 0, "{values:?}: of squared distances there is no entropy");
    }
    let both = ["--set", "dino.loss=mse", "--set", "dino.centering=softmax_batch"];
    run(pretrain(&data, &place.path().join("both"), &both)).expect(2).saying(&["dino.centering", "nothing to balance"]);
}

#[test]
fn micro_batches_of_methods_that_compare_images_are_warned_of() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    make_images(&data, 4);
    let out = place.path().join("run");
    let options = METHODS.iter().find(|(name, _)| *name == "simclr").unwrap().1;
    let mut command = pretrain_by("simclr", options, &data, &out);
    command.args(["--set", "run.micro_batch=2", "--set", "run.epochs=1"]);
    run(command).expect(0).saying(&["compares the images of a micro-batch"]);
}
