//! `dinoxide dedup`.

use clap::Args;

use super::{Ending, LookArgs, print_json};
use crate::run::console::print_line;
use crate::run::dedup::{DedupRequest, dedup};

/// Find images that are nearly the same to the network.
///
/// Writes groups.csv (group, path, similarity to the image to keep, keep or copy), a sheet and a page. Deletes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Example: dinoxide dedup runs/photos-vitt16-1 photos/ --threshold 0.98 -o dedup")]
pub(super) struct DedupArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Cosine from which on two images are the same, above 0 up to 1
    #[arg(long, value_name = "T", default_value_t = 0.95)]
    threshold: f64,
}

pub(super) fn run(arguments: DedupArgs) -> anyhow::Result<Ending> {
    let DedupArgs { look, threshold } = arguments;
    let (look, json) = look.request("dedup");
    let report = dedup(&DedupRequest { look, threshold })?;
    if json {
        print_json(&report)?;
        return Ok(Ending::Done);
    }
    print_line(&format!("{} of {} images repeat others, in {} groups", report.copies, report.images, report.groups));
    report.files.iter().for_each(|file| print_line(&file.display().to_string()));
    Ok(Ending::Done)
}
