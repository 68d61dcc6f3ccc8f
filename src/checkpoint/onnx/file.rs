//! Brings a graph and its weights into a file. The messages around the weights are encoded beforehand, the values are
//! streamed between them: never is more than a chunk of them copied.

use std::io::{self, Write};
use std::path::Path;

use prost::{Message, encode_length_delimiter, length_delimiter_len};

use super::graph::{Order, Weight};
use super::proto::{FLOAT, GraphProto, ModelProto, TensorProto};
use crate::checkpoint::atomic::write_atomic;
use crate::checkpoint::error::{CheckpointError, Result};

/// Protocol buffers count the bytes of a message in 31 bits.
const MAX_BYTES: usize = i32::MAX as usize;
/// Values are turned into bytes this many at a time.
const CHUNK_VALUES: usize = 1 << 14;

/// What stands before `ModelProto.graph`.
const GRAPH: u8 = key(7);
/// What stands before each of `GraphProto.initializer`.
const INITIALIZER: u8 = key(5);
/// What stands before `TensorProto.raw_data`.
const RAW_DATA: u8 = key(9);

/// The key of a field that holds a message or bytes.
const fn key(field: u8) -> u8 {
    const LENGTH_DELIMITED: u8 = 2;
    field << 3 | LENGTH_DELIMITED
}

/// A file whose weights are still where they were: the bytes before the first and before each of them, and their values.
struct Parts<'a> {
    start: Vec<u8>,
    weights: Vec<(Vec<u8>, Values<'a>)>,
    bytes: usize,
}

/// The values of a weight and the order in which the file holds them.
pub(super) struct Values<'a> {
    /// In the network's order.
    pub values: &'a [f32],
    /// What the graph takes.
    pub weight: Weight,
}

/// Writes `model` with `graph` and these weights, atomically.
///
/// # Errors
/// The file would be longer than the format allows, or cannot be written; the old file is then as it was.
pub(super) fn write(path: &Path, model: &ModelProto, graph: &GraphProto, weights: Vec<Values<'_>>) -> Result<()> {
    let parts = Parts::new(model, graph, weights);
    if parts.bytes > MAX_BYTES {
        let (bytes, limit) = (parts.bytes as u64, MAX_BYTES as u64);
        return Err(CheckpointError::TooLong { path: path.to_path_buf(), format: "ONNX", bytes, limit });
    }
    write_atomic(path, |file| parts.write(file)).map_err(|source| CheckpointError::from_io("write", path, source))
}

impl<'a> Parts<'a> {
    fn new(model: &ModelProto, graph: &GraphProto, weights: Vec<Values<'a>>) -> Self {
        let weights: Vec<_> = weights.into_iter().map(|values| (values.head(), values)).collect();
        let weight_bytes = weights.iter().map(|(head, values)| head.len() + values.bytes()).sum::<usize>();
        let graph_bytes = graph.encoded_len() + weight_bytes;
        let mut start = model.encode_to_vec();
        push_length(&mut start, GRAPH, graph_bytes);
        start.extend(graph.encode_to_vec());
        let bytes = start.len() + weight_bytes;
        Self { start, weights, bytes }
    }

    fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        file.write_all(&self.start)?;
        for (head, values) in &self.weights {
            file.write_all(head)?;
            values.write(file)?;
        }
        Ok(())
    }
}

impl Values<'_> {
    fn bytes(&self) -> usize {
        size_of_val(self.values)
    }

    /// An initializer up to its values.
    fn head(&self) -> Vec<u8> {
        let (name, dims) = (self.weight.file_name(), self.weight.file_shape());
        let tensor = TensorProto { dims, data_type: FLOAT, name, raw_data: Vec::new() };
        let tensor_bytes = tensor.encoded_len() + 1 + length_delimiter_len(self.bytes()) + self.bytes();
        let mut head = Vec::new();
        push_length(&mut head, INITIALIZER, tensor_bytes);
        head.extend(tensor.encode_to_vec());
        push_length(&mut head, RAW_DATA, self.bytes());
        head
    }

    fn write(&self, file: &mut dyn Write) -> io::Result<()> {
        match (self.weight.order, &*self.weight.shape) {
            (Order::Transposed, [_, columns]) => (0..*columns)
                .try_for_each(|column| write_values(file, self.values.iter().skip(column).step_by(*columns))),
            _ => write_values(file, self.values.iter()),
        }
    }
}

fn write_values<'x>(file: &mut dyn Write, mut values: impl Iterator<Item = &'x f32>) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(CHUNK_VALUES * size_of::<f32>());
    loop {
        bytes.clear();
        bytes.extend(values.by_ref().take(CHUNK_VALUES).flat_map(|value| value.to_le_bytes()));
        if bytes.is_empty() {
            return Ok(());
        }
        file.write_all(&bytes)?;
    }
}

fn push_length(bytes: &mut Vec<u8>, key: u8, length: usize) {
    bytes.push(key);
    // It fails where a buffer has no room left; a vector grows.
    let _ = encode_length_delimiter(length, bytes);
}
