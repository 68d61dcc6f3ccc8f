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
    /// One line about it.
    pub about: &'static str,
    /// The file.
    pub text: &'static str,
}

/// All recipes.
pub const RECIPES: [Recipe; 15] = [
    Recipe {
        name: AUTO,
        about: "derives every value from the data and the machine",
        text: include_str!("../../recipes/auto.toml"),
    },
    Recipe {
        name: ADAPT,
        about: "goes on from trained weights (`--init`) without spoiling them",
        text: include_str!("../../recipes/adapt.toml"),
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
    Recipe { name: "byol", about: "BYOL on ResNet-50 (300 epochs)", text: include_str!("../../recipes/byol.toml") },
    Recipe {
        name: "simclr",
        about: "SimCLR on ResNet-50 (1000 epochs)",
        text: include_str!("../../recipes/simclr.toml"),
    },
    Recipe {
        name: "mocov2",
        about: "MoCo v2 on ResNet-50 (800 epochs)",
        text: include_str!("../../recipes/mocov2.toml"),
    },
    Recipe {
        name: "mocov3",
        about: "MoCo v3 on ViT-S/16 (300 epochs)",
        text: include_str!("../../recipes/mocov3.toml"),
    },
    Recipe {
        name: "swav",
        about: "SwAV on ResNet-50 with multi-crop (800 epochs)",
        text: include_str!("../../recipes/swav.toml"),
    },
    Recipe {
        name: "barlow_twins",
        about: "Barlow Twins on ResNet-50 (1000 epochs)",
        text: include_str!("../../recipes/barlow_twins.toml"),
    },
    Recipe {
        name: FINETUNE,
        about: "tunes trained weights on labelled images (`eval finetune`)",
        text: include_str!("../../recipes/finetune.toml"),
    },
    Recipe {
        name: "supervised",
        about: "supervised ViT-S/16, the recipe of DeiT (300 epochs)",
        text: include_str!("../../recipes/supervised.toml"),
    },
    Recipe {
        name: "supervised-resnet50",
        about: "supervised ResNet-50, the same recipe",
        text: include_str!("../../recipes/supervised-resnet50.toml"),
    },
];

/// Recipes of views alone, for `views.recipe`: what is not in them stays as it is.
pub const VIEW_RECIPES: [Recipe; 12] = [
    Recipe { name: "dino", about: "DINO's own", text: include_str!("../../recipes/views/dino.toml") },
    Recipe {
        name: "byol",
        about: "two crops of 8 to 100 %, blurred and solarised differently",
        text: include_str!("../../recipes/views/byol.toml"),
    },
    Recipe {
        name: "simclr",
        about: "two crops of 8 to 100 %, strong colors, half of them blurred",
        text: include_str!("../../recipes/views/simclr.toml"),
    },
    Recipe {
        name: "mocov2",
        about: "two crops of 20 to 100 %, half of them blurred",
        text: include_str!("../../recipes/views/mocov2.toml"),
    },
    Recipe {
        name: "swav",
        about: "multi-crop of 14 to 100 and 5 to 14 %, strong colors",
        text: include_str!("../../recipes/views/swav.toml"),
    },
    Recipe { name: "barlow", about: "as byol", text: include_str!("../../recipes/views/barlow.toml") },
    Recipe {
        name: "dinov2",
        about: "DINOv2 as its models were trained: the first crop is never blurred",
        text: include_str!("../../recipes/views/dinov2.toml"),
    },
    Recipe {
        name: "dinov2-intended",
        about: "DINOv2 as it was meant",
        text: include_str!("../../recipes/views/dinov2-intended.toml"),
    },
    Recipe {
        name: "gray",
        about: "gray pictures: of colors only brightness and contrast",
        text: include_str!("../../recipes/views/gray.toml"),
    },
    Recipe {
        name: "medical",
        about: "scans: gray levels mean something, left is not right",
        text: include_str!("../../recipes/views/medical.toml"),
    },
    Recipe {
        name: "satellite",
        about: "seen from above: no side is up, colors stay what they are",
        text: include_str!("../../recipes/views/satellite.toml"),
    },
    Recipe {
        name: "microscopy",
        about: "cells and tissue: no side is up, stains vary in strength but not in hue",
        text: include_str!("../../recipes/views/microscopy.toml"),
    },
];

/// The text of the recipe `name`.
///
/// # Errors
/// [`ConfigError::UnknownRecipe`] with the nearest name.
pub fn text(name: &str) -> Result<&'static str, ConfigError> {
    find(&RECIPES, name)
}

/// The text of the recipe of views `name`.
///
/// # Errors
/// [`ConfigError::UnknownRecipe`] with the nearest name.
pub fn views_text(name: &str) -> Result<&'static str, ConfigError> {
    find(&VIEW_RECIPES, name)
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
