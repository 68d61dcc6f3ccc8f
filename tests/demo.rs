//! The demo and the page of a run, on a few images and a tiny network.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::path::Path;
use std::process::{Command, Output};

/// The tiny network for pictures of 64 pixels.
const TINY: [&str; 10] = [
    "model.embed_dim=24",
    "model.depth=2",
    "model.num_heads=2",
    "views.local.count=2",
    "head.out_dim=64",
    "head.hidden_dim=32",
    "head.bottleneck_dim=16",
    "run.batch=8",
    "run.epochs=1",
    "eval.knn_k=5",
];

fn demo(out: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    command.args(["demo", "--images", "40", "--json", "-o"]).arg(out);
    for value in TINY {
        command.args(["--set", value]);
    }
    command.args(more).output().unwrap()
}

fn page(run: &Path) -> String {
    std::fs::read_to_string(run.join("report.html")).unwrap()
}

/// The side lengths of a picture of a run.
fn picture(run: &Path, name: &str) -> (u32, u32) {
    image::image_dimensions(run.join("pictures").join(name)).unwrap()
}

#[test]
fn demo_ends_with_one_json_object_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("demo");
    let output = demo(&run, &[]);
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    for percent in ["knn_untrained", "knn_pixels", "knn_trained", "chance"] {
        assert!((0.0..=100.0).contains(&report[percent].as_f64().unwrap()), "{percent}: {stdout}");
    }
    for index in
        ["jaccard", "jaccard_untrained", "jaccard_baseline", "jaccard_mean_heads", "jaccard_mean_heads_untrained"]
    {
        assert!((0.0..=1.0).contains(&report[index].as_f64().unwrap()), "{index}: {stdout}");
    }
    assert_eq!(report["chance"], 12.5);
    assert!(report["train_seconds"].as_f64().unwrap() > 0.0);
    assert_eq!(Path::new(report["report"].as_str().unwrap()), run.join("report.html"));
    assert!(stderr.contains("report: "), "{stderr}");

    let html = page(&run);
    // The loss of a collapsed network, the floors of k-NN, the masks, the way on.
    for part in ["ln 64 = 4.16", "untrained", "pixels", "chance", "centred ellipse", "load_file", "embed_dim=24"] {
        assert!(html.contains(part), "`{part}` is missing on the page");
    }
    // Image, mean, two heads, mask, truth; six rows.
    assert_eq!(picture(&run, "attention.png").0, 6 * 134 + 6);
    // Image, two global and two local crops.
    assert_eq!(picture(&run, "augmentations.png").0, 5 * 102 + 6);
    for name in ["loss.svg", "health.svg", "knn.svg", "lr.svg"] {
        assert!(std::fs::read_to_string(run.join("pictures").join(name)).unwrap().starts_with("<svg"), "{name}");
    }
}

#[test]
fn demo_continues_the_demo_of_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("demo");
    assert_eq!(demo(&run, &[]).status.code(), Some(0));
    let rows = running::rows(&run);
    let again = demo(&run, &["--seed", "7", "--set", "run.epochs=9"]);
    let stderr = String::from_utf8(again.stderr).unwrap();
    assert_eq!(again.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("`run.seed` stays 0; 7 is ignored"), "{stderr}");
    assert_eq!(running::rows(&run), rows, "nothing was left to train");
    assert!(page(&run).contains("1 epochs, 5 steps"), "the plan is that of the run");
    let report: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    let logged: f64 = running::json_lines(&run.join("metrics.jsonl"))
        .iter()
        .filter_map(|row| Some(8.0 / row["images_per_second"].as_f64()?))
        .sum();
    let seconds = report["train_seconds"].as_f64().unwrap();
    assert!((seconds - logged).abs() < 1e-9, "the time of the first process counts: {seconds} of {logged}");
}

#[test]
fn mistyped_key_of_the_demo_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(&folder.path().join("demo"), &["--set", "run.epoch=5"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("did you mean `run.epochs`?"));
}

#[test]
fn run_without_labels_gets_a_page_without_knn() {
    let folder = tempfile::tempdir().unwrap();
    let (images, run) = (folder.path().join("images"), folder.path().join("run"));
    running::make_images(&images, 6);
    running::run(running::pretrain(&images, &run, &[])).expect(0).saying(&["report: "]);
    let html = page(&run);
    assert!(html.contains("ln 64 = 4.16") && html.contains("--val DIR"));
    assert!(!html.contains("k-NN accuracy") && !run.join("pictures/knn.svg").exists());
    // Image, mean, two heads, mask.
    assert_eq!(picture(&run, "attention.png").0, 5 * 134 + 6);
    assert!(html.contains("dinoxide pretrain"), "the command is on the page");
}

#[test]
fn interrupted_run_has_a_page_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (images, run) = (folder.path().join("images"), folder.path().join("run"));
    running::make_images(&images, 6);
    let mut process = running::Running::start(running::pretrain(&images, &run, &["--epochs", "10000"]));
    process.wait_for_step(&run, 2);
    process.signal("INT");
    process.end().expect(130).saying(&["resume with: dinoxide pretrain -c"]);
    assert!(page(&run).contains("Interrupted after step"));
}

#[test]
fn network_no_better_than_pixels_is_not_called_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("demo");
    // Learns next to nothing, so that k-NN stays where it was.
    assert_eq!(demo(&run, &["--set", "optim.lr=1e-9"]).status.code(), Some(0));
    let html = page(&run);
    assert!(html.contains("not clearly above all of: untrained") && !html.contains("<strong>Healthy"));
}
