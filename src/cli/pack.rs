//! `dinoxide pack`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::run::console::print_line;
use crate::run::pack::{PackRequest, pack};
use crate::run::progress::grouped;

/// Put images into a few tar files, made smaller where they are larger than training needs.
///
/// Images whose shorter side is at most SIDE are copied byte for byte, others become JPEG, upright as their EXIF block says.
/// Train on the result with `dinoxide pretrain 'packed/*.tar'`.
#[derive(Debug, Args)]
pub(super) struct PackArgs {
    /// Folders, images, lists (.txt), tables (.csv), archives (.tar, .zip) or globs
    #[arg(required = true)]
    data: Vec<String>,
    /// Folder for the tar files; empty or new
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Longest shorter side in pixels; twice the global crops loses nothing that networks see
    #[arg(long, value_name = "SIDE", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    side: u32,
    /// Megabytes of a tar file, about
    #[arg(long, value_name = "MB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    shard_mb: u32,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: PackArgs) -> anyhow::Result<Ending> {
    let PackArgs { data, out, side, shard_mb, json } = arguments;
    let report = pack(&PackRequest { data, out, side, shard_bytes: u64::from(shard_mb) * 1_000_000 })?;
    if json {
        print_json(&report)?;
        return Ok(Ending::Done);
    }
    print_line(&format!(
        "{} images in {} files, {} of them made smaller, {} skipped: {:.1} MB became {:.1} MB",
        grouped(report.images),
        report.shards.len(),
        grouped(report.resized),
        grouped(report.skipped),
        report.bytes_before as f64 / 1e6,
        report.bytes_after as f64 / 1e6
    ));
    Ok(Ending::Done)
}
