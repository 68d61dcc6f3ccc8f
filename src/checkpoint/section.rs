//! What the pickled structure of a file means: sections of tensors, numbers and texts, and things not understood.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Display, Write};
use std::path::Path;
use std::sync::Arc;

use super::error::{CheckpointError, Result};
use super::pickle::{StoredTensor, Value};

/// The section of tensors that lie at the top of the file, outside any named part.
pub const ROOT: &str = "root";

/// The key of the training arguments in a full checkpoint.
const ARGS: &str = "args";
/// Longest dotted path of a value.
const MAX_PATH_BYTES: usize = 1024;
/// Longest text that is kept of one number, text or argument; the rest is cut off.
const MAX_SCALAR_BYTES: usize = 4096;
/// Most text in all paths and scalars: a short pickle can mention one long text a million times.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// Tensors by name, their values still in the file.
pub(super) type Tensors = Vec<(String, Arc<StoredTensor>)>;

/// The sorted contents of a `.pth` file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub sections: Vec<(String, Tensors)>,
    pub scalars: BTreeMap<String, String>,
    pub args: BTreeMap<String, String>,
    pub opaque: Vec<(String, String)>,
    section_index: HashMap<String, usize>,
    text_bytes: usize,
}

impl Contents {
    /// Sorts the top value of a file.
    pub fn of(root: Value, path: &Path) -> Result<Self> {
        let entries = match root {
            Value::Dict(entries) => entries,
            Value::Tensor(_) => vec![(Value::Text("tensor".into()), root)],
            Value::Opaque { .. } => {
                return Err(CheckpointError::Format {
                    path: path.to_path_buf(),
                    found: "a pickled Python object, not a dictionary of tensors",
                    hint: "write `torch.save(model.state_dict(), path)` instead of `torch.save(model, path)`",
                });
            }
            _ => {
                return Err(CheckpointError::Format {
                    path: path.to_path_buf(),
                    found: "a pickle without a dictionary of tensors",
                    hint: "expected the output of `torch.save(model.state_dict(), path)` or a training checkpoint",
                });
            }
        };
        let mut contents = Self::default();
        if contents.sort_root(entries).is_none() {
            let (what, limit) = ("text in names and arguments", MAX_TEXT_BYTES as u64);
            return Err(CheckpointError::TooLarge { path: path.to_path_buf(), what, limit });
        }
        contents.sections.retain(|(_, tensors)| !tensors.is_empty());
        contents.check_names(path)?;
        Ok(contents)
    }

    /// Nothing where the limit on texts is exceeded; so for the functions below.
    fn sort_root(&mut self, entries: Vec<(Value, Value)>) -> Option<()> {
        for (key, value) in entries {
            let name = self.path("", &key)?;
            match value {
                Value::Tensor(tensor) => self.section(ROOT).push((name, tensor)),
                Value::Opaque { state: Some(state), .. } if name == ARGS => self.sort_args(*state)?,
                Value::Dict(_) if name == ARGS => self.sort_args(value)?,
                value => self.sort_section(&name, &name, value)?,
            }
        }
        Some(())
    }

    fn sort_section(&mut self, section: &str, path: &str, value: Value) -> Option<()> {
        match value {
            Value::Dict(entries) => {
                for (key, value) in entries {
                    let below = self.path(path, &key)?;
                    self.sort_section(section, &below, value)?;
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                for (index, value) in items.into_iter().enumerate() {
                    let below = self.path(path, &index)?;
                    self.sort_section(section, &below, value)?;
                }
            }
            Value::Tensor(tensor) => {
                let name = path.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')).unwrap_or(path);
                self.section(section).push((name.to_owned(), tensor));
            }
            Value::Opaque { name, .. } => {
                let class = self.text(&name)?;
                self.opaque.push((path.to_owned(), class));
            }
            scalar => {
                let text = self.text(&scalar)?;
                self.scalars.insert(path.to_owned(), text);
            }
        }
        Some(())
    }

    fn sort_args(&mut self, state: Value) -> Option<()> {
        let Value::Dict(entries) = state else { return Some(()) };
        for (key, value) in entries {
            let (key, text) = (self.path("", &key)?, self.text(&value)?);
            self.args.insert(key, text);
        }
        Some(())
    }

    fn section(&mut self, name: &str) -> &mut Tensors {
        let index = self.section_index.get(name).copied().unwrap_or_else(|| {
            self.section_index.insert(name.to_owned(), self.sections.len());
            self.sections.push((name.to_owned(), Vec::new()));
            self.sections.len() - 1
        });
        &mut self.sections[index].1
    }

    fn path(&mut self, above: &str, key: &dyn Display) -> Option<String> {
        let mut path = Bounded { text: String::new(), limit: MAX_PATH_BYTES };
        let separator = if above.is_empty() { "" } else { "." };
        write!(path, "{above}{separator}{key}").ok()?;
        self.count(path.text)
    }

    fn text(&mut self, value: &dyn Display) -> Option<String> {
        let mut text = Bounded { text: String::new(), limit: MAX_SCALAR_BYTES };
        if write!(text, "{value}").is_err() {
            text.text.push('…');
        }
        self.count(text.text)
    }

    fn count(&mut self, text: String) -> Option<String> {
        self.text_bytes += text.len();
        (self.text_bytes <= MAX_TEXT_BYTES).then_some(text)
    }

    fn check_names(&self, path: &Path) -> Result<()> {
        for (_, tensors) in &self.sections {
            let mut names = BTreeSet::new();
            if let Some((name, _)) = tensors.iter().find(|(name, _)| !names.insert(name)) {
                return Err(CheckpointError::DuplicateName { path: path.to_path_buf(), name: name.clone() });
            }
        }
        Ok(())
    }
}

/// A text that refuses to grow beyond its limit.
struct Bounded {
    text: String,
    limit: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.text.len() + more.len() > self.limit {
            return Err(fmt::Error);
        }
        self.text.push_str(more);
        Ok(())
    }
}
