//! The run folder: who may write to it, what a resumed run finds in it.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::path::Path;
use std::time::Duration;

use dinoxide::config::{Choice, Config, Facts, Partial, resolve};
use dinoxide::run::RunError;
use dinoxide::run::console::Verbosity;
use dinoxide::run::environment::Environment;
use dinoxide::run::folder::{RunFolder, Start, WhenExists, default_path, stored_config};
use dinoxide::run::health::Finding;
use dinoxide::run::interrupt::Interrupt;
use dinoxide::run::lock::{LOCK_FILE, Lock};
use dinoxide::run::metrics::{EpochSums, EvalRow, Metrics, StepRow};
use dinoxide::run::plan::Plan;
use dinoxide::run::progress::{Snapshot, Style, duration, grouped};
use dinoxide::run::status::{State, Status};

fn facts() -> Facts {
    Facts {
        pixels: None,
        init: None,
        speed: None,
        images: 5000,
        median_size: Some((640, 480)),
        cores: 2,
        memory_bytes: 8 << 30,
        free_bytes: 8 << 30,
        bf16: false,
        val_classes: None,
    }
}

fn planned(sets: &[&str]) -> (Config, Vec<Choice>) {
    let mut given = Partial::default();
    given.set("data.train=photos").unwrap();
    for set in sets {
        given.set(set).unwrap();
    }
    resolve(&given.on_recipe().unwrap(), &facts()).unwrap()
}

fn config(sets: &[&str]) -> Config {
    planned(sets).0
}

fn step_row(step: usize) -> StepRow {
    StepRow {
        step,
        epoch: step / 10,
        loss: 8.0 / step as f64,
        lr: 1e-3,
        weight_decay: 0.04,
        momentum: 0.99,
        teacher_temp: Some(0.04),
        entropy: Some(5.0),
        kl: Some(0.5),
        batch_entropy: Some(6.0),
        grad_norm: 1.0,
        images_per_second: 100.0,
        data_wait: 0.0,
        ..StepRow::default()
    }
}

fn eval_row(step: usize) -> EvalRow {
    EvalRow { eval: true, step, epoch: step / 10, knn_top1: Some(30.0), knn_k: Some(20), ..EvalRow::default() }
}

#[test]
fn fresh_folder_holds_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("runs/a");
    let config = config(&[]);
    let run = RunFolder::open(&path, &config, WhenExists::Resume).unwrap();
    assert_eq!(run.start, Start::Fresh);
    assert_eq!(stored_config(&path).unwrap(), Some(config));
}

#[test]
fn same_configuration_resumes() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunFolder::open(folder.path(), &config(&[]), WhenExists::Resume).unwrap());
    let run = RunFolder::open(folder.path(), &config(&[]), WhenExists::Resume).unwrap();
    assert_eq!((run.start, run.notices.len()), (Start::Resume, 0));
}

#[test]
fn different_configuration_is_refused_with_the_keys_and_the_ways_out() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunFolder::open(folder.path(), &config(&["run.epochs=3"]), WhenExists::Resume).unwrap());
    let other = config(&["run.epochs=4", "optim.lr=0.1"]);
    let error = RunFolder::open(folder.path(), &other, WhenExists::Resume).unwrap_err().to_string();
    for part in ["run.epochs", "3 there, 4 now", "optim.lr", "--resume must", "--overwrite", "-o OTHER"] {
        assert!(error.contains(part), "{part} missing in: {error}");
    }
}

#[test]
fn what_does_not_change_the_result_may_change_on_resume() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunFolder::open(folder.path(), &config(&["data.workers=1"]), WhenExists::Resume).unwrap());
    let run = RunFolder::open(folder.path(), &config(&["data.workers=3"]), WhenExists::Resume).unwrap();
    assert_eq!(run.notices, ["`data.workers` was 1 and is now 3"]);
}

#[test]
fn must_resume_keeps_the_stored_configuration_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = RunFolder::open(folder.path(), &config(&[]), WhenExists::MustResume).unwrap_err();
    assert!(matches!(error, RunError::NothingToResume { .. }));
    drop(RunFolder::open(folder.path(), &config(&["run.seed=1"]), WhenExists::Resume).unwrap());
    let run = RunFolder::open(folder.path(), &config(&["run.seed=2"]), WhenExists::MustResume).unwrap();
    assert_eq!((run.start, run.config.run.seed), (Start::Resume, 1));
    assert_eq!(run.notices, ["`run.seed` stays 1; 2 is ignored"]);
}

#[test]
fn refuse_and_overwrite_do_what_they_say() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunFolder::open(folder.path(), &config(&["run.seed=1"]), WhenExists::Resume).unwrap());
    std::fs::write(folder.path().join("metrics.jsonl"), "{}\n").unwrap();
    std::fs::write(folder.path().join("notes.md"), "mine").unwrap();
    let error = RunFolder::open(folder.path(), &config(&["run.seed=1"]), WhenExists::Refuse).unwrap_err();
    assert!(matches!(error, RunError::Exists { .. }));
    let run = RunFolder::open(folder.path(), &config(&["run.seed=2"]), WhenExists::Overwrite).unwrap();
    assert_eq!((run.start, run.config.run.seed), (Start::Fresh, 2));
    assert!(!folder.path().join("metrics.jsonl").exists());
    assert!(folder.path().join("notes.md").exists());
}

#[test]
fn folder_with_other_things_is_never_touched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
    for when in [WhenExists::Resume, WhenExists::Overwrite, WhenExists::Refuse] {
        let error = RunFolder::open(folder.path(), &config(&[]), when).unwrap_err();
        assert!(matches!(error, RunError::NotARun { .. }), "{error}");
    }
}

#[test]
fn second_writer_is_refused_while_the_first_lives() {
    let folder = tempfile::tempdir().unwrap();
    let first = RunFolder::open(folder.path(), &config(&[]), WhenExists::Resume).unwrap();
    let error = RunFolder::open(folder.path(), &config(&[]), WhenExists::Resume).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    drop(first);
    RunFolder::open(folder.path(), &config(&[]), WhenExists::Resume).unwrap();
}

#[test]
fn lock_of_a_dead_process_is_taken_over_with_a_notice() {
    let folder = tempfile::tempdir().unwrap();
    drop(RunFolder::open(folder.path(), &config(&[]), WhenExists::Resume).unwrap());
    std::fs::write(folder.path().join(LOCK_FILE), r#"{"pid":999999,"host":"old"}"#).unwrap();
    let run = RunFolder::open(folder.path(), &config(&[]), WhenExists::Resume).unwrap();
    assert_eq!(run.notices, ["process 999999 on old ended without saying so; its lock is taken over"]);
    drop(run);
    assert!(Lock::take(folder.path()).unwrap().taken_over_from.is_none());
}

#[test]
fn default_name_counts_up() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("my photos");
    std::fs::create_dir(&data).unwrap();
    let mut config = config(&[]);
    config.data.train = vec![format!("{}/", data.display())];
    let first = default_path(folder.path(), &config);
    assert_eq!(first.file_name().unwrap(), "my-photos-vitt16-1");
    std::fs::create_dir(&first).unwrap();
    assert_eq!(default_path(folder.path(), &config).file_name().unwrap(), "my-photos-vitt16-2");
}

fn write_steps(folder: &Path, from: usize, to: usize) {
    let mut metrics = Metrics::open(folder, from, from / 10).unwrap();
    for step in from + 1..=to {
        metrics.step(&step_row(step)).unwrap();
        if step % 10 == 0 {
            metrics.eval(&eval_row(step)).unwrap();
            metrics.epoch(&EpochSums::default().row(step / 10 - 1)).unwrap();
        }
    }
    metrics.sync().unwrap();
}

#[test]
fn resumed_metrics_equal_the_uninterrupted_ones() {
    let (whole, stopped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_steps(whole.path(), 0, 40);
    write_steps(stopped.path(), 0, 27);
    // Killed in the middle of a line, three steps after its last checkpoint.
    let path = stopped.path().join("metrics.jsonl");
    let torn = std::fs::read_to_string(&path).unwrap() + "{\"step\":28,\"lo";
    std::fs::write(&path, torn).unwrap();
    write_steps(stopped.path(), 24, 40);
    for name in ["metrics.jsonl", "log.txt"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read(stopped.path()), read(whole.path()), "{name}");
    }
}

#[test]
fn evaluation_lost_between_checkpoint_and_kill_is_known() {
    let folder = tempfile::tempdir().unwrap();
    write_steps(folder.path(), 0, 10);
    assert!(Metrics::open(folder.path(), 10, 1).unwrap().has_eval(10));
    let mut metrics = Metrics::open(folder.path(), 9, 0).unwrap();
    assert!(!metrics.has_eval(10));
    metrics.step(&step_row(10)).unwrap();
    assert!(!Metrics::open(folder.path(), 10, 1).unwrap().has_eval(10));
}

#[test]
fn fresh_run_starts_with_empty_files() {
    let folder = tempfile::tempdir().unwrap();
    write_steps(folder.path(), 0, 20);
    Metrics::open(folder.path(), 0, 0).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap(), "");
    assert_eq!(std::fs::read_to_string(folder.path().join("log.txt")).unwrap(), "");
}

#[test]
fn unreadable_image_is_listed_once_even_over_a_resume() {
    let folder = tempfile::tempdir().unwrap();
    let mut metrics = Metrics::open(folder.path(), 0, 0).unwrap();
    metrics.skip("a.jpg", "truncated").unwrap();
    metrics.skip("a.jpg", "truncated").unwrap();
    let mut metrics = Metrics::open(folder.path(), 5, 0).unwrap();
    metrics.skip("a.jpg", "truncated").unwrap();
    assert_eq!(metrics.skipped(), 1);
    let text = std::fs::read_to_string(folder.path().join("skipped.jsonl")).unwrap();
    assert_eq!(text, "{\"path\":\"a.jpg\",\"reason\":\"truncated\"}\n");
}

#[test]
fn official_log_has_the_official_keys() {
    let mut sums = EpochSums::default();
    sums.add(8.0, 1e-3, 0.04);
    sums.add(6.0, 3e-3, 0.06);
    let row = serde_json::to_value(sums.row(4)).unwrap();
    assert_eq!(row, serde_json::json!({"train_loss": 7.0, "train_lr": 2e-3, "train_wd": 0.05, "epoch": 4}));
}

#[test]
fn epoch_sums_come_back_from_json_to_the_last_bit() {
    let mut sums = EpochSums::default();
    for step in 0..1000 {
        sums.add(8.0 + 0.001 * (f64::from(step) * 0.7).sin(), 1e-3 / f64::from(step + 1), 0.041_034_482_758_620_69);
        let text = serde_json::to_string(&sums).unwrap();
        assert_eq!(serde_json::from_str::<EpochSums>(&text).unwrap(), sums, "{text}");
    }
}

#[test]
fn metrics_row_has_the_promised_keys() {
    let row = serde_json::to_value(step_row(1)).unwrap();
    for key in ["step", "epoch", "loss", "lr", "weight_decay", "momentum", "teacher_temp", "entropy", "kl"] {
        assert!(row.get(key).is_some(), "{key}");
    }
    assert!(row.get("images_per_second").is_some() && row.get("data_wait").is_some());
    assert_eq!(serde_json::to_value(eval_row(3)).unwrap()["eval"], true);
}

#[test]
fn status_and_environment_can_be_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let status = Status { eta_seconds: Some(12.5), ..Status::now(State::Running, 7, 10, 3) };
    assert_eq!(status.epoch, 2);
    status.write(folder.path()).unwrap();
    assert_eq!(Status::read(folder.path()), Some(status));
    Environment::current().write(folder.path()).unwrap();
    let text = std::fs::read_to_string(folder.path().join("environment.json")).unwrap();
    let environment: Environment = serde_json::from_str(&text).unwrap();
    assert!(environment.cores > 0 && environment.memory_bytes > 0 && environment.rustc.is_some());
    assert!(folder.path().join("command.txt").exists());
}

#[test]
fn plan_shows_every_derived_value_with_its_reason() {
    let (config, choices) = planned(&[]);
    let plan = Plan { config: &config, choices: &choices, facts: &facts(), out: Path::new("runs/photos-vitt16-1") };
    let text = plan.text(Verbosity::Normal);
    assert!(
        text.contains("5 000 images, 3 channels, median 640×480") && text.contains("vit_tiny_patch16_96"),
        "{text}"
    );
    for choice in &choices {
        assert!(text.contains(&choice.key) && text.contains(&choice.reason), "{}", choice.key);
    }
    assert!(plan.text(Verbosity::Verbose).contains("[optim]"));
    assert!(plan.warnings().is_empty());
}

fn snapshot() -> Snapshot {
    Snapshot {
        epoch: 37,
        epochs: 240,
        step: 6981,
        total_steps: 45_120,
        loss: 6.412,
        loss_before: Some(6.5),
        images_per_second: 612.0,
        data_wait: 0.02,
        eta: Some(Duration::from_secs(30_060)),
        entropy: Some(5.9),
        prototypes: Some(2048),
        kl: Some(0.48),
        grad_norm: 1.8,
        findings: Vec::new(),
        rank: Some(12.5),
        knn: Some((61.3, 30)),
        memory_bytes: None,
    }
}

#[test]
fn progress_lines_say_how_far_and_how_well() {
    let snapshot = snapshot();
    assert_eq!(
        snapshot.headline(Style::Terminal),
        "epoch  37/240  ━━━─────────────────────  step 6 981/45 120   loss 6.412 ↓   612 img/s   wait 2 %   eta 8 h 21 min"
    );
    assert_eq!(
        snapshot.health(),
        "health ok   entropy 5.90/7.62   KL 0.480   |g| 1.80   rank 12.5   k-NN 61.3 % (ep 30)"
    );
    let ill = Snapshot { findings: vec![Finding::Unstable, Finding::ImagesAlike], ..snapshot.clone() };
    assert!(ill.health().starts_with("health found: unstable, images alike   entropy"));
    assert!(!snapshot.plain().contains('\u{1b}') && !snapshot.plain().contains('\n'));
}

#[test]
fn loss_at_ln_k_is_called_by_its_name() {
    let snapshot = Snapshot { loss: 4096_f64.ln(), prototypes: Some(4096), ..snapshot() };
    assert!(snapshot.health().contains("loss sits at ln 4096 = 8.3178"));
}

#[test]
fn numbers_are_written_for_people() {
    assert_eq!([grouped(7), grouped(1234), grouped(45_120_000)], ["7", "1 234", "45 120 000"]);
    let of = |seconds| duration(Duration::from_secs(seconds));
    assert_eq!([of(12), of(250), of(30_060)], ["12 s", "4 min 10 s", "8 h 21 min"]);
}

#[cfg(unix)]
#[test]
fn first_signal_asks_for_a_stop() {
    let interrupt = Interrupt::install().unwrap();
    assert!(!interrupt.requested());
    signal_hook::low_level::raise(signal_hook::consts::SIGTERM).unwrap();
    assert!(interrupt.requested());
}
