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
