//! Our own checkpoint: a folder of safetensors parts, the state as JSON, and a manifest with a digest of each file.
//!
//! `last/` is the newest, `previous/` the one before it. A folder is filled under another name, synced, and only then
//! rotated in, so that a kill at any instant leaves a checkpoint that passes its check.
//! **Invariant:** nothing is returned from a folder of which any byte fails its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::atomic::{INCOMING, OUTGOING, remove_folder, rename, replace_dir, sync_folder, with_ending};
use super::error::{CheckpointError, Result};
use super::safetensors;
use super::tensor::{TensorFile, TensorRef};

/// The folder of the newest checkpoint.
pub const LAST: &str = "last";
/// The folder of the checkpoint before the newest.
pub const PREVIOUS: &str = "previous";
/// The folder of a newest checkpoint that was found damaged.
pub const DAMAGED: &str = "damaged";
/// The file with the caller's state.
pub const STATE_FILE: &str = "state.json";
/// The file with the size and digest of every other file.
pub const MANIFEST_FILE: &str = "manifest.json";

const FORMAT: &str = "dinoxide-checkpoint";
const FORMAT_VERSION: u32 = 1;
const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Which checkpoint of a run is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot<'a> {
    /// The newest; the one that was the newest becomes the previous one.
    Last,
    /// One that is kept, for example `epoch-0100`; it replaces an earlier one of that name.
    Named(&'a str),
}

/// One safetensors file of a checkpoint, to be written as `NAME.safetensors`.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    /// For example `teacher`.
    pub name: &'a str,
    /// Its tensors, in the order in which they are written.
    pub tensors: Vec<TensorRef<'a>>,
}

/// Where a loaded checkpoint came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadedFrom {
    /// The newest.
    Last,
    /// The one before, because the newest is missing or damaged.
    Previous,
    /// A folder named by the caller.
    Named,
}

/// A checkpoint of which every byte passed its check.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The tensors by part name.
    pub parts: BTreeMap<String, TensorFile>,
    /// The caller's state, as it was saved.
    pub state: serde_json::Value,
    /// Which folder was used.
    pub from: LoadedFrom,
    /// What the user should be told: which file of the newer checkpoint is wrong, and what is used instead.
    pub warning: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    format_version: u32,
    files: Vec<FileEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileEntry {
    name: String,
    bytes: u64,
    sha256: String,
}

/// Writes a checkpoint of the run. JSON has no NaN or infinity: such numbers in `state` must be kept in another form.
///
/// # Errors
/// A name or tensor is invalid, or the system refuses (disk full, read-only); older checkpoints are then intact.
pub fn save(run_dir: &Path, slot: Slot<'_>, parts: &[Part<'_>], state: &serde_json::Value) -> Result<()> {
    let name = match slot {
        Slot::Last => LAST,
        Slot::Named(name) => checked_slot_name(name)?,
    };
    fs::create_dir_all(run_dir).map_err(|source| CheckpointError::from_io("create", run_dir, source))?;
    let target = run_dir.join(name);
    let incoming = with_ending(&target, INCOMING);
    remove_folder(&incoming)?;
    if let Err(error) = fill(&incoming, parts, state) {
        // The error that matters is the first one; the leftover is removed by the next save at the latest.
        let _ = remove_folder(&incoming);
        return Err(error);
    }
    match slot {
        Slot::Last => replace_dir(&incoming, &target, &run_dir.join(PREVIOUS)),
        Slot::Named(_) => {
            let replaced = with_ending(&target, OUTGOING);
            replace_dir(&incoming, &target, &replaced)?;
            remove_folder(&replaced)
        }
    }
}

/// Loads the newest checkpoint that passes its check, or nothing where the run has none.
///
/// # Errors
/// There are checkpoints, and each is damaged.
pub fn load_latest(run_dir: &Path) -> Result<Option<Loaded>> {
    let outgoing = with_ending(Path::new(PREVIOUS), OUTGOING);
    let candidates = [Path::new(LAST), Path::new(PREVIOUS), &outgoing].map(|name| run_dir.join(name));
    if candidates.iter().all(|folder| !folder.exists()) {
        return Ok(None);
    }
    let mut problems = Vec::new();
    for (index, folder) in candidates.iter().enumerate() {
        if !folder.exists() {
            // A missing `last/` is worth a word: a save was cut short. The others may be missing at any time.
            if index == 0 {
                problems.push(format!("checkpoint `{}` is missing", folder.display()));
            }
            continue;
        }
        match load(folder) {
            Ok(mut loaded) => {
                loaded.from = if index == 0 { LoadedFrom::Last } else { LoadedFrom::Previous };
                loaded.warning = (!problems.is_empty())
                    .then(|| format!("{}; using `{}` instead", problems.join("; "), folder.display()));
                return Ok(Some(loaded));
            }
            Err(error) => problems.push(error.to_string()),
        }
    }
    Err(CheckpointError::NoneIntact { run_dir: run_dir.to_path_buf(), problems })
}

/// Moves a newest checkpoint that could not be loaded out of the rotation, to `damaged/`: the next save would otherwise
/// make it `previous/`, in the place of the intact one.
///
/// # Errors
/// Whatever the system reports.
pub fn set_damaged_aside(run_dir: &Path) -> Result<()> {
    let (last, damaged) = (run_dir.join(LAST), run_dir.join(DAMAGED));
    if !last.exists() {
        return Ok(());
    }
    remove_folder(&damaged)?;
    rename(&last, &damaged)
}

/// Loads one checkpoint folder, without falling back on another.
///
/// # Errors
/// A file is missing, has the wrong size or the wrong digest; the message names it.
pub fn load(folder: &Path) -> Result<Loaded> {
    let damaged = |file: &str, problem: String| CheckpointError::Damaged {
        folder: folder.to_path_buf(),
        file: file.to_owned(),
        problem,
    };
    let manifest = read_manifest(folder)?;
    let mut parts = BTreeMap::new();
    let mut state = None;
    for entry in &manifest.files {
        let bytes = read_checked(folder, entry)?;
        if entry.name == STATE_FILE {
            let parsed = serde_json::from_slice(&bytes);
            state = Some(parsed.map_err(|error| damaged(STATE_FILE, format!("is no valid JSON: {error}")))?);
        } else if let Some(part) = entry.name.strip_suffix(".safetensors") {
            parts.insert(part.to_owned(), safetensors::parse(&bytes, &folder.join(&entry.name))?);
        }
    }
    let state = state.ok_or_else(|| damaged(MANIFEST_FILE, format!("does not list `{STATE_FILE}`")))?;
    Ok(Loaded { parts, state, from: LoadedFrom::Named, warning: None })
}

fn fill(folder: &Path, parts: &[Part<'_>], state: &serde_json::Value) -> Result<()> {
    fs::create_dir(folder).map_err(|source| CheckpointError::from_io("create", folder, source))?;
    let mut files = Vec::with_capacity(parts.len() + 1);
    let mut names = BTreeSet::new();
    for part in parts {
        let name = format!("{}.safetensors", checked_file_name("checkpoint part", part.name)?);
        let path = folder.join(&name);
        if !names.insert(part.name) {
            return Err(CheckpointError::DuplicateName { path, name });
        }
        let header = safetensors::encode_header(&path, &part.tensors, &BTreeMap::new())?;
        let write = |file: &mut dyn Write| safetensors::write_parts(file, &header, &part.tensors);
        files.push(write_hashed(&path, name, write)?);
    }
    let state_path = folder.join(STATE_FILE);
    files.push(write_hashed(&state_path, STATE_FILE.to_owned(), |file| write_json(file, state))?);
    let manifest = Manifest { format: FORMAT.to_owned(), format_version: FORMAT_VERSION, files };
    let manifest_path = folder.join(MANIFEST_FILE);
    write_hashed(&manifest_path, MANIFEST_FILE.to_owned(), |file| write_json(file, &manifest))?;
    sync_folder(folder)
}

fn write_json(file: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *file, value)?;
    file.write_all(b"\n")
}

/// Writes and syncs one file, and digests it on the way.
fn write_hashed(path: &Path, name: String, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<FileEntry> {
    let failed = |source| CheckpointError::from_io("write", path, source);
    let file = File::create(path).map_err(failed)?;
    let hashing = HashingWriter { file, digest: Sha256::new(), bytes: 0 };
    let mut buffered = BufWriter::with_capacity(WRITE_BUFFER_BYTES, hashing);
    write(&mut buffered).map_err(failed)?;
    let written = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
    written.file.sync_all().map_err(failed)?;
    Ok(FileEntry { name, bytes: written.bytes, sha256: hex(&written.digest.finalize()) })
}

struct HashingWriter {
    file: File,
    digest: Sha256,
    bytes: u64,
}

impl Write for HashingWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.digest.update(buffer.get(..written).unwrap_or(buffer));
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn read_manifest(folder: &Path) -> Result<Manifest> {
    let damaged = |problem: String| CheckpointError::Damaged {
        folder: folder.to_path_buf(),
        file: MANIFEST_FILE.to_owned(),
        problem,
    };
    let bytes = fs::read(folder.join(MANIFEST_FILE)).map_err(|error| damaged(unreadable(&error)))?;
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|error| damaged(format!("is no valid manifest: {error}")))?;
    if manifest.format != FORMAT {
        return Err(damaged(format!("names the format `{}`, not `{FORMAT}`", manifest.format)));
    }
    if manifest.format_version != FORMAT_VERSION {
        let found = manifest.format_version;
        return Err(damaged(format!("has format version {found}; this program reads version {FORMAT_VERSION}")));
    }
    let mut names = BTreeSet::new();
    for entry in &manifest.files {
        checked_file_name("checkpoint file", &entry.name)
            .map_err(|_| damaged(format!("lists `{}`, which is no file name", entry.name)))?;
        if !names.insert(&entry.name) {
            return Err(damaged(format!("lists `{}` twice", entry.name)));
        }
    }
    Ok(manifest)
}

fn read_checked(folder: &Path, entry: &FileEntry) -> Result<Vec<u8>> {
    let damaged =
        |problem: String| CheckpointError::Damaged { folder: folder.to_path_buf(), file: entry.name.clone(), problem };
    let bytes = fs::read(folder.join(&entry.name)).map_err(|error| damaged(unreadable(&error)))?;
    if bytes.len() as u64 != entry.bytes {
        return Err(damaged(format!("has {} bytes instead of {}", bytes.len(), entry.bytes)));
    }
    if hex(&Sha256::digest(&bytes)) != entry.sha256 {
        return Err(damaged("does not match its sha256 digest: some of its bytes have changed".to_owned()));
    }
    Ok(bytes)
}

fn unreadable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is missing".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn checked_slot_name(name: &str) -> Result<&str> {
    let reserved = [LAST, PREVIOUS].contains(&name) || name.ends_with(INCOMING) || name.ends_with(OUTGOING);
    if reserved {
        return Err(CheckpointError::BadName { what: "checkpoint", name: name.to_owned() });
    }
    checked_file_name("checkpoint", name)
}

fn checked_file_name<'a>(what: &'static str, name: &'a str) -> Result<&'a str> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
        return Err(CheckpointError::BadName { what, name: name.to_owned() });
    }
    Ok(name)
}
