//! The runs under a folder, and what changed since the last look. Looks at modification times, which every file system has.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::files;
use super::follow::{Follower, News, POINTS};
use super::view::{RunView, Unreadable, identifier};
use crate::run::RunError;
use crate::run::folder::{CONFIG_FILE, stored_config};
use crate::run::lock::is_held;
use crate::run::report::{PICTURES, REPORT_FILE};
use crate::run::runs::{Figures, folders};

/// Name of the figures in a run folder.
pub(super) const METRICS_FILE: &str = "metrics.jsonl";
/// Name of the log in a run folder.
pub(super) const LOG_FILE: &str = "train.log";

/// New runs are looked for this often, or where that takes long, so seldom that it takes a share of 1 in [`SEARCH_SHARE`].
const SEARCH_EVERY: Duration = Duration::from_secs(2);
const SEARCH_SHARE: u32 = 20;

/// The runs under a folder.
#[derive(Debug)]
pub(super) struct Catalog {
    root: PathBuf,
    runs: BTreeMap<String, Known>,
    /// Why the folder cannot be read.
    problem: Option<String>,
    search_again: Instant,
}

/// A run as it was at the last look.
#[derive(Debug)]
struct Known {
    path: PathBuf,
    name: String,
    mark: Mark,
    follower: Follower,
    figures: Figures,
    seen: Seen,
}

/// A run that can be shown, or why it cannot.
#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Run(Box<RunView>),
    Unreadable(Unreadable),
}

/// Changes when a file of a run does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Mark {
    held: bool,
    files: [String; 3],
    log: String,
    pictures: String,
}

/// What changed at a look.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "what", rename_all = "lowercase")]
pub(super) enum Change {
    /// A run is new, or has changed.
    Run {
        run: Box<RunView>,
        /// What was added to its figures.
        rows: Vec<Value>,
        /// Whether its figures have to be asked for anew.
        restarted: bool,
    },
    /// A run became unreadable.
    Unreadable { run: Unreadable },
    /// A run was deleted.
    Gone { id: String },
    /// The folder cannot be read, or can be again.
    Problem { problem: Option<String> },
}

/// Everything that is known.
#[derive(Debug, Serialize)]
pub(super) struct Contents {
    pub folder: String,
    pub problem: Option<String>,
    pub runs: Vec<RunView>,
    pub unreadable: Vec<Unreadable>,
}

impl Catalog {
    /// A catalog that has not looked yet.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), runs: BTreeMap::new(), problem: None, search_again: Instant::now() }
    }

    /// Looks at the folder; returns what changed since the last look.
    pub fn look(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        let begun = Instant::now();
        if begun >= self.search_again {
            changes.extend(self.search());
            self.search_again = Instant::now() + SEARCH_EVERY.max(begun.elapsed() * SEARCH_SHARE);
        }
        self.runs.retain(|id, known| {
            let there = known.path.join(CONFIG_FILE).exists();
            if there {
                changes.extend(known.look(id));
            } else {
                changes.push(Change::Gone { id: id.clone() });
            }
            there
        });
        changes
    }

    /// Looks for runs that are new.
    fn search(&mut self) -> Option<Change> {
        let found = folders(&self.root);
        let problem = found.as_ref().err().map(RunError::on_one_line);
        for path in found.unwrap_or_default() {
            let name = path.strip_prefix(&self.root).unwrap_or(&path);
            let id = identifier(name);
            let shown = if id == "~" { own_name(&self.root) } else { name.display().to_string() };
            self.runs.entry(id).or_insert_with(|| Known::new(&path, shown));
        }
        let changed = problem != self.problem;
        self.problem = problem;
        changed.then(|| Change::Problem { problem: self.problem.clone() })
    }

    /// Everything that was seen at the last look.
    pub fn contents(&self) -> Contents {
        let (mut runs, mut unreadable) = (Vec::new(), Vec::new());
        for known in self.runs.values() {
            match &known.seen {
                Seen::Run(view) => runs.push(RunView::clone(view)),
                Seen::Unreadable(run) => unreadable.push(run.clone()),
            }
        }
        let folder = self.root.display().to_string();
        Contents { folder, problem: self.problem.clone(), runs, unreadable }
    }

    /// The folder of a run.
    pub fn folder(&self, id: &str) -> Option<PathBuf> {
        self.runs.get(id).map(|known| known.path.clone())
    }
}

impl Known {
    /// A run that was not looked at yet.
    fn new(path: &Path, name: String) -> Self {
        let seen = Seen::Unreadable(Unreadable { id: String::new(), name: String::new(), reason: String::new() });
        let (mark, follower, figures) = (Mark::default(), Follower::default(), Figures::default());
        Self { path: path.to_owned(), name, mark, follower, figures, seen }
    }

    fn look(&mut self, id: &str) -> Option<Change> {
        let mark = Mark::of(&self.path);
        if mark == self.mark {
            return None;
        }
        let mut news = News::default();
        if mark.files[0] != self.mark.files[0]
            && let Some(metrics) = files::inside(&self.path, METRICS_FILE)
        {
            news = self.follower.read(&metrics);
        }
        if news.restarted {
            self.figures = Figures::default();
        }
        news.rows.iter().for_each(|row| self.figures.add(row.clone()));
        // So many rows at once are the whole file, or the work of a night: the page asks for as many as it can show.
        let restarted = news.restarted || news.rows.len() > POINTS;
        let rows = if restarted { Vec::new() } else { news.rows };
        self.seen = self.describe(id, &mark);
        self.mark = mark;
        Some(match &self.seen {
            Seen::Run(run) => Change::Run { run: run.clone(), rows, restarted },
            Seen::Unreadable(run) => Change::Unreadable { run: run.clone() },
        })
    }

    fn describe(&self, id: &str, mark: &Mark) -> Seen {
        let (id, name) = (id.to_owned(), self.name.clone());
        let reason = match files::inside(&self.path, CONFIG_FILE).map(|_| stored_config(&self.path)) {
            Some(Ok(Some(config))) => {
                let view = RunView::new(&id, &self.path, config, self.figures.clone());
                let (log, pictures) = (mark.log.clone(), mark.pictures.clone());
                return Seen::Run(Box::new(RunView { name, log, pictures, ..view }));
            }
            Some(Err(error)) => error.on_one_line(),
            Some(Ok(None)) | None => format!("`{CONFIG_FILE}` is not a file of this folder"),
        };
        Seen::Unreadable(Unreadable { id, name, reason })
    }
}

impl Mark {
    fn of(run: &Path) -> Self {
        let of = |name: &str| files::mark(&run.join(name));
        Self {
            held: is_held(run),
            files: [of(METRICS_FILE), of("status.json"), of(CONFIG_FILE)],
            log: of(LOG_FILE),
            pictures: pictures(run),
        }
    }
}

/// Changes when a picture does: files are renamed into their folder, which changes the time of the folder.
fn pictures(run: &Path) -> String {
    let folder = run.join(PICTURES);
    let mut hasher = DefaultHasher::new();
    files::mark(&run.join(REPORT_FILE)).hash(&mut hasher);
    files::mark(&folder).hash(&mut hasher);
    for kind in files::folders_in(&folder) {
        (files::mark(&kind), kind).hash(&mut hasher);
    }
    format!("{:x}", hasher.finish())
}

/// The name of the folder itself, if that is the run.
fn own_name(root: &Path) -> String {
    let absolute = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    absolute.file_name().map_or_else(|| root.display().to_string(), |name| name.to_string_lossy().into_owned())
}
