//! `dinoxide check`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::run::check::{CheckReport, CheckRequest, check};
use crate::run::console::print_line;
use crate::run::progress::grouped;

/// Unreadable files that are printed; the page has more, `--json` all of them.
const BAD_SHOWN: usize = 10;
/// The page, unless another name is given.
const PAGE: &str = "data.html";

/// Read every image once: counts, sizes, unreadable files, duplicates, mean and deviation.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Folders, images, lists (.txt), tables (.csv), archives (.tar, .zip) or globs
    #[arg(required = true)]
    data: Vec<String>,
    /// Page to write [default: data.html; none with --json]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Threads [default: all cores]
    #[arg(short = 'j', long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    workers: Option<u16>,
    /// Values of a pixel that are read [default: what most images have]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    channels: Option<u16>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Channels whose range is printed.
const RANGES_SHOWN: usize = 3;

pub(super) fn run(arguments: CheckArgs) -> anyhow::Result<Ending> {
    let CheckArgs { data, out, workers, channels, json } = arguments;
    let page = out.or_else(|| (!json).then(|| PathBuf::from(PAGE)));
    let report =
        check(&CheckRequest { data, page, workers: workers.map(usize::from), channels: channels.map(usize::from) })?;
    if json {
        print_json(&report)?;
    } else {
        lines(&report).iter().for_each(|line| print_line(line));
    }
    Ok(Ending::Done)
}

/// The range of wide values, of three channels at most.
fn range(range: &[[f32; 2]]) -> String {
    let shown: Vec<String> = range.iter().take(RANGES_SHOWN).map(|[low, high]| format!("{low} to {high}")).collect();
    let more = if range.len() > RANGES_SHOWN { ", …" } else { "" };
    if shown.is_empty() { String::new() } else { format!("; {}{more} become 0 to 255", shown.join(", ")) }
}

fn lines(report: &CheckReport) -> Vec<String> {
    let counted = |counts: &std::collections::BTreeMap<String, usize>| {
        counts.iter().map(|(kind, count)| format!("{kind} {}", grouped(*count))).collect::<Vec<_>>().join(", ")
    };
    let each = |values: &[f32]| values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(" ");
    let CheckReport { width, height, .. } = report;
    let mut lines = vec![
        format!("images      {}, {} unreadable", grouped(report.images), grouped(report.bad.len())),
        format!("formats     {}", counted(&report.formats)),
        format!("channels    {}; bits {}", counted(&report.channels), counted(&report.bits)),
        format!(
            "sizes       {}x{} to {}x{}, median {}x{}",
            width.min, height.min, width.max, height.max, width.median, height.median
        ),
        format!("read as     {} channels{}", report.channels_read, range(&report.range)),
        format!("mean        {}", each(&report.mean)),
        format!("std         {}", each(&report.std)),
        format!(
            "duplicates  {} equal files, {} that look like another",
            grouped(CheckReport::copies(&report.duplicates)),
            grouped(CheckReport::copies(&report.near_duplicates))
        ),
        format!("speed       {:.0} images per second on {} threads", report.images_per_second, report.threads),
    ];
    for bad in report.bad.iter().take(BAD_SHOWN) {
        lines.push(format!("unreadable  {}: {}", bad.path.display(), bad.reason));
    }
    if report.bad.len() > BAD_SHOWN {
        lines.push(format!("            and {} more", report.bad.len() - BAD_SHOWN));
    }
    lines.extend(report.page.as_ref().map(|page| format!("page        {}", page.display())));
    lines
}
