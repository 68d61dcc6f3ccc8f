//! The weights of a file that was written here, as the network has them.

use std::fs;
use std::path::Path;

use prost::Message;

use super::proto::{FLOAT, ModelProto, TensorProto};
use crate::checkpoint::error::{CheckpointError, Result};
use crate::checkpoint::tensor::{ByteOrder, ElementType, NamedTensor, element_count};

/// End of the name of a matrix that is stored transposed.
const TRANSPOSED: &str = ".transposed";

/// All constants of `f32`: weights, and what the graph itself needs.
///
/// # Errors
/// The file cannot be read or is no ONNX file.
pub fn weights(path: &Path) -> Result<Vec<NamedTensor>> {
    let bytes = fs::read(path).map_err(|source| CheckpointError::from_io("read", path, source))?;
    let broken =
        || CheckpointError::Format { path: path.to_path_buf(), found: "no intact ONNX file", hint: "export it again" };
    let graph = ModelProto::decode(bytes.as_slice()).map_err(|_| broken())?.graph.ok_or_else(broken)?;
    let floats = graph.initializer.into_iter().filter(|tensor| tensor.data_type == FLOAT);
    floats.map(|tensor| named(tensor).ok_or_else(broken)).collect()
}

/// Nothing if shape and values do not go together.
fn named(tensor: TensorProto) -> Option<NamedTensor> {
    let mut shape: Vec<usize> =
        tensor.dims.iter().map(|length| usize::try_from(*length).ok()).collect::<Option<_>>()?;
    let mut values = ElementType::F32.decode(&tensor.raw_data, ByteOrder::Little);
    if element_count(&shape)? != values.len() {
        return None;
    }
    let Some(name) = tensor.name.strip_suffix(TRANSPOSED) else {
        return Some(NamedTensor::new(tensor.name, shape, values));
    };
    let [rows, columns] = shape[..] else { return None };
    let stored = values.clone();
    for (index, value) in values.iter_mut().enumerate() {
        *value = stored[index % rows.max(1) * columns + index / rows.max(1)];
    }
    shape.reverse();
    Some(NamedTensor::new(name, shape, values))
}
