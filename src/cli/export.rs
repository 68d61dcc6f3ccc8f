//! `dinoxide export`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::checkpoint::onnx::Output;
use crate::run::console::print_line;
use crate::run::export::{ExportFormat, ExportRequest, ExportWhat, export};
use crate::run::input::Network;

/// Write the weights of a run for other tools.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Run folder; for a backbone also .safetensors, .pth, or a folder of timm or transformers
    run: PathBuf,
    /// File or folder to write
    #[arg(short, long, value_name = "PATH")]
    out: PathBuf,
    /// Format [default: as the name of the file ends]
    #[arg(long, value_enum)]
    to: Option<ExportFormat>,
    /// Which tensors
    #[arg(long, value_enum, default_value_t)]
    what: ExportWhat,
    /// Which network the backbone is taken from
    #[arg(long, value_enum, default_value_t)]
    network: Network,
    /// What an ONNX file gives besides `features`, comma-separated
    #[arg(long, value_enum, value_delimiter = ',', value_name = "OUTPUTS")]
    outputs: Vec<Output>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: ExportArgs) -> anyhow::Result<Ending> {
    let ExportArgs { run, out, to, what, network, outputs, json } = arguments;
    let report = export(&ExportRequest { run, out, to, what, network, outputs })?;
    if json {
        print_json(&report)?;
    } else {
        print_line(&format!("{} tensors → {}", report.tensors, report.out.display()));
    }
    Ok(Ending::Done)
}
