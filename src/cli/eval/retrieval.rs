//! `dinoxide eval retrieval`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, ProtocolArgs, show};
use crate::eval::retrieval::Setting;
use crate::run::console::print_line;
use crate::run::protocols::retrieval::{Missing, QueryPart, RetrievalReport, RetrievalRequest, Scales, retrieval};

/// What `--image-size` is here.
const SIZE: &str = "Box into which images are made to fit, their aspect kept, such as 224 or 480x320 (width x height)\n\
    [default: 512 for Paris, 224 for other benchmarks; the size of the global crops for own folders]";

/// Image retrieval: revisited Oxford and Paris, or own folders.
///
/// Of a folder with one sub-folder per class every image is a query for the others of its class.
#[derive(Debug, Args)]
#[command(mut_arg("image_size", |size| size.help(SIZE)))]
pub(super) struct RetrievalArgs {
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Folder with gnd_NAME.pkl (or .json) and jpg/, that file itself, or a folder with one sub-folder per class
    data: PathBuf,
    /// Folder of the benchmark's images [default: jpg/ beside the ground truth]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Scales of which the mean is taken: 1, or 1, 1/√2 and 1/2 [default: three of Paris, else one]
    #[arg(long, value_enum, conflicts_with = "reference_exact")]
    scales: Option<Scales>,
    /// Which part of a query is shown; the original program shows all of it
    #[arg(long, value_enum, default_value_t, conflicts_with = "reference_exact")]
    queries: QueryPart,
    /// What becomes of images of the benchmark that are missing or unreadable
    #[arg(long, value_enum, default_value_t, conflicts_with = "reference_exact")]
    missing: Missing,
}

pub(super) fn run(arguments: RetrievalArgs) -> anyhow::Result<Ending> {
    let RetrievalArgs { protocol, data, images, scales, queries, missing } = arguments;
    let (protocol, json) = protocol.request("retrieval");
    let outcome = retrieval(&RetrievalRequest { protocol, data, images, scales, queries, missing })?;
    show(&outcome, json, print_table)
}

fn print_table(report: &RetrievalReport) {
    print_line("            mAP    mP@1    mP@5   mP@10  queries");
    // Classes, or easy, medium, hard.
    let names =
        report.settings.keys().filter(|name| !Setting::ALL.iter().any(|setting| setting.name() == **name)).copied();
    for name in names.chain(Setting::ALL.map(Setting::name)) {
        let Some(setting) = report.settings.get(name) else { continue };
        let precision: String = setting.precision_at.values().map(|value| format!("{value:>8.2}")).collect();
        print_line(&format!("{name:<8}{:>7.2}{precision}{:>9}", setting.map, setting.queries));
    }
    print_line(&format!("{} queries among {} images of {}", report.queries, report.images, report.dataset));
}
