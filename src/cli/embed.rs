//! `dinoxide embed`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::run::console::print_line;
use crate::run::embed::{EmbedRequest, EmbedWhat, embed};
use crate::run::input::{ImageSize, Network};

/// Write frozen features of images to a file.
///
/// Arrays: `filenames` and `embeddings`, `tokens` or `attention`.
#[derive(Debug, Args)]
pub(super) struct EmbedArgs {
    /// Run folder, .safetensors or .pth
    model: PathBuf,
    /// Folders, image files, lists (.txt) or globs
    #[arg(required = true)]
    data: Vec<String>,
    /// File to write: .npz or .csv
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Which features
    #[arg(long, value_enum, default_value_t)]
    what: EmbedWhat,
    /// Resize to exactly this size, such as 224 or 480x320 (width x height) [default: shorter side 256, centre 224]
    #[arg(long, value_name = "SIZE")]
    image_size: Option<ImageSize>,
    /// Which network of a run
    #[arg(long, value_enum, default_value_t)]
    network: Network,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: EmbedArgs) -> anyhow::Result<Ending> {
    let EmbedArgs { model, data, out, what, image_size, network, json } = arguments;
    let report = embed(&EmbedRequest { model, data, out, what, image_size, network })?;
    if json {
        print_json(&report)?;
    } else {
        print_line(&format!("{} images → {}, shape {:?}", report.images, report.out.display(), report.shape));
    }
    Ok(Ending::Done)
}
