//! Matrix products large enough to be cut: into blocks, slabs and panels, as they are and transposed. Against the
//! reference to 1e-5 of the largest value (see `cpu_against_reference/`), and bit by bit for any number of threads.

#![expect(clippy::expect_used, reason = "a test may panic")]

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::*;
use dinoxide_engine::reference::Reference;
use dinoxide_engine::values::{Precision, Values, ValuesMut};
use half::bf16;
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
        Linear { x: (&x).into(), weight: &weight, bias: Some(&bias), size, packed: None },
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
        same_bits(&format!("{size:?}"), |cpu| layer(cpu, size, |x| x));
    }
}

/// Kernels of each kind of word.
fn kinds() -> impl Iterator<Item = Cpu> {
    [Some(Cpu::new()), Some(Cpu::bf16_anywhere()), Cpu::bf16()].into_iter().flatten()
}

/// Asserts that results do not depend on the number of threads.
fn same_bits(case: &str, mut run: impl FnMut(&Cpu) -> Vec<Vec<f32>> + Send) {
    for cpu in kinds() {
        let mut results = [1, 2, 3, 8].into_iter().map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            pool.install(|| {
                let _awake = Kernels::<f32>::stay_awake(&cpu);
                let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                run(&cpu).into_iter().map(bits).collect::<Vec<_>>()
            })
        });
        let first = results.next().expect("one thread");
        assert!(results.all(|other| other == first), "{case} with {cpu:?} depends on the number of threads");
    }
}

#[test]
fn pools_and_depthwise_convolutions_do_not_depend_on_the_number_of_threads() {
    let (images, channels) = (3, 40);
    let (grid, window) = (Grid { images, height: 61, width: 58 }, Window { kernel: 3, stride: 2, padding: 1 });
    let (x, len) = (values(grid.pixels() * channels, 1), grid.windows(window).pixels() * channels);
    let (weight, bias, d_out) = (values(9 * channels, 2), values(channels, 3), values(x.len(), 4));
    same_bits("pools and depthwise", |cpu| {
        let [mut out, mut d_x, mut d_pooled, mut d_rows] = [0; 4].map(|_| vec![f32::NAN; x.len()]);
        let op = Depthwise { x: &x, weight: &weight, bias: &bias, grid };
        cpu.depthwise(op, &mut out);
        let (mut d_weight, mut d_bias) = (weight.clone(), bias.clone());
        let grad = DepthwiseGrad { x: &mut d_x, weight: Some(&mut d_weight), bias: Some(&mut d_bias) };
        cpu.depthwise_backward(&d_out, op, grad);
        let [mut most, mut taps] = [0; 2].map(|_| vec![f32::NAN; len]);
        cpu.max_pool(&x, grid, window, &mut most, &mut taps);
        cpu.max_pool_backward(&most, &taps, grid, window, &mut d_pooled);
        let mut means = vec![f32::NAN; images * channels];
        cpu.mean_pool(&x, images, channels, &mut means);
        cpu.mean_pool_backward(&means, images, channels, &mut d_rows);
        vec![out, d_x, d_weight, d_bias, most, taps, d_pooled, means, d_rows]
    });
}

#[test]
fn convolutions_and_batch_norms_do_not_depend_on_the_number_of_threads() {
    // Many windows, and large ones; strides of one and two.
    for ([height, width], [inputs, outputs], [kernel, stride]) in
        [([75, 74], [8, 70], [3, 1]), ([61, 60], [3, 64], [7, 2]), ([9, 8], [130, 97], [3, 2])]
    {
        let window = Window { kernel, stride, padding: kernel / 2 };
        let size = ConvSize { grid: Grid { images: 2, height, width }, inputs, outputs, window };
        let rows = size.out_grid().pixels();
        let (x, weight) = (values(size.grid.pixels() * inputs, 1), values(size.weight_len(), 2));
        let (gamma, beta, mut d_out) = (values(outputs, 3), values(outputs, 4), values(rows * outputs, 5));
        same_bits(&format!("{size:?}"), |cpu| {
            let (mut out, mut normed) = (vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]);
            cpu.conv2d(Conv { x: (&x).into(), weight: &weight, bias: None, size }, (&mut out).into());
            let (mut mean, mut variance) = (beta.clone(), beta.clone());
            let (gamma, beta, eps, skip, activation) = (&gamma[..], &beta[..], 1e-5, None, Activation::Relu);
            let op = BatchNormForward { x: (&out).into(), gamma, beta, eps, skip, activation };
            cpu.batch_norm(op, (&mut normed).into(), &mut mean, &mut variance);
            let (mut d_gamma, mut d_beta, mut d_pre) = (gamma.to_vec(), beta.to_vec(), out.clone());
            let grad = BatchNormGrad { d_out: &mut d_out, gamma: Some(&mut d_gamma), beta: Some(&mut d_beta) };
            let passed = Passed::Normed;
            let op = BatchNormBackward { x: op.x, gamma, beta, mean: &mean, variance: &variance, eps, passed };
            cpu.batch_norm_backward(op, grad, (&mut d_pre).into());
            let (mut d_x, mut d_weight) = (x.clone(), weight.clone());
            cpu.conv2d_input_grad((&d_pre).into(), &weight, size, Write::Add, &mut d_x);
            cpu.conv2d_weight_grad((&d_pre).into(), (&x).into(), size, &mut d_weight, None);
            let mut results = vec![out, normed, mean, variance, d_gamma, d_beta, d_pre, d_x, d_weight];
            if Kernels::<f32>::precision(cpu) == Precision::Bf16 {
                results.extend(rounded_convolution(cpu, size, [&x, &weight]));
            }
            results
        });
    }
}

/// A convolution of rounded values to rounded ones, and its gradients.
fn rounded_convolution(cpu: &Cpu, size: ConvSize, [x, weight]: [&[f32]; 2]) -> Vec<Vec<f32>> {
    let half: Vec<bf16> = x.iter().copied().map(bf16::from_f32).collect();
    let mut out = vec![bf16::NAN; size.out_grid().pixels() * size.outputs];
    cpu.conv2d(Conv { x: Values::Half(&half), weight, bias: None, size }, ValuesMut::Half(&mut out));
    let (mut d_x, mut d_weight) = (x.to_vec(), weight.to_vec());
    cpu.conv2d_input_grad(Values::Half(&out), weight, size, Write::Replace, &mut d_x);
    cpu.conv2d_weight_grad(Values::Half(&out), Values::Half(&half), size, &mut d_weight, None);
    vec![out.into_iter().map(bf16::to_f32).collect(), d_x, d_weight]
}

/// A packed layer's result.
fn packed(cpu: &Cpu, [rows, inputs, outputs]: [usize; 3], x: &[f32], half: bool) -> Vec<f32> {
    let size = LinearSize { rows, inputs, outputs };
    let (weight, bias) = (values(outputs * inputs, 2), values(outputs, 3));
    let packed = Kernels::<f32>::pack(cpu, &weight, size);
    assert!(packed.is_some(), "a processor packs");
    let rounded: Vec<bf16> = x.iter().copied().map(bf16::from_f32).collect();
    let x = if half { Values::Half(&rounded[..]) } else { x.into() };
    let mut out = vec![f32::NAN; rows * outputs];
    cpu.linear(Linear { x, weight: &weight, bias: Some(&bias), size, packed: packed.as_ref() }, (&mut out).into());
    out
}

#[test]
fn packed_weights_agree_with_the_reference() {
    // One step of panels and several, whole tiles and edges, few rows and many.
    for [rows, inputs, outputs] in [[1, 5, 3], [7, 1000, 1500], [197, 384, 100], [600, 1100, 50]] {
        let (x, size) = (values(rows * inputs, 1), LinearSize { rows, inputs, outputs });
        let [wide, weight, bias] = [x.clone(), values(outputs * inputs, 2), values(outputs, 3)]
            .map(|v| v.into_iter().map(f64::from).collect::<Vec<_>>());
        let mut expected = vec![0.0; rows * outputs];
        let op = Linear { x: (&wide).into(), weight: &weight, bias: Some(&bias), size, packed: None };
        Reference.linear(op, (&mut expected).into());
        // Of sums of `inputs` products of values up to 2: f32 rounds each sum, bf16 both factors.
        let scale = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        for (cpu, half, bound) in
            [(Cpu::new(), false, 1e-5), (Cpu::bf16_anywhere(), true, 1e-2), (Cpu::bf16_anywhere(), false, 1e-2)]
        {
            let out = packed(&cpu, [rows, inputs, outputs], &x, half);
            let error = out.iter().zip(&expected).fold(0.0f64, |most, (&a, b)| most.max((f64::from(a) - b).abs()));
            assert!(error <= bound * scale, "[{rows}, {inputs}, {outputs}], rounded {half}: error {error} of {scale}");
        }
    }
}

#[test]
fn with_packed_weights_a_row_does_not_depend_on_the_others() {
    let (inputs, outputs) = (1100, 70);
    let x = values(600 * inputs, 1);
    for cpu in [Cpu::new(), Cpu::bf16_anywhere()] {
        let all = packed(&cpu, [600, inputs, outputs], &x, false);
        for rows in [1, 13, 197] {
            let some = packed(&cpu, [rows, inputs, outputs], &x[..rows * inputs], false);
            let same = some.iter().zip(&all).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{rows} rows alone differ from the same among 600");
        }
    }
}
