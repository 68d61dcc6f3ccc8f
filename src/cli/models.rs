//! `dinoxide models`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Ending;
use crate::config::{ModelConfig, Origin};
use crate::run::console::print_line;

/// Channels of the images that parameters are counted for.
const CHANNELS: usize = 3;

/// List and show the networks: `--model NAME`, with sizes as in vit_small_patch16_224.
#[derive(Debug, Args)]
pub(super) struct ModelsArgs {
    #[command(subcommand)]
    action: Action,
    /// Print figures as JSON on stdout
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Name, sizes and parameters of every network
    Ls,
    /// Sizes of one network
    Show {
        /// Name, such as vit_small or vit_small_patch8_224
        name: String,
    },
}

pub(super) fn run(arguments: ModelsArgs) -> anyhow::Result<Ending> {
    let models = match &arguments.action {
        Action::Ls => ModelConfig::known().collect(),
        Action::Show { name } => vec![ModelConfig::named(name, Origin::Flag("NAME"))?],
    };
    if arguments.json {
        models.iter().for_each(|model| print_line(&figures(model).to_string()));
        return Ok(Ending::Done);
    }
    match arguments.action {
        Action::Ls => {
            print_line(&format!("{:24} {:>5} {:>6} {:>5} {:>10}", "name", "width", "blocks", "heads", "parameters"));
            models.iter().for_each(|model| print_line(&row(model)));
        }
        Action::Show { .. } => models.iter().for_each(|model| print_line(&card(model))),
    }
    Ok(Ending::Done)
}

fn row(model: &ModelConfig) -> String {
    let (width, depth, heads) = sizes(model);
    format!("{:24} {width:>5} {depth:>6} {heads:>5} {:>10}", model.full_name(), million(model))
}

fn card(model: &ModelConfig) -> String {
    let (width, depth, heads) = sizes(model);
    let grid = model.image_size / model.patch_size;
    let lines = [
        ("width", width.to_string()),
        ("blocks", depth.to_string()),
        ("heads", format!("{heads} of {}", width / heads.max(1))),
        ("image", format!("{0} × {0} px, other sizes by interpolated positions", model.image_size)),
        ("patch", format!("{0} × {0} px, {grid} × {grid} of them", model.patch_size)),
        ("parameters", format!("{} ({CHANNELS} channels)", million(model))),
    ];
    let lines = lines.map(|(name, value)| format!("\n  {name:<11} {value}"));
    model.full_name() + &lines.concat()
}

fn figures(model: &ModelConfig) -> serde_json::Value {
    let (embed_dim, depth, num_heads) = sizes(model);
    json!({
        "name": model.full_name(), "embed_dim": embed_dim, "depth": depth, "num_heads": num_heads,
        "patch_size": model.patch_size, "image_size": model.image_size, "parameters": model.parameters(CHANNELS),
    })
}

fn sizes(model: &ModelConfig) -> (usize, usize, usize) {
    model.shape().map_or((0, 0, 0), |shape| (shape.embed_dim, shape.depth, shape.num_heads))
}

fn million(model: &ModelConfig) -> String {
    format!("{:.1} M", model.parameters(CHANNELS) as f64 / 1e6)
}
