//! The recipes that come with the program (`recipes/*.toml`).

use super::ConfigError;

/// The recipe used when none is named: everything is derived from the data and the machine.
pub const AUTO: &str = "auto";
/// The recipe used when none is named and the run starts from weights.
pub const ADAPT: &str = "adapt";
/// The recipe used when none is named and the supervised method starts from weights.
pub const FINETUNE: &str = "finetune";

/// A recipe that comes with the program.
#[derive(Debug, Clone, Copy)]
pub struct Recipe {
    /// Name, as in `--recipe`.
    pub name: &'static str,
    /// The file. Its first line says what it is for.
    pub text: &'static str,
}

impl Recipe {
    /// One line about it: the first of its file, after the name.
    pub fn about(&self) -> &'static str {
        let first = self.text.lines().next().unwrap_or_default();
        first.split_once(": ").map_or(first, |(_, about)| about.trim_end_matches('.'))
    }
}

/// The recipes of these names in a folder.
macro_rules! recipes {
    ($folder:literal: $($name:literal)*) => {
        &[$(Recipe { name: $name, text: include_str!(concat!("../../", $folder, "/", $name, ".toml")) }),*]
    };
}

/// All recipes. One that begins with `recipe = "…"` changes that one.
pub const RECIPES: &[Recipe] = recipes! { "recipes":
    "auto"
    "adapt"
    "laptop"
    "demo"
    "cifar10-2cores"
    "dino"
    "dino-vits16"
    "dino-vits8"
    "dino-vitb16"
    "dino-vitb8"
    "dino-rn50"
    "dino-vits16-300"
    "dino-no-momentum"
    "dino-previous-epoch"
    "dino-sinkhorn"
    "dino-softmax-batch"
    "dino-no-multicrop"
    "dino-mse"
    "dino-predictor"
    "ibot-vits16"
    "dinov2-vitl16"
    "byol"
    "byol-vits16"
    "byol-rn50w2"
    "byol-rn50w4"
    "simclr"
    "simclr-rn50w4"
    "mocov2"
    "mocov2-vits16"
    "mocov3"
    "swav"
    "swav-vits16"
    "swav-rn50w2"
    "deepcluster_v2"
    "infomin"
    "obow"
    "barlow_twins"
    "supervised"
    "supervised-resnet50"
    "finetune"
};

/// Recipes of views alone, for `views.recipe`: what is not in them stays as it is.
pub const VIEW_RECIPES: &[Recipe] = recipes! { "recipes/views":
    "dino"
    "byol"
    "simclr"
    "mocov2"
    "swav"
    "barlow"
    "dinov2"
    "dinov2-intended"
    "gray"
    "medical"
    "satellite"
    "microscopy"
};

/// The text of the recipe `name`.
///
/// # Errors
/// [`ConfigError::UnknownRecipe`] with the nearest name.
pub fn text(name: &str) -> Result<&'static str, ConfigError> {
    find(RECIPES, name)
}

/// The text of the recipe of views `name`.
///
/// # Errors
/// [`ConfigError::UnknownRecipe`] with the nearest name.
pub fn views_text(name: &str) -> Result<&'static str, ConfigError> {
    find(VIEW_RECIPES, name)
}

fn find(recipes: &[Recipe], name: &str) -> Result<&'static str, ConfigError> {
    if let Some(recipe) = recipes.iter().find(|recipe| recipe.name == name) {
        return Ok(recipe.text);
    }
    let suggestion = recipes
        .iter()
        .map(|recipe| (strsim::jaro_winkler(name, recipe.name), recipe.name))
        .filter(|(similarity, _)| *similarity > 0.7)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, nearest)| nearest.to_owned());
    let known = recipes.iter().map(|recipe| recipe.name).collect::<Vec<_>>().join(", ");
    Err(ConfigError::UnknownRecipe { name: name.to_owned(), suggestion, known })
}
