//! Names of weights: which section of a file is meant, which prefixes are removed, and whether everything fits.
//!
//! The reference program removes `module.` and `backbone.` wherever they stand in a name and ignores names that do
//! not match, so that a wrong file leaves random weights behind. Here prefixes are removed only at the start, and
//! [`MatchReport::into_result`] fails unless every tensor is accounted for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use super::error::{CheckpointError, Result};
use super::section::ROOT;
use super::tensor::NamedTensor;

/// Prefixes that wrappers put before the official names, outermost first (`torch.compile`, `DistributedDataParallel`, multi-crop).
const WRAPPERS: [&str; 3] = ["_orig_mod.", "module.", "backbone."];
/// Sections that hold nothing but one network, as other programs name them.
const SINGLE_NETWORK: [&str; 2] = ["state_dict", "model"];
/// Names less alike than this are not suggested (1 is equal).
const SUGGESTION_THRESHOLD: f64 = 0.7;
/// Suggestions are searched among this many names at most, and among names of this length at most.
const MAX_SUGGESTION_NAMES: usize = 512;
const MAX_SUGGESTION_BYTES: usize = 128;
/// How many names of a kind are printed before "and N more".
const MAX_LISTED: usize = 24;

/// Which network of a file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Section {
    /// The teacher: the one that the published results use. A file of a single backbone counts as it.
    #[default]
    Teacher,
    /// The student.
    Student,
}

/// What a file holds, judged by its section names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// The tensors of one network.
    SingleNetwork,
    /// A training checkpoint with a student or a teacher.
    FullCheckpoint,
    /// Tensors under names that say neither.
    Other,
}

impl Section {
    /// The key under which the official checkpoints keep it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Teacher => "teacher",
            Self::Student => "student",
        }
    }
}

/// Judges a file by its section names.
pub fn file_kind(sections: &[String]) -> FileKind {
    let has = |wanted: &str| sections.iter().any(|name| name == wanted);
    if has(Section::Teacher.key()) || has(Section::Student.key()) {
        return FileKind::FullCheckpoint;
    }
    if has(ROOT) || SINGLE_NETWORK.iter().any(|name| has(name)) {
        return FileKind::SingleNetwork;
    }
    FileKind::Other
}

/// The name of the section that holds the wanted network.
///
/// # Errors
/// The file has no such section. A file of one network has no student.
pub fn choose_section(sections: &[String], wanted: Section, path: &Path) -> Result<String> {
    let candidates: &[&str] = match (file_kind(sections), wanted) {
        (FileKind::SingleNetwork, Section::Teacher) => &[ROOT, SINGLE_NETWORK[0], SINGLE_NETWORK[1]],
        _ => &[wanted.key()],
    };
    let chosen = candidates.iter().find(|candidate| sections.iter().any(|name| name == *candidate));
    chosen.map(|name| (*name).to_owned()).ok_or_else(|| CheckpointError::NoSection {
        path: path.to_path_buf(),
        wanted: wanted.key().to_owned(),
        found: sections.to_vec(),
    })
}

/// The name without `_orig_mod.`, then `module.` and then `backbone.`, where it starts with them.
pub fn strip_prefixes(name: &str) -> &str {
    WRAPPERS.iter().fold(name, |rest, wrapper| rest.strip_prefix(wrapper).unwrap_or(rest))
}

/// Renames all tensors by [`strip_prefixes`].
pub fn strip_prefixes_of_all(tensors: &mut [NamedTensor]) {
    for tensor in tensors {
        tensor.name = strip_prefixes(&tensor.name).to_owned();
    }
}

/// Fails if two tensors bear one name.
///
/// # Errors
/// They do.
pub fn check_distinct(tensors: &[NamedTensor], path: &Path) -> Result<()> {
    let mut names = BTreeSet::new();
    match tensors.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
        Some(tensor) => Err(CheckpointError::DuplicateName { path: path.to_path_buf(), name: tensor.name.clone() }),
        None => Ok(()),
    }
}

/// Fails if a value is not a number or infinite: such weights give nothing.
///
/// # Errors
/// One is; the message names the first tensor that has it.
pub fn check_finite(tensors: &[NamedTensor], path: &Path) -> Result<()> {
    let broken = |tensor: &&NamedTensor| tensor.values.iter().any(|value| !value.is_finite());
    let (name, count) = match tensors.iter().find(broken) {
        Some(tensor) => (tensor.name.clone(), tensors.iter().filter(broken).count()),
        None => return Ok(()),
    };
    Err(CheckpointError::NotFinite { path: path.to_path_buf(), name, count })
}

/// A tensor whose shape is not the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShapeMismatch {
    /// The tensor.
    pub name: String,
    /// The network's shape.
    pub expected: Vec<usize>,
    /// The file's shape.
    pub found: Vec<usize>,
}

/// A tensor that the network needs and the file lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The tensor.
    pub name: String,
    /// An unexpected name in the file that looks like it.
    pub similar: Option<String>,
}

/// How the tensors of a file fit those of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchReport {
    /// Names that fit, in the network's order.
    pub matched: Vec<String>,
    /// Tensors that the network needs and the file lacks.
    pub missing: Vec<Missing>,
    /// Tensors that only the file has.
    pub unexpected: Vec<String>,
    /// Tensors of which the shapes differ.
    pub shape_mismatch: Vec<ShapeMismatch>,
    /// Tensors that only the file has, and that the caller does not want.
    pub ignored: Vec<String>,
}

/// Whether a tensor counts the batches that a normalisation has seen: a whole number in other programs' files, not in all of them,
/// and nothing is computed with it.
pub fn is_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

/// Whether a frozen network computes with a tensor: it counts no batches, and masks no patches.
pub fn is_read(name: &str) -> bool {
    !is_counter(name) && !is_mask_token(name)
}

/// Whether a tensor stands for masked patches in training.
pub fn is_mask_token(name: &str) -> bool {
    name == "mask_token"
}

/// Compares names and shapes; a counter may be missing. Tensors that only the file has are ignored if they start with one of `ignorable`
/// (`head.` when only the backbone is loaded).
pub fn match_names(expected: &[(String, Vec<usize>)], found: &[NamedTensor], ignorable: &[&str]) -> MatchReport {
    let mut rest: BTreeMap<&str, &NamedTensor> = found.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut report = MatchReport::default();
    let mut missing = Vec::new();
    for (name, shape) in expected {
        match rest.remove(name.as_str()) {
            None if is_counter(name) => {}
            None => missing.push(name),
            Some(tensor) if tensor.shape == *shape => report.matched.push(name.clone()),
            Some(tensor) => report.shape_mismatch.push(ShapeMismatch {
                name: name.clone(),
                expected: shape.clone(),
                found: tensor.shape.clone(),
            }),
        }
    }
    for tensor in found.iter().filter(|tensor| rest.contains_key(tensor.name.as_str())) {
        let is_ignored = ignorable.iter().any(|prefix| tensor.name.starts_with(prefix));
        let list = if is_ignored { &mut report.ignored } else { &mut report.unexpected };
        list.push(tensor.name.clone());
    }
    let similar = |name: &String| Missing { name: name.clone(), similar: nearest(name, &report.unexpected) };
    report.missing = missing.into_iter().map(similar).collect();
    report
}

fn nearest(name: &str, candidates: &[String]) -> Option<String> {
    let short = candidates.iter().take(MAX_SUGGESTION_NAMES).filter(|other| other.len() <= MAX_SUGGESTION_BYTES);
    let rated = short.map(|other| (strsim::normalized_levenshtein(name, other), other));
    let best = rated.max_by(|left, right| left.0.total_cmp(&right.0))?;
    (best.0 >= SUGGESTION_THRESHOLD).then(|| best.1.clone())
}

impl MatchReport {
    /// Whether every tensor is accounted for.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.shape_mismatch.is_empty()
    }

    /// The report itself if every tensor is accounted for.
    ///
    /// # Errors
    /// Something is missing, unexpected or of another shape; the message lists it.
    pub fn into_result(self, path: &Path) -> Result<Self> {
        if self.is_complete() {
            return Ok(self);
        }
        Err(CheckpointError::Names { path: path.to_path_buf(), report: Box::new(self) })
    }
}

impl fmt::Display for MatchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tensors match", self.matched.len())?;
        if !self.ignored.is_empty() {
            write!(f, ", {} are not wanted here", self.ignored.len())?;
        }
        let missing = self.missing.iter().map(|missing| match &missing.similar {
            Some(similar) => format!("`{}` (is `{similar}` meant?)", missing.name),
            None => format!("`{}`", missing.name),
        });
        write_group(f, "missing in the file", missing)?;
        write_group(f, "only in the file", self.unexpected.iter().map(|name| format!("`{name}`")))?;
        let shapes = self.shape_mismatch.iter().map(|tensor| {
            let hint = match tensor.name.as_str() {
                "pos_embed" => "; the position embeddings are those of another image or patch size",
                _ => "",
            };
            format!("`{}`: the network has {:?}, the file {:?}{hint}", tensor.name, tensor.expected, tensor.found)
        });
        write_group(f, "of another shape", shapes)
    }
}

fn write_group(f: &mut fmt::Formatter<'_>, title: &str, lines: impl ExactSizeIterator<Item = String>) -> fmt::Result {
    let total = lines.len();
    if total == 0 {
        return Ok(());
    }
    write!(f, "\n{total} {title}:")?;
    for line in lines.take(MAX_LISTED) {
        write!(f, "\n  {line}")?;
    }
    if total > MAX_LISTED {
        write!(f, "\n  and {} more", total - MAX_LISTED)?;
    }
    Ok(())
}
