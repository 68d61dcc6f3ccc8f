//! `dinoxide eval finetune` and `pretrain --method supervised`: results, interruption, bad input, and on real images
//! (`DINOXIDE_DATA`) a few steps that learn.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;
mod untrained;

use std::path::{Path, PathBuf};
use std::process::Command;

use dinoxide::checkpoint::Section;
use dinoxide::checkpoint::read_any;
use dinoxide::run::input::Network;
use dinoxide::run::model::Model;
use image::RgbImage;
use running::{Running, run};
use serde_json::Value;
use untrained::{WIDTH, run_folder};

/// A short course on a single thread.
const SHORT: [&str; 12] = [
    "--epochs=3",
    "--batch=4",
    "--set=run.threads=1",
    "--set=run.checkpoint_every_steps=1",
    "--set=log.every_steps=1",
    "--set=data.workers=1",
    "--set=data.cache_mb=0",
    "--mixup=0.8",
    "--cutmix=1",
    "--erase=0.25",
    "--rand-augment=rand-m9-mstd0.5-inc1",
    "--lr=0.02",
];

/// Stripes of a colour and a width that depend on the class, shifted from image to image.
fn picture(path: &Path, class: u32, number: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_fn(40 + number, 36, |x, y| {
        let on = ((x + number) / (2 + 3 * class) + y / 5).is_multiple_of(2);
        image::Rgb(if on { [250 - 60 * class as u8, 40, 30 + 70 * class as u8] } else { [20, 90, 60] })
    });
    image.save(path).unwrap();
}

/// A folder with a sub-folder for each of these classes.
fn labelled(place: &Path, name: &str, classes: &[&str], per_class: u32) -> PathBuf {
    for (class, class_name) in classes.iter().enumerate() {
        for number in 0..per_class {
            picture(&place.join(name).join(class_name).join(format!("{number}.png")), class as u32, number);
        }
    }
    place.join(name)
}

const CLASSES: [&str; 3] = ["ant", "bee", "cow"];

/// A model, training and validation images in a new folder.
struct Place {
    folder: tempfile::TempDir,
    model: PathBuf,
    train: PathBuf,
    val: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = run_folder(folder.path(), 32);
        let train = labelled(folder.path(), "train", &CLASSES, 6);
        let val = labelled(folder.path(), "val", &CLASSES, 3);
        Self { folder, model, train, val }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `dinoxide eval finetune` of these images.
    fn finetune(&self, train: &Path, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
        command.args(["eval", "finetune"]).arg(&self.model).arg("--train").arg(train).arg("--val").arg(&self.val);
        command.arg("-o").arg(self.path(out)).args(more);
        command
    }

    fn results(&self, out: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(out).join("results.json")).unwrap()).unwrap()
    }
}

/// Runs a command that cannot do what it is asked: 1 for data, 2 for options.
fn refused(command: Command, parts: &[&str]) {
    let said = run(command);
    let code = said.code.filter(|code| [1, 2].contains(code)).unwrap_or(1);
    said.expect(code).saying(parts);
}

#[test]
fn results_curves_and_a_network_that_other_commands_read() {
    let place = Place::new();
    run(place.finetune(&place.train, "out", &SHORT)).expect(0).saying(&["started from", "the head starts anew"]);
    let results = place.results("out");
    assert_eq!(results["protocol"], "finetune");
    assert_eq!((&results["train"], &results["val"], &results["classes"]), (&18.into(), &9.into(), &3.into()));
    let epochs = results["epochs"].as_array().unwrap();
    assert_eq!(epochs.iter().map(|at| at["epoch"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1, 2, 3]);
    // The figure is that of the last epoch, computed anew from the network that is kept.
    assert_eq!(epochs[3]["top1"], results["top1"]);
    assert_eq!(results["top5"], 100.0, "three classes are among five");
    assert!((epochs[3]["loss"].as_f64().unwrap() - results["loss"].as_f64().unwrap()).abs() < 1e-9);
    let deviations = results["deviations"].to_string();
    assert!(deviations.contains("batches of 4, 3 epochs") && deviations.contains("0.75 times"), "{deviations}");
    assert!(results["published"].to_string().contains("table 6"));
    for file in ["epochs.csv", "accuracy.svg", "classes.csv", "confusion.png", "tuned.safetensors", "run/config.toml"] {
        assert!(place.path("out").join(file).exists(), "{file}");
    }

    let weights = place.path("out").join("tuned.safetensors");
    let mut file = read_any(&weights).unwrap();
    assert_eq!(file.texts()["classes"], r#"["ant","bee","cow"]"#);
    let tensors = file.network(Section::Teacher).unwrap().tensors;
    let shape = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.shape.clone());
    assert_eq!((shape("head.weight"), shape("head.bias")), (Some(vec![3, WIDTH]), Some(vec![3])));
    let (tuned, before) =
        (Model::load(&weights, Network::Teacher).unwrap(), Model::load(&place.model, Network::Teacher).unwrap());
    assert_eq!(tuned.params.values().len(), before.params.values().len());
    assert_ne!(tuned.params.values(), before.params.values());

    // The finished run is not trained again.
    run(place.finetune(&place.train, "out", &SHORT)).expect(0);
    assert_eq!(place.results("out")["top1"], results["top1"]);
    assert_eq!(place.results("out")["loss"], results["loss"]);
}

#[test]
fn an_interrupted_course_goes_on_to_the_same_bits() {
    let place = Place::new();
    run(place.finetune(&place.train, "whole", &SHORT)).expect(0);
    let mut cut = Running::start(place.finetune(&place.train, "cut", &SHORT));
    cut.wait_for_step(&place.path("cut/run"), 5);
    cut.signal("INT");
    let said = cut.end();
    if said.code == Some(130) {
        said.saying(&["the same command goes on"]);
        assert!(!place.path("cut/results.json").exists());
    }
    run(place.finetune(&place.train, "cut", &SHORT)).expect(0);
    let file = |out: &str| std::fs::read(place.path(out).join("tuned.safetensors")).unwrap();
    assert!(file("whole") == file("cut"), "the tuned networks differ");
    assert_eq!(place.results("whole")["epochs"], place.results("cut")["epochs"]);
}

#[test]
fn from_scratch_has_the_network_without_its_weights_and_an_average_is_kept() {
    let place = Place::new();
    let more = [&SHORT[..], &["--from-scratch", "--ema=0.9"]].concat();
    let said = run(place.finetune(&place.train, "out", &more)).expect(0);
    assert!(!said.text.contains("started from"), "{}", said.text);
    let config = std::fs::read_to_string(place.path("out/run/config.toml")).unwrap();
    assert!(config.contains("embed_dim = 24") && config.contains("momentum = [0.9, 0.9]"), "{config}");
    assert!(config.contains("layer_decay = 1.0"), "{config}");
    let last = place.path("out/run/checkpoints/last");
    let [student, teacher] =
        ["student", "teacher"].map(|part| std::fs::read(last.join(format!("{part}.safetensors"))).unwrap());
    assert!(student != teacher, "the average lags behind");
}

#[test]
fn bad_input_is_named() {
    let place = Place::new();
    let refuse = |train: &Path, more: &[&str], parts: &[&str]| {
        // Without those that are given here.
        refused(place.finetune(train, "refused", &[&SHORT[..7], more].concat()), parts);
    };
    let flat = place.path("flat");
    picture(&flat.join("0.png"), 0, 0);
    picture(&flat.join("1.png"), 1, 1);
    refuse(&flat, &[], &["flat", "sub-folder"]);
    let alone = labelled(place.folder.path(), "alone", &["ant"], 4);
    refuse(&alone, &[], &["alone", "`ant`", "needs two"]);
    let two = labelled(place.folder.path(), "two", &["ant", "bee"], 4);
    refuse(&two, &[], &["cow"]);
    refuse(&place.path("nowhere"), &[], &["nowhere"]);
    refuse(&place.train, &["--label-smoothing=1.5"], &["--label-smoothing", "1.5", "below 1"]);
    refuse(&place.train, &["--rand-augment=rand-m9"], &["rand-m9", "inc1"]);
    refuse(&place.train, &["--set=method.classes=7"], &["method.classes", "7", "3"]);
    refuse(&place.train, &["--image-size=32x48"], &["--image-size", "one number"]);
    refuse(&place.train, &["--network=student"], &["--network", "teacher"]);
    refuse(&place.train, &["--mixup=-1"], &["--mixup", "0 or more"]);
    // A batch that is larger than the data is as large as the data, and that is said.
    let larger = [&SHORT[..1], &SHORT[2..], &["--batch=500"]].concat();
    run(place.finetune(&place.train, "larger", &larger))
        .expect(0)
        .saying(&["there are only 18 images, fewer than a batch of 500"]);
    assert_eq!(place.results("larger")["batch"], 18);
}

#[test]
fn a_class_folder_without_images_is_no_class() {
    let place = Place::new();
    std::fs::create_dir(place.train.join("aardvark")).unwrap();
    run(place.finetune(&place.train, "out", &SHORT)).expect(0);
    assert_eq!(place.results("out")["classes"], 3);
}

#[test]
fn the_supervised_method_pretrains_and_other_methods_do_not_mix() {
    let place = Place::new();
    let pretrain = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
        command.arg("pretrain").arg(&place.train).arg("-o").arg(place.path("run")).args(more);
        for value in
            ["model.embed_dim=24", "model.depth=2", "model.num_heads=2", "run.batch=6", "run.epochs=2", "run.threads=1"]
        {
            command.args(["--set", value]);
        }
        command
    };
    refused(pretrain(&["--set", "views.mixup=0.8"]), &["views.mixup", "supervised"]);
    let val = place.val.display().to_string();
    let more =
        ["--method", "supervised", "--val", &val, "--set", "views.global.count=2", "--set", "eval.every_epochs=1"];
    run(pretrain(&more)).expect(0).saying(&["top-1", "supervised"]);
    let evaluations: Vec<Value> =
        running::rows(&place.path("run")).into_iter().filter(|row| row.get("eval").is_some()).collect();
    assert_eq!(evaluations.len(), 3);
    assert!(evaluations.iter().all(|row| row["top1"].is_number() && row.get("knn_top1").is_none()), "{evaluations:?}");
    let mut labels = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    labels
        .arg("pretrain")
        .arg(&place.train)
        .arg(&place.val)
        .args(["--method", "supervised", "-o"])
        .arg(place.path("two"));
    refused(labels, &["2 places", "one folder"]);
}

#[test]
fn real_images_are_learnt_in_a_few_steps() {
    let Some(data) = std::env::var_os("DINOXIDE_DATA").map(PathBuf::from) else {
        println!("skipped: DINOXIDE_DATA is not set");
        return;
    };
    let place = Place::new();
    let copy = |split: &str, per_class: usize| {
        for class in ["automobile", "frog", "ship"] {
            let from = data.join("classification/cifar10").join(split).join(class);
            let mut files: Vec<PathBuf> = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let to = place.path("real").join(split).join(class);
            std::fs::create_dir_all(&to).unwrap();
            for file in files.iter().take(per_class) {
                std::fs::copy(file, to.join(file.file_name().unwrap())).unwrap();
            }
        }
        place.path("real").join(split)
    };
    let (train, val) = (copy("train", 100), copy("val", 60));
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    command.args(["eval", "finetune"]).arg(&place.model).arg("--train").arg(&train).arg("--val").arg(&val);
    command.arg("-o").arg(place.path("out")).args([
        "--epochs=12",
        "--batch=30",
        "--lr=0.02",
        "--set=eval.every_epochs=12",
    ]);
    run(command).expect(0);
    let results = place.results("out");
    // Chance is a third, with a standard deviation of 3.5 on 180 images.
    let (before, after) = (results["epochs"][0]["top1"].as_f64().unwrap(), results["top1"].as_f64().unwrap());
    println!("top-1 {before} before, {after} after");
    assert!(after > 48.0, "{before} before, {after} after");
}
