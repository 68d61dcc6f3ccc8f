//! Writing so that a kill at any instant leaves either the old or the new, never half of one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, Write};
use std::path::{Path, PathBuf};

use super::error::{CheckpointError, Result};

/// Ending of the folder that a rotation has moved aside and not yet removed.
pub const OUTGOING: &str = ".outgoing";
/// Ending of the folder that is being filled.
pub const INCOMING: &str = ".incoming";

/// What a file is written through.
pub trait Output: Write + Seek {}

impl<T: Write + Seek> Output for T {}

const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Writes a file through a temporary one beside it: fill, fsync, rename, fsync of the folder.
///
/// # Errors
/// Whatever the system or `write` reports; the old file is then as it was.
pub fn write_atomic(path: &Path, write: impl FnOnce(&mut dyn Output) -> io::Result<()>) -> io::Result<()> {
    let folder = parent_of(path);
    let mut temporary = new_temporary(folder)?;
    let mut buffered = BufWriter::with_capacity(WRITE_BUFFER_BYTES, temporary.as_file_mut());
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|refused| refused.error)?;
    sync(folder)
}

/// Puts the complete folder `new` in the place of `target`, and what was there in the place of `previous`.
///
/// At every instant in between, one of `target`, `previous` and `previous` + [`OUTGOING`] is what it was before the
/// call, complete. An earlier rotation that was cut short is finished first.
///
/// # Errors
/// Whatever the system reports.
pub fn replace_dir(new: &Path, target: &Path, previous: &Path) -> Result<()> {
    let outgoing = with_ending(previous, OUTGOING);
    if outgoing.exists() && !previous.exists() {
        rename(&outgoing, previous)?;
    }
    // Without a target there is nothing to rotate, and `previous` may be the only good one: it stays.
    if target.exists() {
        remove_folder(&outgoing)?;
        if previous.exists() {
            rename(previous, &outgoing)?;
        }
        rename(target, previous)?;
    }
    rename(new, target)?;
    sync_folder(parent_of(target))?;
    remove_folder(&outgoing)
}

/// Makes renames and creations inside a folder survive a power cut.
pub(super) fn sync_folder(folder: &Path) -> Result<()> {
    sync(folder).map_err(|source| CheckpointError::from_io("sync", folder, source))
}

fn sync(folder: &Path) -> io::Result<()> {
    // Only Unix lets a folder be opened and synced; elsewhere the rename itself is all there is.
    if !cfg!(unix) {
        return Ok(());
    }
    match File::open(folder)?.sync_all() {
        // Some network file systems refuse to sync a folder; how lasting a rename is then lies with them.
        Err(refused) if matches!(refused.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

/// Removes a folder with all it holds; one that does not exist is no error.
pub(super) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(CheckpointError::from_io("remove", folder, source))
        }
        _ => Ok(()),
    }
}

pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|source| CheckpointError::from_io("rename", from, source))
}

fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn new_temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".writing-").suffix(".tmp");
    // A temporary file is private by default; the finished one has the rights of any other file (umask applies).
    #[cfg(unix)]
    let readable = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666);
    #[cfg(unix)]
    builder.permissions(readable);
    builder.tempfile_in(folder)
}
