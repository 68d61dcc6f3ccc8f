//! What keeps one prototype from winning everywhere: the centre, a running mean of the teacher's logits (DINO, Caron et al. 2021, eq. 4;
//! `main_dino.py:DINOLoss.update_center`), or equal shares of each batch.

use std::borrow::Cow;

use crate::loss::sinkhorn::sinkhorn_center;

/// What keeps one prototype from winning everywhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Balance {
    /// A running centre with this momentum, 0.9 in the paper (eq. 4).
    Center {
        /// Share of the centre kept at each step.
        momentum: f64,
    },
    /// Sinkhorn–Knopp on each micro-batch.
    Sinkhorn {
        /// How often shares of prototypes and sums of rows are made equal.
        iterations: usize,
    },
    /// Nothing (figure 7).
    None,
}

impl Balance {
    /// Three iterations, as in SwAV and DINOv2 (table 15).
    pub const SINKHORN_KNOPP: Self = Self::Sinkhorn { iterations: 3 };
    /// A softmax over the batch, after which every row is divided by its sum (table 15).
    pub const SOFTMAX_BATCH: Self = Self::Sinkhorn { iterations: 1 };

    /// The centre of `out_dim` prototypes at the start.
    pub fn center(self, out_dim: usize) -> Center {
        let momentum = match self {
            Self::Center { momentum } => momentum,
            Self::Sinkhorn { .. } => 0.0,
            // It stays at 0.
            Self::None => 1.0,
        };
        Center::new(out_dim, momentum)
    }

    /// Whether what is taken off depends on all rows.
    pub(super) fn is_of_the_batch(self) -> bool {
        matches!(self, Self::Sinkhorn { .. })
    }

    /// What is taken off the teacher's logits `[rows, K]`, `[K]`.
    pub fn offset<'c>(self, center: &'c Center, logits: &[f32], temp: f64) -> Cow<'c, [f32]> {
        match self {
            Self::Center { .. } | Self::None => center.values().into(),
            Self::Sinkhorn { iterations } => sinkhorn_center(logits, center.values().len(), temp, iterations).into(),
        }
    }
}

/// Running mean of the teacher's logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Center {
    values: Vec<f32>,
    momentum: f64,
}

impl Center {
    /// A centre of `out_dim` zeros; `momentum` is 0.9 in the paper.
    pub fn new(out_dim: usize, momentum: f64) -> Self {
        Self { values: vec![0.0; out_dim], momentum }
    }

    /// The centre, `[K]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Replaces the values, when a run resumes.
    pub fn set(&mut self, values: &[f32]) {
        self.values.copy_from_slice(values);
    }

    /// `c ← momentum·c + (1 − momentum)·sums/rows`, after the loss of the batch has used the old centre; without rows it stays.
    pub fn update(&mut self, sums: &[f32], rows: usize) {
        if rows == 0 {
            return;
        }
        let (keep, new) = (self.momentum as f32, (1.0 - self.momentum) as f32);
        for (value, sum) in self.values.iter_mut().zip(sums) {
            *value = keep * *value + new * (sum / rows as f32);
        }
    }
}
