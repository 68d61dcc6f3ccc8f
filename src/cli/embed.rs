//! `dinoxide embed`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, SeenArgs, print_json};
use crate::run::console::print_line;
use crate::run::embed::{EmbedRequest, EmbedWhat, embed};

/// Write frozen features of images to a file.
///
/// Arrays: `filenames` and `embeddings`, `tokens` or `attention`.
#[derive(Debug, Args)]
pub(super) struct EmbedArgs {
    /// Run folder, .safetensors or .pth
    model: PathBuf,
    /// Folders, images, lists (.txt), tables (.csv), archives (.tar, .zip) or globs
    #[arg(required = true)]
    data: Vec<String>,
    /// File to write: .npz or .csv
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Which features
    #[arg(long, value_enum, default_value_t)]
    what: EmbedWhat,
    #[command(flatten)]
    seen: SeenArgs,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: EmbedArgs) -> anyhow::Result<Ending> {
    let EmbedArgs { model, data, out, what, seen, json } = arguments;
    let SeenArgs { image_size, network, precision } = seen;
    let report = embed(&EmbedRequest { model, data, out, what, image_size, network, precision })?;
    if json {
        print_json(&report)?;
    } else {
        print_line(&format!("{} images → {}, shape {:?}", report.images, report.out.display(), report.shape));
    }
    Ok(Ending::Done)
}
