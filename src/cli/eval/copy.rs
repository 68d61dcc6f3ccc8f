//! `dinoxide eval copy`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, ProtocolArgs, show};
use crate::run::console::print_line;
use crate::run::protocols::copy::{CopyReport, CopyRequest, copy};

/// What `--image-size` is here.
const SIZE: &str =
    "Resize to exactly this size, whatever the aspect, such as 224 or 480x320 (width x height) [default: 320]";

/// Copy detection: Copydays, or own copies beside their originals.
#[derive(Debug, Args)]
#[command(mut_arg("image_size", |size| size.help(SIZE)))]
pub(super) struct CopyArgs {
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Folder with original/ and folders of copies, such as strong/ and crops/50/
    data: PathBuf,
    /// Other images among which originals are looked for
    #[arg(long, value_name = "DIR")]
    distractors: Option<PathBuf>,
    /// Other images from which the whitening of descriptors is learnt [default: none]
    #[arg(long, value_name = "DIR")]
    whitening: Option<PathBuf>,
}

pub(super) fn run(arguments: CopyArgs) -> anyhow::Result<Ending> {
    let CopyArgs { protocol, data, distractors, whitening } = arguments;
    let (protocol, json) = protocol.request("copy");
    let outcome = copy(&CopyRequest { protocol, data, distractors, whitening })?;
    show(&outcome, json, print_table)
}

fn print_table(report: &CopyReport) {
    let width = report.blocks.iter().map(|block| block.block.len()).max().unwrap_or(0);
    print_line(&format!("{:width$}     mAP  queries", ""));
    for block in &report.blocks {
        let map = block.map.map_or_else(|| "–".to_owned(), |map| format!("{map:.2}"));
        print_line(&format!("{:width$}  {map:>6}{:>9}", block.block, block.queries));
    }
    let CopyReport { originals, distractors, whitening, .. } = report;
    let whitening = whitening.map_or_else(String::new, |images| format!(", whitened by {images}"));
    print_line(&format!("among {originals} originals and {distractors} other images{whitening}"));
}
