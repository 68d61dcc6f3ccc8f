//! Matrix products large enough to be cut: into blocks, slabs and panels, as they are and transposed. Against the
//! reference to 1e-5 of the largest value (see `cpu_against_reference.rs`), and bit by bit for any number of threads.

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::{Kernels, Linear, LinearSize, Write};
use dinoxide_engine::reference::Reference;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// More rows than are computed as a transposed product, fewer with more than a slab, and gradients of more than a slab.
const SIZES: [(usize, usize, usize); 5] =
    [(600, 48, 610), (511, 2100, 9), (1500, 1000, 7), (7, 1000, 1500), (97, 300, 17)];

fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| random.random_range(-2.0f32..2.0)).collect()
}

/// Result, activation and gradients of one layer.
fn layer<E: Copy + Default>(
    k: &dyn Kernels<E>,
    (rows, inputs, outputs): (usize, usize, usize),
    from: fn(f32) -> E,
) -> Vec<Vec<E>> {
    let take = |len: usize, seed: u64| -> Vec<E> { values(len, seed).into_iter().map(from).collect() };
    let size = LinearSize { rows, inputs, outputs };
    let (x, weight, bias) = (take(rows * inputs, 1), take(outputs * inputs, 2), take(outputs, 3));
    let (d_out, mut d_x) = (take(rows * outputs, 4), take(rows * inputs, 5));
    let (mut pre, mut out) = (vec![E::default(); rows * outputs], vec![E::default(); rows * outputs]);
    k.linear_gelu(
        Linear { x: (&x).into(), weight: &weight, bias: Some(&bias), size },
        Some((&mut pre).into()),
        (&mut out).into(),
    );
    let (mut kept, mut d_kept) = (x.clone(), vec![E::default(); rows * inputs]);
    k.gelu_linear_input_grad((&d_out).into(), &weight, size, (&mut kept).into(), (&mut d_kept).into());
    k.linear_input_grad((&d_out).into(), &weight, size, Write::Add, &mut d_x);
    let (mut d_weight, mut d_bias) = (take(outputs * inputs, 6), take(outputs, 7));
    k.linear_weight_grad((&d_out).into(), (&x).into(), size, &mut d_weight, Some(&mut d_bias));
    vec![pre, out, kept, d_kept, d_x, d_weight, d_bias]
}

#[test]
fn large_products_agree_with_the_reference() {
    for size in SIZES {
        let (cpu, reference) = (layer(&Cpu::new(), size, |x| x), layer(&Reference, size, f64::from));
        for (which, (cpu, reference)) in cpu.iter().zip(&reference).enumerate() {
            let scale = reference.iter().fold(0.0f64, |most, value| most.max(value.abs()));
            let error = cpu.iter().zip(reference).fold(0.0f64, |most, (&a, b)| most.max((f64::from(a) - b).abs()));
            assert!(error <= 1e-5 * scale, "{size:?}, result {which}: error {error} of {scale}");
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for size in SIZES {
        let mut results = [1, 2, 3, 8].into_iter().map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            pool.install(|| {
                let cpu = Cpu::new();
                let _awake = Kernels::<f32>::stay_awake(&cpu);
                let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                layer(&cpu, size, |x| x).into_iter().map(bits).collect::<Vec<_>>()
            })
        });
        let first = results.next().expect("one thread");
        assert!(results.all(|other| other == first), "{size:?} depends on the number of threads");
    }
}
