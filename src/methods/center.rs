//! The centre: a running mean of the teacher's logits that keeps one prototype from winning everywhere.
//! DINO (Caron et al. 2021), eq. 4; `main_dino.py:DINOLoss.update_center`.

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

    /// `c ← momentum·c + (1 − momentum)·sums/rows`, after the loss of the batch has used the old centre.
    pub fn update(&mut self, sums: &[f32], rows: usize) {
        let (keep, new) = (self.momentum as f32, (1.0 - self.momentum) as f32);
        for (value, sum) in self.values.iter_mut().zip(sums) {
            *value = keep * *value + new * (sum / rows as f32);
        }
    }
}
