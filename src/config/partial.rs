//! What was given: values with their places of origin, later ones over earlier ones.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;
use toml::de::{DeTable, DeValue};

use super::span::Span;
use super::{Config, ConfigError, ModelConfig, key, recipe};

/// The method that learns from classes, as a configuration names it.
const SUPERVISED: &str = "supervised";

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In a recipe that comes with the program.
    Recipe(String),
    /// In a configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// As a command-line flag, such as `--epochs`.
    Flag(&'static str),
    /// By `--set`.
    Set,
    /// Nowhere: derived by the program or built in.
    Derived,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Recipe(name) => write!(f, "recipe {name}"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
            Self::Set => f.write_str("--set"),
            Self::Derived => f.write_str("configuration"),
        }
    }
}

/// Values that were given, by dotted key.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Partial {
    values: BTreeMap<&'static str, (Value, Origin)>,
}

impl Partial {
    /// The values of a recipe that comes with the program.
    ///
    /// # Errors
    /// [`ConfigError::UnknownRecipe`].
    pub fn from_recipe(name: &str) -> Result<Self, ConfigError> {
        let text = recipe::text(name)?;
        let mut partial = Self::default();
        partial.read(text, |_| Origin::Recipe(name.to_owned()), Path::new(name))?;
        // A recipe may be another one with something changed.
        if let Some(base) = partial.text("recipe").map(str::to_owned) {
            partial = Self::from_recipe(&base)?.overlaid(partial);
        }
        partial.insert("recipe", Value::String(name.to_owned()), Origin::Recipe(name.to_owned()))?;
        Ok(partial)
    }

    /// The values in a TOML file.
    ///
    /// # Errors
    /// If it cannot be read, is not TOML, or holds an unknown key or a value of the wrong type.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut partial = Self::default();
        partial.read(&text, |line| Origin::File { path: path.to_owned(), line }, path)?;
        Ok(partial)
    }

    /// Lays `over` on top: its values win.
    #[must_use]
    pub fn overlaid(mut self, over: Self) -> Self {
        self.values.extend(over.values);
        self
    }

    /// Puts everything on top of its recipe: the one named in the values, else `finetune` or `adapt` if there are weights to start from, else
    /// `auto`. A recipe of views lies between the two if it is named in the values.
    ///
    /// # Errors
    /// [`ConfigError::UnknownRecipe`].
    pub fn on_recipe(self) -> Result<Self, ConfigError> {
        let usual = match (self.has("model.init"), self.text("method.name") == Some(SUPERVISED)) {
            (true, true) => recipe::FINETUNE,
            (true, false) => recipe::ADAPT,
            (false, _) => recipe::AUTO,
        };
        let name = self.text("recipe").unwrap_or(usual).to_owned();
        let mut base = Self::from_recipe(&name)?;
        if let Some(views) = self.text("views.recipe").filter(|name| !name.is_empty()) {
            base.read(recipe::views_text(views)?, |_| Origin::Recipe(views.to_owned()), Path::new(views))?;
        }
        // What a recipe says of its method is not said of another one that is asked for, and so with its ViT.
        if self.text("method.name").is_some_and(|asked| base.text("method.name") != Some(asked)) {
            base.values.retain(|key, _| !key.starts_with("method."));
        }
        let asked = self.text("model.name").unwrap_or_default().to_owned();
        for key in (ModelConfig { name: asked, ..ModelConfig::default() }).foreign_keys() {
            base.values.remove(key);
        }
        Ok(base.overlaid(self))
    }

    /// Gives `key` a value, after checking that the key exists and the value has the right type.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`] and [`ConfigError::BadValue`].
    pub fn insert(&mut self, name: &str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        if let Value::Table(table) = &value
            && key::is_section(name)
        {
            for (inner, value) in table {
                self.insert(&format!("{name}.{inner}"), value.clone(), origin.clone())?;
            }
            return Ok(());
        }
        let Some(known) = key::find(name) else {
            return Err(ConfigError::UnknownKey { origin, key: name.to_owned(), suggestion: key::nearest(name) });
        };
        let value = match value {
            // One pair is the range of all channels.
            Value::Array(pair) if known.name == "data.range" && pair.len() == 2 && !pair[0].is_array() => {
                Value::Array(vec![Value::Array(pair)])
            }
            value => value,
        };
        check_type(known, &value, &origin)?;
        if let ("model.name", Some(name)) = (known.name, value.as_str()) {
            for (key, value) in meant_by(name)? {
                self.write(key, value, origin.clone())?;
            }
            return Ok(());
        }
        self.write(known.name, value, origin)
    }

    /// Writes a checked value; two different ones for the same key in one file are an error.
    fn write(&mut self, name: &'static str, value: Value, origin: Origin) -> Result<(), ConfigError> {
        if let (Some((earlier, Origin::File { path: first, .. })), Origin::File { path, line }) =
            (self.values.get(name), &origin)
            && first == path
            && *earlier != value
        {
            return Err(ConfigError::Conflict {
                key: name.to_owned(),
                value: value.to_string(),
                other: format!("the {earlier} in `model.name`"),
                hint: format!("write the size in one place ({}:{line})", path.display()),
            });
        }
        self.values.insert(name, (value, origin));
        Ok(())
    }

    /// Applies one `key=value` of `--set`; the value is TOML, or a plain string if it is not.
    ///
    /// # Errors
    /// [`ConfigError::NoEqualSign`] and those of [`Partial::insert`].
    pub fn set(&mut self, text: &str) -> Result<(), ConfigError> {
        let Some((name, value)) = text.split_once('=') else {
            return Err(ConfigError::NoEqualSign { text: text.to_owned() });
        };
        let (name, value) = (name.trim(), value.trim());
        let parsed = toml::from_str::<toml::Table>(&format!("value = {value}"))
            .ok()
            .filter(|table| table.len() == 1)
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| Value::String(value.to_owned()));
        // `data.train=photos` means a list of one.
        let parsed = if name == "data.train" && parsed.is_str() { Value::Array(vec![parsed]) } else { parsed };
        self.insert(name, parsed, Origin::Set)
    }

    /// Whether `key` was given. A 0 in a key that has no meaningful zero leaves the choice to the program, and so does "auto".
    pub fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// The value of `key`, if given.
    pub fn value(&self, name: &str) -> Option<&Value> {
        let (value, _) = self.values.get(name)?;
        let left_open = key::find(name).is_some_and(|known| {
            let is_auto = known.words.contains(&key::AUTO) && value.as_str() == Some(key::AUTO);
            is_auto || known.zero_is_open && value.as_integer() == Some(0)
        });
        (!left_open).then_some(value)
    }

    /// Leaves `key` to the program again.
    pub fn forget(&mut self, name: &str) {
        self.values.remove(name);
    }

    /// Where `key` was given.
    pub fn origin(&self, name: &str) -> Origin {
        self.values.get(name).map_or(Origin::Derived, |(_, origin)| origin.clone())
    }

    /// The value of `key`, if it is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name).and_then(Value::as_str)
    }

    /// The value of `key`, if it is a whole number.
    pub fn whole(&self, name: &str) -> Option<usize> {
        self.value(name).and_then(Value::as_integer).and_then(|number| usize::try_from(number).ok())
    }

    /// Keys and values, without those left open.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.values.keys().filter_map(|name| Some((*name, self.value(name)?)))
    }

    /// Reads TOML text; `origin` turns a line number into a place.
    fn read(&mut self, text: &str, origin: impl Fn(usize) -> Origin, path: &Path) -> Result<(), ConfigError> {
        let syntax = |error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_of(text, span.start)),
            message: error.message().to_owned(),
        };
        let spans = DeTable::parse(text).map_err(syntax)?;
        let values: toml::Table = toml::from_str(text).map_err(syntax)?;
        let place = |offset: usize| origin(line_of(text, offset));
        self.read_table("", spans.get_ref(), &values, &place)
    }

    fn read_table(
        &mut self,
        prefix: &str,
        spans: &DeTable<'_>,
        values: &toml::Table,
        place: &impl Fn(usize) -> Origin,
    ) -> Result<(), ConfigError> {
        for (spanned, inner) in spans {
            let Some(value) = values.get(spanned.get_ref().as_ref()) else { continue };
            let name = format!("{prefix}{}", spanned.get_ref());
            match (inner.get_ref(), value) {
                (DeValue::Table(spans), Value::Table(values)) if key::is_section(&name) => {
                    self.read_table(&format!("{name}."), spans, values, place)?;
                }
                _ => self.insert(&name, value.clone(), place(spanned.span().start))?,
            }
        }
        Ok(())
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Keys and values that the name of a model stands for: itself; the sizes in timm's spelling, such as `vit_small_patch16_224`; what
/// makes a network of DINOv2.
fn meant_by(name: &str) -> Result<Vec<(&'static str, Value)>, ConfigError> {
    if let Some(model) = ModelConfig::dinov2(name) {
        let table = Value::try_from(&model)?;
        let named = |key: &&'static str| Some((*key, table.get(key.strip_prefix("model.")?)?.clone()));
        return Ok(OF_DINOV2.iter().filter_map(named).collect());
    }
    let Some((base, patch_size, image_size)) = sizes_in_name(name) else {
        return Ok(vec![("model.name", Value::String(name.to_owned()))]);
    };
    let image = image_size.map(|size| ("model.image_size", Value::Integer(size)));
    let sizes = [("model.name", Value::String(base)), ("model.patch_size", Value::Integer(patch_size))];
    Ok(sizes.into_iter().chain(image).collect())
}

/// Keys that the name of a network of DINOv2 gives a value.
const OF_DINOV2: [&str; 7] = [
    "model.name",
    "model.patch_size",
    "model.mlp_ratio",
    "model.layer_scale",
    "model.registers",
    "model.ffn",
    "model.resampling",
];

/// Splits a name with sizes in timm's spelling into the plain name, the patch and the image, if it is in it; `None` for a plain one.
fn sizes_in_name(name: &str) -> Option<(String, i64, Option<i64>)> {
    let (base, sizes) = name.split_once("_patch")?;
    let (patch, image) = sizes.split_once('_').map_or((sizes, None), |(patch, image)| (patch, Some(image)));
    let image_size = image.map(str::parse).transpose().ok()?;
    Some((base.to_owned(), patch.parse().ok()?, image_size))
}

/// Checks the type of one value by reading a configuration that holds nothing else.
fn check_type(known: &key::Key, value: &Value, origin: &Origin) -> Result<(), ConfigError> {
    let bad = |allowed: String| ConfigError::BadValue {
        origin: origin.clone(),
        key: known.name.to_owned(),
        value: value.to_string(),
        allowed,
    };
    if let (Some(_), Value::String(text)) = (known.unit, value) {
        return Span::parse(text).map(|_| ()).ok_or_else(|| bad(Span::ALLOWED.to_owned()));
    }
    if value.as_str().is_some_and(|text| known.words.contains(&text)) {
        return Ok(());
    }
    match nested(known.name, value.clone()).try_into::<Config>() {
        Ok(_) => Ok(()),
        Err(error) => {
            let mut allowed =
                if known.unit.is_some() { Span::ALLOWED.to_owned() } else { expectation(error.message()) };
            known.words.iter().for_each(|word| allowed += &format!(", \"{word}\""));
            Err(bad(allowed))
        }
    }
}

/// The part of serde's message that says what was expected.
fn expectation(message: &str) -> String {
    match message.split_once("expected ") {
        Some((_, expected)) => expected.trim_end().replace("one of ", ""),
        None => message.trim_end().to_owned(),
    }
}

/// The table `{a: {b: value}}` for the key `a.b`.
pub(super) fn nested(name: &str, value: Value) -> Value {
    name.rsplit('.').fold(value, |inner, part| {
        let mut table = toml::Table::new();
        table.insert(part.to_owned(), inner);
        Value::Table(table)
    })
}
