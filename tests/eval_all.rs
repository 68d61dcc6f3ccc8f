//! `eval all` on a tiny network: what is run, what is not run again, what stands in the tables, what is said of wrong suites.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed preparation is a failed test")]

mod untrained;

use std::path::Path;
use std::process::{Command, Output};

use image::{GrayImage, Luma, Rgb, RgbImage};
use serde_json::Value;

fn write_data(place: &Path) {
    for (class, red) in [("apple", 200), ("pear", 20)] {
        for half in ["train", "val"] {
            let folder = place.join("photos").join(half).join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for number in 0..4_u8 {
                let colour = |x: u32, y: u32| Rgb([red, (x * 7) as u8 ^ number, (y * 5) as u8]);
                RgbImage::from_fn(32, 32, colour).save(folder.join(format!("{number}.png"))).unwrap();
            }
        }
    }
    for folder in ["masks", "images"] {
        std::fs::create_dir_all(place.join("objects").join(folder)).unwrap();
    }
    let inside = |x: u32, y: u32| (8..20).contains(&x) && (8..20).contains(&y);
    let level = |x: u32, y: u32| if inside(x, y) { 255 } else { 0 };
    GrayImage::from_fn(32, 32, |x, y| Luma([level(x, y)])).save(place.join("objects/masks/a.png")).unwrap();
    RgbImage::from_fn(32, 32, |x, y| Rgb([level(x, y), 60, 30])).save(place.join("objects/images/a.png")).unwrap();
}

const SUITE: &str = r#"
[throughput]
batch = 2
steps = 1

[[eval]]
protocol = "knn"
data = "photos"
k = [1, 3]

[[eval]]
protocol = "knn"
name = "knn-student"
data = "photos"
network = "student"
k = 3

[[eval]]
protocol = "copy"
data = "nowhere"

[[eval]]
protocol = "segmentation"
data = "objects"
image-size = 32
"#;

/// Runs the program where the data lie.
fn eval_all(place: &Path, suite: &str, more: &[&str]) -> Output {
    std::fs::write(place.join("suite.toml"), suite).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    command.current_dir(place).args(["eval", "all", "run-32", "--suite", "suite.toml", "-o", "out"]);
    command.args(more).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_suite_is_run_once_and_what_fails_stops_nothing() {
    let place = tempfile::tempdir().unwrap();
    write_data(place.path());
    untrained::run_folder(place.path(), 32);

    let output = eval_all(place.path(), SUITE, &["--json"]);

    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 of 5 evaluations failed: run-32/copy"), "{}", stderr(&output));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let out = place.path().join("out");
    let stored: Value = serde_json::from_slice(&std::fs::read(out.join("comparison.json")).unwrap()).unwrap();
    assert_eq!(stored["models"], printed["models"]);
    let model = &stored["models"][0];
    let evaluation = |name: &str| {
        let all = model["evaluations"].as_array().unwrap();
        all.iter().find(|evaluation| evaluation["name"] == name).unwrap().clone()
    };
    assert!(model["network"].as_str().unwrap().starts_with("vit"), "{model}");
    let results: Value = serde_json::from_slice(&std::fs::read(out.join("run-32/knn/results.json")).unwrap()).unwrap();
    let figure = &evaluation("knn")["figures"][0];
    assert_eq!(figure["role"], "main");
    let k = figure["name"].as_str().unwrap().trim_start_matches("top-1, k = ").to_owned();
    assert_eq!(figure["value"], results["top1"][&k]);
    assert_eq!(evaluation("knn-student")["error"], Value::Null);
    assert_eq!(evaluation("segmentation")["published"][2]["value"], 45.9);
    assert!(evaluation("copy")["error"].as_str().unwrap().contains("nowhere"), "{}", evaluation("copy"));
    assert!(model["throughput"]["images_per_second"].as_f64().unwrap() > 0.0);
    assert_eq!((&model["throughput"]["batch"], &model["throughput"]["image_size"]), (&2.into(), &"32x32".into()));
    let table = std::fs::read_to_string(out.join("comparison.csv")).unwrap();
    assert!(table.starts_with("model,network,evaluation,protocol,figure,value,unit,error\n"), "{table}");
    assert!(table.contains("run-32,") && table.contains(",throughput,"), "{table}");
    let page = std::fs::read_to_string(out.join("comparison.html")).unwrap();
    for words in ["knn-student", "DINO ViT-S/16 (paper)", "failed", "images/s"] {
        assert!(page.contains(words), "no `{words}` on the page");
    }
    for elsewhere in ["<script", "src=\"http", "href="] {
        assert!(!page.contains(elsewhere), "the page needs nothing else");
    }

    // Again: only what failed is tried, and what changed.
    std::fs::create_dir(place.path().join("nowhere")).unwrap();
    let changed = SUITE.replace("k = 3", "k = 2");
    let said = stderr(&eval_all(place.path(), &changed, &[]));
    let finished: Vec<&str> = said.lines().filter(|line| line.ends_with("finished before")).collect();
    assert_eq!(
        finished,
        [
            "[1/5] run-32: knn: finished before",
            "[4/5] run-32: segmentation: finished before",
            "[5/5] run-32: throughput: finished before"
        ]
    );
    // Other weights are another model.
    let weights = place.path().join("run-32/checkpoints/last/teacher.safetensors");
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options().append(true).open(&weights).unwrap().set_modified(later).unwrap();
    assert!(!stderr(&eval_all(place.path(), &changed, &[])).contains("finished before"));
}

#[test]
fn a_suite_that_is_not_understood_runs_nothing() {
    let place = tempfile::tempdir().unwrap();
    write_data(place.path());
    untrained::run_folder(place.path(), 32);
    let knn = "[[eval]]\nprotocol = \"knn\"\ndata = \"photos\"\n";
    let cases = [
        (String::new(), "names no evaluation"),
        ("eval = 3".to_owned(), "write `[[eval]]`"),
        ("[[eval]]\ndata = \"photos\"".to_owned(), "no `protocol"),
        ("[[eval]]\nprotocol = \"kn\"".to_owned(), "there is no protocol `kn`"),
        (format!("{knn}temprature = 0.1"), "did you mean `temperature`"),
        (format!("{knn}temperature = \"warm\""), "warm"),
        (format!("{knn}reference_exact = \"yes\""), "write true or false"),
        (format!("{knn}name = \"a\"\n{knn}name = \"a\""), "two evaluations are named `a`"),
        (format!("{knn}name = \"../a\""), "cannot be the name of a folder"),
        (format!("{knn}out = \"elsewhere\""), "no option `out`"),
        ("[[eval]]\nprotocol = \"knn\"\ntrain = \"photos/train\"".to_owned(), "--val"),
        (format!("[throughput]\nbatch = 0\n{knn}"), "throughput"),
        (format!("models = 3\n{knn}"), "unknown key `models`"),
        ("[[eval]".to_owned(), "suite.toml"),
    ];
    for (suite, words) in cases {
        let output = eval_all(place.path(), &suite, &[]);
        assert!(!output.status.success());
        assert!(stderr(&output).contains(words), "{suite}: {}", stderr(&output));
        assert!(!place.path().join("out").exists(), "{suite}");
    }
}
