//! Starts the command on small folders of generated images, stops it, and compares what runs leave behind.
#![allow(dead_code, reason = "each test uses its own part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed preparation is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use image::{Rgb, RgbImage};

/// Longest that a tiny run may take, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(240);

/// A network and views so small that a step takes milliseconds.
pub const TINY: [&str; 22] = [
    "model.embed_dim=24",
    "model.depth=2",
    "model.num_heads=2",
    "model.patch_size=8",
    "model.image_size=32",
    "model.drop_path=0.1",
    "views.global.size=32",
    "views.local.size=16",
    "views.local.count=2",
    "views.blur=[0.5, 0.1, 0.5]",
    "head.out_dim=64",
    "head.use_bn=false",
    "head.hidden_dim=32",
    "head.bottleneck_dim=16",
    "run.batch=4",
    "run.epochs=3",
    "run.threads=1",
    "run.checkpoint_every_steps=1",
    "data.workers=2",
    "data.cache_mb=0",
    "eval.knn_k=5",
    "log.every_steps=1",
];

/// An image in which every pixel differs, so that a wrong crop changes everything after it.
pub fn picture(width: u32, height: u32, number: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |a: u32, b: u32| ((x * a + y * b + 31 * number) % 256) as u8;
        Rgb([wave(3 + number % 5, 1), wave(1, 4), wave(number % 7, 2)])
    })
}

/// `per_class` JPEG and PNG images in each of two class folders.
pub fn make_images(folder: &Path, per_class: u32) {
    for class in ["cat", "dog"] {
        std::fs::create_dir_all(folder.join(class)).unwrap();
        for number in 0..per_class {
            let ending = if number % 2 == 0 { "jpg" } else { "png" };
            let shade = number + if class == "cat" { 0 } else { 100 };
            picture(96, 72, shade).save(folder.join(format!("{class}/{number:02}.{ending}"))).unwrap();
        }
    }
}

/// A command with `dinoxide pretrain DATA -o OUT` and the tiny configuration.
pub fn pretrain(data: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    command.arg("pretrain").arg(data).arg("-o").arg(out);
    for value in TINY {
        command.args(["--set", value]);
    }
    command.args(more);
    command
}

/// What a finished process said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub text: String,
}

impl Said {
    /// Asserts the exit code and the absence of panics.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert!(!self.text.contains("panicked"), "a panic: {}", self.text);
        assert_eq!(self.code, Some(code), "{}", self.text);
        self
    }

    /// Asserts that all of these were said.
    #[track_caller]
    pub fn saying(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.text.contains(part), "`{part}` is missing in: {}", self.text);
        }
        self
    }
}

/// A process under way.
pub struct Running {
    child: Child,
    stderr: tempfile::NamedTempFile,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let stderr = tempfile::NamedTempFile::new().unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr.reopen().unwrap()).spawn();
        Self { child: child.unwrap(), stderr }
    }

    /// Sends a signal by its short name, such as `INT`.
    pub fn signal(&self, name: &str) {
        Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
    }

    /// Waits for the end.
    pub fn end(mut self) -> Said {
        let begun = Instant::now();
        let status: ExitStatus = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if begun.elapsed() > PATIENCE => {
                    self.child.kill().unwrap();
                    panic!("the run does not end: {}", std::fs::read_to_string(self.stderr.path()).unwrap());
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let text = std::fs::read(self.stderr.path()).unwrap();
        Said { code: status.code(), text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Waits until `metrics.jsonl` of `out` has a row of step `step`, or the process has ended.
    pub fn wait_for_step(&mut self, out: &Path, step: u64) {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() && begun.elapsed() < PATIENCE {
            if rows(out).iter().any(|row| row["step"].as_u64() >= Some(step)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Runs a command to its end.
pub fn run(command: Command) -> Said {
    Running::start(command).end()
}

/// All whole rows of `metrics.jsonl`, without those values that depend on the clock.
pub fn rows(out: &Path) -> Vec<serde_json::Value> {
    json_lines(&out.join("metrics.jsonl"))
        .into_iter()
        .map(|mut row| {
            for key in ["images_per_second", "data_wait"] {
                row.as_object_mut().unwrap().remove(key);
            }
            row
        })
        .collect()
}

/// The objects of a file of JSON lines; none if it is missing.
pub fn json_lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Everything that must not depend on where a run was stopped.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    /// Bytes of the last checkpoint's tensors: weights, moments, centre.
    tensors: Vec<(String, Vec<u8>)>,
    rows: Vec<serde_json::Value>,
    log: Vec<u8>,
    skipped: Vec<u8>,
    state: serde_json::Value,
}

impl Outcome {
    pub fn of(out: &Path) -> Self {
        let parts = ["student", "teacher", "optim", "method"];
        let last = out.join("checkpoints/last");
        let read = |path: PathBuf| std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let tensors = parts.map(|part| (part.to_owned(), read(last.join(format!("{part}.safetensors")))));
        let state = serde_json::from_slice(&read(last.join("state.json"))).unwrap();
        let (log, skipped) = (read(out.join("log.txt")), read(out.join("skipped.jsonl")));
        Self { tensors: tensors.into(), rows: rows(out), log, skipped, state }
    }

    /// Asserts that the checkpoint is the same to the last bit.
    #[track_caller]
    pub fn assert_same_checkpoint(&self, other: &Self, when: &str) {
        for ((name, ours), (_, theirs)) in self.tensors.iter().zip(&other.tensors) {
            assert!(ours == theirs, "{when}: `{name}` differs");
        }
        assert_eq!(self.state, other.state, "{when}: state.json");
    }

    /// Asserts that both are the same to the last bit, naming what differs.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, when: &str) {
        self.assert_same_checkpoint(other, when);
        assert_eq!(self.rows, other.rows, "{when}: metrics.jsonl");
        assert_eq!(self.log, other.log, "{when}: log.txt");
        assert_eq!(self.skipped, other.skipped, "{when}: skipped.jsonl");
    }
}
