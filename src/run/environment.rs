//! `environment.json` and `command.txt`: where and how a run was made.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{RunError, machine};
use crate::checkpoint::atomic::write_atomic;

/// Name of the description of machine and program in a run folder.
pub const ENVIRONMENT_FILE: &str = "environment.json";

/// The program, the machine and the command of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of the program.
    pub version: String,
    /// Commit it was built from, if known.
    pub commit: Option<String>,
    /// Compiler it was built with.
    pub rustc: Option<String>,
    /// Operating system.
    pub system: String,
    /// Processor architecture.
    pub architecture: String,
    /// Processor.
    pub cpu: String,
    /// Cores the process may use.
    pub cores: usize,
    /// Memory the process may use, bytes.
    pub memory_bytes: u64,
    /// Machine.
    pub host: String,
    /// Command line.
    pub command: Vec<String>,
    /// Start, UTC.
    pub started: String,
}

impl Environment {
    /// That of this process.
    pub fn current() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("DINOXIDE_COMMIT").map(str::to_owned),
            rustc: option_env!("DINOXIDE_RUSTC").map(str::to_owned),
            system: machine::system(),
            architecture: std::env::consts::ARCH.to_owned(),
            cpu: machine::cpu_model(),
            cores: machine::cores(),
            memory_bytes: machine::memory_bytes(),
            host: machine::host(),
            command: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            started: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }

    /// Writes `environment.json` and `command.txt` into `folder`.
    ///
    /// # Errors
    /// [`RunError::File`].
    pub fn write(&self, folder: &Path) -> Result<(), RunError> {
        let path = folder.join(ENVIRONMENT_FILE);
        write_atomic(&path, |file| {
            serde_json::to_writer_pretty(&mut *file, self)?;
            file.write_all(b"\n")
        })
        .map_err(RunError::file("write", &path))?;
        let path = folder.join("command.txt");
        let line: Vec<String> = self.command.iter().map(|argument| quoted(argument)).collect();
        write_atomic(&path, |file| writeln!(file, "{}", line.join(" "))).map_err(RunError::file("write", &path))
    }
}

/// An argument as a shell would need it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}
