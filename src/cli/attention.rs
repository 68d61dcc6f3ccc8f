//! `dinoxide attention`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::run::attention::{AttentionRequest, attention};
use crate::run::console::print_line;
use crate::run::input::{ImageSize, Network};

/// Show where the model looks: heads, mean, masks, overlay and raw arrays.
#[derive(Debug, Args)]
pub(super) struct AttentionArgs {
    /// Run folder, .safetensors or .pth
    model: PathBuf,
    /// Image files, folders or globs
    #[arg(required = true)]
    images: Vec<String>,
    /// Folder to write to
    #[arg(short, long, value_name = "DIR", default_value = "attention")]
    out: PathBuf,
    /// Resize to this size, such as 480 or 480x320 (width x height) [default: the image's own]
    #[arg(long, value_name = "SIZE")]
    image_size: Option<ImageSize>,
    /// Share of the attention inside the masks
    #[arg(long, value_name = "SHARE", default_value_t = 0.6)]
    threshold: f64,
    /// Which network of a run
    #[arg(long, value_enum, default_value_t)]
    network: Network,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: AttentionArgs) -> anyhow::Result<Ending> {
    let AttentionArgs { model, images, out, image_size, threshold, network, json } = arguments;
    let report = attention(&AttentionRequest { model, images, out, image_size, threshold, network })?;
    if json {
        print_json(&report)?;
    } else {
        report.files.iter().for_each(|file| print_line(&file.display().to_string()));
    }
    Ok(Ending::Done)
}
