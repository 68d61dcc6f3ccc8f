//! From what was given to a complete configuration: derives the rest from the data and the machine.
//!
//! Every derived value comes with its reason; together they are the plan shown before the first step.

use toml::Value;

use super::derive::{self, Draft};
use super::{Config, ConfigError, HeadConfig, ModelConfig, Origin, Partial, check, partial, span::Span};

/// What the derivations look at.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Facts {
    /// Readable images.
    pub images: usize,
    /// Median width and height, pixels; `None` if no image was opened.
    pub median_size: Option<(u32, u32)>,
    /// Cores this process may use.
    pub cores: usize,
    /// Memory this process may use, bytes.
    pub memory_bytes: u64,
    /// Memory that nobody used when the run was planned, bytes.
    pub free_bytes: u64,
    /// Whether the processor has instructions for bf16.
    pub bf16: bool,
    /// Classes of the labelled folder, if there is one.
    pub val_classes: Option<usize>,
    /// What the values of the images are; `None` if no image was opened.
    pub pixels: Option<PixelFacts>,
    /// What the weights are that the run starts from, if it does and they are recognised.
    pub init: Option<InitFacts>,
    /// How fast this very run is; `None` if that was not measured.
    pub speed: Option<Speed>,
}

/// What is known of weights that a run starts from.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct InitFacts {
    /// Their network.
    pub model: ModelConfig,
    /// Channel means that it expects.
    pub mean: Vec<f32>,
    /// Channel standard deviations that it expects.
    pub std: Vec<f32>,
    /// Their head, if they have one.
    pub head: Option<HeadConfig>,
}

/// How fast a run is on this machine, and what it has taken before its first step. All in seconds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Speed {
    /// One optimizer step, waiting for its images included.
    pub step: f64,
    /// One evaluation; 0 without one.
    pub evaluation: f64,
    /// From the beginning of the process to the end of the measurement.
    pub spent: f64,
}

/// What the values of some images are.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PixelFacts {
    /// Images that were looked at and have so many channels; 0 if most have not.
    pub images: usize,
    /// Values of a pixel of most images.
    pub usual: usize,
    /// Values of a pixel.
    pub channels: usize,
    /// Where nearly all values lie that are wider than 8 bits, of each channel or of all; empty if there are none.
    pub range: Vec<[f32; 2]>,
    /// Channel means, 0 to 1 within the range.
    pub mean: Vec<f32>,
    /// Channel standard deviations.
    pub std: Vec<f32>,
}

/// A value that was derived, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Choice {
    /// Dotted key.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    /// Why, in one sentence.
    pub reason: String,
    /// What to type to choose otherwise, such as `--epochs`.
    pub flag: String,
}

/// Completes `given` with values derived from `facts` and checks the whole.
///
/// # Errors
/// If there are too few images, or if values are out of range or contradict each other.
///
/// # Example
/// ```
/// use dinoxide::config::{resolve, Facts, Partial};
/// let mut given = Partial::default();
/// given.set("data.train=photos")?;
/// given.set("run.epochs=20")?;
/// let (median_size, val_classes) = (Some((640, 480)), None);
/// let facts = Facts {
///     images: 5000, median_size, cores: 2, memory_bytes: 8 << 30, free_bytes: 8 << 30, bf16: false, val_classes, pixels: None, init: None,
///     speed: None,
/// };
/// let (config, choices) = resolve(&given.on_recipe()?, &facts)?;
/// assert_eq!(config.run.epochs, 20);
/// assert!(choices.iter().any(|choice| choice.key == "head.out_dim"));
/// # Ok::<(), dinoxide::config::ConfigError>(())
/// ```
pub fn resolve(given: &Partial, facts: &Facts) -> Result<(Config, Vec<Choice>), ConfigError> {
    check_image_count(given, facts)?;
    let mut draft = Draft::new(given, facts)?;
    derive::method(&mut draft)?;
    derive::precision(&mut draft)?;
    derive::data(&mut draft)?;
    derive::pixels(&mut draft)?;
    derive::model(&mut draft)?;
    derive::views(&mut draft)?;
    derive::colors(&mut draft)?;
    derive::head(&mut draft)?;
    derive::batch(&mut draft)?;
    derive::epochs(&mut draft)?;
    draft.steps_are_known(given)?;
    derive::schedules(&mut draft)?;
    derive::bookkeeping(&mut draft)?;
    let (config, choices) = draft.finish();
    check::validate(&config, given)?;
    Ok((config, choices))
}

/// Fewest images a batch can be made of: the centre needs two different ones.
const FEWEST_IMAGES: usize = 2;

fn check_image_count(given: &Partial, facts: &Facts) -> Result<(), ConfigError> {
    if facts.images >= FEWEST_IMAGES {
        return Ok(());
    }
    let places = given.value("data.train").map_or_else(|| "no place".to_owned(), ToString::to_string);
    Err(ConfigError::TooFewImages { found: facts.images, needed: FEWEST_IMAGES, places })
}

impl ModelConfig {
    /// The model of a name such as `vit_small` or `vit_small_patch16_224`; what is not named has its plain default.
    ///
    /// # Errors
    /// If there is no such model, or its sizes do not go together.
    pub fn named(name: &str, origin: Origin) -> Result<Self, ConfigError> {
        let mut given = Partial::default();
        given.insert("model.name", Value::String(name.to_owned()), origin)?;
        let config = assemble(&given)?;
        check::validate_model(&config, &given)?;
        Ok(config.model)
    }
}

/// The given values over the plain defaults. Lengths such as "10%" wait until the number of steps is known.
pub(super) fn assemble(given: &Partial) -> Result<Config, ConfigError> {
    let mut whole = Value::try_from(Config::default())?;
    for (name, value) in given.iter() {
        let waits = |key: &super::Key| key.unit.is_some() || !key.words.is_empty();
        let waits = value.is_str() && super::key::find(name).is_some_and(waits);
        if !waits {
            replace(&mut whole, partial::nested(name, value.clone()));
        }
    }
    // Types were checked value by value, so that this conversion cannot fail for a single bad one.
    whole.try_into().map_err(|error: toml::de::Error| ConfigError::BadValue {
        origin: super::Origin::Derived,
        key: "configuration".to_owned(),
        value: "as given".to_owned(),
        allowed: error.message().to_owned(),
    })
}

impl<'a> Draft<'a> {
    fn new(given: &'a Partial, facts: &'a Facts) -> Result<Self, ConfigError> {
        Ok(Self { given, facts, config: assemble(given)?, choices: Vec::new() })
    }

    /// Turns lengths such as `"10%"` and `"1 epoch"` into the units of their keys.
    fn steps_are_known(&mut self, given: &Partial) -> Result<(), ConfigError> {
        for (name, value) in given.iter() {
            let unit = super::key::find(name).and_then(|key| key.unit);
            let (Some(unit), Some(text)) = (unit, value.as_str()) else { continue };
            if !self.config.uses(name)? {
                continue;
            }
            let Some(length) = Span::parse(text) else { continue };
            let per_epoch = self.config.steps_per_epoch(self.facts.images);
            let epochs = self.config.total_steps(self.facts.images) as f64 / per_epoch as f64;
            self.assign(name, length.in_unit(unit, epochs, per_epoch))?;
        }
        Ok(())
    }

    /// Writes a value into the draft.
    pub(super) fn assign(&mut self, name: &str, value: Value) -> Result<(), ConfigError> {
        let shown = value.to_string();
        let mut whole = Value::try_from(&self.config)?;
        replace(&mut whole, partial::nested(name, value));
        self.config = whole.try_into().map_err(|error: toml::de::Error| ConfigError::BadValue {
            origin: self.given.origin(name),
            key: name.to_owned(),
            value: shown,
            allowed: error.message().to_owned(),
        })?;
        Ok(())
    }
}

/// Lays `over` onto `base`, table by table.
fn replace(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Table(base), Value::Table(over)) => {
            for (name, value) in over {
                replace(base.entry(name).or_insert(Value::Table(toml::Table::new())), value);
            }
        }
        (base, over) => *base = over,
    }
}
