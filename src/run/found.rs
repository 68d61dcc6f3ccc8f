//! The images that a run trains on: looked for when it begins, those that it wrote down when it goes on.

use std::path::Path;

use dinoxide_views::Source;
use toml::Value;

use super::RunError;
use super::console::Console;
use super::facts::{FROM_WEIGHTS, open_source, places};
use super::folder::{IMAGES_FILE, WhenExists, kept_images, stored_config};
use super::labelled;
use crate::config::{Config, ConfigError, DataConfig, MEASURED, Origin, Partial};

/// The images, and the configuration as far as it is given.
pub(super) struct Images {
    /// What was given, and what was measured on these images before.
    pub given: Partial,
    /// The images.
    pub source: Source,
    /// Whether the run has written them down.
    pub listed: bool,
}

impl Images {
    /// Finds the images. A run that goes on keeps those that it wrote down, and what it measured on them: files that came or went
    /// since change nothing.
    ///
    /// # Errors
    /// If there are none, or the run's configuration cannot be read.
    pub fn find(
        given: &Partial,
        out: Option<&Path>,
        when_exists: WhenExists,
        console: &Console,
    ) -> Result<Self, RunError> {
        let out = out.filter(|_| when_exists != WhenExists::Overwrite);
        let stored = out.map(stored_config).transpose()?.flatten();
        // Other data are another run, unless that one is to go on whatever is given; opening the folder says so.
        let goes_on = |stored: &Config| when_exists == WhenExists::MustResume || places(given) == stored.data.train;
        let (Some(out), Some(stored)) = (out, stored.filter(goes_on)) else {
            return Self::of(given.clone(), open_source(given)?, false);
        };
        let mut given = given.clone();
        keep_measured(&mut given, &stored)?;
        keep_length(&mut given, &stored)?;
        keep_weights(&mut given, &stored)?;
        keep(&mut given, &stored, &[MICRO_BATCH])?;
        let listed = kept_images(out, stored.data.train.len()).unwrap_or_else(|error| {
            console.warn(&format!("{}; looking for the images again", error.on_one_line()));
            None
        });
        if let Some(source) = listed {
            let list = out.join(IMAGES_FILE);
            console.say(&format!("the images are those of `{}`; without it they are looked for again", list.display()));
            return Self::of(given, source, true);
        }
        let source = match labelled::is_wanted(&given) {
            true => labelled::open(&stored.data.train)?,
            false => Source::open(&stored.data.train)?,
        };
        Self::of(given, source, false)
    }

    /// Of these images; how many classes they have belongs to what is given.
    fn of(mut given: Partial, source: Source, listed: bool) -> Result<Self, RunError> {
        if labelled::is_wanted(&given) {
            labelled::count_classes(&mut given, &source)?;
        }
        Ok(Self { given, source, listed })
    }
}

/// Keys whose values may have been measured on the images.
pub(super) const MEASURED_KEYS: [&str; 4] = ["data.channels", "data.range", "data.mean", "data.std"];
/// Follows from the memory that was free, and another one rounds differently.
const MICRO_BATCH: &str = "run.micro_batch";

/// Takes over how long a run is that was planned for a time, unless that is another one now.
fn keep_length(given: &mut Partial, stored: &Config) -> Result<(), ConfigError> {
    let same = stored.run.time.is_some() && given.text("run.time") == stored.run.time.as_deref();
    let steps = stored.run.steps.filter(|_| same);
    for (key, value) in
        steps.into_iter().flat_map(|steps| [("run.steps", steps), ("eval.every_epochs", stored.eval.every_epochs)])
    {
        if !given.has(key) {
            given.insert(key, Value::Integer(value as i64), Origin::Derived)?;
        }
    }
    Ok(())
}

/// Takes over what followed from the weights that a run started from, which may be gone by now.
fn keep_weights(given: &mut Partial, stored: &Config) -> Result<(), ConfigError> {
    if stored.model.init.is_none() || given.text("model.init") != stored.model.init.as_deref() {
        return Ok(());
    }
    keep(given, stored, &FROM_WEIGHTS)
}

/// Takes over the values of keys that begin like these, unless others are given now.
fn keep(given: &mut Partial, stored: &Config, keys: &[&str]) -> Result<(), ConfigError> {
    for (key, value) in stored.values_under(keys)? {
        if !given.has(key) {
            given.insert(key, value, Origin::Derived)?;
        }
    }
    Ok(())
}

/// Takes over what was measured on the images, unless numbers are given now. What is asked for in a word counts: a run of
/// ImageNet's mean is another one than one of the images' own.
fn keep_measured(given: &mut Partial, stored: &Config) -> Result<(), ConfigError> {
    let usual = DataConfig::default();
    let was_measured = stored.data.mean != usual.mean || stored.data.std != usual.std;
    for (key, value) in stored.values_under(&MEASURED_KEYS)? {
        if !given.has(key) || given.text(key) == Some(MEASURED) && was_measured {
            given.insert(key, value, Origin::Derived)?;
        }
    }
    Ok(())
}
