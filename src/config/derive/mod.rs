//! The derivations: one function per group of values, all constants in `tuned`.

mod length;
mod network;
mod pixel;
mod supervised;
mod tuned;

use toml::Value;

use super::{Choice, Config, ConfigError, Facts, Origin, Partial};

pub(super) use length::{bookkeeping, epochs, schedules};
pub(super) use network::{batch, head, method, model, views};
pub use network::{flops_per_image, images_per_second};
pub(super) use pixel::{colors, data, pixels, precision};

/// A configuration under construction.
pub(super) struct Draft<'a> {
    pub(super) given: &'a Partial,
    pub(super) facts: &'a Facts,
    pub(super) config: Config,
    pub(super) choices: Vec<Choice>,
}

impl Draft<'_> {
    /// Sets `key` to a derived value with its reason, unless it was given.
    fn choose(&mut self, key: &str, value: impl Into<Value>, reason: impl Into<String>) -> Result<(), ConfigError> {
        if self.given.has(key) {
            return Ok(());
        }
        self.adjust(key, value, reason)
    }

    /// Sets `key` with a reason, even over a given value.
    fn adjust(&mut self, key: &str, value: impl Into<Value>, reason: impl Into<String>) -> Result<(), ConfigError> {
        let value = value.into();
        let choice = Choice { key: key.to_owned(), value: value.to_string(), reason: reason.into(), flag: flag(key) };
        self.assign(key, value)?;
        self.choices.retain(|earlier| earlier.key != key);
        self.choices.push(choice);
        Ok(())
    }

    /// No local crops, unless they are asked for; a recipe for another method does not ask a method that takes none.
    fn no_local_crops(&mut self, reason: &str) -> Result<(), ConfigError> {
        self.choose("views.local.count", whole(0), reason)?;
        let by_recipe = matches!(self.given.origin("views.local.count"), Origin::Recipe(_));
        if by_recipe && self.config.method.name.takes_two_views() && self.config.views.local.count > 0 {
            self.adjust("views.local.count", whole(0), reason)?;
        }
        Ok(())
    }

    fn steps_per_epoch(&self) -> usize {
        self.config.steps_per_epoch(self.facts.images)
    }

    fn total_steps(&self) -> usize {
        self.config.total_steps(self.facts.images)
    }

    pub(super) fn finish(self) -> (Config, Vec<Choice>) {
        (self.config, self.choices)
    }
}

/// What to type to choose a key otherwise.
fn flag(key: &str) -> String {
    let short = match key {
        "model.name" => "--model",
        "run.epochs" => "--epochs",
        "run.steps" => "--time",
        "run.batch" => "--batch",
        "eval.every_epochs" => "--eval-every",
        "run.precision" => "--precision",
        "data.workers" => "--workers",
        _ => return format!("--set {key}=…"),
    };
    short.to_owned()
}

fn whole(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn pair(first: f64, last: f64) -> Value {
    Value::Array(vec![Value::Float(first), Value::Float(last)])
}

/// Rounds to three significant digits, so that a derived value is one a person would write.
fn short(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// The value of the first row whose limit is not below `at`.
fn step_up<T: Copy>(table: &[(usize, T); 3], at: usize) -> T {
    let [(_, _), (_, _), (_, last)] = table;
    table.iter().find(|(limit, _)| at <= *limit).map_or(*last, |(_, value)| *value)
}

fn small_data(facts: &Facts) -> bool {
    facts.images <= tuned::SMALL_DATA_UP_TO_IMAGES
}
