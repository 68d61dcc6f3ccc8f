//! Files of `torch.save`: the zip format (since 1.6) and the older one, read without running anything.
//!
//! Opening reads the structure; values are read when a section is asked for, so that the optimizer state of a large
//! checkpoint costs nothing when only the teacher is wanted. The pickled part is read by [`super::pickle`].

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zip::ZipArchive;

use super::error::{CheckpointError, Result};
use super::pickle::{self, MAX_PICKLE_BYTES, PickleError, PickleProblem, Storage, StoredTensor, Value};
use super::section::Contents;
use super::tensor::{ByteOrder, NamedTensor};

/// The number 0x1950a86a20f9469cfc6c with which the older format starts, little-endian.
pub(super) const LEGACY_MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// Tensors may share storage, but all together hold at most this many values per byte of the file …
const MAX_VALUES_PER_BYTE: u64 = 4;
/// … and any file, however small, may hold this many.
const MIN_VALUE_LIMIT: u64 = 1 << 20;
/// `byteorder` holds "little" or "big"; more is not read.
const MAX_BYTEORDER_BYTES: u64 = 16;

/// An opened `.pth` file.
pub struct PickledCheckpoint {
    path: PathBuf,
    file_bytes: u64,
    storages: Storages,
    contents: Contents,
}

enum Storages {
    Zip { archive: ZipArchive<BufReader<File>>, prefix: String, order: ByteOrder },
    Legacy { file: BufReader<File>, starts: HashMap<Arc<str>, (u64, usize)> },
}

/// Opens a file of `torch.save`, whichever of the two formats it has.
///
/// # Errors
/// The file cannot be read, is damaged, or holds no dictionary of tensors.
pub fn read(path: &Path) -> Result<PickledCheckpoint> {
    let failed = |source| CheckpointError::from_io("read", path, source);
    let file = File::open(path).map_err(failed)?;
    let file_bytes = file.metadata().map_err(failed)?.len();
    let mut file = BufReader::new(file);
    let mut start = [0; 2];
    file.read_exact(&mut start).and_then(|()| file.rewind()).map_err(failed)?;
    let (root, storages) = if &start == b"PK" { open_zip(path, file)? } else { open_legacy(path, file, file_bytes)? };
    let contents = Contents::of(root, path)?;
    Ok(PickledCheckpoint { path: path.to_path_buf(), file_bytes, storages, contents })
}

impl PickledCheckpoint {
    /// The names of all sections that hold tensors, in the file's order.
    pub fn section_names(&self) -> Vec<String> {
        self.contents.sections.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Whether the file is a zip archive, as since PyTorch 1.6.
    pub fn is_zip(&self) -> bool {
        matches!(self.storages, Storages::Zip { .. })
    }

    /// Numbers and texts by dotted path, for example `epoch` or `optimizer.param_groups.0.lr`.
    pub fn scalars(&self) -> &BTreeMap<String, String> {
        &self.contents.scalars
    }

    /// The training arguments, if the file has any.
    pub fn args(&self) -> &BTreeMap<String, String> {
        &self.contents.args
    }

    /// Objects that were not understood and left out: dotted path and class.
    pub fn opaque(&self) -> &[(String, String)] {
        &self.contents.opaque
    }

    /// Names and shapes of a section's tensors, without their values.
    pub fn shapes(&self, section: &str) -> Option<Vec<(String, Vec<usize>)>> {
        let (_, tensors) = self.contents.sections.iter().find(|(name, _)| name == section)?;
        Some(tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect())
    }

    /// Reads a section's tensors, in the file's order.
    ///
    /// # Errors
    /// There is no such section, or its values are missing or damaged.
    pub fn tensors(&mut self, section: &str) -> Result<Vec<NamedTensor>> {
        let Some((_, wanted)) = self.contents.sections.iter().find(|(name, _)| name == section) else {
            let found = self.section_names();
            return Err(CheckpointError::NoSection { path: self.path.clone(), wanted: section.to_owned(), found });
        };
        self.check_total(wanted)?;
        // Tensors of one storage are read together, so that each storage is read and decoded once.
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|index| wanted.get(*index).map(|(_, tensor)| tensor.storage().key.clone()));
        let mut values: Vec<Vec<f32>> = vec![Vec::new(); wanted.len()];
        let mut decoded: (Option<&Storage>, Vec<f32>) = (None, Vec::new());
        for index in order {
            let (Some((_, tensor)), Some(slot)) = (wanted.get(index), values.get_mut(index)) else { continue };
            if decoded.0 != Some(tensor.storage()) {
                decoded = (Some(tensor.storage()), self.storages.decode(&self.path, tensor.storage())?);
            }
            *slot = tensor
                .gather(&decoded.1)
                .ok_or_else(|| storage_error(&self.path, tensor.storage(), "is shorter than its tensors need"))?;
        }
        let named = wanted.iter().zip(values).map(|((name, tensor), values)| NamedTensor {
            name: name.clone(),
            shape: tensor.shape().to_vec(),
            values,
            stored: tensor.storage().stored,
        });
        Ok(named.collect())
    }

    fn check_total(&self, wanted: &[(String, Arc<StoredTensor>)]) -> Result<()> {
        let limit = self.file_bytes.saturating_mul(MAX_VALUES_PER_BYTE).max(MIN_VALUE_LIMIT);
        let total = wanted.iter().fold(0_u64, |sum, (_, tensor)| sum.saturating_add(tensor.elements() as u64));
        // Storages too: compressed zeros can stand for far more than the file's size.
        let largest = wanted.iter().map(|(_, tensor)| tensor.storage().elements as u64).max().unwrap_or(0);
        if total.max(largest) > limit {
            return Err(CheckpointError::TooLarge { path: self.path.clone(), what: "tensor values", limit });
        }
        Ok(())
    }
}

impl Storages {
    fn decode(&mut self, path: &Path, storage: &Storage) -> Result<Vec<f32>> {
        let failed = |problem: String| storage_error(path, storage, &problem);
        let needed = (storage.elements as u64).checked_mul(storage.stored.bytes() as u64);
        let needed = needed.ok_or_else(|| failed("has an impossible size".to_owned()))?;
        let mut bytes = Vec::new();
        let order = match self {
            Self::Zip { archive, prefix, order } => {
                let entry = archive.by_name(&format!("{prefix}data/{}", storage.key));
                let entry = entry.map_err(|error| failed(error.to_string()))?;
                if entry.size() != needed {
                    return Err(failed(format!("has {} bytes instead of {needed}", entry.size())));
                }
                // One byte more than needed: only at the very end does the archive compare its checksum, and a
                // compressed entry that goes on for longer is not followed.
                let mut entry = entry.take(needed.saturating_add(1));
                entry.read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
                *order
            }
            Self::Legacy { file, starts } => {
                let start = starts.get(&storage.key).filter(|(_, elements)| *elements == storage.elements);
                let (start, _) = start.ok_or_else(|| failed("is missing, or has another size".to_owned()))?;
                let read = file.seek(SeekFrom::Start(*start)).and_then(|_| file.take(needed).read_to_end(&mut bytes));
                read.map_err(|error| failed(error.to_string()))?;
                // The older format is little-endian on every machine.
                ByteOrder::Little
            }
        };
        if bytes.len() as u64 != needed {
            return Err(failed(format!("has {} bytes instead of {needed}", bytes.len())));
        }
        Ok(storage.stored.decode(&bytes, order))
    }
}

fn open_zip(path: &Path, file: BufReader<File>) -> Result<(Value, Storages)> {
    let broken = |source| CheckpointError::Archive { path: path.to_path_buf(), source };
    let mut archive = ZipArchive::new(file).map_err(broken)?;
    let is_root = |name: &str| name == "data.pkl" || name.split_once('/').is_some_and(|(_, rest)| rest == "data.pkl");
    let Some(pickle_name) = archive.file_names().find(|name| is_root(name)).map(str::to_owned) else {
        return Err(CheckpointError::Format {
            path: path.to_path_buf(),
            found: "a zip archive without `data.pkl`",
            hint: "expected a file written by `torch.save`",
        });
    };
    let prefix = pickle_name.trim_end_matches("data.pkl").to_owned();
    if archive.index_for_name(&format!("{prefix}constants.pkl")).is_some() {
        return Err(CheckpointError::Format {
            path: path.to_path_buf(),
            found: "a TorchScript archive",
            hint: "save the weights with `torch.save(model.state_dict(), path)`",
        });
    }
    let mut order = ByteOrder::Little;
    if let Ok(entry) = archive.by_name(&format!("{prefix}byteorder")) {
        let mut word = Vec::new();
        let read = entry.take(MAX_BYTEORDER_BYTES).read_to_end(&mut word);
        read.map_err(|source| CheckpointError::from_io("read", path, source))?;
        if word == b"big" {
            order = ByteOrder::Big;
        }
    }
    let entry = archive.by_name(&pickle_name).map_err(broken)?;
    let mut pickled = Vec::new();
    entry
        .take(MAX_PICKLE_BYTES + 1)
        .read_to_end(&mut pickled)
        .map_err(|source| CheckpointError::Archive { path: path.to_path_buf(), source: source.into() })?;
    if pickled.len() as u64 > MAX_PICKLE_BYTES {
        let (what, limit) = ("bytes of pickled structure", MAX_PICKLE_BYTES);
        return Err(CheckpointError::TooLarge { path: path.to_path_buf(), what, limit });
    }
    let root = pickle::parse(pickled.as_slice(), MAX_PICKLE_BYTES).map_err(|source| broken_pickle(path, source))?;
    Ok((root, Storages::Zip { archive, prefix, order }))
}

/// The older format: pickles of a magic number, the protocol, the machine, the structure and the list of storage keys;
/// then, for each key, the number of elements (8 bytes) and the elements.
fn open_legacy(path: &Path, mut file: BufReader<File>, file_bytes: u64) -> Result<(Value, Storages)> {
    let limit = MAX_PICKLE_BYTES.min(file_bytes);
    let mut next = || pickle::parse(&mut file, limit).map_err(|source| broken_pickle(path, source));
    let magic = next()?;
    if magic != Value::BigInt(LEGACY_MAGIC.into()) {
        return Err(CheckpointError::Format {
            path: path.to_path_buf(),
            found: "a pickle that `torch.save` did not write",
            hint: "save the weights with `torch.save(model.state_dict(), path)`",
        });
    }
    let (_protocol, _machine) = (next()?, next()?);
    let root = next()?;
    let keys = next()?;
    let mut types = HashMap::new();
    collect_storages(&root, &mut types);
    let starts = legacy_starts(path, &mut file, (&keys, &types, file_bytes))?;
    Ok((root, Storages::Legacy { file, starts }))
}

fn legacy_starts(
    path: &Path,
    file: &mut BufReader<File>,
    (keys, types, file_bytes): (&Value, &HashMap<Arc<str>, Storage>, u64),
) -> Result<HashMap<Arc<str>, (u64, usize)>> {
    let failed = |source| CheckpointError::from_io("read", path, source);
    let malformed = || {
        let problem = PickleProblem::Expected("a list of storage keys");
        broken_pickle(path, PickleError { offset: 0, problem })
    };
    let Value::List(keys) = keys else { return Err(malformed()) };
    let mut starts = HashMap::with_capacity(keys.len());
    for key in keys {
        let Value::Text(key) = key else { return Err(malformed()) };
        // A storage that no tensor uses has no known type, so that what follows it cannot be found.
        let Some(storage) = types.get(key) else {
            let problem = "is listed, but no supported tensor uses it".to_owned();
            return Err(CheckpointError::Storage { path: path.to_path_buf(), key: key.to_string(), problem });
        };
        let mut count = [0; 8];
        file.read_exact(&mut count).map_err(|_| storage_error(path, storage, "is cut off"))?;
        let start = file.stream_position().map_err(failed)?;
        let bytes = u64::from_le_bytes(count).checked_mul(storage.stored.bytes() as u64);
        let end = bytes.and_then(|bytes| start.checked_add(bytes)).filter(|end| *end <= file_bytes);
        let end = end.ok_or_else(|| storage_error(path, storage, "is cut off"))?;
        let elements = usize::try_from(u64::from_le_bytes(count)).unwrap_or(usize::MAX);
        starts.insert(key.clone(), (start, elements));
        file.seek(SeekFrom::Start(end)).map_err(failed)?;
    }
    Ok(starts)
}

fn collect_storages(value: &Value, found: &mut HashMap<Arc<str>, Storage>) {
    match value {
        Value::Tensor(tensor) => drop(found.insert(tensor.storage().key.clone(), tensor.storage().clone())),
        Value::List(items) | Value::Tuple(items) => items.iter().for_each(|item| collect_storages(item, found)),
        Value::Dict(entries) => entries.iter().for_each(|(_, value)| collect_storages(value, found)),
        Value::Opaque { state: Some(state), .. } => collect_storages(state, found),
        _ => {}
    }
}

fn storage_error(path: &Path, storage: &Storage, problem: &str) -> CheckpointError {
    let key = storage.key.to_string();
    CheckpointError::Storage { path: path.to_path_buf(), key, problem: problem.to_owned() }
}

fn broken_pickle(path: &Path, source: PickleError) -> CheckpointError {
    CheckpointError::Pickle { path: path.to_path_buf(), source }
}
