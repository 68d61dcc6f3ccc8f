//! safetensors files: f32 out, any common type in. The header is the `safetensors` crate's, the values are streamed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use ::safetensors::tensor::{Metadata, TensorInfo};
use ::safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Serialize;

use super::atomic::write_atomic;
use super::error::{CheckpointError, Result};
use super::names::is_counter;
use super::tensor::{ByteOrder, ElementType, NamedTensor, TensorFile, TensorRef};

/// The key under which the format keeps text entries; no tensor can bear it.
const METADATA_KEY: &str = "__metadata__";
/// The header is padded to this many bytes, so that the values are aligned.
const HEADER_ALIGNMENT: usize = 8;
/// Bytes of a counter, a whole number.
const COUNTER_BYTES: usize = size_of::<i64>();
/// Values are turned into bytes this many at a time.
const CHUNK_VALUES: usize = 1 << 14;

/// Reads a safetensors file; tensors keep the file's order.
///
/// # Errors
/// The file cannot be read, is broken, or holds a type without an f32 equivalent.
pub fn read(path: &Path) -> Result<TensorFile> {
    let bytes = fs::read(path).map_err(|source| CheckpointError::from_io("read", path, source))?;
    parse(&bytes, path)
}

/// Writes a safetensors file atomically, tensors in the order given.
///
/// # Errors
/// A tensor is inconsistent or named twice, or the file cannot be written; the old file is then as it was.
pub fn write(path: &Path, tensors: &[TensorRef<'_>], metadata: &BTreeMap<String, String>) -> Result<()> {
    let header = encode_header(path, tensors, metadata)?;
    write_atomic(path, |file| write_parts(file, &header, tensors))
        .map_err(|source| CheckpointError::from_io("write", path, source))
}

/// Reads the bytes of a safetensors file; `path` is for messages.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<TensorFile> {
    let broken = |source| CheckpointError::Safetensors { path: path.to_path_buf(), source };
    let (header_bytes, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let values_start = header_bytes.saturating_add(HEADER_ALIGNMENT);
    let values = bytes.get(values_start..).unwrap_or_default();
    let names = header.offset_keys();
    let mut file = TensorFile::default();
    for name in names {
        let Some(info) = header.info(&name) else { continue };
        let (start, end) = info.data_offsets;
        let raw = values.get(start..end).ok_or_else(|| broken(SafeTensorError::MetadataIncompleteBuffer))?;
        let stored = element_type(info.dtype).ok_or_else(|| CheckpointError::ElementType {
            path: path.to_path_buf(),
            name: name.clone(),
            dtype: info.dtype.to_string(),
        })?;
        let values = stored.decode(raw, ByteOrder::Little);
        file.tensors.push(NamedTensor { name, shape: info.shape.clone(), values, stored });
    }
    file.metadata.extend(header.metadata().iter().flatten().map(|(key, text)| (key.clone(), text.clone())));
    Ok(file)
}

/// The length field and the padded header for these tensors.
pub(super) fn encode_header(
    path: &Path,
    tensors: &[TensorRef<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let broken = |source| CheckpointError::Safetensors { path: path.to_path_buf(), source };
    let mut names = BTreeSet::from([METADATA_KEY]);
    let mut infos = Vec::with_capacity(tensors.len());
    let mut start = 0;
    for tensor in in_order(tensors) {
        tensor.check()?;
        if !names.insert(tensor.name) {
            return Err(CheckpointError::DuplicateName { path: path.to_path_buf(), name: tensor.name.to_owned() });
        }
        let (dtype, width) =
            if is_counter(tensor.name) { (Dtype::I64, COUNTER_BYTES) } else { (Dtype::F32, size_of::<f32>()) };
        let end = start + tensor.values.len() * width;
        let info = TensorInfo { dtype, shape: tensor.shape.to_vec(), data_offsets: (start, end) };
        infos.push((tensor.name.to_owned(), info));
        start = end;
    }
    Metadata::new(None, infos.clone()).map_err(broken)?;
    let encoded = serde_json::to_vec(&Header { metadata, infos: &infos });
    let json = encoded.map_err(|source| broken(SafeTensorError::JsonError(source)))?;
    let padded = json.len().next_multiple_of(HEADER_ALIGNMENT);
    let mut header = Vec::with_capacity(HEADER_ALIGNMENT + padded);
    header.extend((padded as u64).to_le_bytes());
    header.extend(json);
    header.resize(HEADER_ALIGNMENT + padded, b' ');
    Ok(header)
}

/// Counters first, which are whole numbers of 8 bytes: each tensor then begins at a multiple of its values' size, as readers expect.
fn in_order<'t, 'a>(tensors: &'t [TensorRef<'a>]) -> impl Iterator<Item = &'t TensorRef<'a>> {
    let of_kind = |counters: bool| tensors.iter().filter(move |tensor| is_counter(tensor.name) == counters);
    of_kind(true).chain(of_kind(false))
}

/// Writes the header, then every value; nothing larger than one chunk is copied.
pub(super) fn write_parts(file: &mut dyn Write, header: &[u8], tensors: &[TensorRef<'_>]) -> io::Result<()> {
    file.write_all(header)?;
    let mut bytes = Vec::with_capacity(CHUNK_VALUES * size_of::<f32>());
    for tensor in in_order(tensors) {
        for chunk in tensor.values.chunks(CHUNK_VALUES) {
            bytes.clear();
            if is_counter(tensor.name) {
                bytes.extend(chunk.iter().flat_map(|value| (*value as i64).to_le_bytes()));
            } else {
                bytes.extend(chunk.iter().flat_map(|value| value.to_le_bytes()));
            }
            file.write_all(&bytes)?;
        }
    }
    Ok(())
}

/// The header as JSON. The crate's own serializer keeps text entries in a hash map, whose order changes from run to
/// run; here equal content gives equal bytes.
struct Header<'a> {
    metadata: &'a BTreeMap<String, String>,
    infos: &'a [(String, TensorInfo)],
}

impl Serialize for Header<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, self.metadata)?;
        }
        for (name, info) in self.infos {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

fn element_type(dtype: Dtype) -> Option<ElementType> {
    match dtype {
        Dtype::F32 => Some(ElementType::F32),
        Dtype::F16 => Some(ElementType::F16),
        Dtype::BF16 => Some(ElementType::BF16),
        Dtype::F64 => Some(ElementType::F64),
        Dtype::I64 => Some(ElementType::I64),
        Dtype::I32 => Some(ElementType::I32),
        Dtype::I16 => Some(ElementType::I16),
        Dtype::I8 => Some(ElementType::I8),
        Dtype::U8 => Some(ElementType::U8),
        Dtype::BOOL => Some(ElementType::Bool),
        _ => None,
    }
}
