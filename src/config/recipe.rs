//! The recipes that come with the program (`recipes/*.toml`).

use super::ConfigError;

/// The recipe used when none is named: everything is derived from the data and the machine.
pub const AUTO: &str = "auto";

/// A recipe that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Name, as in `--recipe`.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// The file.
    pub text: &'static str,
}

/// All recipes.
pub const RECIPES: [Recipe; 5] = [
    Recipe {
        name: AUTO,
        about: "derives every value from the data and the machine",
        text: include_str!("../../recipes/auto.toml"),
    },
    Recipe {
        name: "dino",
        about: "the defaults of the reference program (ViT-S/16 at 224 px)",
        text: include_str!("../../recipes/dino.toml"),
    },
    Recipe {
        name: "laptop",
        about: "ViT-Ti/16 at 96 px for photos on a few CPU cores",
        text: include_str!("../../recipes/laptop.toml"),
    },
    Recipe {
        name: "demo",
        about: "what `dinoxide demo` trains on the pictures it makes (64 px)",
        text: include_str!("../../recipes/demo.toml"),
    },
    Recipe {
        name: "cifar10-2cores",
        about: "small ViT for ten thousand pictures of 32 px in under an hour",
        text: include_str!("../../recipes/cifar10-2cores.toml"),
    },
];

/// The text of the recipe `name`.
///
/// # Errors
/// [`ConfigError::UnknownRecipe`] with the nearest name.
pub fn text(name: &str) -> Result<&'static str, ConfigError> {
    if let Some(recipe) = RECIPES.iter().find(|recipe| recipe.name == name) {
        return Ok(recipe.text);
    }
    let suggestion = RECIPES
        .iter()
        .map(|recipe| (strsim::jaro_winkler(name, recipe.name), recipe.name))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, nearest)| nearest.to_owned());
    let known = RECIPES.map(|recipe| recipe.name).join(", ");
    Err(ConfigError::UnknownRecipe { name: name.to_owned(), suggestion, known })
}
