//! `dinoxide runs`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Ending, print_json};
use crate::run::console::print_line;
use crate::run::progress::grouped;
use crate::run::runs::{Listing, RunSummary, best, csv, differences, list, summary};
use crate::run::status::State;

/// List, show and compare runs.
#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    action: Action,
    /// Print the result as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Every run under a folder: state, steps, loss, k-NN, health
    Ls {
        /// Folder that holds runs
        #[arg(default_value = "runs")]
        folder: PathBuf,
    },
    /// What is known of a run
    Show {
        /// The run folder
        run: PathBuf,
    },
    /// The figures of a run as CSV: a row for each logged step and each evaluation
    Csv {
        /// The run folder
        run: PathBuf,
    },
    /// The run with the best k-NN accuracy under a folder
    Best {
        /// Folder that holds runs
        #[arg(default_value = "runs")]
        folder: PathBuf,
    },
    /// The values in which the configurations of two runs differ
    Diff {
        /// A run folder
        first: PathBuf,
        /// Another one
        second: PathBuf,
    },
}

pub(super) fn run(arguments: RunsArgs) -> anyhow::Result<Ending> {
    let json = arguments.json;
    match arguments.action {
        Action::Ls { folder } => {
            let Listing { runs, unreadable } = list(&folder)?;
            for run in unreadable {
                writeln!(std::io::stderr(), "warning: `{}`: {}", run.path.display(), run.reason).ok();
            }
            if json {
                print_json(&runs)?;
            } else {
                table(&runs).iter().for_each(|line| print_line(line));
            }
        }
        Action::Show { run } => tell(&summary(&run)?, json)?,
        Action::Csv { run } => print_line(csv(&run)?.trim_end()),
        Action::Best { folder } => tell(&best(&folder)?, json)?,
        Action::Diff { first, second } => {
            let all = differences(&first, &second)?;
            if json {
                print_json(&all)?;
                return Ok(Ending::Done);
            }
            if all.is_empty() {
                print_line("no differences");
            }
            let width = all.iter().map(|difference| difference.key.len()).max().unwrap_or(0);
            for difference in all {
                print_line(&format!("{:width$}  {}  {}", difference.key, difference.first, difference.second));
            }
        }
    }
    Ok(Ending::Done)
}

fn tell(run: &RunSummary, json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(run);
    }
    let knn = match (run.knn_top1, run.best_knn_top1, run.best_epoch) {
        (Some(last), Some(best), Some(epoch)) => format!("{last:.2} %, best {best:.2} % (epoch {epoch})"),
        _ => "not evaluated".to_owned(),
    };
    for (name, value) in [
        ("run", run.path.display().to_string()),
        ("state", state(run).to_owned()),
        ("data", run.data.join(", ")),
        ("model", format!("{}, recipe {}", run.model, run.recipe)),
        ("step", steps(run)),
        ("loss", number(run.loss, 4)),
        ("speed", format!("{} img/s", number(run.images_per_second, 1))),
        ("k-NN", knn),
        ("health", health(run)),
        ("seen", run.heartbeat.clone().unwrap_or_else(|| "never".to_owned())),
    ] {
        print_line(&format!("{name:8}{value}"));
    }
    Ok(())
}

/// Columns as wide as their widest entry.
fn table(runs: &[RunSummary]) -> Vec<String> {
    let header = ["run", "state", "step", "loss", "k-NN", "best", "health"].map(str::to_owned);
    let row = |run: &RunSummary| {
        [
            run.path.display().to_string(),
            state(run).to_owned(),
            steps(run),
            number(run.loss, 3),
            number(run.knn_top1, 1),
            number(run.best_knn_top1, 1),
            health(run),
        ]
    };
    let rows: Vec<[String; 7]> = std::iter::once(header).chain(runs.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn state(run: &RunSummary) -> &'static str {
    match run.state {
        State::Running => "running",
        State::Interrupted => "interrupted",
        State::Failed => "failed",
        State::Finished => "finished",
    }
}

fn steps(run: &RunSummary) -> String {
    format!("{}/{}", grouped(run.step), grouped(run.total_steps))
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
}

fn health(run: &RunSummary) -> String {
    if run.health.is_empty() {
        return "ok".to_owned();
    }
    run.health.iter().map(|finding| finding.name()).collect::<Vec<_>>().join(", ")
}
