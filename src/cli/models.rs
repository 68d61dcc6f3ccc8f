//! `dinoxide models`.

use clap::{Args, Subcommand};
use serde_json::json;

use super::Ending;
use crate::config::{ModelConfig, Origin, Shape};
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
        /// Name, such as vit_small, vit_small_patch8_224 or resnet50
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
    let [depth, heads] = match model.shape() {
        Some(shape) => [shape.depth, shape.num_heads].map(|count| count.to_string()),
        None => ["–", "–"].map(str::to_owned),
    };
    format!("{:24} {:>5} {depth:>6} {heads:>5} {:>10}", model.full_name(), model.dim(), million(model))
}

fn card(model: &ModelConfig) -> String {
    let mut lines = vec![("width", model.dim().to_string())];
    if let Some(Shape { embed_dim, depth, num_heads }) = model.shape() {
        let grid = model.image_size / model.patch_size;
        lines.extend([
            ("blocks", depth.to_string()),
            ("heads", format!("{num_heads} of {}", embed_dim / num_heads.max(1))),
            ("image", format!("{0} × {0} px, other sizes by interpolated positions", model.image_size)),
            ("patch", format!("{0} × {0} px, {grid} × {grid} of them", model.patch_size)),
        ]);
    }
    lines.push(("parameters", format!("{} ({CHANNELS} channels)", million(model))));
    let lines = lines.into_iter().map(|(name, value)| format!("\n  {name:<11} {value}"));
    model.full_name() + &lines.collect::<String>()
}

fn figures(model: &ModelConfig) -> serde_json::Value {
    let mut figures = json!({
        "name": model.full_name(), "embed_dim": model.dim(), "parameters": model.parameters(CHANNELS),
    });
    if let Some(Shape { depth, num_heads, .. }) = model.shape() {
        figures["depth"] = json!(depth);
        figures["num_heads"] = json!(num_heads);
        figures["patch_size"] = json!(model.patch_size);
        figures["image_size"] = json!(model.image_size);
    }
    figures
}

fn million(model: &ModelConfig) -> String {
    format!("{:.1} M", model.parameters(CHANNELS) as f64 / 1e6)
}
