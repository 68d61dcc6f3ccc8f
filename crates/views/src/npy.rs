//! NumPy arrays: `[height, width]`, `[height, width, channels]` or `[channels, height, width]` of numbers.
use npyz::{DType, Deserialize, NpyFile, Order, TypeChar};

use crate::decode::{Stored, check_values};
use crate::error::DecodeError;
use crate::samples::{Alpha, Samples, Values, Wide};

/// First bytes of a file.
const MAGIC: &[u8] = b"\x93NUMPY";

pub(crate) fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Which axis holds the channels.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    First,
    Last,
}

/// Decodes a file. Of three axes the one as long as `wanted` holds the channels, else the shorter one of the first and the last.
pub(crate) fn decode(bytes: &[u8], wanted: usize) -> Result<(Samples, Stored), DecodeError> {
    check_header(bytes)?;
    let file = NpyFile::new(bytes).map_err(broken)?;
    let (shape, order) = (file.shape().to_vec(), file.order());
    let (height, width, channels, layout) = match *shape {
        [height, width] => (height, width, 1, Layout::Last),
        [height, width, channels] if channels == wanted as u64 => (height, width, channels, Layout::Last),
        // Pictures are larger than the number of their channels.
        [channels, height, width] if channels == wanted as u64 || channels < width => {
            (height, width, channels, Layout::First)
        }
        [height, width, channels] => (height, width, channels, Layout::Last),
        _ => {
            return Err(broken(format!(
                "its shape is {shape:?}; [height, width] and one axis more for channels are read"
            )));
        }
    };
    if order == Order::Fortran {
        return Err(broken("it is in Fortran's order; save np.ascontiguousarray(a)"));
    }
    let DType::Plain(kind) = file.dtype() else { return Err(broken("it holds records instead of numbers")) };
    let (kind, size) = (kind.type_char(), kind.size_field());
    let small = kind == TypeChar::Uint && size <= 2;
    check_values((width, height), channels as usize, if small { 2 } else { 8 })?;
    let (width, height, channels) = (width as u32, height as u32, channels as usize);
    let values = width as usize * height as usize * channels;
    // Memory is taken for what is there, not for what the header promises.
    if (bytes.len() as u64) < values as u64 * size {
        return Err(DecodeError::Truncated);
    }
    let values = match (kind, size) {
        (TypeChar::Bool, 1) => {
            Values::U8(file.into_vec::<bool>().map_err(truncated)?.iter().map(|&on| u8::from(on) * 255).collect())
        }
        (TypeChar::Uint, 1) => Values::U8(file.into_vec().map_err(truncated)?),
        (TypeChar::Uint, 2) => Values::U16(file.into_vec().map_err(truncated)?),
        (TypeChar::Uint, 4) => wide::<u32>(file)?,
        (TypeChar::Int, 1) => wide::<i8>(file)?,
        (TypeChar::Int, 2) => wide::<i16>(file)?,
        (TypeChar::Int, 4) => wide::<i32>(file)?,
        (TypeChar::Float, 4) => wide::<f32>(file)?,
        (TypeChar::Float, 8) => wide::<f64>(file)?,
        _ => {
            return Err(broken(format!(
                "numbers of type {kind:?} with {size} bytes; whole ones up to 4 bytes, f4 and f8 are read"
            )));
        }
    };
    let values = if layout == Layout::First { values.interleaved(channels) } else { values };
    let stored = Stored { format: "NPY", channels, bits: (size * 8) as u16 };
    Ok((Samples { width, height, channels, alpha: Alpha::None, values }, stored))
}

/// The length of the header is taken on trust by its reader, which also takes time without end for brackets within brackets: a
/// dictionary with a shape in it has two.
fn check_header(bytes: &[u8]) -> Result<(), DecodeError> {
    let at = |index: usize| bytes.get(index).map(|&byte| u64::from(byte)).ok_or(DecodeError::Truncated);
    let short = at(8)? | at(9)? << 8;
    let (start, len) = if at(6)? == 1 { (10, short) } else { (12, short | at(10)? << 16 | at(11)? << 24) };
    let header = bytes.get(start..start + len as usize).ok_or(DecodeError::Truncated)?;
    let opening = |byte: &&u8| matches!(byte, b'(' | b'[' | b'{');
    if header.iter().filter(opening).count() > 2 {
        return Err(broken("its header describes records, or nothing that can be read"));
    }
    Ok(())
}

fn wide<T: Wide + Deserialize>(file: NpyFile<&[u8]>) -> Result<Values, DecodeError> {
    Ok(Values::wide(file.into_vec::<T>().map_err(truncated)?))
}

fn truncated(error: std::io::Error) -> DecodeError {
    if error.kind() == std::io::ErrorKind::UnexpectedEof { DecodeError::Truncated } else { broken(error) }
}

fn broken(reason: impl std::fmt::Display) -> DecodeError {
    DecodeError::Broken { format: "NPY".to_string(), reason: reason.to_string() }
}
