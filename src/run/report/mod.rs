//! `report.html` and `pictures/`: a run as its owner sees it, made from the files of the run folder and its networks.
//!
//! Follows the loop; writes nothing that a resumed run reads.

mod attention;
mod augmentation;
mod early_rise;
mod figures;
mod films;
mod numbers;
mod published;
mod recipe;
mod words;

use std::path::{Path, PathBuf};

use dinoxide_views::Source;

pub use attention::{Sight, attention_maps, attention_row};
pub use augmentation::{augmentation_sheet, picture_of, scaled};
pub use early_rise::{EarlyRise, early_rise};
pub use numbers::Numbers;
pub use published::{Published, nearest};

use super::RunError;
use super::console::Console;
use super::environment::ENVIRONMENT_FILE;
use super::environment::Environment;
use super::folder::RunFolder;
use super::trained::Trained;
use crate::checkpoint::atomic::write_atomic;
use crate::report::attention_sheet::AttentionRow;
use crate::report::chart::Chart;
use crate::report::curves::{RunCurves, run_charts};
use crate::report::page::{RunPage, Table};

/// Name of the page in a run folder.
pub const REPORT_FILE: &str = "report.html";
/// Folder of the pictures in a run folder.
pub(super) const PICTURES: &str = "pictures";
/// File of the augmentation sheet in [`PICTURES`].
const AUGMENTATIONS: &str = "augmentations.png";
/// Charts that are also files, by their titles.
const CHART_FILES: [(&str, &str); 5] = [
    ("k-NN accuracy of the teacher", "knn"),
    ("Accuracy of the classifier", "accuracy"),
    ("Loss", "loss"),
    ("Teacher entropy and KL", "health"),
    ("Learning rate", "lr"),
];

/// What a command adds to the page of a run.
#[derive(Debug, Clone, Default)]
pub struct Additions {
    /// Heading; the name of the run folder if empty.
    pub title: String,
    /// Further results.
    pub tables: Vec<Table>,
    /// Rows of the attention sheet, in place of the run's own.
    pub attention: Vec<AttentionRow>,
    /// What to try next, before the general advice.
    pub next_steps: Vec<String>,
}

/// Writes what the networks of a run are about to see, so that one can look before hours have passed; returns where.
///
/// # Errors
/// If the file cannot be written.
pub fn preview(folder: &RunFolder, source: &Source) -> Result<Option<PathBuf>, RunError> {
    let Some(sheet) = augmentation_sheet(&folder.config, source) else { return Ok(None) };
    let pictures = folder.path.join(PICTURES);
    std::fs::create_dir_all(&pictures).map_err(RunError::file("create", &pictures))?;
    let path = pictures.join(AUGMENTATIONS);
    write_file(&path, &sheet.to_png()?)?;
    Ok(Some(path))
}

/// Gathers the numbers of a run and writes its page.
///
/// # Errors
/// If images cannot be read or files cannot be written.
pub fn publish(trained: &Trained<'_>, console: &Console) -> Result<PathBuf, RunError> {
    let numbers = Numbers::gather(trained)?;
    write(trained, &numbers, Additions::default(), console)
}

/// Writes `pictures/` and `report.html` of a run.
///
/// # Errors
/// If images cannot be read or files cannot be written.
pub fn write(
    trained: &Trained<'_>,
    numbers: &Numbers,
    additions: Additions,
    console: &Console,
) -> Result<PathBuf, RunError> {
    let run = &trained.folder.path;
    let pictures = run.join(PICTURES);
    std::fs::create_dir_all(&pictures).map_err(RunError::file("create", &pictures))?;
    let charts = run_charts(&RunCurves {
        steps: numbers.steps.clone(),
        knn: numbers.knn.clone(),
        accuracy: numbers.accuracy.clone(),
        knn_references: numbers.knn_references(),
        prototypes: trained.folder.config.prototypes(),
    });
    write_charts(&pictures, &charts)?;
    let figures = figures::figures(trained, additions.attention, &pictures)?;
    let mut tables: Vec<Table> = numbers.table().into_iter().collect();
    tables.extend(additions.tables);
    tables.extend(published::table(trained, numbers));
    let name = run.file_name().map_or_else(|| run.display().to_string(), |name| name.to_string_lossy().into_owned());
    let mut next_steps = additions.next_steps;
    next_steps.extend(words::next_steps(trained, numbers));
    let verdict = words::verdict(trained, numbers);
    let notes: Vec<String> = words::early_rise(trained, numbers, verdict.state).into_iter().collect();
    notes.iter().for_each(|note| console.say(note));
    let mut page = RunPage {
        title: if additions.title.is_empty() { name } else { additions.title },
        verdict,
        notes,
        bars: Vec::new(),
        charts,
        figures,
        tables,
        plan: trained.plan.to_vec(),
        python: words::python(trained)?,
        next_steps,
        command: std::fs::read_to_string(run.join("command.txt")).unwrap_or_default().trim_end().to_owned(),
        settings: recipe::differences(trained).into_iter().collect(),
        config_toml: trained.folder.config.to_commented_toml()?,
        environment: environment(run),
    };
    films::fit(&mut page);
    let path = run.join(REPORT_FILE);
    write_file(&path, page.to_html().as_bytes())?;
    console.say(&format!("report: {}", path.display()));
    Ok(path)
}

fn write_charts(pictures: &Path, charts: &[Chart]) -> Result<(), RunError> {
    for chart in charts {
        if let Some((_, name)) = CHART_FILES.iter().find(|(title, _)| *title == chart.title) {
            write_file(&pictures.join(format!("{name}.svg")), chart.to_svg_file().as_bytes())?;
        }
    }
    Ok(())
}

/// The content of `environment.json` that a reader of the page may want.
fn environment(run: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(run.join(ENVIRONMENT_FILE)).unwrap_or_default();
    let Ok(found) = serde_json::from_str::<Environment>(&text) else { return Vec::new() };
    let memory = format!("{:.1} GiB", found.memory_bytes as f64 / f64::from(1 << 30));
    let rows = [
        ("dinoxide", Some(found.version)),
        ("commit", found.commit),
        ("rustc", found.rustc),
        ("system", Some(format!("{}, {}", found.system, found.architecture))),
        ("processor", Some(format!("{}, {} cores", found.cpu, found.cores))),
        ("memory", Some(memory)),
        ("host", Some(found.host)),
        ("started", Some(found.started)),
    ];
    rows.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    write_atomic(path, |file| file.write_all(bytes)).map_err(RunError::file("write", path))
}
