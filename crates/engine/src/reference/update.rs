//! Optimizer updates and the momentum teacher: AdamW (Loshchilov and Hutter 2019, Algorithm 2, in the form of
//! `torch.optim.AdamW`), SGD with momentum, and the moving average.

use crate::kernels::{AdamW, Sgd, Update};

pub(super) fn adamw(update: Update<'_, f64>, with: AdamW) {
    let Update { value, grad, first, second, teacher } = update;
    assert_eq!(grad.len(), value.len(), "adamw: lengths of grad and value");
    assert_eq!(first.len(), value.len(), "adamw: lengths of first and value");
    assert_eq!(second.len(), value.len(), "adamw: lengths of second and value");
    let correction1 = 1.0 - with.beta1.powf(with.step as f64);
    let correction2 = 1.0 - with.beta2.powf(with.step as f64);
    for i in 0..value.len() {
        let g = with.grad_scale * grad[i];
        first[i] = with.beta1 * first[i] + (1.0 - with.beta1) * g;
        second[i] = with.beta2 * second[i] + (1.0 - with.beta2) * g * g;
        value[i] *= 1.0 - with.lr * with.weight_decay;
        value[i] -= with.lr * (first[i] / correction1) / ((second[i] / correction2).sqrt() + with.eps);
    }
    finish(value, grad, teacher);
}

pub(super) fn sgd(update: Update<'_, f64>, with: Sgd) {
    let Update { value, grad, first, second: _, teacher } = update;
    assert_eq!(grad.len(), value.len(), "sgd: lengths of grad and value");
    assert_eq!(first.len(), value.len(), "sgd: lengths of first and value");
    for i in 0..value.len() {
        let g = with.grad_scale * grad[i] + with.weight_decay * value[i];
        first[i] = with.momentum * first[i] + with.trust * g;
        value[i] -= with.lr * first[i];
    }
    finish(value, grad, teacher);
}

/// What follows every update: the teacher's average, then a clear gradient.
fn finish(value: &[f64], grad: &mut [f64], teacher: Option<(&mut [f64], f64)>) {
    if let Some((teacher, momentum)) = teacher {
        average(value, momentum, teacher);
    }
    grad.fill(0.0);
}

pub(super) fn average(student: &[f64], momentum: f64, teacher: &mut [f64]) {
    assert_eq!(teacher.len(), student.len(), "average: lengths of teacher and student");
    for (teacher, student) in teacher.iter_mut().zip(student) {
        *teacher = momentum * *teacher + (1.0 - momentum) * student;
    }
}
