//! `dinoxide map`.

use clap::Args;

use super::{Ending, LookArgs, print_json};
use crate::run::console::print_line;
use crate::run::map::{MapMethod, MapRequest, map};

/// Place all images on a plane, alike ones beside each other.
///
/// Writes map.csv (path, x, y, class or cluster), a picture, and a page to move about in.
#[derive(Debug, Args)]
#[command(after_help = "Example: dinoxide map runs/photos-vitt16-1 photos/ --max 2000 -o map")]
pub(super) struct MapArgs {
    #[command(flatten)]
    look: LookArgs,
    /// How features become places
    #[arg(long, value_enum, default_value_t)]
    method: MapMethod,
    /// Images at most; of more, evenly spread ones
    #[arg(long, value_name = "N", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(2..))]
    max: u32,
    /// Clusters, where folders are no classes
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    clusters: u16,
}

pub(super) fn run(arguments: MapArgs) -> anyhow::Result<Ending> {
    let MapArgs { look, method, max, clusters } = arguments;
    let (look, json) = look.request("map");
    let report = map(&MapRequest { look, method, max: max as usize, clusters: usize::from(clusters) })?;
    if json {
        print_json(&report)?;
    } else {
        report.files.iter().for_each(|file| print_line(&file.display().to_string()));
    }
    Ok(Ending::Done)
}
