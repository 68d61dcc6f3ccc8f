//! `dinoxide serve`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::Ending;
use crate::run::interrupt::Interrupt;
use crate::run::serve::{HOST, PORT, Server};

/// Watch runs in the browser: curves, pictures, health, while they train.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Folder that holds runs, or a run [default: `runs`, or the current folder if there is none]
    folder: Option<PathBuf>,
    /// Port to listen on; 0 takes a free one
    #[arg(short, long, default_value_t = PORT)]
    port: u16,
    /// Address to listen on; 0.0.0.0 lets every machine of the network look
    #[arg(long, value_name = "ADDRESS", default_value = HOST)]
    host: String,
}

pub(super) fn run(arguments: ServeArgs) -> anyhow::Result<Ending> {
    let folder = arguments.folder.unwrap_or_else(usual_folder);
    let server = Server::listen(&folder, &arguments.host, arguments.port)?;
    let interrupt = Interrupt::install().context("cannot listen for Ctrl-C")?;
    writeln!(std::io::stderr(), "{}", server.words()).ok();
    server.run(&interrupt)?;
    Ok(Ending::Done)
}

fn usual_folder() -> PathBuf {
    let runs = Path::new("runs");
    if runs.is_dir() { runs.to_owned() } else { PathBuf::from(".") }
}
