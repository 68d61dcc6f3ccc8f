//! Values on the tape and the pool their memory comes from.
//!
//! A [`Matrix`] is a cheap handle: cloning it clones a reference, and when the last handle goes its memory returns to the
//! [`Pool`], where the next operation of about that size finds it. After the first steps nothing is allocated any more, be
//! their shapes the same or nearly so (drop path).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::values::{Precision, Values, ValuesMut};

/// Buffers are allocated in sizes of this many steps to the next power of two, so that there are not too many kinds.
const CLASSES: usize = 16;
/// Values of a cache line.
pub(crate) const LINE: usize = 16;
/// A free buffer serves if it is larger than needed by at most one part in this many.
const SLACK: usize = 4;

/// Recycles buffers.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    shelves: Rc<Shelves>,
}

#[derive(Debug, Default)]
struct Shelves {
    /// Free buffers by length; no list is empty.
    free: RefCell<BTreeMap<usize, Vec<Vec<f32>>>>,
    allocated_bytes: Cell<usize>,
    in_use_bytes: Cell<usize>,
    peak_bytes: Cell<usize>,
}

impl Pool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// A buffer of `len` values whose contents are arbitrary.
    pub fn take(&self, len: usize) -> Buffer {
        let shelves = &self.shelves;
        let class = class_of(len + LINE - 1);
        let values = shelves.find(class, class + class / SLACK).unwrap_or_else(|| {
            let values = vec![0.0; class];
            shelves.allocated_bytes.set(shelves.allocated_bytes.get() + bytes(&values));
            values
        });
        shelves.in_use_bytes.set(shelves.in_use_bytes.get() + bytes(&values));
        shelves.peak_bytes.set(shelves.peak_bytes.get().max(shelves.in_use_bytes.get()));
        let first = line_start(&values);
        Buffer { values, first, len, home: self.clone() }
    }

    /// Room for `len` values between two operations, of arbitrary contents.
    pub(crate) fn between(&self, precision: Precision, len: usize) -> Between {
        match precision {
            Precision::F32 => Between::Full(self.take(len)),
            Precision::Bf16 => Between::Half(self.take(len.div_ceil(2)), len),
        }
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Bytes taken from the system, in use or free.
    pub fn allocated_bytes(&self) -> usize {
        self.shelves.allocated_bytes.get()
    }

    /// The most bytes that were in use at once.
    pub fn peak_bytes(&self) -> usize {
        self.shelves.peak_bytes.get()
    }
}

impl Shelves {
    /// Takes the free buffer of the smallest length from `fewest` to `most` that there is.
    fn find(&self, fewest: usize, most: usize) -> Option<Vec<f32>> {
        let mut free = self.free.borrow_mut();
        let (&len, same) = free.range_mut(fewest..=most).next()?;
        let found = same.pop();
        if same.is_empty() {
            free.remove(&len);
        }
        found
    }
}

/// The size in which a buffer of `len` values is allocated: at most one part in [`CLASSES`] more.
fn class_of(len: usize) -> usize {
    len.next_multiple_of((len.next_power_of_two() / (2 * CLASSES)).max(1))
}

/// How many values lie before the first one that begins a cache line.
pub(crate) fn line_start(values: &[f32]) -> usize {
    values.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE - 1)
}

fn bytes(values: &[f32]) -> usize {
    size_of_val(values)
}

/// Pool memory that goes back when dropped.
#[derive(Debug)]
pub struct Buffer {
    /// At least `len` values from `first` on.
    values: Vec<f32>,
    /// Where a cache line begins: vectors then lie within one.
    first: usize,
    len: usize,
    home: Pool,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.first..self.first + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.first..self.first + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        let shelves = &self.home.shelves;
        shelves.in_use_bytes.set(shelves.in_use_bytes.get() - bytes(&values));
        shelves.free.borrow_mut().entry(values.len()).or_default().push(values);
    }
}

/// What one operation of a branch hands to the next.
#[derive(Debug)]
pub(crate) enum Between {
    /// In full precision.
    Full(Buffer),
    /// Rounded: two values in each of the buffer's, and how many there are.
    Half(Buffer, usize),
}

impl Between {
    pub fn values(&self) -> Values<'_, f32> {
        match self {
            Self::Full(values) => Values::Full(values),
            Self::Half(words, len) => Values::Half(&bytemuck::cast_slice(&words[..])[..*len]),
        }
    }

    pub fn values_mut(&mut self) -> ValuesMut<'_, f32> {
        match self {
            Self::Full(values) => ValuesMut::Full(values),
            Self::Half(words, len) => ValuesMut::Half(&mut bytemuck::cast_slice_mut(&mut words[..])[..*len]),
        }
    }
}

/// A dense row-major matrix computed by a tape. Cloning clones a handle.
#[derive(Debug, Clone)]
pub struct Matrix {
    pub(crate) buffer: Rc<Buffer>,
    /// The same values as products read them, if what made them has written them so.
    pub(crate) rounded: Option<Rc<Between>>,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// The tape's node that made it; absent for inputs and when nothing is recorded.
    pub(crate) node: Slot,
}

impl Matrix {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.buffer
    }

    /// The values of row `row`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.buffer[row * self.columns..(row + 1) * self.columns]
    }
}

/// Where a matrix's gradient goes; nowhere for inputs.
pub(crate) type Slot = Option<usize>;

impl Matrix {
    pub(crate) fn slot(&self) -> Slot {
        self.node
    }

    /// The values, for products alone.
    pub(crate) fn factors(&self) -> Values<'_, f32> {
        self.rounded.as_ref().map_or(self.values().into(), |rounded| rounded.values())
    }
}
