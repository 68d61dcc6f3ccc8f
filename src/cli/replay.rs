//! `dinoxide replay`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, print_json};
use crate::run::console::print_line;
use crate::run::replay::{Extent, Replay, replay};

/// Do a step that failed once more, and show where its values lie
///
/// A run whose loss or gradient is not finite keeps the step in RUN/debug/step-N: the state before it, the crops, the configuration.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The kept step, such as runs/photos-1/debug/step-120
    step: PathBuf,
    /// Print every tensor, not only those that stand out
    #[arg(short, long)]
    verbose: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Largest magnitude that is not worth a line.
const USUAL: f32 = 1e3;

pub(super) fn run(arguments: ReplayArgs) -> anyhow::Result<Ending> {
    let found = replay(&arguments.step)?;
    if arguments.json {
        print_json(&found)?;
        return Ok(Ending::Done);
    }
    let Replay { failed, fails_again, loss, values, grad_norms } = found;
    print_line(&format!("step {} on {} images: {}", failed.step, failed.images.len(), failed.error));
    match (&fails_again, loss) {
        (Some(error), _) => print_line(&format!("again: {error}")),
        (None, Some(loss)) => print_line(&format!("this time it goes through: loss {loss:.4}")),
        (None, None) => {}
    }
    let stands_out = |extent: &&Extent| extent.not_finite > 0 || extent.min < -USUAL || extent.max > USUAL;
    let shown: Vec<&Extent> = values.iter().filter(|extent| arguments.verbose || stands_out(extent)).collect();
    print_line(&format!("{} of {} tensors {}", shown.len(), values.len(), "hold values above 1000 or not finite:"));
    let width = shown.iter().map(|extent| extent.name.len()).max().unwrap_or(0);
    for Extent { name, min, max, not_finite } in shown {
        let range = if min > max { "no finite value".to_owned() } else { format!("{min:.3e} to {max:.3e}") };
        print_line(&format!("  {name:width$}  {range}  {not_finite} not finite"));
    }
    let bad: Vec<&str> = grad_norms.iter().filter(|(_, norm)| norm.is_none()).map(|(name, _)| name.as_str()).collect();
    if !bad.is_empty() {
        print_line(&format!("gradients that are not finite: {}", bad.join(", ")));
    }
    Ok(Ending::Done)
}
