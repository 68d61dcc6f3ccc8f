//! A command of this program as a process of its own: what it says is passed on, kept in a file, and told if it fails.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use super::SuiteError;
use crate::run::RunError;
use crate::run::look::write_file;

/// What a command said.
const LOG: &str = "log.txt";
/// How this program's errors begin.
const ERROR: &str = "error: ";
/// Lines of an error that are told.
const ERROR_LINES: usize = 4;

/// How a command ended.
pub(super) struct Ended {
    /// Its standard output.
    pub output: Vec<u8>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Runs the command and writes what it says to `log.txt` in `folder`.
///
/// # Errors
/// If it cannot be started, or the file cannot be written.
pub(super) fn run(arguments: &[String], folder: &Path) -> Result<Ended, RunError> {
    let program = std::env::current_exe().map_err(RunError::file("find", "dinoxide"))?;
    let mut command = Command::new(&program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source| SuiteError::Start { program: program.clone(), source };
    let mut process = command.spawn().map_err(failed)?;
    let talk = process.stderr.take().map(|pipe| {
        std::thread::spawn(move || {
            let mut said = Vec::new();
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            // Bytes, since a file name need not be text.
            while pipe.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                std::io::stderr().write_all(&line).ok();
                said.append(&mut line);
            }
            said
        })
    });
    let mut output = Vec::new();
    if let Some(mut pipe) = process.stdout.take() {
        pipe.read_to_end(&mut output).map_err(failed)?;
    }
    let status = process.wait().map_err(failed)?;
    let said = talk.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    write_file(&folder.join(LOG), said.as_bytes())?;
    Ok(Ended { output, error: (!status.success()).then(|| reason(&said, status)) })
}

/// The error that a command ended with.
fn reason(said: &str, status: ExitStatus) -> String {
    let lines: Vec<&str> = said.lines().collect();
    match lines.iter().rposition(|line| line.starts_with(ERROR)) {
        Some(first) => {
            let told = lines[first..].iter().take(ERROR_LINES).map(|line| line.trim());
            let text = told.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
            text.trim_start_matches(ERROR).to_owned()
        }
        // Such as a signal, which is how a system ends what takes too much memory.
        None => match lines.iter().rev().find(|line| !line.trim().is_empty()) {
            Some(last) => format!("{status}, after: {}", last.trim()),
            None => status.to_string(),
        },
    }
}
