//! `dinoxide verify-export`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::run::console::print_line;
use crate::run::input::Network;
use crate::run::verify_export::{VerifyReport, verify_export};

/// Read an export back and compare it with the model it was made of.
#[derive(Debug, Args)]
pub(super) struct VerifyExportArgs {
    /// Run folder, .safetensors, .pth, or a folder of timm or transformers
    model: PathBuf,
    /// What was exported
    export: PathBuf,
    /// Which network of a run
    #[arg(long, value_enum, default_value_t)]
    network: Network,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: VerifyExportArgs) -> anyhow::Result<Ending> {
    let VerifyExportArgs { model, export, network, json } = arguments;
    let report = verify_export(&model, &export, network)?;
    if json {
        print_json(&report)?;
    } else {
        let features = match report.feature_difference {
            Some(difference) => {
                let [height, width] = report.image_size;
                format!("features of an image of {width}x{height} px differ by {difference:.1e}")
            }
            None => "features are for its runtimes to compute".to_owned(),
        };
        let VerifyReport { tensors, values, export, .. } = &report;
        print_line(&format!("{tensors} tensors, {values} values, the same bits; {features}: {}", export.display()));
    }
    Ok(Ending::Done)
}
