//! Values on the tape and the pool their memory comes from.
//!
//! A [`Matrix`] is a cheap handle: cloning it clones a reference, and when the last handle goes its memory returns to the
//! [`Pool`], where the next operation of that size finds it. The second training step therefore allocates nothing.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// Recycles buffers by length.
#[derive(Debug, Clone, Default)]
pub struct Pool {
    shelves: Rc<Shelves>,
}

#[derive(Debug, Default)]
struct Shelves {
    free: RefCell<HashMap<usize, Vec<Vec<f32>>>>,
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
        let recycled = shelves.free.borrow_mut().get_mut(&len).and_then(Vec::pop);
        let bytes = len * size_of::<f32>();
        let values = recycled.unwrap_or_else(|| {
            shelves.allocated_bytes.set(shelves.allocated_bytes.get() + bytes);
            vec![0.0; len]
        });
        shelves.in_use_bytes.set(shelves.in_use_bytes.get() + bytes);
        shelves.peak_bytes.set(shelves.peak_bytes.get().max(shelves.in_use_bytes.get()));
        Buffer { values, home: self.clone() }
    }

    /// A buffer of `len` zeros.
    pub fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.fill(0.0);
        buffer
    }

    /// Bytes ever allocated; constant from the second step of a training run on.
    pub fn allocated_bytes(&self) -> usize {
        self.shelves.allocated_bytes.get()
    }

    /// The most bytes that were in use at once.
    pub fn peak_bytes(&self) -> usize {
        self.shelves.peak_bytes.get()
    }
}

/// Pool memory that goes back when dropped.
#[derive(Debug)]
pub struct Buffer {
    values: Vec<f32>,
    home: Pool,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        let shelves = &self.home.shelves;
        shelves.in_use_bytes.set(shelves.in_use_bytes.get() - values.len() * size_of::<f32>());
        shelves.free.borrow_mut().entry(values.len()).or_default().push(values);
    }
}

/// A dense row-major matrix computed by a tape. Cloning clones a handle.
#[derive(Debug, Clone)]
pub struct Matrix {
    pub(crate) buffer: Rc<Buffer>,
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
}
