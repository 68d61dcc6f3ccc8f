//! The plain values that a pickle can become.

use std::fmt;
use std::sync::Arc;

use crate::checkpoint::tensor::{ElementType, element_count};

/// A value of a pickle. Texts are shared, so that a file cannot multiply a long one.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Python's `None`.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer of at most 64 bits.
    Int(i64),
    /// A longer integer: little-endian two's complement.
    BigInt(Arc<[u8]>),
    /// A float.
    Float(f64),
    /// A text.
    Text(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list or a set.
    List(Vec<Value>),
    /// A tuple or a `torch.Size`.
    Tuple(Vec<Value>),
    /// A dictionary, in its order.
    Dict(Vec<(Value, Value)>),
    /// A tensor, its values still in the file.
    Tensor(Arc<StoredTensor>),
    /// An object, class or function of which only the name, and the attributes if there are any, are kept.
    Opaque {
        /// The full name, for example `argparse.Namespace`.
        name: Arc<str>,
        /// The attributes.
        state: Option<Box<Value>>,
    },
}

/// A run of elements in the file that one or more tensors look into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Storage {
    /// Its name in the file.
    pub key: Arc<str>,
    /// The type of its elements.
    pub stored: ElementType,
    /// How many elements there are.
    pub elements: usize,
}

/// A tensor as a view of a storage. **Invariant:** every element lies inside the storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    storage: Storage,
    offset: usize,
    shape: Vec<usize>,
    stride: Vec<usize>,
    elements: usize,
}

impl StoredTensor {
    /// A view, or nothing where an element would lie outside the storage.
    pub(super) fn new(storage: Storage, offset: usize, shape: Vec<usize>, stride: Vec<usize>) -> Option<Self> {
        let elements = element_count(&shape)?;
        if shape.len() != stride.len() {
            return None;
        }
        if elements > 0 {
            let last = shape.iter().zip(&stride).try_fold(offset, |reached, (dim, step)| {
                reached.checked_add(dim.checked_sub(1)?.checked_mul(*step)?)
            })?;
            if last >= storage.elements {
                return None;
            }
        }
        Some(Self { storage, offset, shape, stride, elements })
    }

    /// The storage that holds the values.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// The shape; empty for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of values.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// The values in row-major order, out of the decoded storage; nothing if that is too short.
    pub(in crate::checkpoint) fn gather(&self, storage: &[f32]) -> Option<Vec<f32>> {
        if self.elements == 0 {
            return Some(Vec::new());
        }
        if self.is_contiguous() {
            return Some(storage.get(self.offset..self.offset.checked_add(self.elements)?)?.to_vec());
        }
        let mut values = Vec::with_capacity(self.elements);
        let mut index = vec![0_usize; self.shape.len()];
        let mut position = self.offset;
        for _ in 0..self.elements {
            values.push(*storage.get(position)?);
            // Counts up the index, last dimension first, and moves the position along with it.
            for ((digit, dim), step) in index.iter_mut().zip(&self.shape).zip(&self.stride).rev() {
                if *digit + 1 < *dim {
                    *digit += 1;
                    position += step;
                    break;
                }
                position -= *digit * step;
                *digit = 0;
            }
        }
        Some(values)
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        for (dim, step) in self.shape.iter().zip(&self.stride).rev() {
            if *dim != 1 && *step != expected {
                return false;
            }
            expected *= dim;
        }
        true
    }
}

/// As Python prints it; objects as their name in angle brackets.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(number) => write!(f, "{number}"),
            Self::BigInt(bytes) => write!(f, "<integer of {} bytes>", bytes.len()),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => write!(f, "<{} bytes>", bytes.len()),
            Self::List(items) => write_items(f, ("[", "]"), items),
            Self::Tuple(items) => write_items(f, ("(", ")"), items),
            Self::Dict(entries) => write!(f, "<dictionary of {} entries>", entries.len()),
            Self::Tensor(tensor) => write!(f, "<tensor {:?}>", tensor.shape),
            Self::Opaque { name, .. } => write!(f, "<{name}>"),
        }
    }
}

fn write_items(f: &mut fmt::Formatter<'_>, (open, close): (&str, &str), items: &[Value]) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        write!(f, "{separator}{item}")?;
    }
    f.write_str(close)
}
