//! Rows of earlier batches, of which the oldest make room for new ones: keys of MoCo, embeddings of SwAV.

use super::StateTensor;

/// A ring of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    values: Vec<f32>, // [K, D]
    width: usize,
    /// Row that is written next.
    next: usize,
}

impl Queue {
    /// A queue of these rows, `[K, D]`, of which the first is the oldest.
    pub fn new(values: Vec<f32>, width: usize) -> Self {
        Self { values, width, next: 0 }
    }

    /// The rows, `[K, D]`, in no order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Rows and place, for checkpoints, under these names.
    pub fn state(&self, [rows, place]: [&'static str; 2]) -> [StateTensor; 2] {
        let shape = vec![self.values.len() / self.width, self.width];
        let next = StateTensor { name: place, shape: vec![1], values: vec![self.next as f32] };
        [StateTensor { name: rows, shape, values: self.values.clone() }, next]
    }

    /// Takes back one tensor that [`Queue::state`] gave; says whether it was known.
    pub fn restore(&mut self, [rows, place]: [&'static str; 2], name: &str, values: &[f32]) -> bool {
        let count = self.values.len() / self.width;
        if name == rows && values.len() == self.values.len() {
            self.values.copy_from_slice(values);
            return true;
        }
        let next = values.first().map(|next| *next as usize).filter(|next| name == place && *next < count);
        self.next = next.unwrap_or(self.next);
        next.is_some()
    }

    /// Replaces the oldest rows. Of more rows than there is room for, the last ones stay.
    pub fn push(&mut self, rows: &[f32]) {
        let count = self.values.len() / self.width;
        for row in rows.chunks_exact(self.width) {
            self.values[self.next * self.width..][..self.width].copy_from_slice(row);
            self.next = (self.next + 1) % count;
        }
    }
}
