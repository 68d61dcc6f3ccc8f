//! `dinoxide report`: the curves of several runs over each other, and what they were told differently. From the files of the runs
//! alone, so that it also shows runs that are still going on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::RunError;
use super::folder::{CONFIG_FILE, stored_config};
use super::json_lines::JsonLines;
use super::look::{write_file, write_page};
use super::runs::{RunSummary, summary};
use crate::config::Config;
use crate::report::chart::{Chart, Reference, Series};
use crate::report::page::{RunPage, Table, Verdict, VerdictState};

/// Colours of curves that can be told apart.
pub const MOST_RUNS: usize = 6;

/// A chart of the page: file, title, caption, unit, and the figure of a row.
struct Figure {
    file: &'static str,
    title: &'static str,
    caption: &'static str,
    unit: &'static str,
    key: &'static str,
    /// Whether ln K is drawn.
    ln_k: bool,
}

const FIGURES: [Figure; 7] = [
    Figure {
        file: "knn",
        title: "k-NN accuracy of the teacher",
        caption: "Top-1 on labelled images, where a run has some.",
        unit: "top-1, %",
        key: "knn_top1",
        ln_k: false,
    },
    Figure {
        file: "entropy",
        title: "Teacher entropy h(P_t)",
        caption: "At ln K the teacher tells nothing apart; at zero it has one answer for everything, or a certain one for each image.",
        unit: "nats",
        key: "entropy",
        ln_k: true,
    },
    Figure {
        file: "kl",
        title: "KL(P_t‖P_s)",
        caption: "At zero the student has nothing left to learn.",
        unit: "nats",
        key: "kl",
        ln_k: false,
    },
    Figure {
        file: "loss",
        title: "Loss",
        caption: "Teacher entropy plus KL. Losses of different K, temperatures or crops cannot be compared.",
        unit: "nats",
        key: "loss",
        ln_k: true,
    },
    Figure {
        file: "batch_entropy",
        title: "Entropy of the mean target",
        caption: "How many prototypes a batch uses: near zero all images share one.",
        unit: "nats",
        key: "batch_entropy",
        ln_k: true,
    },
    Figure {
        file: "rank",
        title: "Rank of the features",
        caption: "RankMe of the teacher's features of the same few images.",
        unit: "directions",
        key: "rank",
        ln_k: false,
    },
    Figure { file: "lr", title: "Learning rate", caption: "", unit: "", key: "lr", ln_k: false },
];

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What is known of each run.
    pub runs: Vec<RunSummary>,
    /// Keys in which the configurations differ, with each run's value.
    pub differences: BTreeMap<String, Vec<String>>,
    /// Files written, the page first.
    pub files: Vec<PathBuf>,
}

/// A run with its figures.
struct Told {
    name: String,
    config: Config,
    summary: RunSummary,
    rows: Vec<Value>,
    per_epoch: f64,
}

/// Writes `report.html` and its charts as files into `out`.
///
/// # Errors
/// If there are none or too many runs, one is none, or a file cannot be written.
pub fn compare(runs: &[PathBuf], out: &Path) -> Result<Comparison, RunError> {
    if runs.is_empty() || runs.len() > MOST_RUNS {
        return Err(RunError::RunCount { found: runs.len(), most: MOST_RUNS });
    }
    if out.join(CONFIG_FILE).exists() {
        return Err(RunError::IsARun { path: out.to_owned() });
    }
    let names = names(runs);
    let told = runs.iter().zip(names).map(|(run, name)| read(run, name)).collect::<Result<Vec<_>, _>>()?;
    std::fs::create_dir_all(out).map_err(RunError::file("create", out))?;
    let page = out.join("report.html");
    let mut files = vec![page.clone()];
    let mut charts = Vec::new();
    for figure in &FIGURES {
        let Some(chart) = chart(figure, &told) else { continue };
        let file = out.join(format!("{}.svg", figure.file));
        write_file(&file, chart.to_svg_file().as_bytes())?;
        files.push(file);
        charts.push(chart);
    }
    let differences = differences(&told)?;
    let tables = vec![results(&told), differing(&told, &differences)];
    let title = told.iter().map(|run| run.name.as_str()).collect::<Vec<_>>().join(" · ");
    write_page(&page, &RunPage { title, verdict: verdict(&told), charts, tables, ..RunPage::default() })?;
    let runs = told.into_iter().map(|run| run.summary).collect();
    Ok(Comparison { runs, differences, files })
}

fn read(run: &Path, name: String) -> Result<Told, RunError> {
    let summary = summary(run)?;
    let config = stored_config(run)?.ok_or_else(|| RunError::NoRuns { path: run.to_path_buf() })?;
    let planned = (summary.total_steps as f64 / config.run.epochs.max(1) as f64).max(1.0);
    let per_epoch = if summary.steps_per_epoch > 0 { summary.steps_per_epoch as f64 } else { planned };
    Ok(Told { name, config, summary, rows: JsonLines::read(&run.join("metrics.jsonl")), per_epoch })
}

/// The names of the run folders, with as many folders above as it takes to tell them apart.
fn names(runs: &[PathBuf]) -> Vec<String> {
    let tail = |run: &PathBuf, parts: usize| {
        let all: Vec<_> = run.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        all[all.len().saturating_sub(parts)..].join("/")
    };
    let longest = runs.iter().map(|run| run.components().count()).max().unwrap_or(1);
    let apart = |parts: &usize| {
        let names: std::collections::BTreeSet<String> = runs.iter().map(|run| tail(run, *parts)).collect();
        names.len() == runs.len()
    };
    let parts = (1..=longest).find(apart).unwrap_or(longest);
    runs.iter().map(|run| tail(run, parts)).collect()
}

/// The curves of all runs that have the figure; nothing if none has.
fn chart(figure: &Figure, told: &[Told]) -> Option<Chart> {
    let points = |run: &Told| {
        let rows = run.rows.iter().filter_map(|row| Some((row.get("step")?.as_f64()?, row.get(figure.key)?.as_f64()?)));
        rows.map(|(step, value)| (step / run.per_epoch, value)).collect::<Vec<_>>()
    };
    let series = told.iter().map(|run| Series::new(run.name.clone(), points(run)));
    let series: Vec<Series> = series.filter(|series| !series.points.is_empty()).collect();
    let sizes: std::collections::BTreeSet<usize> = told.iter().filter_map(|run| run.config.prototypes()).collect();
    let line = |out_dim: usize| {
        let level = (out_dim as f64).ln();
        Reference::new(format!("ln {out_dim} = {level:.2}"), level)
    };
    let references = if figure.ln_k { sizes.into_iter().map(line).collect() } else { Vec::new() };
    (!series.is_empty()).then(|| Chart {
        title: figure.title.to_owned(),
        caption: figure.caption.to_owned(),
        x_label: "epoch".to_owned(),
        y_label: figure.unit.to_owned(),
        series,
        references,
    })
}

/// Keys in which not all configurations agree, with each run's value.
fn differences(told: &[Told]) -> Result<BTreeMap<String, Vec<String>>, RunError> {
    let mut all = BTreeMap::new();
    let Some((first, others)) = told.split_first() else { return Ok(all) };
    for (place, other) in others.iter().enumerate() {
        for (key, ours, theirs) in first.config.differences(&other.config)? {
            let values = all.entry(key).or_insert_with(|| vec![ours; told.len()]);
            values[place + 1] = theirs;
        }
    }
    Ok(all)
}

fn results(told: &[Told]) -> Table {
    let number = |value: Option<f64>, digits: usize| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.digits$}"));
    let row = |run: &Told| {
        let RunSummary { step, total_steps, loss, knn_top1, best_knn_top1, health, .. } = &run.summary;
        let health = health.iter().map(|finding| finding.name()).collect::<Vec<_>>().join(", ");
        vec![
            run.name.clone(),
            format!("{step} of {total_steps}"),
            number(*loss, 3),
            number(*knn_top1, 1),
            number(*best_knn_top1, 1),
            if health.is_empty() { "ok".to_owned() } else { health },
        ]
    };
    Table {
        title: "Results".to_owned(),
        caption: "The last figures that each run has written.".to_owned(),
        header: ["run", "steps", "loss", "k-NN, %", "best, %", "health"].map(str::to_owned).into(),
        rows: told.iter().map(row).collect(),
    }
}

fn differing(told: &[Told], differences: &BTreeMap<String, Vec<String>>) -> Table {
    let header = std::iter::once("key".to_owned()).chain(told.iter().map(|run| run.name.clone()));
    let rows = differences.iter().map(|(key, values)| std::iter::once(key).chain(values).cloned().collect());
    Table {
        title: "What they were told differently".to_owned(),
        caption: "Values of the configuration that not all runs share.".to_owned(),
        header: header.collect(),
        rows: rows.collect(),
    }
}

/// Who is best where k-NN is known, and who is ill.
fn verdict(told: &[Told]) -> Verdict {
    let ill = told.iter().filter(|run| !run.summary.health.is_empty());
    let ill: Vec<String> = ill
        .map(|run| {
            let names: Vec<&str> = run.summary.health.iter().map(|finding| finding.name()).collect();
            format!("{}: {}", run.name, names.join(", "))
        })
        .collect();
    let top1 = |run: &&Told| run.summary.best_knn_top1.unwrap_or(f64::NEG_INFINITY);
    let best = told.iter().filter(|run| run.summary.best_knn_top1.is_some()).max_by(|a, b| top1(a).total_cmp(&top1(b)));
    let best = best.map(|run| format!("{} is best, k-NN {:.1} %", run.name, top1(&run)));
    let sentence = best.into_iter().chain(ill).collect::<Vec<_>>().join("; ");
    let sentence = if sentence.is_empty() { "nothing was found to go wrong".to_owned() } else { sentence };
    Verdict { state: VerdictState::Neutral, sentence }
}
