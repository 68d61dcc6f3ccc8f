//! The optimizer: clipping, weight-decay groups, AdamW, SGD and LARS, the frozen last layer, and the teacher's average, in
//! one pass over memory.
//!
//! `main_dino.py` and `utils.py` of the reference: gradients are clipped tensor by tensor; weight decay spares biases and
//! vectors; a frozen tensor is skipped entirely (no moments, no decay, no step counted).

use dinoxide_engine::kernels::{AdamW, Kernels, Sgd, Update};
use dinoxide_engine::params::{Params, Role, TensorSpec};

/// Added to a norm before dividing by it (`utils.py:clip_gradients`).
const CLIP_EPS: f64 = 1e-6;

/// How gradients become updates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// AdamW with PyTorch's defaults: betas 0.9 and 0.999, eps 1e-8.
    AdamW,
    /// SGD with momentum 0.9 and coupled weight decay.
    Sgd,
    /// LARS with momentum 0.9 and trust coefficient 0.001; vectors get neither decay nor trust ratio.
    Lars,
}

/// What is done to gradients that are too long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clip {
    /// Nothing.
    Off,
    /// Each tensor's gradient is shortened to this norm: what DINO does.
    Tensor(f64),
    /// All gradients together are shortened to this norm.
    Global(f64),
}

/// Scheduled values of one update.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay of the tensors that decay.
    pub weight_decay: f64,
    /// Clipping.
    pub clip: Clip,
    /// Tensors whose name contains one of these are left as they are (`last_layer` in the first epoch).
    pub frozen: &'a [&'a str],
}

/// Moments and step counts, laid out like the parameters.
#[derive(Debug, Clone)]
pub struct Optimizer {
    rule: Rule,
    /// First moments.
    pub first: Vec<f32>,
    /// Second moments; empty for rules without them.
    pub second: Vec<f32>,
    /// Updates each tensor has had.
    pub updates: Vec<u64>,
    /// Norm of each tensor's gradient in the last step, before clipping.
    norms: Vec<f64>,
    /// What the learning rate of each tensor is multiplied by.
    rates: Vec<f64>,
}

impl Optimizer {
    /// Zero moments for `params`.
    pub fn new(rule: Rule, params: &Params) -> Self {
        let len = params.values().len();
        let second = if rule == Rule::AdamW { vec![0.0; len] } else { Vec::new() };
        let tensors = params.layout().specs().len();
        let (norms, rates) = (vec![0.0; tensors], vec![1.0; tensors]);
        Self { rule, first: vec![0.0; len], second, updates: vec![0; tensors], norms, rates }
    }

    /// Multiplies the learning rate of every tensor of `params` by what `rate` says for its name.
    #[must_use]
    pub fn with_rates(self, params: &Params, rate: impl Fn(&str) -> f64) -> Self {
        Self { rates: params.layout().specs().iter().map(|spec| rate(&spec.name)).collect(), ..self }
    }

    /// Updates `student` from `grads`, clears `grads`, and moves the average (teacher and its momentum) after it.
    /// Returns the norm of all gradients before clipping; if
    /// that is not finite, nothing is changed.
    pub fn step(
        &mut self,
        kernels: &dyn Kernels<f32>,
        student: &mut Params,
        grads: &mut [f32],
        mut average: Option<(&mut Params, f64)>,
        at: &Step<'_>,
    ) -> f64 {
        let _awake = kernels.stay_awake();
        let layout = student.layout().clone();
        for (norm, spec) in self.norms.iter_mut().zip(layout.specs()) {
            let trained = spec.role == Role::Trained;
            *norm = if trained { kernels.sum_of_squares(&grads[spec.range()]).sqrt() } else { 0.0 };
        }
        let total = length(self.norms.iter().copied());
        if !total.is_finite() {
            return total;
        }
        for (index, spec) in layout.specs().iter().enumerate() {
            let teacher = match (&mut average, spec.role) {
                // Fixed ones are the same in both, and an average would be so up to rounding only.
                (Some((teacher, momentum)), Role::Trained) => {
                    Some((&mut teacher.values_mut()[spec.range()], *momentum))
                }
                _ => None,
            };
            let value = &mut student.values_mut()[spec.range()];
            let grad = &mut grads[spec.range()];
            let frozen = at.frozen.iter().any(|part| spec.name.contains(part));
            if frozen || spec.role != Role::Trained {
                grad.fill(0.0);
                if let Some((teacher, momentum)) = teacher {
                    kernels.average(value, momentum, teacher);
                }
                continue;
            }
            self.updates[index] += 1;
            let second = if self.second.is_empty() { &mut [] } else { &mut self.second[spec.range()] };
            let update = Update { value, grad, first: &mut self.first[spec.range()], second, teacher };
            let grad_scale = at.clip.factor(self.norms[index], total);
            let lr = at.lr * self.rates[index];
            self.rule.apply(kernels, update, spec, &Scaled { at, lr, grad_scale, step: self.updates[index] });
        }
        total
    }

    /// Norm of each tensor's gradient in the last step before clipping, by name.
    pub fn grad_norms<'a>(&'a self, params: &'a Params) -> impl Iterator<Item = (&'a str, f64)> {
        params.layout().specs().iter().zip(&self.norms).map(|(spec, norm)| (spec.name.as_str(), *norm))
    }

    /// Norm of the gradient of those tensors of `params` whose names contain `part`, in the last step before clipping.
    pub fn grad_norm_of(&self, params: &Params, part: &str) -> f64 {
        length(self.grad_norms(params).filter(|(name, _)| name.contains(part)).map(|(_, norm)| norm))
    }
}

/// Length of a vector from the lengths of its parts.
fn length(parts: impl Iterator<Item = f64>) -> f64 {
    parts.map(|norm| norm * norm).sum::<f64>().sqrt()
}

/// Scheduled values for one tensor.
struct Scaled<'a> {
    at: &'a Step<'a>,
    lr: f64,
    grad_scale: f64,
    step: u64,
}

impl Clip {
    fn factor(self, tensor_norm: f64, total_norm: f64) -> f64 {
        match self {
            Self::Off => 1.0,
            Self::Tensor(limit) => (limit / (tensor_norm + CLIP_EPS)).min(1.0),
            Self::Global(limit) => (limit / (total_norm + CLIP_EPS)).min(1.0),
        }
    }
}

impl Rule {
    fn apply(self, kernels: &dyn Kernels<f32>, update: Update<'_, f32>, spec: &TensorSpec, with: &Scaled<'_>) {
        const MOMENTUM: f64 = 0.9; // torch.optim.SGD in main_dino.py, and utils.py:LARS
        let (lr, grad_scale) = (with.lr, with.grad_scale);
        let weight_decay = if spec.decays() { with.at.weight_decay } else { 0.0 };
        match self {
            Self::AdamW => {
                // Defaults of torch.optim.AdamW.
                let (beta1, beta2, eps) = (0.9, 0.999, 1e-8);
                kernels.adamw(update, AdamW { lr, weight_decay, beta1, beta2, eps, step: with.step, grad_scale });
            }
            Self::Sgd => kernels.sgd(update, Sgd { lr, weight_decay, momentum: MOMENTUM, trust: 1.0, grad_scale }),
            Self::Lars => {
                let vector = spec.shape.len() == 1;
                let weight_decay = if vector { 0.0 } else { with.at.weight_decay };
                let trust = if vector { 1.0 } else { trust_ratio(kernels, &update, weight_decay, grad_scale) };
                kernels.sgd(update, Sgd { lr, weight_decay, momentum: MOMENTUM, trust, grad_scale });
            }
        }
    }
}

/// `0.001·‖p‖/‖s·g + wd·p‖`, or 1 where either norm is 0 (`utils.py:LARS`).
fn trust_ratio(kernels: &dyn Kernels<f32>, update: &Update<'_, f32>, weight_decay: f64, grad_scale: f64) -> f64 {
    const ETA: f64 = 0.001;
    let value = kernels.sum_of_squares(update.value);
    let grad = kernels.sum_of_squares(update.grad);
    let cross = kernels.dot(update.value, update.grad);
    let decayed = grad_scale.powi(2) * grad + 2.0 * grad_scale * weight_decay * cross + weight_decay.powi(2) * value;
    let (value, decayed) = (value.sqrt(), decayed.max(0.0).sqrt());
    if value > 0.0 && decayed > 0.0 { ETA * value / decayed } else { 1.0 }
}
