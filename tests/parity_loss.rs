//! DINO's loss, its gradient and the centre against a double loop over pairs in f64.

mod support;

use dinoxide::loss::sinkhorn::sinkhorn_center;
use dinoxide::methods::center::Center;
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::{Kernels as _, SoftCrossEntropy, Targets};
use support::{Fixture, assert_close, filler, fixtures};

/// One f32 rounding of a logit of 20 divided by a temperature of 0.04 moves the exponent by 5e-5, and with it a
/// probability by as much; logits of 1 stay twenty times below that.
fn tolerance(logit_scale: f64) -> f64 {
    if logit_scale > 1.0 { 1e-4 } else { 1e-5 }
}

/// Entries of a row-major matrix of `columns` columns in every `stride`-th column.
fn every_column(values: &[f32], columns: usize, stride: usize) -> Vec<f32> {
    values.chunks_exact(columns).flat_map(|row| row.iter().step_by(stride).copied()).collect()
}

#[test]
fn loss_gradient_entropy_and_centre_equal_the_double_loop() {
    let cpu = Cpu::new();
    for path in fixtures("loss") {
        let fixture = Fixture::open(&path);
        let (views, images, k) = (fixture.usize("ncrops"), fixture.usize("batch"), fixture.usize("out_dim"));
        let scale = fixture.f64("logit_scale");
        let mut center = Center::new(k, fixture.f64("center_momentum"));
        let (mut losses, mut entropies, mut centers) = (Vec::new(), Vec::new(), Vec::new());
        for step in 0..fixture.usize("steps") {
            let teacher = filler(&format!("teacher.{step}"), 2 * images * k, scale, 0.0);
            let student = filler(&format!("student.{step}"), views * images * k, scale, 0.0);
            let mut probs = vec![0.0; teacher.len()];
            let of = Targets { logits: &teacher, center: center.values(), temp: fixture.f64("teacher_temp") };
            entropies.push(cpu.targets(of, &mut probs) as f32);
            let op = SoftCrossEntropy {
                logits: &student,
                targets: &probs,
                temp: fixture.f64("student_temp"),
                images,
                teacher_views: 2,
                student_views: views,
            };
            let (mut log_sum_exp, mut grad) = (vec![0.0; views * images], vec![0.0; student.len()]);
            losses.push(cpu.soft_cross_entropy(op, &mut log_sum_exp) as f32);
            cpu.soft_cross_entropy_backward(op, &log_sum_exp, 1.0, &mut grad);
            let grad = every_column(&grad, k, fixture.usize("grad_column_stride"));
            assert_close(&path, grad, &fixture.values(&format!("grad.{step}")), tolerance(scale));
            let mut sums = vec![0.0; k];
            cpu.add_column_sums((&teacher[..]).into(), &mut sums);
            center.update(&sums, 2 * images);
            centers.extend_from_slice(center.values());
        }
        assert_close(&path, losses, &fixture.values("loss"), tolerance(scale));
        // Sharp targets have an entropy near 0, so its error is measured on the whole scale from 0 to ln K.
        for (ours, theirs) in entropies.iter().zip(fixture.values("entropy")) {
            let error = (f64::from(*ours) - theirs).abs() / (k as f64).ln();
            assert!(error <= tolerance(scale), "{path}: entropy {ours} against {theirs}");
        }
        // A mean and an average of a handful of f32 values: only rounding.
        assert_close(&path, centers, &fixture.values("center"), 1e-6);
    }
}

/// The centre and the division by the temperature each round once in f32; at logits of 33 temperatures that moves a
/// probability by some 1e-5 of itself.
const SINKHORN_TOLERANCE: f64 = 2e-5;

#[test]
fn sinkhorn_assignments_equal_the_written_out_ones() {
    let cpu = Cpu::new();
    for path in fixtures("sinkhorn") {
        let fixture = Fixture::open(&path);
        let (rows, k, temp) = (fixture.usize("rows"), fixture.usize("out_dim"), fixture.f64("temp"));
        let logits = filler("teacher", rows * k, fixture.f64("logit_scale"), 0.0);
        let center = sinkhorn_center(&logits, k, temp, fixture.usize("iterations"));
        let mut probs = vec![0.0; logits.len()];
        cpu.targets(Targets { logits: &logits, center: &center, temp }, &mut probs);
        let probs = every_column(&probs, k, fixture.usize("column_stride"));
        assert_close(&path, probs, &fixture.values("probs"), SINKHORN_TOLERANCE);
    }
}

#[test]
fn sinkhorn_survives_a_prototype_that_no_row_reaches() {
    // exp(-1000/0.005) is zero even in f64.
    let logits = [1000.0, 0.0, -1000.0, 999.0, 1.0, -1000.0];
    let center = sinkhorn_center(&logits, 3, 0.005, 3);
    assert!(center.iter().all(|value| value.is_finite()), "{center:?}");
}
