//! What a run was told other than the reference recipe.

use toml::Value;

use crate::config::{Config, Facts, KEYS, Origin, Partial, resolve};
use crate::report::page::Table;
use crate::run::found::MEASURED_KEYS;
use crate::run::trained::Trained;

/// The recipe that runs are compared with.
const REFERENCE: &str = "dino";
/// Keys that say where images are, how they are drawn and what is looked at; with them those on which the result does not depend.
const APART: [&str; 4] = ["recipe", "data.train", "data.val", "run.seed"];
const APART_SECTIONS: [&str; 2] = ["eval.", "log."];

/// A table of the keys in which a run differs from the recipe; nothing if the recipe cannot be laid on its images.
pub(super) fn differences(trained: &Trained<'_>) -> Option<Table> {
    let config = &trained.folder.config;
    let mut given = Partial::from_recipe(REFERENCE).ok()?;
    // The images, and what was found in them, are the same for both.
    let places = Value::Array(config.data.train.iter().cloned().map(Value::String).collect());
    for (key, value) in config.values_under(&MEASURED_KEYS).ok()?.into_iter().chain([("data.train", places)]) {
        given.insert(key, value, Origin::Derived).ok()?;
    }
    // Labels, weights to start from and the measured speed are this run's alone.
    let facts = Facts { val_classes: None, init: None, speed: None, ..trained.facts.clone() };
    let (reference, _) = resolve(&given, &facts).ok()?;
    table(config, &reference)
}

/// The keys in which two configurations differ, as far as they matter to the result.
fn table(config: &Config, reference: &Config) -> Option<Table> {
    let matters = |key: &str| {
        let apart = APART.contains(&key) || APART_SECTIONS.iter().any(|section| key.starts_with(section));
        !apart && KEYS.iter().any(|known| known.name == key && !known.free_on_resume)
    };
    let rows = config.differences(reference).ok()?.into_iter().filter(|(key, ..)| matters(key));
    let rows: Vec<Vec<String>> = rows.map(|(key, ours, theirs)| vec![key, ours, theirs]).collect();
    let all = KEYS.iter().filter(|key| matters(key.name)).count();
    Some(Table {
        title: "What differs from the recipe".to_owned(),
        caption: format!(
            "{} of {all} values are others than those of the recipe {REFERENCE}, the defaults of the reference program for ViT-S/16 on \
             ImageNet; lengths in epochs are converted for the images of this run. Places, machine, seed, evaluation and logs are left \
             out.",
            rows.len()
        ),
        header: ["key", "this run", &format!("recipe {REFERENCE}")].map(str::to_owned).into(),
        rows,
    })
}
