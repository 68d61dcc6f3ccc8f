//! What the page is told of a run.

use std::path::Path;

use serde::Serialize;

use crate::config::Config;
use crate::run::health::Finding;
use crate::run::runs::{Figures, RunSummary, describe};

/// A run as the page shows it: its summary and what curves and words need besides.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RunView {
    /// What its addresses are made of.
    pub id: String,
    /// Path from the folder that is served.
    pub name: String,
    #[serde(flatten)]
    pub summary: RunSummary,
    /// Epochs of the whole run.
    pub epochs: usize,
    /// ln K: the loss of a teacher that tells nothing apart.
    pub ln_k: Option<f64>,
    /// The findings in words.
    pub findings: Vec<Words>,
    /// Changes with `train.log`.
    pub log: String,
    /// Changes with the pictures and the page of the run.
    pub pictures: String,
}

/// A finding in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Words {
    name: &'static str,
    remedy: &'static str,
    /// Whether going on is a waste of time.
    collapse: bool,
}

impl From<&Finding> for Words {
    fn from(finding: &Finding) -> Self {
        Self { name: finding.name(), remedy: finding.remedy(), collapse: finding.is_collapse() }
    }
}

impl RunView {
    /// The view of the run at `path`, without what tells changes of its files.
    pub fn new(id: &str, path: &Path, config: Config, figures: Figures) -> Self {
        let (epochs, ln_k) = (config.run.epochs, config.prototypes().map(|prototypes| (prototypes as f64).ln()));
        let summary = describe(path, config, figures);
        let findings = summary.health.iter().map(Words::from).collect();
        let (id, log, pictures) = (id.to_owned(), String::new(), String::new());
        Self { id, name: String::new(), summary, epochs, ln_k, findings, log, pictures }
    }
}

/// A run whose configuration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Unreadable {
    pub id: String,
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What stands in addresses for a run: its path from the folder that is served, `/` as `~2F`, `~` for the folder itself.
///
/// Never decoded: a run is found by comparing.
pub(super) fn identifier(name: &Path) -> String {
    let escape = |byte: &u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(*byte).to_string(),
        other => format!("~{other:02X}"),
    };
    let bytes = name.as_os_str().as_encoded_bytes();
    if bytes.is_empty() { "~".to_owned() } else { bytes.iter().map(escape).collect() }
}
