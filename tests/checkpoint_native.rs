//! Our own checkpoints: what is saved comes back, damage is noticed, a kill at any instant loses nothing.
#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

use std::fs;
use std::path::Path;

use dinoxide::checkpoint::atomic::{INCOMING, OUTGOING, replace_dir};
use dinoxide::checkpoint::{LoadedFrom, NamedTensor, Part, Slot, load, load_latest, save};
use serde_json::json;

fn save_step(run_dir: &Path, slot: Slot<'_>, step: u32) {
    let weight = NamedTensor::new("norm.weight", vec![2, 2], vec![step as f32, -0.0, f32::NAN, 1e-42]);
    let moment = NamedTensor::new("norm.weight.exp_avg", vec![3], vec![0.5; 3]);
    let parts = [
        Part { name: "teacher", tensors: vec![weight.as_tensor_ref()] },
        Part { name: "optim", tensors: vec![moment.as_tensor_ref()] },
    ];
    save(run_dir, slot, &parts, &json!({ "step": step, "lr": 0.1 + 0.2 })).unwrap();
}

/// The step and the folder of what is loaded.
fn loaded_step(run_dir: &Path) -> (u64, LoadedFrom) {
    let loaded = load_latest(run_dir).unwrap().unwrap();
    (loaded.state["step"].as_u64().unwrap(), loaded.from)
}

fn move_dir(run_dir: &Path, from: &str, to: &str) {
    fs::rename(run_dir.join(from), run_dir.join(to)).unwrap();
}

#[test]
fn a_run_without_checkpoints_gives_nothing() {
    let run = tempfile::tempdir().unwrap();
    assert!(load_latest(run.path()).unwrap().is_none());
}

#[test]
fn every_bit_comes_back() {
    let run = tempfile::tempdir().unwrap();
    save_step(run.path(), Slot::Last, 7);
    let loaded = load_latest(run.path()).unwrap().unwrap();
    let values = &loaded.parts["teacher"].tensors[0].values;
    let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
    assert_eq!(bits, [7.0_f32, -0.0, f32::NAN, 1e-42].map(f32::to_bits));
    assert_eq!(loaded.parts["optim"].tensors[0].shape, [3]);
    assert_eq!(loaded.state["lr"].as_f64().unwrap().to_bits(), (0.1_f64 + 0.2).to_bits());
    assert_eq!((loaded.from, loaded.warning), (LoadedFrom::Last, None));
}

#[test]
fn the_newest_is_last_and_the_one_before_previous() {
    let run = tempfile::tempdir().unwrap();
    (1..=3).for_each(|step| save_step(run.path(), Slot::Last, step));
    assert_eq!(loaded_step(run.path()), (3, LoadedFrom::Last));
    assert_eq!(load(&run.path().join("previous")).unwrap().state["step"], 2);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 2);
}

#[test]
fn named_checkpoints_stay() {
    let run = tempfile::tempdir().unwrap();
    save_step(run.path(), Slot::Named("epoch-0100"), 1);
    save_step(run.path(), Slot::Named("epoch-0100"), 2);
    save_step(run.path(), Slot::Last, 3);
    assert_eq!(load(&run.path().join("epoch-0100")).unwrap().state["step"], 2);
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 2);
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let run = tempfile::tempdir().unwrap();
    let refused = ["", "..", "../x", "a/b", "last", "previous", "last.incoming"]
        .map(|name| save(run.path(), Slot::Named(name), &[], &json!({})).is_err());
    assert_eq!(refused, [true; 7]);
    let part = Part { name: "../x", tensors: vec![] };
    assert!(save(run.path(), Slot::Last, &[part], &json!({})).is_err());
    assert_eq!(fs::read_dir(run.path()).unwrap().count(), 0);
}

#[test]
fn truncation_of_any_file_at_any_length_is_noticed() {
    let run = tempfile::tempdir().unwrap();
    (1..=2).for_each(|step| save_step(run.path(), Slot::Last, step));
    for entry in fs::read_dir(run.path().join("last")).unwrap() {
        let path = entry.unwrap().path();
        let whole = fs::read(&path).unwrap();
        // The manifest's last byte is a line end that carries nothing.
        let lengths = if path.ends_with("manifest.json") { whole.len() - 1 } else { whole.len() };
        for length in 0..lengths {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(loaded_step(run.path()), (1, LoadedFrom::Previous), "{} at {length}", path.display());
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(loaded_step(run.path()), (2, LoadedFrom::Last));
}

#[test]
fn a_flip_of_any_bit_is_noticed_and_the_file_is_named() {
    let run = tempfile::tempdir().unwrap();
    (1..=2).for_each(|step| save_step(run.path(), Slot::Last, step));
    for entry in fs::read_dir(run.path().join("last")).unwrap() {
        let path = entry.unwrap().path();
        let whole = fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &flipped).unwrap();
            assert_eq!(loaded_step(run.path()), (1, LoadedFrom::Previous), "{} bit {bit}", path.display());
        }
        fs::write(&path, &whole).unwrap();
    }
    let path = run.path().join("last/teacher.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    let warning = load_latest(run.path()).unwrap().unwrap().warning.unwrap();
    assert!(warning.contains("`teacher.safetensors` does not match its sha256 digest"), "{warning}");
    assert!(warning.contains("using") && warning.contains("previous"), "{warning}");
}

#[test]
fn a_missing_file_is_named() {
    let run = tempfile::tempdir().unwrap();
    (1..=2).for_each(|step| save_step(run.path(), Slot::Last, step));
    fs::remove_file(run.path().join("last/optim.safetensors")).unwrap();
    let loaded = load_latest(run.path()).unwrap().unwrap();
    assert!(loaded.warning.unwrap().contains("`optim.safetensors` is missing"));
}

#[test]
fn two_damaged_checkpoints_are_an_error_that_names_both() {
    let run = tempfile::tempdir().unwrap();
    (1..=2).for_each(|step| save_step(run.path(), Slot::Last, step));
    fs::write(run.path().join("last/state.json"), "{}").unwrap();
    fs::remove_file(run.path().join("previous/manifest.json")).unwrap();
    let message = load_latest(run.path()).unwrap_err().to_string();
    assert!(message.contains("`state.json` has 2 bytes"), "{message}");
    assert!(message.contains("`manifest.json` is missing"), "{message}");
}

/// Steps 1 and 2 rotated in, step 3 complete in the incoming folder: where a save stands just before its rotation.
fn before_rotation() -> tempfile::TempDir {
    let run = tempfile::tempdir().unwrap();
    (1..=2).for_each(|step| save_step(run.path(), Slot::Last, step));
    save_step(run.path(), Slot::Named("third"), 3);
    move_dir(run.path(), "third", &format!("last{INCOMING}"));
    run
}

/// Loads and saves on from an interrupted rotation: the expected step is loaded, and the next save leaves order.
fn assert_recovers(run: &Path, expected: (u64, LoadedFrom)) {
    assert_eq!(loaded_step(run), expected);
    save_step(run, Slot::Last, 9);
    assert_eq!(loaded_step(run), (9, LoadedFrom::Last));
    load(&run.join("previous")).unwrap();
    assert_eq!(fs::read_dir(run).unwrap().count(), 2);
}

#[test]
fn a_kill_before_the_rotation_loses_nothing() {
    let run = before_rotation();
    assert_recovers(run.path(), (2, LoadedFrom::Last));
}

#[test]
fn a_kill_while_the_incoming_folder_is_filled_loses_nothing() {
    let run = before_rotation();
    fs::remove_file(run.path().join(format!("last{INCOMING}/manifest.json"))).unwrap();
    assert_recovers(run.path(), (2, LoadedFrom::Last));
}

#[test]
fn a_kill_after_previous_was_moved_aside_loses_nothing() {
    let run = before_rotation();
    move_dir(run.path(), "previous", &format!("previous{OUTGOING}"));
    assert_recovers(run.path(), (2, LoadedFrom::Last));
}

#[test]
fn a_kill_after_last_became_previous_loses_nothing() {
    let run = before_rotation();
    move_dir(run.path(), "previous", &format!("previous{OUTGOING}"));
    move_dir(run.path(), "last", "previous");
    let warning = load_latest(run.path()).unwrap().unwrap().warning.unwrap();
    assert!(warning.contains("is missing"), "{warning}");
    assert_recovers(run.path(), (2, LoadedFrom::Previous));
}

#[test]
fn a_kill_before_the_outgoing_folder_is_removed_loses_nothing() {
    let run = before_rotation();
    move_dir(run.path(), "previous", &format!("previous{OUTGOING}"));
    move_dir(run.path(), "last", "previous");
    move_dir(run.path(), &format!("last{INCOMING}"), "last");
    assert_recovers(run.path(), (3, LoadedFrom::Last));
}

#[test]
fn a_kill_during_the_rotation_of_a_damaged_last_still_leaves_one() {
    let run = before_rotation();
    fs::write(run.path().join("last/state.json"), "{}").unwrap();
    move_dir(run.path(), "previous", &format!("previous{OUTGOING}"));
    assert_eq!(loaded_step(run.path()), (1, LoadedFrom::Previous));
    move_dir(run.path(), "last", "previous");
    assert_eq!(loaded_step(run.path()), (1, LoadedFrom::Previous));
}

#[test]
fn replace_dir_works_without_a_target() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("new")).unwrap();
    replace_dir(&at("new"), &at("target"), &at("previous")).unwrap();
    assert!(at("target").exists() && !at("new").exists() && !at("previous").exists());
}

#[test]
fn a_run_folder_that_is_a_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    fs::write(&path, "").unwrap();
    let message = save(&path, Slot::Last, &[], &json!({})).unwrap_err().to_string();
    assert!(message.starts_with("cannot create `"), "{message}");
}
