//! Optimizer kernels of the reference against three steps computed by hand, one scalar at a time.

use dinoxide_engine::kernels::{AdamW, Kernels, Sgd, Update};
use dinoxide_engine::reference::Reference;

const STEPS: u64 = 3;
const START: [f64; 3] = [0.5, -1.25, 0.0];
/// One row per step.
const GRADS: [[f64; 3]; 3] = [[0.1, -2.0, 0.3], [-0.4, 0.5, 0.0], [1.5, 0.25, -0.7]];
const ADAMW: AdamW =
    AdamW { lr: 0.01, weight_decay: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, step: 1, grad_scale: 0.5 };
const SGD: Sgd = Sgd { lr: 0.1, weight_decay: 0.01, momentum: 0.9, trust: 1.0, grad_scale: 0.5 };

fn assert_close(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        assert!((actual - expected).abs() <= 1e-14 * (1.0 + expected.abs()), "{actual}, expected {expected}");
    }
}

/// AdamW as Loshchilov and Hutter write it, with closed forms of the moments: `m = (1 − β₁)·Σ β₁^(t−s)·g_s`.
fn adamw_by_hand(i: usize) -> f64 {
    let g = |s: u64| 0.5 * GRADS[s as usize - 1][i];
    let moment = |t: u64, beta: f64, power: i32| {
        let sum: f64 = (1..=t).map(|s| beta.powi((t - s) as i32) * g(s).powi(power)).sum();
        (1.0 - beta) * sum / (1.0 - beta.powi(t as i32))
    };
    (1..=STEPS).fold(START[i], |p, t| p - 0.01 * (moment(t, 0.9, 1) / (moment(t, 0.999, 2).sqrt() + 1e-8) + 0.1 * p))
}

#[test]
fn adamw_equals_three_steps_by_hand() {
    let (mut value, mut first, mut second) = (START, [0.0; 3], [0.0; 3]);
    for step in 1..=STEPS {
        let mut grad = GRADS[step as usize - 1];
        let update =
            Update { value: &mut value, grad: &mut grad, first: &mut first, second: &mut second, teacher: None };
        Reference.adamw(update, AdamW { step, ..ADAMW });
        assert_eq!(grad, [0.0; 3]);
    }
    assert_close(&value, &[0, 1, 2].map(adamw_by_hand));
}

#[test]
fn first_adamw_step_moves_by_the_learning_rate_whatever_the_gradient() {
    let (mut value, mut grad, mut first, mut second) = ([1.0, 1.0], [1e-3, -1e6], [0.0; 2], [0.0; 2]);
    let update = Update { value: &mut value, grad: &mut grad, first: &mut first, second: &mut second, teacher: None };
    Reference.adamw(update, AdamW { weight_decay: 0.0, eps: 0.0, ..ADAMW });
    assert_close(&value, &[0.99, 1.01]);
}

/// SGD with momentum, unrolled: each step's decayed gradient, then the three velocities.
fn sgd_by_hand(i: usize, trust: f64) -> f64 {
    let g = |step: usize, p: f64| trust * (0.5 * GRADS[step][i] + 0.01 * p);
    let p0 = START[i];
    let v1 = g(0, p0);
    let p1 = p0 - 0.1 * v1;
    let v2 = 0.9 * v1 + g(1, p1);
    let p2 = p1 - 0.1 * v2;
    let v3 = 0.9 * v2 + g(2, p2);
    p2 - 0.1 * v3
}

#[test]
fn sgd_equals_three_steps_by_hand() {
    for trust in [1.0, 0.02] {
        let (mut value, mut first) = (START, [0.0; 3]);
        for mut grad in GRADS {
            let update =
                Update { value: &mut value, grad: &mut grad, first: &mut first, second: &mut [], teacher: None };
            Reference.sgd(update, Sgd { trust, ..SGD });
            assert_eq!(grad, [0.0; 3]);
        }
        assert_close(&value, &[0, 1, 2].map(|i| sgd_by_hand(i, trust)));
    }
}

#[test]
fn teacher_averages_the_value_after_the_update() {
    let (mut value, mut grad, mut first, mut second) = (START, GRADS[0], [0.0; 3], [0.0; 3]);
    let mut teacher = [1.0, 2.0, 3.0];
    let update = Update {
        value: &mut value,
        grad: &mut grad,
        first: &mut first,
        second: &mut second,
        teacher: Some((&mut teacher, 0.996)),
    };
    Reference.adamw(update, ADAMW);
    let expected = [0, 1, 2].map(|i| 0.996 * [1.0, 2.0, 3.0][i] + 0.004 * value[i]);
    assert_close(&teacher, &expected);

    let (before, mut grad) = (teacher, GRADS[1]);
    let update = Update {
        value: &mut value,
        grad: &mut grad,
        first: &mut first,
        second: &mut [],
        teacher: Some((&mut teacher, 0.9)),
    };
    Reference.sgd(update, SGD);
    assert_close(&teacher, &[0, 1, 2].map(|i| 0.9 * before[i] + 0.1 * value[i]));
}

#[test]
fn average_keeps_the_teacher_at_one_and_copies_the_student_at_zero() {
    let mut teacher = [1.0, 2.0, 3.0];
    Reference.average(&START, 1.0, &mut teacher);
    assert_eq!(teacher, [1.0, 2.0, 3.0]);
    Reference.average(&START, 0.75, &mut teacher);
    assert_close(&teacher, &[0.875, 1.1875, 2.25]);
    Reference.average(&START, 0.0, &mut teacher);
    assert_eq!(teacher, START);
}
