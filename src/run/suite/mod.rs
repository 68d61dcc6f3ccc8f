//! `dinoxide eval all`: several evaluations of several models, each by a process of its own, and a page that compares them.
//!
//! | file | does |
//! |---|---|
//! | `file.rs` | reads a suite and turns its options into arguments |
//! | `child.rs` | runs a command of this program and keeps what it says |
//! | `record.rs` | which evaluations are finished |
//! | `figures.rs` | the figures of each protocol |
//! | `tables.rs`, `page.rs` | `comparison.json`, `comparison.csv`, `comparison.html` |
//!
//! A process of its own, since what stops one evaluation, be it a lack of memory, must not stop the others.

mod child;
mod error;
pub mod figures;
pub mod file;
mod page;
mod record;
mod tables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

pub use self::error::SuiteError;
use self::figures::{Figure, PublishedFigure, figures};
use self::file::{Entry, Suite};
use self::record::Record;
use super::RunError;
use super::bench::Place;
use super::console::{Console, Figures, Verbosity};
use super::environment::Environment;
use super::look::write_file;
use super::protocols::RESULTS_FILE;

/// Folder and name of the measurement of throughput.
const THROUGHPUT: &str = "throughput";

/// What to do.
#[derive(Debug, Clone)]
pub struct SuiteRequest {
    /// Run folders, or files or folders of weights.
    pub models: Vec<PathBuf>,
    /// The file of the suite.
    pub path: PathBuf,
    /// What is in it.
    pub suite: Suite,
    /// Folder of the results.
    pub out: PathBuf,
}

/// All evaluations of all models.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// The file of the suite.
    pub suite: PathBuf,
    /// The models, in the order in which they were given.
    pub models: Vec<ModelResults>,
    /// Where it was measured.
    pub environment: Environment,
    /// Files written.
    pub files: Vec<PathBuf>,
}

/// What was measured of a model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelResults {
    /// Name of its folder in the results.
    pub name: String,
    /// As it was given.
    pub model: PathBuf,
    /// Its network, once an evaluation has said so.
    pub network: Option<String>,
    /// The evaluations, in the order of the suite.
    pub evaluations: Vec<EvaluationResult>,
    /// How fast it is; none where that was not measured.
    pub throughput: Option<Throughput>,
}

/// An evaluation of a model.
#[derive(Debug, Clone, Serialize)]
pub struct EvaluationResult {
    /// Its name in the suite.
    pub name: String,
    /// As the command line calls it.
    pub protocol: String,
    /// Why it failed; none if it did not.
    pub error: Option<String>,
    /// Its figures, the main one first.
    pub figures: Vec<Figure>,
    /// Where it differs from the original program.
    pub deviations: Vec<String>,
    /// The numbers of the paper.
    pub published: Vec<PublishedFigure>,
    /// Time it took.
    pub seconds: Option<f64>,
    /// Folder of its results.
    pub folder: PathBuf,
}

/// How fast a model is, measured as `dinoxide bench infer` does.
#[derive(Debug, Clone, Serialize)]
pub struct Throughput {
    /// Why it could not be measured; none if it could.
    pub error: Option<String>,
    /// Images in a second.
    pub images_per_second: Option<f64>,
    /// Width and height of the images.
    pub image_size: Option<String>,
    /// Images of a forward pass.
    pub batch: Option<u64>,
    /// Parameters of the backbone.
    pub parameters: Option<u64>,
    /// Machine, threads, number format.
    pub place: Option<Place>,
}

/// Runs what is not finished, and compares.
///
/// # Errors
/// If the folder cannot be written to, or some evaluations failed; the others are written down then.
pub fn run_suite(request: &SuiteRequest) -> Result<Comparison, RunError> {
    let console = Console::new(Verbosity::Normal, Figures::Talk);
    let out = &request.out;
    if out.is_file() {
        return Err(RunError::NotAFolder { path: out.clone() });
    }
    std::fs::create_dir_all(out).map_err(RunError::file("create", out))?;
    let names = names(&request.models);
    let steps = request.models.len() * (request.suite.entries.len() + usize::from(request.suite.throughput.is_some()));
    let mut runner = Runner { console, out, done: 0, steps };
    let mut comparison = Comparison {
        suite: request.path.clone(),
        models: Vec::new(),
        environment: Environment::current(),
        files: Vec::new(),
    };
    for (model, name) in request.models.iter().zip(names) {
        comparison.models.push(ModelResults {
            model: model.clone(),
            network: None,
            evaluations: Vec::new(),
            throughput: None,
            name: name.clone(),
        });
        for entry in &request.suite.entries {
            let (result, network) = runner.evaluate(model, &name, entry)?;
            if let Some(last) = comparison.models.last_mut() {
                last.network = last.network.take().or(network);
                last.evaluations.push(result);
            }
            // After each, so that a run of hours can be looked at.
            comparison.files = write_all(&comparison, out)?;
        }
        if let Some(options) = &request.suite.throughput {
            let throughput = runner.throughput(model, &name, options)?;
            if let Some(last) = comparison.models.last_mut() {
                last.throughput = Some(throughput);
            }
        }
    }
    comparison.files = write_all(&comparison, out)?;
    Ok(comparison)
}

impl Comparison {
    /// An error that names what failed; none if nothing did.
    ///
    /// # Errors
    /// [`SuiteError::SomeFailed`].
    pub fn succeeded(&self, out: &Path) -> Result<(), SuiteError> {
        let results = |model: &ModelResults| {
            let evaluations = model.evaluations.iter().map(|result| (result.name.clone(), result.error.is_some()));
            let speed = model.throughput.iter().map(|speed| (THROUGHPUT.to_owned(), speed.error.is_some()));
            let named = evaluations.chain(speed).map(|(name, failed)| (format!("{}/{name}", model.name), failed));
            named.collect::<Vec<_>>()
        };
        let all: Vec<(String, bool)> = self.models.iter().flat_map(results).collect();
        let names: Vec<String> = all.iter().filter(|(_, failed)| *failed).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return Ok(());
        }
        Err(SuiteError::SomeFailed { failed: names.len(), all: all.len(), names, out: out.to_path_buf() })
    }
}

/// What runs one evaluation after the other.
struct Runner<'a> {
    console: Console,
    out: &'a Path,
    done: usize,
    steps: usize,
}

impl Runner<'_> {
    /// Runs an evaluation unless it is finished; also gives the name of the network.
    fn evaluate(
        &mut self,
        model: &Path,
        name: &str,
        entry: &Entry,
    ) -> Result<(EvaluationResult, Option<String>), RunError> {
        let folder = self.out.join(name).join(&entry.name);
        let mut arguments = vec!["eval".to_owned(), entry.protocol.clone()];
        arguments.push(format!("--out={}", folder.display()));
        let (options, places): (Vec<&String>, Vec<&String>) =
            entry.arguments.iter().partition(|argument| argument.starts_with('-'));
        arguments.extend(options.into_iter().cloned());
        arguments.push(model.display().to_string());
        arguments.extend(places.into_iter().cloned());
        let error = self.run(model, &format!("{name}: {}", entry.name), &folder, &arguments, None)?;
        let results = if error.is_none() { read_results(&folder)? } else { Value::Null };
        let part = |key: &str| results.get(key).cloned().unwrap_or_default();
        let result = EvaluationResult {
            name: entry.name.clone(),
            protocol: entry.protocol.clone(),
            error,
            figures: figures(&entry.protocol, &results),
            deviations: serde_json::from_value(part("deviations")).unwrap_or_default(),
            published: serde_json::from_value(part("published")).unwrap_or_default(),
            seconds: part("seconds").as_f64(),
            folder,
        };
        Ok((result, part("network").as_str().map(str::to_owned)))
    }

    /// Measures how fast a model is, unless that was done.
    fn throughput(&mut self, model: &Path, name: &str, options: &[String]) -> Result<Throughput, RunError> {
        let folder = self.out.join(name).join(THROUGHPUT);
        let mut arguments = vec!["bench".to_owned(), "infer".to_owned(), "--json".to_owned()];
        arguments.push(format!("--model={}", model.display()));
        arguments.extend(options.iter().cloned());
        let results = folder.join(RESULTS_FILE);
        let error = self.run(model, &format!("{name}: {THROUGHPUT}"), &folder, &arguments, Some(&results))?;
        let report = if error.is_none() { read_results(&folder)? } else { Value::Null };
        Ok(Throughput {
            error,
            images_per_second: report["images_per_second"].as_f64(),
            image_size: report["image_size"].as_str().map(str::to_owned),
            batch: report["request"]["batch"].as_u64(),
            parameters: report["parameters"].as_u64(),
            place: serde_json::from_value(report["place"].clone()).ok(),
        })
    }

    /// Runs a command of this program unless it is finished; its standard output becomes a file if one is given. Says why it failed.
    fn run(
        &mut self,
        model: &Path,
        title: &str,
        folder: &Path,
        arguments: &[String],
        output: Option<&Path>,
    ) -> Result<Option<String>, RunError> {
        self.done += 1;
        let step = format!("[{}/{}] {title}", self.done, self.steps);
        let record = Record::of(model, arguments);
        if record.is_finished(folder) {
            self.console.say(&format!("{step}: finished before"));
            return Ok(None);
        }
        self.console.say(&step);
        std::fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
        Record::remove(folder)?;
        let ended = child::run(arguments, folder)?;
        if let Some(error) = ended.error {
            self.console.warn(&format!("{title} failed: {error}"));
            return Ok(Some(error));
        }
        if let Some(path) = output {
            write_file(path, &ended.output)?;
        }
        record.write(folder)?;
        Ok(None)
    }
}

fn read_results(folder: &Path) -> Result<Value, RunError> {
    let path = folder.join(RESULTS_FILE);
    let bytes = std::fs::read(&path).map_err(RunError::file("read", &path))?;
    serde_json::from_slice(&bytes).map_err(|error| RunError::file("read", &path)(error.into()))
}

fn write_all(comparison: &Comparison, out: &Path) -> Result<Vec<PathBuf>, RunError> {
    let [json, csv, html] = ["comparison.json", "comparison.csv", "comparison.html"].map(|name| out.join(name));
    tables::write_csv(comparison, &csv)?;
    page::write(comparison, &html)?;
    let files = vec![html, csv, json.clone()];
    let written = Comparison { files: files.clone(), ..comparison.clone() };
    let text = serde_json::to_vec_pretty(&written).map_err(|error| RunError::file("write", &json)(error.into()))?;
    write_file(&json, &text)?;
    Ok(files)
}

/// A name for each model's folder: that of its file or folder, numbered where several are the same.
fn names(models: &[PathBuf]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let name = |model: &PathBuf| {
        let whole = std::fs::canonicalize(model).unwrap_or_else(|_| model.clone());
        let last = if whole.is_dir() { whole.file_name() } else { whole.file_stem() };
        let own = last.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned());
        let numbered = (2..).map(|number| format!("{own}-{number}"));
        let mut candidates = std::iter::once(own.clone()).chain(numbered);
        let free = candidates.find(|name| taken.insert(name.clone()));
        free.unwrap_or(own)
    };
    models.iter().map(name).collect()
}
