//! Convolutions, pooling, batch normalisation and what follows it.

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::*;

use super::{Real, Results, Values};

fn conv<E: Real>(
    k: &dyn Kernels<E>,
    v: &mut Values,
    [images, height, width]: [usize; 3],
    [inputs, outputs]: [usize; 2],
    [kernel, stride, padding]: [usize; 3],
) -> Results<E> {
    let (grid, window) = (Grid { images, height, width }, Window { kernel, stride, padding });
    let size = ConvSize { grid, inputs, outputs, window };
    let len = size.out_grid().pixels() * outputs;
    let (x, weight, bias) = (v.next::<E>(grid.pixels() * inputs), v.next::<E>(size.weight_len()), v.next::<E>(outputs));
    let d_out = v.next::<E>(len);
    let [mut plain, mut biased] = [0, 1].map(|_| vec![E::from_f32(f32::NAN); len]);
    let op = Conv { x: (&x).into(), weight: &weight, bias: None, size };
    k.conv2d(op, (&mut plain).into());
    k.conv2d(Conv { bias: Some(&bias), ..op }, (&mut biased).into());
    let mut d_x = vec![E::from_f32(f32::NAN); x.len()];
    k.conv2d_input_grad((&d_out).into(), &weight, size, Write::Replace, &mut d_x);
    let mut d_x_twice = d_x.clone();
    k.conv2d_input_grad((&d_out).into(), &weight, size, Write::Add, &mut d_x_twice);
    let (mut d_weight, mut d_bias) = (v.next(weight.len()), v.next(outputs));
    k.conv2d_weight_grad((&d_out).into(), (&x).into(), size, &mut d_weight, Some(&mut d_bias));
    k.conv2d_weight_grad((&d_out).into(), (&x).into(), size, &mut d_weight, None);
    vec![
        ("plain", plain),
        ("biased", biased),
        ("d_x", d_x),
        ("d_x twice", d_x_twice),
        ("d_weight", d_weight),
        ("d_bias", d_bias),
    ]
}

#[test]
fn convolutions_agree() {
    for window in [[1, 1, 0], [3, 1, 1], [3, 2, 1], [1, 2, 0], [7, 2, 3], [2, 3, 0], [3, 1, 0], [5, 3, 4]] {
        agree!(conv([2, 9, 7], [3, 5], window));
        agree!(conv([1, 14, 13], [20, 64], window));
        agree!(conv([3, 1, 6], [7, 50], window));
    }
    // More than a slab of pixels, more than a step of inner values, few pixels.
    agree!(conv([2, 75, 76], [8, 48], [3, 1, 1]));
    agree!(conv([1, 8, 9], [130, 97], [3, 1, 1]));
    agree!(conv([1, 3, 3], [256, 200], [3, 2, 1]));
    agree!(conv([2, 33, 40], [3, 64], [7, 2, 3]));
}

fn depthwise<E: Real>(k: &dyn Kernels<E>, v: &mut Values, [images, height, width, channels]: [usize; 4]) -> Results<E> {
    let grid = Grid { images, height, width };
    let [x, d_out] = [0, 1].map(|_| v.next::<E>(grid.pixels() * channels));
    let (weight, bias) = (v.next::<E>(9 * channels), v.next::<E>(channels));
    let op = Depthwise { x: &x, weight: &weight, bias: &bias, grid };
    let (mut out, mut d_x) = (x.clone(), x.clone());
    k.depthwise(op, &mut out);
    let (mut d_weight, mut d_bias) = (v.next(9 * channels), v.next(channels));
    let grad = DepthwiseGrad { x: &mut d_x, weight: Some(&mut d_weight), bias: Some(&mut d_bias) };
    k.depthwise_backward(&d_out, op, grad);
    let mut alone = x.clone();
    k.depthwise_backward(&d_out, op, DepthwiseGrad { x: &mut alone, weight: None, bias: None });
    vec![("out", out), ("d_x", d_x), ("d_x alone", alone), ("d_weight", d_weight), ("d_bias", d_bias)]
}

#[test]
fn depthwise_convolutions_agree() {
    for shape in [[1, 1, 1, 1], [2, 5, 4, 3], [3, 14, 14, 48], [1, 28, 27, 384], [2, 1, 9, 37]] {
        agree!(depthwise(shape));
    }
}

fn pools<E: Real>(k: &dyn Kernels<E>, v: &mut Values, [images, height, width, channels]: [usize; 4]) -> Results<E> {
    let (grid, window) = (Grid { images, height, width }, Window { kernel: 3, stride: 2, padding: 1 });
    let len = grid.windows(window).pixels() * channels;
    let (x, d_out) = (v.next::<E>(grid.pixels() * channels), v.next::<E>(len));
    let (mut out, mut taps, mut d_x) = (d_out.clone(), d_out.clone(), x.clone());
    k.max_pool(&x, grid, window, &mut out, &mut taps);
    k.max_pool_backward(&d_out, &taps, grid, window, &mut d_x);
    let d_mean = v.next::<E>(images * channels);
    let (mut mean, mut d_rows) = (d_mean.clone(), x.clone());
    k.mean_pool(&x, images, channels, &mut mean);
    k.mean_pool_backward(&d_mean, images, channels, &mut d_rows);
    vec![("max", out), ("taps", taps), ("d_x", d_x), ("mean", mean), ("d_rows", d_rows)]
}

#[test]
fn pools_agree() {
    for shape in [[1, 1, 1, 1], [2, 5, 4, 3], [3, 14, 15, 48], [1, 28, 27, 64]] {
        agree!(pools(shape));
    }
}

fn batch_norm<E: Real>(
    k: &dyn Kernels<E>,
    v: &mut Values,
    (rows, width): (usize, usize),
    (activation, skipped): (Activation, bool),
) -> Results<E> {
    let [x, skip, d_out] = [0, 1, 2].map(|_| v.next::<E>(rows * width));
    let (gamma, beta) = (v.unscaled::<E>(width, 0.5..1.5), v.unscaled::<E>(width, -0.5..0.5));
    let (mut mean, mut variance) = (vec![E::default(); width], vec![E::default(); width]);
    let (mut out, mut d_x, mut given) = (x.clone(), x.clone(), x.clone());
    let skip = skipped.then_some(&skip[..]);
    let op = BatchNormForward { x: (&x).into(), gamma: &gamma, beta: &beta, eps: 1e-5, skip, activation };
    k.batch_norm(op, (&mut out).into(), &mut mean, &mut variance);
    let statistics = [v.unscaled::<E>(width, -1.0..1.0), v.unscaled::<E>(width, 0.5..2.0)];
    k.batch_norm_with(op, &statistics[0], &statistics[1], (&mut given).into());
    let passed = match (activation, skipped) {
        (Activation::Identity, _) => Passed::All,
        (Activation::Relu, false) => Passed::Normed,
        (Activation::Relu, true) => Passed::Positive(&out),
    };
    let (mut d_skip, mut d_gamma, mut d_beta) = (d_out.clone(), v.next::<E>(width), v.next::<E>(width));
    let statistics = (&mean[..], &variance[..]);
    let back = BatchNormBackward {
        x: op.x,
        gamma: &gamma,
        beta: &beta,
        mean: statistics.0,
        variance: statistics.1,
        eps: 1e-5,
        passed,
    };
    let grad = BatchNormGrad { d_out: &mut d_skip, gamma: Some(&mut d_gamma), beta: Some(&mut d_beta) };
    k.batch_norm_backward(back, grad, (&mut d_x).into());
    let mut columns = v.next::<E>(width);
    k.add_column_sums((&x).into(), &mut columns);
    vec![
        ("out", out),
        ("with given statistics", given),
        ("mean", mean),
        ("variance", variance),
        ("d_x", d_x),
        ("d_skip", d_skip),
        ("d_gamma", d_gamma),
        ("d_beta", d_beta),
        ("add_column_sums", columns),
    ]
}

#[test]
fn batch_norms_agree() {
    for shape in [(3, 5), (80, 192), (197, 37), (7, 2048), (4000, 24)] {
        for activation in [Activation::Identity, Activation::Relu] {
            agree!(batch_norm(shape, (activation, false)));
            agree!(batch_norm(shape, (activation, true)));
        }
    }
}

#[test]
#[should_panic(expected = "hold no pixel")]
fn windows_beyond_the_image_are_refused() {
    let (grid, window) = (Grid { images: 1, height: 2, width: 2 }, Window { kernel: 2, stride: 1, padding: 2 });
    let mut out = vec![0.0; grid.windows(window).pixels()];
    let mut taps = out.clone();
    Cpu::new().max_pool(&[1.0; 4], grid, window, &mut out, &mut taps);
}

#[test]
#[should_panic(expected = "no row for each of 2 images")]
fn means_of_nothing_are_refused() {
    Cpu::new().mean_pool(&[], 2, 3, &mut [0.0; 6]);
}
