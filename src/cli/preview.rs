//! `dinoxide preview`.

use std::path::PathBuf;

use clap::Args;

use super::Ending;
use super::given::GivenArgs;
use crate::run::console::print_line;
use crate::run::preview::{PreviewRequest, preview};

/// Draw what the networks would see of some images, before any training.
///
/// The same code and draws as in training: a row for each of eight images, the crops of the first epoch side by side.
#[derive(Debug, Args)]
pub(super) struct PreviewArgs {
    #[command(flatten)]
    given: GivenArgs,
    /// Picture to write
    #[arg(short, long, value_name = "FILE", default_value = "augmentations.png")]
    out: PathBuf,
}

pub(super) fn run(arguments: PreviewArgs) -> anyhow::Result<Ending> {
    let PreviewArgs { given, out } = arguments;
    let given = given.partial(given.config.as_deref(), |_| Ok(()))?;
    let path = preview(&PreviewRequest { given, out })?;
    print_line(&path.display().to_string());
    Ok(Ending::Done)
}
