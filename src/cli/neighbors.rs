//! `dinoxide neighbors`.

use clap::Args;

use super::{Ending, LookArgs, print_json};
use crate::run::console::print_line;
use crate::run::neighbors::{NeighborsRequest, neighbors};

/// Show which images are nearest to an image.
///
/// Writes neighbors.csv (query, rank, neighbour, similarity), a sheet and a page.
#[derive(Debug, Args)]
#[command(after_help = "Example: dinoxide neighbors runs/photos-vitt16-1 photos/ --query cat.jpg --k 12 -o neighbors")]
pub(super) struct NeighborsArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Image to look for; can be given several times [default: eight, spread over the data]
    #[arg(long = "query", value_name = "IMG")]
    queries: Vec<String>,
    /// Neighbours of each
    #[arg(short, long, value_name = "N", default_value_t = 8)]
    k: usize,
}

pub(super) fn run(arguments: NeighborsArgs) -> anyhow::Result<Ending> {
    let NeighborsArgs { look, queries, k } = arguments;
    let (look, json) = look.request("neighbors");
    let report = neighbors(&NeighborsRequest { look, queries, k })?;
    if json {
        print_json(&report)?;
        return Ok(Ending::Done);
    }
    if let Some(share) = report.same_class {
        print_line(&format!("{:.1} % of {} neighbours are of the same class", 100.0 * share, report.k));
    }
    report.files.iter().for_each(|file| print_line(&file.display().to_string()));
    Ok(Ending::Done)
}
