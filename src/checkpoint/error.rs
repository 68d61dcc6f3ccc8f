//! What can be wrong with a checkpoint: one variant per way in which the user has to react.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::names::MatchReport;
use super::pickle::PickleError;

/// The result of everything in [`crate::checkpoint`].
pub type Result<T> = std::result::Result<T, CheckpointError>;

/// Why a checkpoint cannot be read or written.
#[derive(Debug, Error)]
pub enum CheckpointError {
    /// The file system refused, for a reason other than space or permission.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// No space, or no quota, is left.
    #[error("cannot {action} `{}`: the disk is full ({source}); free some space and start again, the checkpoints written before are intact", path.display())]
    DiskFull {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// The place is read-only or belongs to somebody else.
    #[error("cannot {action} `{}`: not allowed there ({source}); choose a folder that can be written, the checkpoints written before are intact", path.display())]
    NotAllowed {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// The file is of no format known here, or of one that is refused.
    #[error("`{}` is {found}; {hint}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the file is, or looks like.
        found: &'static str,
        /// How to obtain a file that can be read.
        hint: &'static str,
    },
    /// The pickled structure of a PyTorch file is broken.
    #[error("`{}` holds a broken pickle: {source}; the file is damaged or was not written by `torch.save`", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// Where and what.
        source: PickleError,
    },
    /// The zip archive of a PyTorch file is broken.
    #[error("`{}` is a broken zip archive: {source}; download or copy the file again", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// The zip reader's own error.
        source: zip::result::ZipError,
    },
    /// The values of one tensor cannot be read.
    #[error("storage `{key}` of `{}` cannot be read: {problem}; download or copy the file again", path.display())]
    Storage {
        /// The file.
        path: PathBuf,
        /// The storage's key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The file asks for more memory than its size can justify.
    #[error("`{}` asks for {what} beyond the limit of {limit}; such a file is not read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What is too many.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The file to be written would be longer than its format allows.
    #[error("`{}` would have {bytes} bytes, and {format} allows {limit}; choose safetensors, which has no such limit", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The format.
        format: &'static str,
        /// How long it would be.
        bytes: u64,
        /// How long it may be.
        limit: u64,
    },
    /// The safetensors file is broken.
    #[error("`{}` is a broken safetensors file: {source}; download or copy the file again", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// The reader's own error.
        source: safetensors::SafeTensorError,
    },
    /// A tensor is stored in a type that has no f32 equivalent here.
    #[error("tensor `{name}` of `{}` is stored as {dtype}, which is not supported; convert it to float32", path.display())]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The stored type.
        dtype: String,
    },
    /// Two tensors bear one name, before or after prefixes were removed.
    #[error("two tensors of `{}` are named `{name}`; it is not clear which one is meant", path.display())]
    DuplicateName {
        /// The file.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// Weights are NaN or infinite.
    #[error("{count} tensors of `{}` hold NaN or infinite values, the first is `{name}`; take an earlier checkpoint of that training", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The first such tensor.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// A folder has no weights.
    #[error("`{}` has a `config.json`, but none of {} beside it", folder.display(), known.join(", "))]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// Names that are known.
        known: &'static [&'static str],
    },
    /// A description of weights cannot be used.
    #[error("`{}` {problem}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A tensor to be written is inconsistent in itself.
    #[error("tensor `{name}` has shape {shape:?} but {values} values")]
    ValueCount {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// How many values it was given.
        values: usize,
    },
    /// The wanted part of the file does not exist.
    #[error("`{}` has no section `{wanted}`; it has {}", path.display(), quoted(found))]
    NoSection {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: Vec<String>,
    },
    /// Names or shapes of the weights differ from those of the network.
    #[error("the weights of `{}` do not fit the network\n{report}", path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// Every difference.
        report: Box<MatchReport>,
    },
    /// A checkpoint folder fails its check.
    #[error("checkpoint `{}` is damaged: `{file}` {problem}", folder.display())]
    Damaged {
        /// The checkpoint folder.
        folder: PathBuf,
        /// The file in it that is wrong.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No checkpoint of the run can be used.
    #[error("no checkpoint of `{}` can be used: {}; restore one of these folders, or start anew with `--overwrite`", run_dir.display(), problems.join("; "))]
    NoneIntact {
        /// The run folder.
        run_dir: PathBuf,
        /// One sentence per folder tried.
        problems: Vec<String>,
    },
    /// A name cannot be used as a file name.
    #[error("`{name}` cannot name a {what}; use letters, digits, `.`, `_` and `-`, and none of the reserved names")]
    BadName {
        /// What was to be named.
        what: &'static str,
        /// The name given.
        name: String,
    },
}

impl CheckpointError {
    /// Sorts a system error by what the user can do about it.
    pub fn from_io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { action, path, source },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotAllowed { action, path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }
}

fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
