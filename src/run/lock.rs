//! One writer per run folder.
//!
//! The operating system holds the lock and drops it when the process dies, however it dies; the file's text (process
//! and host) is for messages. Text left in an unlocked file is the trace of a run that was killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{RunError, machine};

/// Name of the lock file in a run folder.
pub const LOCK_FILE: &str = ".lock";

/// Who holds a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Process.
    pub pid: u32,
    /// Machine.
    pub host: String,
}

/// A held folder; released when dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// The holder whose lock was stale, if one was taken over.
    pub taken_over_from: Option<Holder>,
}

impl Lock {
    /// Takes the lock of `folder`.
    ///
    /// # Errors
    /// [`RunError::InUse`] if a living process holds it, [`RunError::File`].
    pub fn take(folder: &Path) -> Result<Self, RunError> {
        let path = folder.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(RunError::file("open", &path))?;
        let mut text = String::new();
        // Another process' lock may forbid reading on some systems; then its holder stays unknown.
        file.read_to_string(&mut text).ok();
        let previous: Option<Holder> = serde_json::from_str(&text).ok();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = previous.unwrap_or(Holder { pid: 0, host: "an unknown machine".to_owned() });
                return Err(RunError::InUse { path: folder.to_owned(), pid: holder.pid, host: holder.host });
            }
            // Some network file systems know no locks: one writer is then the user's promise.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(RunError::file("lock", &path)(error)),
        }
        let mut lock = Self { file, taken_over_from: previous };
        lock.write_holder().map_err(RunError::file("write", &path))?;
        Ok(lock)
    }

    fn write_holder(&mut self) -> std::io::Result<()> {
        let holder = Holder { pid: std::process::id(), host: machine::host() };
        let text = serde_json::to_string(&holder)?;
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.sync_data()
    }
}

/// Whether the holder of `folder` seems to be alive, without touching the lock: a look must not keep a run from starting. On
/// another machine, and where the system has no `/proc`, it is believed.
pub fn is_held(folder: &Path) -> bool {
    let text = match std::fs::read_to_string(folder.join(LOCK_FILE)) {
        Ok(text) => text,
        // Some systems forbid reading what is locked.
        Err(error) => return error.kind() != std::io::ErrorKind::NotFound,
    };
    let Ok(holder) = serde_json::from_str::<Holder>(&text) else { return false };
    let processes = Path::new("/proc");
    let here = holder.host == machine::host() && processes.is_dir();
    !here || processes.join(holder.pid.to_string()).exists()
}

impl Drop for Lock {
    fn drop(&mut self) {
        // An empty file says that the last run ended in order. Errors have no one left to tell.
        self.file.set_len(0).ok();
        self.file.unlock().ok();
    }
}
