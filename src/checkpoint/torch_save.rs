//! Files as `torch.save` writes them since 1.6: a zip archive with a pickle and one entry for the bytes of each tensor.
//!
//! Only what `torch.load(weights_only=True)` accepts is written: dictionaries, lists, numbers, texts and tensors.

use std::io::{self, Write};
use std::path::Path;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::atomic::{Output, write_atomic};
use super::error::{CheckpointError, Result};
use super::tensor::TensorRef;

/// Folder within the archive.
const FOLDER: &str = "archive";
/// Version of the format.
const VERSION: &[u8] = b"3\n";
/// Values begin at multiples of this, so that they can be mapped into memory.
const ALIGNMENT: u16 = 64;
/// Values are turned into bytes this many at a time.
const CHUNK_VALUES: usize = 1 << 14;

/// A value of the pickle.
#[derive(Debug, Clone, PartialEq)]
pub enum Item<'a> {
    /// A tensor of `f32`.
    Tensor(TensorRef<'a>),
    /// A tensor of 64-bit integers in one row, such as labels.
    Integers(&'a [i64]),
    /// A tensor of one 64-bit integer without a shape, as counters of batch normalisations are.
    Counter(i64),
    /// A dictionary.
    Dict(Vec<(Item<'a>, Item<'a>)>),
    /// A list.
    List(Vec<Item<'a>>),
    /// A pair of numbers.
    Pair(f64, f64),
    /// A text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Whether.
    Bool(bool),
    /// Nothing.
    None,
}

impl<'a> Item<'a> {
    /// A dictionary with texts as keys.
    pub fn dict<K: Into<String>>(entries: impl IntoIterator<Item = (K, Item<'a>)>) -> Self {
        Self::Dict(entries.into_iter().map(|(key, value)| (Self::Text(key.into()), value)).collect())
    }
}

/// Writes `root` atomically.
///
/// # Errors
/// A tensor is inconsistent, or the file cannot be written; the old file is then as it was.
pub fn write(path: &Path, root: &Item<'_>) -> Result<()> {
    let mut pickle = Pickle { bytes: vec![0x80, 2], storages: Vec::new() };
    pickle.item(root)?;
    pickle.bytes.push(b'.');
    write_atomic(path, |file| archive(file, &pickle)).map_err(|source| CheckpointError::from_io("write", path, source))
}

fn archive(file: &mut dyn Output, pickle: &Pickle<'_>) -> io::Result<()> {
    let mut archive = ZipWriter::new(file);
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).with_alignment(ALIGNMENT);
    archive.start_file(format!("{FOLDER}/data.pkl"), options)?;
    archive.write_all(&pickle.bytes)?;
    archive.start_file(format!("{FOLDER}/byteorder"), options)?;
    archive.write_all(b"little")?;
    for (key, storage) in pickle.storages.iter().enumerate() {
        let options = options.large_file(storage.bytes() > u64::from(u32::MAX));
        archive.start_file(format!("{FOLDER}/data/{key}"), options)?;
        storage.write(&mut archive)?;
    }
    archive.start_file(format!("{FOLDER}/version"), options)?;
    archive.write_all(VERSION)?;
    archive.finish()?;
    Ok(())
}

/// The bytes of one tensor.
#[derive(Clone, Copy)]
enum Storage<'a> {
    Floats(&'a [f32]),
    Longs(&'a [i64]),
    Long(i64),
}

impl Storage<'_> {
    fn bytes(self) -> u64 {
        match self {
            Self::Floats(values) => size_of_val(values) as u64,
            Self::Longs(values) => size_of_val(values) as u64,
            Self::Long(_) => size_of::<i64>() as u64,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Floats(_) => "FloatStorage",
            Self::Longs(_) | Self::Long(_) => "LongStorage",
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Longs(values) => values.len(),
            Self::Long(_) => 1,
        }
    }

    fn write(self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Floats(values) => write_values(values, |value| value.to_le_bytes(), to),
            Self::Longs(values) => write_values(values, |value| value.to_le_bytes(), to),
            Self::Long(value) => to.write_all(&value.to_le_bytes()),
        }
    }
}

fn write_values<T: Copy, const SIZE: usize>(
    values: &[T],
    bytes_of: impl Fn(T) -> [u8; SIZE],
    to: &mut impl Write,
) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK_VALUES.min(values.len()) * SIZE);
    for chunk in values.chunks(CHUNK_VALUES) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|value| bytes_of(*value)));
        to.write_all(&bytes)?;
    }
    Ok(())
}

/// A pickle of protocol 2 under way. The names of its operations are those of Python's `pickletools`.
struct Pickle<'a> {
    bytes: Vec<u8>,
    storages: Vec<Storage<'a>>,
}

impl<'a> Pickle<'a> {
    fn item(&mut self, item: &Item<'a>) -> Result<()> {
        match item {
            Item::Tensor(tensor) => {
                tensor.check()?;
                self.tensor(Storage::Floats(tensor.values), tensor.shape);
            }
            Item::Integers(values) => self.tensor(Storage::Longs(values), &[values.len()]),
            Item::Counter(value) => self.tensor(Storage::Long(*value), &[]),
            Item::Dict(entries) => {
                self.bytes.extend(b"}("); // EMPTY_DICT MARK
                for (key, value) in entries {
                    self.item(key)?;
                    self.item(value)?;
                }
                self.bytes.push(b'u'); // SETITEMS
            }
            Item::List(items) => {
                self.bytes.extend(b"]("); // EMPTY_LIST MARK
                items.iter().try_for_each(|item| self.item(item))?;
                self.bytes.push(b'e'); // APPENDS
            }
            Item::Pair(first, second) => {
                self.float(*first);
                self.float(*second);
                self.bytes.push(0x86); // TUPLE2
            }
            Item::Text(text) => self.text(text),
            Item::Int(value) => self.int(*value),
            Item::Float(value) => self.float(*value),
            Item::Bool(true) => self.bytes.push(0x88),  // NEWTRUE
            Item::Bool(false) => self.bytes.push(0x89), // NEWFALSE
            Item::None => self.bytes.push(b'N'),
        }
        Ok(())
    }

    /// `torch._utils._rebuild_tensor_v2(storage, 0, shape, strides, requires_grad, hooks)`.
    fn tensor(&mut self, storage: Storage<'a>, shape: &[usize]) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.bytes.extend(b"(("); // MARK, twice: arguments, and the storage's persistent name
        self.text("storage");
        self.global("torch", storage.class());
        self.text(&self.storages.len().to_string());
        self.text("cpu");
        self.int(storage.len() as i64);
        self.bytes.extend(b"tQ"); // TUPLE BINPERSID
        self.storages.push(storage);
        self.int(0);
        self.tuple(shape);
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis].max(1);
        }
        self.tuple(&strides);
        self.bytes.push(0x89); // NEWFALSE
        self.global("collections", "OrderedDict");
        self.bytes.extend(b")RtR"); // EMPTY_TUPLE REDUCE TUPLE REDUCE
    }

    fn tuple(&mut self, numbers: &[usize]) {
        self.bytes.push(b'('); // MARK
        numbers.iter().for_each(|number| self.int(*number as i64));
        self.bytes.push(b't'); // TUPLE
    }

    fn global(&mut self, module: &str, name: &str) {
        self.bytes.extend(format!("c{module}\n{name}\n").into_bytes()); // GLOBAL
    }

    fn text(&mut self, text: &str) {
        self.bytes.push(b'X'); // BINUNICODE
        self.bytes.extend((text.len() as u32).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(value) => {
                self.bytes.push(b'J'); // BININT
                self.bytes.extend(value.to_le_bytes());
            }
            Err(_) => {
                self.bytes.extend([0x8a, 8]); // LONG1
                self.bytes.extend(value.to_le_bytes());
            }
        }
    }

    fn float(&mut self, value: f64) {
        self.bytes.push(b'G'); // BINFLOAT
        self.bytes.extend(value.to_be_bytes());
    }
}
