//! `dinoxide recipes`.

use clap::{Args, Subcommand};

use super::Ending;
use crate::config::recipe::{RECIPES, text};
use crate::run::console::print_line;

/// List and show the recipes.
#[derive(Debug, Args)]
pub(super) struct RecipesArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Name and purpose of every recipe
    Ls,
    /// Print a recipe as TOML
    Show {
        /// Name of the recipe
        name: String,
    },
}

pub(super) fn run(arguments: RecipesArgs) -> anyhow::Result<Ending> {
    match arguments.action {
        Action::Ls => RECIPES.iter().for_each(|recipe| print_line(&format!("{:8} {}", recipe.name, recipe.about))),
        Action::Show { name } => print_line(text(&name)?.trim_end()),
    }
    Ok(Ending::Done)
}
