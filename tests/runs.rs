//! `dinoxide runs`: what scripts rely on.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::path::Path;
use std::process::{Command, Output};

use running::{Running, make_images, pretrain, run};
use serde_json::Value;

fn runs(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dinoxide")).current_dir(folder).arg("runs").args(arguments).output().unwrap()
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = runs(folder, &[arguments, &["--json"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn runs_are_listed_shown_and_compared() {
    let root = tempfile::tempdir().unwrap();
    let (folder, data) = (root.path(), root.path().join("data"));
    let refused = runs(folder, &["ls", "."]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("no run in `.`"));
    make_images(&data, 8);
    let place = |name: &str| folder.join("runs").join(name);
    run(pretrain(&data, &place("plain"), &[])).expect(0);
    let labelled = data.display().to_string();
    run(pretrain(&data, &place("judged"), &["--val", &labelled, "--set", "optim.lr=0.002"])).expect(0);
    // A run that is killed: its status still says that it runs.
    let mut killed = Running::start(pretrain(&data, &place("killed"), &["--set", "run.epochs=500"]));
    killed.wait_for_step(&place("killed"), 3);
    let listed = json(folder, &["ls"]);
    let of = |name: &str| listed.as_array().unwrap().iter().find(|run| run["path"] == format!("runs/{name}")).unwrap();
    assert_eq!((listed.as_array().unwrap().len(), &of("killed")["state"]), (3, &Value::from("running")));
    killed.signal("KILL");
    drop(killed.end());
    let listed = json(folder, &["ls"]);
    let of = |name: &str| listed.as_array().unwrap().iter().find(|run| run["path"] == format!("runs/{name}")).unwrap();
    assert_eq!(of("killed")["state"], "failed");
    assert_eq!((&of("plain")["state"], &of("plain")["step"]), (&Value::from("finished"), &Value::from(12)));
    assert_eq!((&of("plain")["knn_top1"], of("plain")["loss"].is_f64()), (&Value::Null, true));
    assert_eq!(json(folder, &["best"])["path"], "runs/judged");
    assert!(json(folder, &["show", "runs/judged"])["best_knn_top1"].as_f64().unwrap() > 0.0);
    let text = |arguments: &[&str]| String::from_utf8(runs(folder, arguments).stdout).unwrap();
    assert!(text(&["ls"]).lines().any(|line| line.contains("runs/plain") && line.contains("12/12")));
    assert!(text(&["show", "runs/plain"]).contains("not evaluated"));
    let differences = json(folder, &["diff", "runs/plain", "runs/judged"]);
    let keys: Vec<&str> = differences.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["data.val", "optim.lr"]);
    assert_eq!(text(&["diff", "runs/plain", "runs/plain"]).trim(), "no differences");
    assert!(!runs(folder, &["show", "data"]).status.success());
}

#[test]
fn runs_are_compared_on_a_page_and_told_as_csv() {
    let root = tempfile::tempdir().unwrap();
    let (folder, data) = (root.path(), root.path().join("data"));
    make_images(&data, 8);
    run(pretrain(&data, &folder.join("a"), &[])).expect(0);
    run(pretrain(&data, &folder.join("b"), &["--set", "optim.lr=0.002", "--set", "head.out_dim=128"])).expect(0);
    let report = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
        command.current_dir(folder).arg("report").args(arguments).output().unwrap()
    };
    let output = report(&["a", "b", "-o", "both", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["differences"]["optim.lr"][1], "0.002");
    let page = std::fs::read_to_string(folder.join("both/report.html")).unwrap();
    for part in ["a · b", "ln 64 = 4.16", "ln 128 = 4.85", "optim.lr", "Teacher entropy"] {
        assert!(page.contains(part), "`{part}` is missing");
    }
    assert!(std::fs::read_to_string(folder.join("both/entropy.svg")).unwrap().contains("<svg"));
    assert!(!folder.join("both/knn.svg").exists(), "no run has k-NN");
    let refused = report(&["a", "data"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("no run in `data`"));
    assert!(String::from_utf8_lossy(&report(&["a"; 7]).stderr).contains("one to 6"));

    let text = String::from_utf8(runs(folder, &["csv", "a"]).stdout).unwrap();
    let mut lines = csv::Reader::from_reader(text.as_bytes());
    let header = lines.headers().unwrap().clone();
    assert_eq!(&header.iter().take(3).collect::<Vec<_>>(), &["step", "epoch", "eval"]);
    let loss = header.iter().position(|name| name == "loss").unwrap();
    let rows: Vec<csv::StringRecord> = lines.records().map(Result::unwrap).collect();
    let steps: Vec<&csv::StringRecord> = rows.iter().filter(|row| &row[2] != "true").collect();
    assert_eq!(steps.len(), 12);
    assert!(steps.iter().all(|row| row[loss].parse::<f64>().is_ok()));
}

#[test]
fn every_process_of_a_run_leaves_an_event_file_and_overwriting_removes_them() {
    let root = tempfile::tempdir().unwrap();
    let (out, data) = (root.path().join("run"), root.path().join("data"));
    make_images(&data, 8);
    let events = || {
        let entries = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.file_name().unwrap().to_string_lossy().contains("tfevents")).collect::<Vec<_>>()
    };
    run(pretrain(&data, &out, &[])).expect(0);
    let [file] = &events()[..] else { panic!("one event file: {:?}", events()) };
    let bytes = std::fs::read(file).unwrap();
    // Records follow each other without a gap: length, its checksum, data, their checksum.
    let (mut at, mut records) = (0, 0);
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        at += 8 + 4 + length + 4;
        records += 1;
    }
    assert_eq!(at, bytes.len());
    // The version, the start, twelve steps, and evaluations at the start and after each of three epochs with four pictures each.
    assert_eq!(records, 2 + 12 + 4 * 5);
    run(pretrain(&data, &out, &["--overwrite", "--set", "log.tensorboard=false"])).expect(0);
    assert_eq!(events(), Vec::<std::path::PathBuf>::new());
}
