//! `dinoxide eval all`.

use std::path::PathBuf;

use clap::{Arg, Args, Command, CommandFactory as _, Parser as _};

use super::Ending;
use crate::cli::{Cli, print_json};
use crate::run::console::print_line;
use crate::run::suite::figures::Role;
use crate::run::suite::file::{CommandOption, Entry, Suite, Takes, Vocabulary};
use crate::run::suite::{Comparison, SuiteError, SuiteRequest, run_suite};

/// Several evaluations of several models: one table, one page.
///
/// A suite is a TOML file with an `[[eval]]` table for each evaluation: `protocol` is the name of a command of `dinoxide eval`, `name` that of the folder of
/// its results, and all other keys are its options. `data = "photos"` of protocols with --train and --val is photos/train and photos/val. `[throughput]` has the options
/// of `dinoxide bench infer`. The same command again does only what is not finished.
#[derive(Debug, Args)]
#[command(after_help = "Example: dinoxide eval all runs/a runs/b --suite suite.toml -o comparison")]
pub(super) struct AllArgs {
    /// Run folders, or files or folders of weights
    #[arg(required = true)]
    models: Vec<PathBuf>,
    /// The suite
    #[arg(long, value_name = "FILE")]
    suite: PathBuf,
    /// Folder of the results
    #[arg(short, long, value_name = "DIR", default_value = "eval-all")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Options that a suite does not give: it is the suite's part to say where results go.
const OWN: [&str; 4] = ["model", "out", "json", "help"];

pub(super) fn run(arguments: AllArgs) -> anyhow::Result<Ending> {
    let AllArgs { models, suite: path, out, json } = arguments;
    let command = Cli::command();
    let evaluations = command.find_subcommand("eval").map(Command::get_subcommands).into_iter().flatten();
    // Those that evaluate a model.
    let of_models = evaluations.filter(|command| command.get_arguments().any(|argument| argument.get_id() == "model"));
    let vocabularies: Vec<Vocabulary> = of_models.map(vocabulary).collect();
    let bench = command.find_subcommand("bench").and_then(|bench| bench.find_subcommand("infer")).map(vocabulary);
    let bench = bench.unwrap_or_else(|| Vocabulary { protocol: "infer".to_owned(), options: Vec::new() });
    let suite = Suite::read(&path, &vocabularies, &bench)?;
    suite.entries.iter().try_for_each(understood)?;
    if let Some(options) = &suite.throughput {
        let words = ["dinoxide", "bench", "infer"].map(str::to_owned).into_iter().chain(options.iter().cloned());
        parsed("throughput", words)?;
    }
    let comparison = run_suite(&SuiteRequest { models, path, suite, out: out.clone() })?;
    if json {
        print_json(&comparison)?;
    } else {
        print_table(&comparison);
    }
    comparison.succeeded(&out)?;
    Ok(Ending::Done)
}

/// What a command understands.
fn vocabulary(command: &Command) -> Vocabulary {
    let given = command.get_arguments().filter(|argument| !OWN.contains(&argument.get_id().as_str()));
    let option = |argument: &Arg| CommandOption {
        key: argument.get_id().to_string(),
        flag: match (argument.get_long(), argument.get_short()) {
            (Some(long), _) => Some(format!("--{long}")),
            (None, Some(short)) => Some(format!("-{short}")),
            (None, None) => None,
        },
        takes: if argument.get_action().takes_values() { Takes::Value } else { Takes::Nothing },
    };
    Vocabulary { protocol: command.get_name().to_owned(), options: given.map(option).collect() }
}

/// Whether the command will understand an evaluation, whatever the model.
fn understood(entry: &Entry) -> Result<(), SuiteError> {
    let (options, places): (Vec<String>, Vec<String>) =
        entry.arguments.iter().cloned().partition(|argument| argument.starts_with('-'));
    let words = ["dinoxide".to_owned(), "eval".to_owned(), entry.protocol.clone()].into_iter();
    parsed(&entry.name, words.chain(options).chain(["MODEL".to_owned()]).chain(places))
}

fn parsed(name: &str, words: impl Iterator<Item = String>) -> Result<(), SuiteError> {
    let refused = |error: clap::Error| {
        let text = error.render().to_string();
        // The rest is how the command is typed, which nobody does here.
        let text = text.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
        SuiteError::Refused { name: name.to_owned(), problem: text.trim().to_owned() }
    };
    Cli::try_parse_from(words).map(drop).map_err(refused)
}

fn print_table(comparison: &Comparison) {
    for model in &comparison.models {
        let network = model.network.as_deref().unwrap_or("unknown network");
        print_line(&format!("{} ({network})", model.name));
        for result in &model.evaluations {
            match &result.error {
                Some(error) => print_line(&format!("  {:<16} failed: {error}", result.name)),
                None => {
                    let shown = result.figures.iter().filter(|figure| figure.role != Role::Floor);
                    let words = shown.map(|figure| format!("{} {:.2} {}", figure.name, figure.value, figure.unit));
                    print_line(&format!("  {:<16} {}", result.name, words.collect::<Vec<_>>().join(", ")));
                }
            }
        }
        if let Some(speed) = model.throughput.as_ref() {
            let size = speed.image_size.as_deref().unwrap_or_default();
            let words = match (&speed.error, speed.images_per_second) {
                (Some(error), _) => format!("failed: {error}"),
                (None, Some(rate)) => format!("{rate:.1} images of {size} per second"),
                (None, None) => "unknown".to_owned(),
            };
            print_line(&format!("  {:<16} {words}", "throughput"));
        }
    }
    comparison.files.iter().for_each(|file| print_line(&file.display().to_string()));
}
