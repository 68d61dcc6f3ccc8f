//! A run that is stopped, killed or robbed of its newest checkpoint ends as if nothing had happened.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use dinoxide::checkpoint;
use running::{Outcome, Running, make_images, pretrain, rows, run};
use tempfile::TempDir;

/// Images of the set, one of them unreadable.
const IMAGES: u32 = 28;
/// Steps of the whole run: three epochs of seven.
const STEPS: u64 = 21;
/// Processes that are killed, and attempts to kill the same run.
const KILLS: usize = 100;
const KILLS_OF_A_RUN: usize = 12;

/// The images, and the run that nobody disturbed.
struct Undisturbed {
    folder: TempDir,
    outcome: Outcome,
}

impl Undisturbed {
    fn get() -> &'static Self {
        static RUN: OnceLock<Undisturbed> = OnceLock::new();
        RUN.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            make_images(&folder.path().join("data"), IMAGES / 2);
            std::fs::write(folder.path().join("data/cat/00.jpg"), "no image").unwrap();
            let out = folder.path().join("run");
            run(command(&folder.path().join("data"), &out, &[])).expect(0);
            let outcome = Outcome::of(&out);
            Self { folder, outcome }
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// The run under test: k-NN after every epoch, one unreadable image allowed.
fn command(data: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = pretrain(data, out, &["--eval-every", "1", "--set", "data.max_bad=0.1", "--val"]);
    command.arg(data).args(more);
    command
}

/// A run stopped after `step` steps by SIGINT.
fn stopped_after(step: u64, out: &Path) {
    let mut running = Running::start(command(&Undisturbed::get().data(), out, &[]));
    running.wait_for_step(out, step);
    running.signal("INT");
    running.end().expect(130);
}

/// The same command once more, and the result it must have.
#[track_caller]
fn finishes_as_undisturbed(out: &Path, when: &str, saying: &[&str]) {
    let undisturbed = Undisturbed::get();
    run(command(&undisturbed.data(), out, &[])).expect(0).saying(saying);
    undisturbed.outcome.assert_same(&Outcome::of(out), when);
}

#[test]
fn images_that_come_while_a_run_is_stopped_are_not_part_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    make_images(&data, IMAGES / 2);
    std::fs::write(data.join("cat/00.jpg"), "no image").unwrap();
    let command_to = |out: &Path| {
        let mut command = pretrain(&data, out, &["--eval-every", "1", "--set", "data.max_bad=0.1", "--val"]);
        command.arg(Undisturbed::get().data());
        command
    };
    let (before, command) = (folder.path().join("before"), || command_to(&out));
    run(command_to(&before)).expect(0);
    let mut running = Running::start(command());
    running.wait_for_step(&out, 6);
    running.signal("INT");
    running.end().expect(130);
    std::fs::copy(data.join("cat/01.png"), data.join("cat/00-new.png")).unwrap();
    run(command()).expect(0).saying(&["28 images"]);
    Outcome::of(&before).assert_same(&Outcome::of(&out), "with another image in the folder");
    let other = folder.path().join("other");
    make_images(&other, 3);
    let mut must = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    must.arg("pretrain").arg(&other).arg("-o").arg(&out).args(["--resume", "must"]);
    run(must).expect(0).saying(&["28 images", "`data.train` stays"]);
    Outcome::of(&before).assert_same(&Outcome::of(&out), "with other data given in vain");
    let unread = "no such list";
    std::fs::write(out.join("images.csv.gz"), unread).unwrap();
    run(command()).expect(0).saying(&["images.csv.gz", "looking for the images again", "29 images"]);
}

#[test]
fn stopped_by_a_signal_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, step) in [("INT", 1), ("TERM", 6), ("INT", 7), ("TERM", 12), ("USR1", 18)] {
        let out = folder.path().join(format!("{signal}-{step}"));
        let mut running = Running::start(command(&Undisturbed::get().data(), &out, &[]));
        running.wait_for_step(&out, step);
        running.signal(signal);
        // A scheduler's signal asks for the same command once more.
        let said = running.end().expect(if signal == "INT" { 130 } else { 75 });
        let resume = format!("resume with: dinoxide pretrain -c {}/config.toml", out.display());
        said.saying(&["saved after step", &resume]);
        let steps = rows(&out).iter().filter(|row| row.get("eval").is_none()).count();
        assert!((step as usize..STEPS as usize).contains(&steps), "stopped in time: {steps} steps");
        finishes_as_undisturbed(&out, &format!("SIG{signal} at step {step}"), &["continuing after step"]);
    }
}

#[test]
fn stopped_before_its_first_step_and_continued() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let running = Running::start(command(&Undisturbed::get().data(), &out, &[]));
    while !out.join("train.log").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    running.signal("TERM");
    running.end().expect(75);
    finishes_as_undisturbed(&out, "SIGTERM at the start", &[]);
}

#[test]
fn continued_by_its_configuration_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    stopped_after(3, &out);
    let mut again = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    again.arg("pretrain").arg("-c").arg(out.join("config.toml"));
    run(again).expect(0).saying(&["continuing after step"]);
    Undisturbed::get().outcome.assert_same(&Outcome::of(&out), "-c config.toml");
}

#[test]
fn killed_a_hundred_times_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    // A fixed sequence that looks random: a failure can be repeated.
    let mut moment: u64 = 1;
    let (mut kills, mut runs) = (0, 0);
    while kills < KILLS {
        assert!(runs < KILLS, "most runs end before they are killed: {kills} of {runs} runs");
        let out = folder.path().join(format!("run-{runs}"));
        let mut reached: Vec<u64> = Vec::new();
        for kill in 0..KILLS_OF_A_RUN {
            moment = moment.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mut running = Running::start(command(&Undisturbed::get().data(), &out, &[]));
            // Every other time from the next step on, else from the start: at loading, at cutting files back.
            if kill % 2 == 0 {
                let step = reached.last().copied().unwrap_or(0) + 1;
                running.wait_for_step(&out, step);
            }
            std::thread::sleep(Duration::from_micros((moment >> 33) % 40_000));
            running.signal("KILL");
            // A run that had come to its end was not killed.
            kills += usize::from(running.end().code.is_none());
            reached.push(rows(&out).iter().filter_map(|row| row["step"].as_u64()).max().unwrap_or(0));
        }
        println!("run {runs}: killed after steps {reached:?}");
        finishes_as_undisturbed(&out, &format!("SIGKILL, run {runs}"), &[]);
        runs += 1;
    }
    println!("{kills} kills, {runs} runs");
}

#[test]
fn weights_that_a_run_started_from_are_not_needed_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (data, weights) = (Undisturbed::get().data(), folder.path().join("weights.safetensors"));
    let mut export = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    export.arg("export").arg(Undisturbed::get().folder.path().join("run")).arg("-o").arg(&weights);
    run(export).expect(0);
    let start = |out: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
        command.arg("pretrain").arg(&data).arg("-o").arg(out).arg("--init").arg(&weights);
        command.args(["--epochs", "2", "data.max_bad=0.1", "run.batch=4", "run.checkpoint_every_steps=1"]);
        command.args(["log.every_steps=1", "head.hidden_dim=32", "head.bottleneck_dim=16", "head.out_dim=64"]);
        command.args(["optim.warmup_epochs=1", "run.threads=1"]);
        command
    };
    let (whole, out) = (folder.path().join("whole"), folder.path().join("run"));
    let words = ["the weights are of this network", "the head starts anew", "recipe    adapt", "half of the warm-up"];
    run(start(&whole)).expect(0).saying(&words);
    // The backbone has been frozen for three steps then, and is so no longer at the second stop.
    for step in [2, 6] {
        let mut running = Running::start(start(&out));
        running.wait_for_step(&out, step);
        running.signal("INT");
        running.end().expect(130);
        std::fs::remove_file(&weights).ok();
    }
    run(start(&out)).expect(0).saying(&["continuing after step"]);
    Outcome::of(&whole).assert_same(&Outcome::of(&out), "without the weights it started from");
}

#[test]
fn truncated_or_flipped_checkpoint_is_noticed_and_the_previous_one_used() {
    let folder = tempfile::tempdir().unwrap();
    for (name, file) in [("truncated", "optim"), ("flipped", "teacher"), ("missing", "student")] {
        let out = folder.path().join(name);
        stopped_after(4, &out);
        let part = out.join(format!("checkpoints/last/{file}.safetensors"));
        let mut bytes = std::fs::read(&part).unwrap();
        match name {
            "truncated" => bytes.truncate(bytes.len() / 2),
            _ => {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
            }
        }
        if name == "missing" { std::fs::remove_file(&part) } else { std::fs::write(&part, bytes) }.unwrap();
        let previous = out.join("checkpoints/previous").display().to_string();
        let words = ["warning: ", &format!("{file}.safetensors"), &format!("using `{previous}` instead")];
        finishes_as_undisturbed(&out, name, &words);
        // The damaged one never takes the place of an intact one.
        assert!(out.join("checkpoints/damaged").is_dir());
        assert!(checkpoint::load(&out.join("checkpoints/previous")).is_ok());
    }
}

#[test]
fn all_checkpoints_damaged_is_an_error_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    stopped_after(4, &out);
    for slot in ["last", "previous"] {
        std::fs::write(out.join(format!("checkpoints/{slot}/manifest.json")), "{").unwrap();
    }
    let said = run(command(&Undisturbed::get().data(), &out, &[])).expect(1);
    said.saying(&["checkpoints/last", "checkpoints/previous", "manifest.json", "--overwrite"]);
}

#[test]
fn another_configuration_is_refused_with_three_ways_out_that_work() {
    let undisturbed = Undisturbed::get();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    stopped_after(2, &out);
    let other = |more: &[&str]| run(command(&undisturbed.data(), &out, &[&["--seed", "7"], more].concat()));
    let before = rows(&out);
    other(&[]).expect(1).saying(&["run.seed", "0 there, 7 now", "--resume must", "--overwrite", "-o OTHER"]);
    assert_eq!(before, rows(&out), "a refused run changes nothing");
    other(&["--resume", "never"]).expect(1).saying(&["already holds a run"]);
    other(&["--resume", "must"]).expect(0).saying(&["`run.seed` stays 0; 7 is ignored", "continuing after step"]);
    undisturbed.outcome.assert_same(&Outcome::of(&out), "--resume must");
    other(&["--overwrite"]).expect(0);
    assert_ne!(Outcome::of(&out), undisturbed.outcome, "another seed gives another run");
    run(command(&undisturbed.data(), &out, &["--overwrite"])).expect(0);
    undisturbed.outcome.assert_same(&Outcome::of(&out), "--overwrite");
}

#[test]
fn nothing_to_resume_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(command(&Undisturbed::get().data(), &folder.path().join("run"), &["--resume", "must"]));
    said.expect(1).saying(&["nothing to resume"]);
}

#[test]
fn finished_run_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    finishes_as_undisturbed(&out, "first", &[]);
    finishes_as_undisturbed(&out, "second", &[]);
}

#[test]
fn second_process_is_refused_while_the_first_one_runs() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let mut first = Running::start(command(&Undisturbed::get().data(), &out, &[]));
    first.wait_for_step(&out, 1);
    let said = run(command(&Undisturbed::get().data(), &out, &[]));
    first.signal("INT");
    first.end().expect(130);
    said.expect(1).saying(&["is in use by process"]);
}

#[test]
fn threads_and_workers_do_not_change_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    stopped_after(3, &out);
    let more = ["--set", "run.threads=3", "--workers", "1", "--set", "data.cache_mb=64"];
    run(command(&Undisturbed::get().data(), &out, &more)).expect(0).saying(&["`run.threads` was 1 and is now 3"]);
    Undisturbed::get().outcome.assert_same(&Outcome::of(&out), "other threads");
}

#[test]
fn micro_batches_train_and_resume_too() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, split) = (folder.path().join("whole"), folder.path().join("split"));
    let halves = ["--set", "run.micro_batch=2"];
    run(command(&Undisturbed::get().data(), &whole, &halves)).expect(0);
    let mut running = Running::start(command(&Undisturbed::get().data(), &split, &halves));
    running.wait_for_step(&split, 5);
    running.signal("INT");
    running.end().expect(130);
    run(command(&Undisturbed::get().data(), &split, &halves)).expect(0);
    Outcome::of(&whole).assert_same(&Outcome::of(&split), "micro-batches");
}

#[test]
fn micro_batches_differ_from_the_whole_batch_by_rounding_only() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |name: &str, micro_batch: &str| {
        let out = folder.path().join(name);
        // What looks at several images at once sees a micro-batch instead of the batch; the plan warns of both.
        let exact = ["--set", micro_batch, "--set", "head.use_bn=false", "--set", "dino.centering=centering"];
        run(command(&Undisturbed::get().data(), &out, &exact)).expect(0);
        rows(&out).iter().filter_map(|row| row["loss"].as_f64()).collect::<Vec<_>>()
    };
    let (split, whole) = (losses("split", "run.micro_batch=2"), losses("whole", "run.micro_batch=4"));
    assert!(!whole.is_empty() && split.len() == whole.len());
    for (ours, theirs) in split.iter().zip(whole) {
        assert!((ours - theirs).abs() <= 1e-4 * theirs, "{ours} against {theirs}");
    }
}

#[test]
fn a_run_with_a_time_is_planned_by_its_speed_and_keeps_its_plan() {
    let folder = TempDir::new().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    make_images(&data, 12);
    let more = ["--time", "10s", "--val", data.to_str().unwrap()];
    run(pretrain(&data, &out, &[&more[..], &["--dry-run"]].concat())).expect(0).saying(&["measured", "10s"]);
    let planned = run(pretrain(&data, &out, &more));
    planned.expect(0).saying(&["run.steps", "measured"]);
    let rows = rows(&out);
    let steps: Vec<_> = rows.iter().filter(|row| row.get("eval").is_none()).collect();
    let lr = |row: &serde_json::Value| row["lr"].as_f64().unwrap();
    let most = steps.iter().map(|row| lr(row)).fold(0.0, f64::max);
    // Some hundred on a quiet machine.
    assert!(steps.len() > 20, "{} steps", steps.len());
    assert!(lr(steps.last().unwrap()) < 0.02 * most, "the schedule comes to its end");
    let config = std::fs::read_to_string(out.join("config.toml")).unwrap();
    // The same command is the same run, which is done.
    run(pretrain(&data, &out, &more)).expect(0);
    assert_eq!(config, std::fs::read_to_string(out.join("config.toml")).unwrap());
    run(pretrain(&data, &out, &["--time", "soon"])).expect(2).saying(&["run.time", "soon", "1h30m"]);
}
