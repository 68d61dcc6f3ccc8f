//! What commands that need a configuration share: data, recipe, file, single values.

use std::path::{Path, PathBuf};

use clap::Args;
use toml::Value;

use crate::config::{ConfigError, Origin, Partial};

/// A configuration, as far as it is typed.
#[derive(Debug, Args)]
pub(super) struct GivenArgs {
    /// Folders, images, lists (.txt), tables (.csv), archives (.tar, .zip) or globs
    #[arg(value_name = "DATA")]
    pub data: Vec<String>,
    /// vit_tiny, vit_small, vit_base, also with sizes: vit_tiny_patch16_96; resnet50 and others: `dinoxide models ls`
    #[arg(short, long, value_name = "NAME")]
    pub model: Option<String>,
    /// Values to start from: auto, adapt, dino, laptop and others: `dinoxide recipes ls`
    #[arg(short, long, value_name = "NAME")]
    pub recipe: Option<String>,
    /// dino, ibot, dinov2, byol, simclr, mocov3, swav, supervised and others: docs/methods [default: dino]
    #[arg(long, value_name = "NAME")]
    pub method: Option<String>,
    /// Seed of every random draw
    #[arg(long, value_name = "N")]
    pub seed: Option<i64>,
    /// Configuration file; a run's config.toml repeats that run
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any value of the configuration; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl GivenArgs {
    /// Values in order of strength: file, then flags, those of `more` among them, then `--set`.
    pub fn partial(
        &self,
        file: Option<&Path>,
        more: impl FnOnce(&mut Partial) -> Result<(), ConfigError>,
    ) -> Result<Partial, ConfigError> {
        let mut given = file.map_or_else(|| Ok(Partial::default()), Partial::from_file)?;
        if let Some(recipe) = &self.recipe {
            one_recipe(&given, recipe)?;
        }
        let views_of_file = given.text("views.recipe").map(str::to_owned);
        let (sets, data): (Vec<&String>, Vec<&String>) = self.data.iter().partition(|text| is_assignment(text));
        if !data.is_empty() {
            let list = data.into_iter().map(|place| Value::String(place.clone())).collect();
            given.insert("data.train", Value::Array(list), Origin::Flag("DATA"))?;
        }
        let named = [
            ("model.name", "--model", &self.model),
            ("recipe", "--recipe", &self.recipe),
            ("method.name", "--method", &self.method),
        ];
        for (key, flag, text) in named {
            if let Some(text) = text {
                given.insert(key, Value::String(text.clone()), Origin::Flag(flag))?;
            }
        }
        if let Some(seed) = self.seed {
            given.insert("run.seed", Value::Integer(seed), Origin::Flag("--seed"))?;
        }
        more(&mut given)?;
        for text in self.set.iter().chain(sets) {
            given.set(text)?;
        }
        match (views_of_file, given.text("views.recipe")) {
            (Some(of_file), Some(recipe)) if of_file != recipe => {
                return Err(other_recipe("views.recipe", recipe, &of_file));
            }
            _ => {}
        }
        given.on_recipe()
    }
}

/// A file made from another recipe holds that recipe's values, over which `--recipe` would have no power.
fn one_recipe(file: &Partial, recipe: &str) -> Result<(), ConfigError> {
    match file.text("recipe") {
        Some(other) if other != recipe => Err(other_recipe("--recipe", recipe, other)),
        _ => Ok(()),
    }
}

fn other_recipe(key: &str, recipe: &str, other: &str) -> ConfigError {
    ConfigError::Conflict {
        key: key.to_owned(),
        value: recipe.to_owned(),
        other: format!("{} = \"{other}\" of the configuration file", key.trim_start_matches('-')),
        hint: "leave one of the two away".to_owned(),
    }
}

/// Whether an argument among DATA is `key=value`: its left side looks like a key and no such file exists.
fn is_assignment(text: &str) -> bool {
    let Some((key, _)) = text.split_once('=') else { return false };
    let looks = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.');
    looks && !key.is_empty() && !Path::new(text).exists()
}
