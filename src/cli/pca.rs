//! `dinoxide pca`.

use clap::{Args, ValueEnum};

use super::{Ending, FilmArgs, LookArgs, print_json, show_film};
use crate::eval::pca_maps::Ground;
use crate::report::pca_sheet::Upsampling;
use crate::run::console::print_line;
use crate::run::look::LookRequest;
use crate::run::pca::{PcaRequest, pca};
use crate::run::video::VideoRequest;
use crate::run::video::pca::pca_video;

/// Colour what is alike to the network: three principal components of the patches.
#[derive(Debug, Args)]
#[command(after_help = "Example: dinoxide pca runs/photos-vitt16-1 photos/cat.jpg photos/dog.jpg -o pca --foreground")]
pub(super) struct PcaArgs {
    #[command(flatten)]
    look: LookArgs,
    /// Images at most; of more, evenly spread ones
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    max: u16,
    /// Also show what stands in front in colours of its own, as DINOv2's figures do
    #[arg(long, conflicts_with = "video")]
    foreground: bool,
    /// How patches become pixels
    #[arg(long, value_enum, default_value_t)]
    upsampling: Between,
    #[command(flatten)]
    film: FilmArgs,
}

/// What lies between the centres of two patches.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Between {
    /// Every patch a block
    #[default]
    Nearest,
    /// Smooth from patch to patch
    Smooth,
}

pub(super) fn run(arguments: PcaArgs) -> anyhow::Result<Ending> {
    let PcaArgs { look, max, foreground, upsampling, film } = arguments;
    let (look, json) = look.request("pca");
    let ground = if foreground { Ground::Foreground } else { Ground::Whole };
    let upsampling = match upsampling {
        Between::Nearest => Upsampling::Nearest,
        Between::Smooth => Upsampling::Smooth,
    };
    let FilmArgs { video, fps, side } = film;
    if let Some(out) = video {
        let LookRequest { model, data, image_size, network, .. } = look;
        let request = VideoRequest { model, input: data, out, fps, side, image_size, network };
        return show_film(&pca_video(&request, upsampling)?, json);
    }
    let report = pca(&PcaRequest { look, max: usize::from(max), ground, upsampling })?;
    if json {
        print_json(&report)?;
    } else {
        report.files.iter().for_each(|file| print_line(&file.display().to_string()));
    }
    Ok(Ending::Done)
}
