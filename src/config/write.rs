//! A configuration as commented TOML.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::Value;

use super::{Config, ConfigError, KEYS};

/// Column at which comments start.
const COMMENT_COLUMN: usize = 44;

impl Config {
    /// The complete configuration as TOML, every key with a one-line comment. Read back, it is the same
    /// configuration; optional keys that are not set stand as comments, those of other methods not at all.
    ///
    /// # Errors
    /// [`ConfigError::Write`], which no configuration made by this program causes.
    pub fn to_commented_toml(&self) -> Result<String, ConfigError> {
        let leaves = leaves(self)?;
        let mut text =
            String::from("# Complete configuration of a dinoxide run. Run it again: dinoxide pretrain -c FILE\n");
        let mut section = "";
        for key in KEYS {
            if !self.uses(key.name)? {
                continue;
            }
            let (table, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
            if table != section {
                section = table;
                let _ = write!(text, "\n[{section}]\n");
            }
            let assignment = match leaves.get(key.name) {
                Some(value) => format!("{name} = {value}"),
                None => format!("# {name} ="),
            };
            let _ = writeln!(text, "{assignment:COMMENT_COLUMN$} # {}", key.comment);
        }
        Ok(text)
    }

    /// Every key that is set, dotted, with its value as TOML writes it.
    ///
    /// # Errors
    /// [`ConfigError::Write`], which no configuration made by this program causes.
    pub fn values(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        Ok(leaves(self)?.into_iter().map(|(key, value)| (key, value.to_string())).collect())
    }
}

/// The configuration as dotted keys and values.
pub(super) fn leaves(config: &Config) -> Result<BTreeMap<String, Value>, ConfigError> {
    // Through text, because the text form of an f32 is its shortest one; as a `Value` 0.485 becomes 0.4850000143.
    let text = toml::to_string(config)?;
    let table: toml::Table = toml::from_str(&text)
        .map_err(|error| serde::ser::Error::custom(error.message()))
        .map_err(ConfigError::Write)?;
    let mut leaves = BTreeMap::new();
    flatten("", table, &mut leaves);
    Ok(leaves)
}

fn flatten(prefix: &str, table: toml::Table, leaves: &mut BTreeMap<String, Value>) {
    for (name, value) in table {
        let name = format!("{prefix}{name}");
        match value {
            Value::Table(inner) => flatten(&format!("{name}."), inner, leaves),
            value => {
                leaves.insert(name, value);
            }
        }
    }
}
