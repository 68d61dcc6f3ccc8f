//! `dinoxide inspect`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::run::console::print_line;
use crate::run::input::Network;
use crate::run::inspect::{InspectReport, NetworkReport, VitReport, inspect};

/// Say what a file of weights holds, and whether it can be used here.
#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// .pth, .safetensors, folder of timm or transformers, or run folder
    file: PathBuf,
    /// Which network of a training checkpoint
    #[arg(long, value_enum, default_value_t)]
    network: Network,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: InspectArgs) -> anyhow::Result<Ending> {
    let report = inspect(&arguments.file, arguments.network)?;
    if arguments.json {
        print_json(&report)?;
    } else {
        lines(&report).iter().for_each(|line| print_line(line));
    }
    Ok(Ending::Done)
}

fn lines(report: &InspectReport) -> Vec<String> {
    let sections = report.sections.iter().map(|(name, tensors)| format!("{name} {tensors}"));
    let mut lines = vec![
        format!("{}: {}", report.path.display(), report.format),
        row("tensors", &sections.collect::<Vec<_>>().join(", ")),
    ];
    lines.extend(report.problem.iter().map(|problem| row("problem", problem)));
    lines.extend(report.network.iter().flat_map(network));
    let stated = report.stated.iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>();
    if !stated.is_empty() {
        lines.push(row("stated", &stated.join(", ")));
    }
    lines
}

fn network(network: &NetworkReport) -> Vec<String> {
    let stored: Vec<String> = network.stored.iter().map(|(kind, tensors)| format!("{tensors} as {kind}")).collect();
    let mut lines = vec![
        row("network", &format!("{}, {} values in {} tensors", network.family, network.values, network.tensors)),
        row("stored", &format!("{}; magnitudes up to {}", stored.join(", "), network.largest)),
        row("names", &network.names.to_string()),
    ];
    if let Some(backbone) = &network.backbone {
        let sizes = backbone.vit.as_ref().map(|vit| {
            let VitReport { depth, num_heads, patch_size, image_size } = vit;
            format!("{depth} blocks, {num_heads} heads, patch {patch_size}, positions of {image_size} px, ")
        });
        let (name, width, channels) = (&backbone.name, backbone.embed_dim, backbone.channels);
        let sizes = sizes.unwrap_or_default();
        lines.push(row("backbone", &format!("{name}: width {width}, {sizes}{channels} channels")));
        let ignored = match backbone.ignored {
            0 => String::new(),
            more => format!(", {more} more are heads"),
        };
        lines.push(row("fits", &format!("{} of {} tensors{ignored}", backbone.matched, backbone.needed)));
        let differences = backbone.differences.iter().flat_map(|text| text.lines().skip(1));
        lines.extend(differences.map(|line| row("", line)));
    }
    lines.extend(network.problem.iter().map(|problem| row("backbone", &format!("none that can be used: {problem}"))));
    if let Some(head) = &network.head {
        let sizes =
            format!("{} prototypes, {} layers before them, width {}", head.out_dim, head.layers, head.bottleneck_dim);
        lines.push(row("head", &sizes));
    }
    if let Some(first) = network.not_finite.first() {
        lines.push(row(
            "damaged",
            &format!("values that are not finite in {} of the tensors, first in `{first}`", network.not_finite.len()),
        ));
    }
    lines
}

fn row(title: &str, text: &str) -> String {
    format!("  {title:10}{text}")
}
