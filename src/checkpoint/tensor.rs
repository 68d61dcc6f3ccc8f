//! Named tensors as files hold them: a name, a shape and f32 values in row-major order.

use std::collections::BTreeMap;

use half::{bf16, f16};

use super::error::{CheckpointError, Result};

/// The type in which a file stored the values that are f32 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ElementType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of a single.
    BF16,
    /// IEEE double precision, rounded to f32.
    F64,
    /// Signed 64-bit integer, rounded to f32 beyond 2^24.
    I64,
    /// Signed 32-bit integer, rounded to f32 beyond 2^24.
    I32,
    /// Signed 16-bit integer.
    I16,
    /// Signed byte.
    I8,
    /// Unsigned byte.
    U8,
    /// Truth value, 0 or 1.
    Bool,
}

/// The order of the bytes of one element in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteOrder {
    Little,
    Big,
}

impl ElementType {
    /// Bytes per element in the file.
    pub fn bytes(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Decodes whole elements; a rest shorter than one element is left out.
    pub(super) fn decode(self, bytes: &[u8], order: ByteOrder) -> Vec<f32> {
        match self {
            Self::F32 => decode_with(bytes, order, f32::from_le_bytes),
            Self::F16 => decode_with(bytes, order, |raw| f16::from_le_bytes(raw).to_f32()),
            Self::BF16 => decode_with(bytes, order, |raw| bf16::from_le_bytes(raw).to_f32()),
            Self::F64 => decode_with(bytes, order, |raw| f64::from_le_bytes(raw) as f32),
            Self::I64 => decode_with(bytes, order, |raw| i64::from_le_bytes(raw) as f32),
            Self::I32 => decode_with(bytes, order, |raw| i32::from_le_bytes(raw) as f32),
            Self::I16 => decode_with(bytes, order, |raw| f32::from(i16::from_le_bytes(raw))),
            Self::I8 => decode_with(bytes, order, |raw| f32::from(i8::from_le_bytes(raw))),
            Self::U8 => decode_with(bytes, order, |[byte]: [u8; 1]| f32::from(byte)),
            Self::Bool => decode_with(bytes, order, |[byte]: [u8; 1]| f32::from(u8::from(byte != 0))),
        }
    }
}

fn decode_with<const SIZE: usize>(bytes: &[u8], order: ByteOrder, element: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
    let (elements, _) = bytes.as_chunks::<SIZE>();
    let swap = |mut raw: [u8; SIZE]| {
        raw.reverse();
        raw
    };
    match order {
        ByteOrder::Little => elements.iter().map(|raw| element(*raw)).collect(),
        ByteOrder::Big => elements.iter().map(|raw| element(swap(*raw))).collect(),
    }
}

/// One tensor read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its values in row-major order.
    pub values: Vec<f32>,
    /// The type in which the file stored them.
    pub stored: ElementType,
}

/// One tensor to be written; it borrows its values from wherever they live.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TensorRef<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Its shape; empty for a scalar.
    pub shape: &'a [usize],
    /// Its values in row-major order.
    pub values: &'a [f32],
}

/// All tensors of one file, in the file's order, and its free-form text entries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TensorFile {
    /// The tensors.
    pub tensors: Vec<NamedTensor>,
    /// The text entries.
    pub metadata: BTreeMap<String, String>,
}

impl NamedTensor {
    /// A tensor of f32 values.
    pub fn new(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Self {
        Self { name: name.into(), shape, values, stored: ElementType::F32 }
    }

    /// Borrows the tensor for writing.
    pub fn as_tensor_ref(&self) -> TensorRef<'_> {
        TensorRef { name: &self.name, shape: &self.shape, values: &self.values }
    }
}

impl TensorRef<'_> {
    /// Fails unless the shape's product is the number of values.
    pub(super) fn check(&self) -> Result<()> {
        if element_count(self.shape) == Some(self.values.len()) {
            return Ok(());
        }
        Err(CheckpointError::ValueCount {
            name: self.name.to_owned(),
            shape: self.shape.to_vec(),
            values: self.values.len(),
        })
    }
}

impl TensorFile {
    /// The tensor of that name, if the file has it.
    pub fn tensor(&self, name: &str) -> Option<&NamedTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Borrows all tensors for writing.
    pub fn tensor_refs(&self) -> Vec<TensorRef<'_>> {
        self.tensors.iter().map(NamedTensor::as_tensor_ref).collect()
    }
}

/// The product of a shape, or nothing where it overflows.
pub(super) fn element_count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))
}
