//! Suites as files: `[[eval]]` tables whose keys are options of `dinoxide eval PROTOCOL`.

use std::path::Path;

use toml::{Table, Value};

use super::SuiteError;
use crate::run::RunError;

/// Keys of an evaluation that are no options.
const PROTOCOL: &str = "protocol";
const NAME: &str = "name";
/// A folder that holds the two folders of labelled images, where a protocol has no `data` of its own.
const DATA: &str = "data";
const HALVES: [&str; 2] = ["train", "val"];
/// The options of the measurement of throughput.
const THROUGHPUT: &str = "throughput";
/// How near a word must be to a known one to be meant.
const NEAR: f64 = 0.75;

/// What a protocol's command understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// The protocol.
    pub protocol: String,
    /// Its options.
    pub options: Vec<CommandOption>,
}

/// An option of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOption {
    /// Its name with underscores.
    pub key: String,
    /// As it is written, such as `--top-k`; none if it is known by its place.
    pub flag: Option<String>,
    /// Whether it takes a value.
    pub takes: Takes,
}

/// Whether an option takes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// One, or several with commas.
    Value,
    /// None: it is there or not.
    Nothing,
}

/// What is to be done with every model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// The evaluations, in the order of the file.
    pub entries: Vec<Entry>,
    /// Options of `dinoxide bench infer`; none where throughput is not measured.
    pub throughput: Option<Vec<String>>,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Name of its folder.
    pub name: String,
    /// As the command line calls it.
    pub protocol: String,
    /// What stands behind the model on the command line.
    pub arguments: Vec<String>,
}

impl Suite {
    /// Reads a suite for commands that understand `vocabularies`, and a measurement that understands `bench`.
    ///
    /// # Errors
    /// If the file cannot be read, or something in it is not understood.
    pub fn read(path: &Path, vocabularies: &[Vocabulary], bench: &Vocabulary) -> Result<Self, RunError> {
        let text = std::fs::read_to_string(path).map_err(RunError::file("read", path))?;
        let wrong = |problem: String| SuiteError::Syntax { path: path.to_path_buf(), problem };
        let table: Table = text.parse().map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        if let Some(key) = table.keys().find(|key| !["eval", THROUGHPUT].contains(&key.as_str())) {
            return Err(wrong(format!("unknown key `{key}`; there are `[[eval]]` and `[throughput]`")).into());
        }
        let list = match table.get("eval") {
            Some(Value::Array(list)) if !list.is_empty() => list,
            Some(Value::Array(_)) | None => return Err(SuiteError::Nothing { path: path.to_path_buf() }.into()),
            Some(_) => return Err(wrong("`eval` is no list; write `[[eval]]` in two brackets".to_owned()).into()),
        };
        let mut entries: Vec<Entry> = Vec::new();
        for value in list {
            let Value::Table(table) = value else {
                return Err(wrong("an evaluation is a table; write `[[eval]]` above its options".to_owned()).into());
            };
            let Some(Value::String(protocol)) = table.get(PROTOCOL) else {
                return Err(wrong("an evaluation has no `protocol = \"…\"`".to_owned()).into());
            };
            let entry = entry(table, protocol, vocabularies, &entries)?;
            entries.push(entry);
        }
        let throughput = match table.get(THROUGHPUT) {
            None => Some(Vec::new()),
            Some(Value::Boolean(true)) => Some(Vec::new()),
            Some(Value::Boolean(false)) => None,
            Some(Value::Table(table)) => Some(bench.arguments(THROUGHPUT, table)?),
            Some(_) => return Err(wrong("`throughput` is a table of options, or false".to_owned()).into()),
        };
        Ok(Self { entries, throughput })
    }
}

fn entry(table: &Table, protocol: &str, vocabularies: &[Vocabulary], before: &[Entry]) -> Result<Entry, SuiteError> {
    let taken = |name: &str| before.iter().any(|entry| entry.name == name) || name == THROUGHPUT;
    let name = match table.get(NAME) {
        Some(Value::String(name)) if taken(name) => return Err(SuiteError::TwoOfAName { name: name.clone() }),
        Some(Value::String(name)) => name.clone(),
        Some(other) => {
            let expected = "write a name in quotes";
            return Err(SuiteError::Value {
                name: protocol.to_owned(),
                key: NAME.to_owned(),
                value: other.to_string(),
                expected,
            });
        }
        None => {
            let mut candidates = (2..).map(|number| format!("{protocol}-{number}"));
            if taken(protocol) { candidates.find(|name| !taken(name)).unwrap_or_default() } else { protocol.to_owned() }
        }
    };
    let letters = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(letters) {
        return Err(SuiteError::Name { name });
    }
    let Some(vocabulary) = vocabularies.iter().find(|vocabulary| vocabulary.protocol == protocol) else {
        let known = vocabularies.iter().map(|vocabulary| vocabulary.protocol.clone()).collect();
        return Err(SuiteError::NoProtocol { name, protocol: protocol.to_owned(), known });
    };
    let mut options = table.clone();
    options.remove(PROTOCOL);
    options.remove(NAME);
    vocabulary.split_data(&mut options);
    Ok(Entry { arguments: vocabulary.arguments(&name, &options)?, protocol: protocol.to_owned(), name })
}

impl Vocabulary {
    fn find(&self, key: &str) -> Option<&CommandOption> {
        let key = key.replace('-', "_");
        self.options.iter().find(|option| option.key == key)
    }

    /// `data = "photos"` of a protocol that has none is its folders `train` and `val`.
    fn split_data(&self, options: &mut Table) {
        if self.find(DATA).is_some() || HALVES.iter().any(|half| self.find(half).is_none()) {
            return;
        }
        if let Some(Value::String(data)) = options.get(DATA).cloned() {
            options.remove(DATA);
            for half in HALVES {
                let folder = Path::new(&data).join(half).display().to_string();
                options.entry(half).or_insert(Value::String(folder));
            }
        }
    }

    /// Options of a table as they stand on a command line: those known by their place last, in the command's order.
    fn arguments(&self, name: &str, table: &Table) -> Result<Vec<String>, SuiteError> {
        if let Some(key) = table.keys().find(|key| self.find(key).is_none()) {
            return Err(self.unknown(name, key));
        }
        let (mut flags, mut places) = (Vec::new(), Vec::new());
        // In the command's order, so that the same options are the same words.
        for option in &self.options {
            let given = table.iter().find(|(key, _)| key.replace('-', "_") == option.key);
            let Some((key, value)) = given else { continue };
            let wrong = |expected| {
                let (name, key) = (name.to_owned(), key.clone());
                SuiteError::Value { name, key, value: value.to_string(), expected }
            };
            match (option.takes, &option.flag, value) {
                (Takes::Nothing, Some(flag), Value::Boolean(true)) => flags.push(flag.clone()),
                (Takes::Nothing, _, Value::Boolean(false)) => {}
                (Takes::Nothing, ..) => return Err(wrong("write true or false")),
                (Takes::Value, Some(flag), value) => {
                    let text = text(value).ok_or_else(|| wrong("write a number, a text in quotes, or a list"))?;
                    flags.push(format!("{flag}={text}"));
                }
                (Takes::Value, None, value) => {
                    places.push(text(value).ok_or_else(|| wrong("write a text in quotes"))?);
                }
            }
        }
        flags.extend(places);
        Ok(flags)
    }

    fn unknown(&self, name: &str, key: &str) -> SuiteError {
        let rated = self.options.iter().map(|option| (strsim::jaro_winkler(key, &option.key), &option.key));
        let nearest = rated.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(rate, _)| *rate >= NEAR);
        SuiteError::NoOption {
            name: name.to_owned(),
            protocol: self.protocol.clone(),
            key: key.to_owned(),
            suggestion: nearest.map(|(_, key)| key.clone()),
            known: self.options.iter().map(|option| option.key.clone()).collect(),
        }
    }
}

/// A value as it is typed.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Array(list) => {
            let parts: Option<Vec<String>> =
                list.iter().map(|value| if value.is_array() { None } else { text(value) }).collect();
            parts.map(|parts| parts.join(","))
        }
        Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}
