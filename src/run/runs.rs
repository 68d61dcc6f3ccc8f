//! `dinoxide runs`: what is known of the runs under a folder.

use std::collections::BTreeSet;
use std::fs::FileType;
use std::path::{Path, PathBuf};

use dinoxide_views::Skipped;
use serde::Serialize;
use serde_json::Value;

use super::RunError;
use super::environment::ENVIRONMENT_FILE;
use super::folder::{CONFIG_FILE, stored_config};
use super::health::Finding;
use super::json_lines::JsonLines;
use super::lock::is_held;
use super::metrics::{EvalRow, StepRow};
use super::status::{State, Status};
use crate::config::Config;

/// Folders below the given one that are searched: `runs/NAME`, and `project/runs/NAME`.
const DEPTH: usize = 2;

/// What is known of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunSummary {
    /// The run folder.
    pub path: PathBuf,
    /// What it is doing; a run whose process died without saying so has failed.
    pub state: State,
    /// What it trains on.
    pub data: Vec<String>,
    /// The network, in timm's spelling.
    pub model: String,
    /// Recipe that its values started from.
    pub recipe: String,
    /// Steps that are logged.
    pub step: usize,
    /// Steps of the whole run.
    pub total_steps: usize,
    /// Estimated time to the end, seconds; of a run under way.
    pub eta_seconds: Option<f64>,
    /// Optimizer steps in an epoch; 0 if not known.
    pub steps_per_epoch: usize,
    /// Last logged loss.
    pub loss: Option<f64>,
    /// Last logged speed.
    pub images_per_second: Option<f64>,
    /// Last k-NN top-1 of the teacher, percent.
    pub knn_top1: Option<f64>,
    /// Best k-NN top-1 of the teacher, percent.
    pub best_knn_top1: Option<f64>,
    /// Epoch of the best.
    pub best_epoch: Option<usize>,
    /// What was found to go wrong.
    pub health: Vec<Finding>,
    /// Last sign of life, UTC.
    pub heartbeat: Option<String>,
}

/// The runs in a folder and up to two folders below, by path; the folder itself if it is a run.
///
/// # Errors
/// If the folder cannot be read, or holds no run.
pub fn list(folder: &Path) -> Result<Listing, RunError> {
    let found = folders(folder)?;
    if found.is_empty() {
        return Err(RunError::NoRuns { path: folder.to_path_buf() });
    }
    let (mut runs, mut unreadable) = (Vec::new(), Vec::new());
    for path in found {
        match summary(&path) {
            Ok(run) => runs.push(run),
            // One run that cannot be read does not hide the others.
            Err(error) => unreadable.push(Skipped { path, reason: error.on_one_line() }),
        }
    }
    Ok(Listing { runs, unreadable })
}

/// The runs under a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// By path.
    pub runs: Vec<RunSummary>,
    /// Those whose configuration cannot be read, and why.
    pub unreadable: Vec<Skipped>,
}

/// The run folders that [`list`] lists, by path; perhaps none.
///
/// # Errors
/// If the folder cannot be read.
pub fn folders(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut found = Vec::new();
    find(folder, DEPTH, &mut found)?;
    found.sort();
    Ok(found)
}

fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), RunError> {
    // A configuration alone may be one that somebody wrote.
    if folder.join(CONFIG_FILE).exists() && folder.join(ENVIRONMENT_FILE).exists() {
        found.push(folder.to_path_buf());
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(RunError::file("read", folder))?;
    for entry in entries.filter_map(Result::ok) {
        // The kind of an entry is known without asking the disk again, unless it is a link.
        let is_folder = |kind: FileType| kind.is_dir() || kind.is_symlink() && entry.path().is_dir();
        if depth > 0 && entry.file_type().is_ok_and(is_folder) {
            // What may not be read holds no run for this user.
            find(&entry.path(), depth - 1, found).ok();
        }
    }
    Ok(())
}

/// What is known of one run.
///
/// # Errors
/// If there is no run, or its configuration cannot be read.
pub fn summary(run: &Path) -> Result<RunSummary, RunError> {
    let config = stored_config(run)?.ok_or_else(|| RunError::NoRuns { path: run.to_path_buf() })?;
    let mut figures = Figures::default();
    JsonLines::read(&run.join("metrics.jsonl")).into_iter().for_each(|row| figures.add(row));
    Ok(describe(run, config, figures))
}

/// The figures that a summary tells, gathered row by row.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    last: Option<StepRow>,
    knn: Option<EvalRow>,
    best: Option<EvalRow>,
}

impl Figures {
    /// Takes a row of `metrics.jsonl` into account; one that is neither a step nor an evaluation counts for nothing.
    pub fn add(&mut self, row: Value) {
        if row.get("eval").is_none() {
            self.last = serde_json::from_value(row).ok().or(self.last.take());
        } else if let Ok(row) = serde_json::from_value::<EvalRow>(row)
            && row.knn_top1.is_some()
        {
            if self.best.as_ref().is_none_or(|best| row.knn_top1 > best.knn_top1) {
                self.best = Some(row.clone());
            }
            self.knn = Some(row);
        }
    }
}

/// What is known of a run with this configuration and these figures.
pub(super) fn describe(run: &Path, config: Config, Figures { last, knn, best }: Figures) -> RunSummary {
    let status = Status::read(run);
    let state = match status.as_ref().map(|status| status.state) {
        _ if is_held(run) => State::Running,
        Some(State::Running) | None => State::Failed,
        Some(state) => state,
    };
    let eta_seconds = status.as_ref().and_then(|status| status.eta_seconds).filter(|_| state == State::Running);
    RunSummary {
        path: run.to_path_buf(),
        state,
        model: config.model.full_name(),
        data: config.data.train,
        recipe: config.recipe,
        step: last.as_ref().map_or(0, |row| row.step),
        total_steps: status.as_ref().map_or(0, |status| status.total_steps),
        steps_per_epoch: status.as_ref().map_or(0, |status| status.steps_per_epoch),
        eta_seconds,
        loss: last.as_ref().map(|row| row.loss),
        images_per_second: last.as_ref().map(|row| row.images_per_second),
        knn_top1: knn.and_then(|row| row.knn_top1),
        best_knn_top1: best.as_ref().and_then(|row| row.knn_top1),
        best_epoch: best.map(|row| row.epoch),
        health: status.as_ref().map(|status| status.health.clone()).unwrap_or_default(),
        heartbeat: status.map(|status| status.heartbeat),
    }
}

/// The run with the best k-NN accuracy under a folder.
///
/// # Errors
/// Those of [`list`], and if no run was evaluated.
pub fn best(folder: &Path) -> Result<RunSummary, RunError> {
    let top1 = |run: &RunSummary| run.best_knn_top1.unwrap_or(f64::NEG_INFINITY);
    let evaluated = list(folder)?.runs.into_iter().filter(|run| run.best_knn_top1.is_some());
    let best = evaluated.max_by(|a, b| top1(a).total_cmp(&top1(b)));
    best.ok_or_else(|| RunError::NotEvaluated { path: folder.to_path_buf() })
}

/// The figures of a run as CSV: one row for each logged step and each evaluation, empty where a row has no such figure.
///
/// # Errors
/// If there is no run.
pub fn csv(run: &Path) -> Result<String, RunError> {
    if stored_config(run)?.is_none() {
        return Err(RunError::NoRuns { path: run.to_path_buf() });
    }
    let rows = JsonLines::read(&run.join("metrics.jsonl"));
    let keys: BTreeSet<&String> = rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()).collect();
    let first = ["step", "epoch", "eval"];
    let rest = keys.into_iter().map(String::as_str).filter(|key| !first.contains(key));
    let columns: Vec<&str> = first.into_iter().chain(rest).collect();
    let mut text = columns.join(",") + "\n";
    for row in &rows {
        // Numbers and truth values only: none needs quotes.
        let cells = columns.iter().map(|column| row.get(column).map_or_else(String::new, ToString::to_string));
        text += &(cells.collect::<Vec<_>>().join(",") + "\n");
    }
    Ok(text)
}

/// A value in which two runs differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Dotted key.
    pub key: String,
    /// Its value in the first run.
    pub first: String,
    /// Its value in the second run.
    pub second: String,
}

/// The values in which the configurations of two runs differ.
///
/// # Errors
/// If one of them is no run.
pub fn differences(first: &Path, second: &Path) -> Result<Vec<Difference>, RunError> {
    let config = |run: &Path| stored_config(run)?.ok_or_else(|| RunError::NoRuns { path: run.to_path_buf() });
    let all = config(first)?.differences(&config(second)?)?;
    Ok(all.into_iter().map(|(key, first, second)| Difference { key, first, second }).collect())
}
