//! `dinoxide recipes`.

use clap::{Args, Subcommand};

use super::Ending;
use crate::config::recipe::{RECIPES, VIEW_RECIPES, text, views_text};
use crate::run::console::print_line;

/// What names of recipes of views begin with, to tell them from recipes of runs.
const VIEWS: &str = "views/";

/// List and show the recipes: `--recipe NAME` for a run, `--set views.recipe=NAME` for its views alone.
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
        /// Name of the recipe, such as laptop or views/byol
        name: String,
    },
}

pub(super) fn run(arguments: RecipesArgs) -> anyhow::Result<Ending> {
    match arguments.action {
        Action::Ls => {
            RECIPES.iter().for_each(|recipe| print_line(&format!("{:22} {}", recipe.name, recipe.about())));
            for recipe in VIEW_RECIPES {
                print_line(&format!("{:22} {}", format!("{VIEWS}{}", recipe.name), recipe.about()));
            }
        }
        Action::Show { name } => {
            let text = match name.strip_prefix(VIEWS) {
                Some(views) => views_text(views)?,
                None => text(&name).or_else(|unknown| views_text(&name).map_err(|_| unknown))?,
            };
            print_line(text.trim_end());
        }
    }
    Ok(Ending::Done)
}
