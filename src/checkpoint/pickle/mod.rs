//! A pickle reader that cannot run anything: a small stack machine of our own (pickle protocols 2 to 5).
//!
//! Python's unpickler calls whatever function a file names. This machine calls nothing: it knows a fixed list of
//! constructors by name (`constructor.rs`), builds plain values for them, and turns every other name into an inert
//! [`Value::Opaque`]. No existing crate offers this together with PyTorch's persistent storages, hence our own.
//! **Invariant:** memory and time are bounded by the length of the pickle and the constants of this module.

mod constructor;
mod machine;
mod node;
mod opcode;
mod value;

use std::io;

use thiserror::Error;

pub(super) use machine::parse;
pub use value::{Storage, StoredTensor, Value};

/// Longest pickle that is read; a checkpoint's structure takes kilobytes, its values are stored elsewhere.
pub const MAX_PICKLE_BYTES: u64 = 256 << 20;
/// Deepest nesting of lists, tuples and dictionaries.
pub const MAX_DEPTH: usize = 64;
/// Most values in one structure, counting a shared one once for each place where it stands.
pub const MAX_VALUES: usize = 4_000_000;
/// Most entries in the memo.
pub const MAX_MEMO: usize = 4_000_000;
/// Most dimensions of a tensor (PyTorch's own limit).
pub const MAX_DIMENSIONS: usize = 64;
/// Longest line that names a global.
pub const MAX_LINE_BYTES: usize = 4096;

/// Reads a pickle of plain values that stands alone, such as the ground truth of a benchmark. What is no plain value is in the result
/// as [`Value::Opaque`].
///
/// # Errors
/// If it is none, or exceeds a limit of this module.
pub fn read(bytes: &[u8]) -> Result<Value, PickleError> {
    parse(bytes, MAX_PICKLE_BYTES)
}

/// What is wrong with a pickle, and where.
#[derive(Debug, Error)]
#[error("at byte {offset}: {problem}")]
pub struct PickleError {
    /// Bytes read before the problem showed.
    pub offset: u64,
    /// What is wrong.
    pub problem: PickleProblem,
}

/// What is wrong with a pickle.
#[derive(Debug, Error)]
pub enum PickleProblem {
    /// The pickle stops before its STOP opcode.
    #[error("the pickle ends too early")]
    Truncated,
    /// The bytes cannot be read at all.
    #[error("{0}")]
    Read(io::Error),
    /// An opcode of no pickle protocol, or of one that `torch.save` never writes.
    #[error("unknown opcode 0x{0:02x}")]
    UnknownOpcode(u8),
    /// A protocol newer than 5.
    #[error("pickle protocol {0} is not supported (2 to 5 are)")]
    Protocol(u8),
    /// An opcode needs more values than the stack holds.
    #[error("the stack is empty")]
    StackUnderflow,
    /// An opcode refers to a memo entry that was never written.
    #[error("memo entry {0} does not exist")]
    NoMemo(u64),
    /// A value is not of the kind that the opcode needs.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A known constructor was given arguments that it never gets.
    #[error("`{0}` has arguments that make no sense")]
    Arguments(&'static str),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// One of the limits of this module is exceeded.
    #[error("more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}
