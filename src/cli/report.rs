//! `dinoxide report`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::run::compare::compare;
use crate::run::console::print_line;

/// Compare runs: their curves over each other, results, and what they were told differently
///
/// A finished run has a page of its own, RUN/report.html; this one also shows runs that are still going on.
#[derive(Debug, Args)]
#[command(after_help = "Example: dinoxide report runs/photos-1 runs/photos-2 -o comparison")]
pub(super) struct ReportArgs {
    /// Run folders, up to six
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Folder for report.html and the charts as files
    #[arg(short, long, value_name = "DIR", default_value = "comparison")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: ReportArgs) -> anyhow::Result<Ending> {
    let comparison = compare(&arguments.runs, &arguments.out)?;
    if arguments.json {
        print_json(&comparison)?;
    } else {
        comparison.files.iter().take(1).for_each(|file| print_line(&file.display().to_string()));
    }
    Ok(Ending::Done)
}
