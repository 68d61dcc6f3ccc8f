//! SwiGLU: the reference against finite differences, the processor's kernel against the reference.

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Kernels;
use dinoxide_engine::reference::Reference;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn values(len: usize, most: f64, seed: u64) -> Vec<f64> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| random.random_range(-most..most)).collect()
}

#[test]
fn the_gradient_matches_differences() {
    let (rows, width) = (3, 5);
    let (mut x, d_out) = (values(rows * 2 * width, 3.0, 1), values(rows * width, 1.0, 2));
    let mut d_x = vec![f64::NAN; x.len()];
    Reference.swiglu_backward(&x, width, &d_out, &mut d_x);
    let loss = |x: &[f64]| -> f64 {
        let mut out = vec![f64::NAN; rows * width];
        Reference.swiglu(x, width, &mut out);
        out.iter().zip(&d_out).map(|(out, d_out)| out * d_out).sum()
    };
    const STEP: f64 = 1e-6;
    for index in 0..x.len() {
        let start = x[index];
        let [above, below] = [STEP, -STEP].map(|step| {
            x[index] = start + step;
            loss(&x)
        });
        x[index] = start;
        let difference = (above - below) / (2.0 * STEP);
        assert!((d_x[index] - difference).abs() <= 1e-8, "[{index}]: {} and {difference}", d_x[index]);
    }
}

#[test]
fn the_processor_does_what_the_reference_does() {
    // One value and several chunks, also where e^x leaves the range of f32.
    for (rows, width, most) in [(1, 1, 1.0), (7, 33, 4.0), (600, 65, 4.0), (3, 16, 400.0)] {
        let (x, d_out) = (values(rows * 2 * width, most, 3), values(rows * width, 1.0, 4));
        let (mut out, mut d_x) = (vec![f64::NAN; rows * width], vec![f64::NAN; x.len()]);
        Reference.swiglu(&x, width, &mut out);
        Reference.swiglu_backward(&x, width, &d_out, &mut d_x);
        let narrow = |wide: &[f64]| wide.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let (mut our_out, mut our_d_x) = (vec![f32::NAN; rows * width], vec![f32::NAN; x.len()]);
        Cpu::new().swiglu(&narrow(&x), width, &mut our_out);
        Cpu::new().swiglu_backward(&narrow(&x), width, &narrow(&d_out), &mut our_d_x);
        for (ours, exact) in [(our_out, out), (our_d_x, d_x)] {
            let scale = exact.iter().fold(0.0f64, |most, value| most.max(value.abs()));
            let error =
                ours.iter().zip(&exact).fold(0.0f64, |most, (ours, exact)| most.max((f64::from(*ours) - exact).abs()));
            // Arguments are rounded to f32 on the way in: relative errors of 6e-8, times their size within a sigmoid.
            assert!(error <= 1e-6 * scale, "{rows} x {width} up to {most}: error {error} of {scale}");
        }
    }
}
