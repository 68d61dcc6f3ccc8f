//! `dinoxide attention`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, FilmArgs, print_json, show_film};
use crate::run::attention::{AttentionRequest, attention};
use crate::run::console::print_line;
use crate::run::input::{ImageSize, Network};
use crate::run::video::VideoRequest;
use crate::run::video::attention::{AttentionView, attention_video};

/// Show where the model looks: heads, mean, masks, overlay and raw arrays.
#[derive(Debug, Args)]
#[command(after_help = "Example: dinoxide attention runs/photos-vitt16-1 frames/ --video attention.gif --view overlay")]
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
    #[command(flatten)]
    film: FilmArgs,
    /// What the video shows
    #[arg(long, value_enum, default_value_t, requires = "video")]
    view: AttentionView,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: AttentionArgs) -> anyhow::Result<Ending> {
    let AttentionArgs { model, images, out, image_size, threshold, network, film, view, json } = arguments;
    let FilmArgs { video, fps, side } = film;
    if let Some(out) = video {
        let request = VideoRequest { model, input: images, out, fps, side, image_size, network };
        return show_film(&attention_video(&request, view, threshold)?, json);
    }
    let report = attention(&AttentionRequest { model, images, out, image_size, threshold, network })?;
    if json {
        print_json(&report)?;
    } else {
        report.files.iter().for_each(|file| print_line(&file.display().to_string()));
    }
    Ok(Ending::Done)
}
