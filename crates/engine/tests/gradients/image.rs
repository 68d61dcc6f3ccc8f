//! Convolutions, pooling, and batch normalisation with what follows it.

use dinoxide_engine::kernels::{
    Activation, BatchNormBackward, BatchNormForward, BatchNormGrad, BatchNormOut, Conv, ConvSize, Depthwise,
    DepthwiseGrad, Grid, Kernels, Passed, Window,
};
use dinoxide_engine::reference::Reference;

use super::support::{dot, generator, poisoned, random};
use super::{check, filled, increase, output, written};

#[test]
fn conv2d_matches_differences() {
    let mut rng = generator(21);
    // Kernel, stride, padding; the last stride is beyond the kernel, and the last window beyond the image.
    for [kernel, stride, padding] in [[1, 1, 0], [3, 1, 1], [3, 2, 1], [1, 2, 0], [2, 3, 0], [5, 2, 2]] {
        let (grid, window) = (Grid { images: 2, height: 5, width: 4 }, Window { kernel, stride, padding });
        let size = ConvSize { grid, inputs: 3, outputs: 2, window };
        let (x, weight) = (random(&mut rng, grid.pixels() * 3), random(&mut rng, size.weight_len()));
        let (bias, d_out) = (random(&mut rng, 2), random(&mut rng, size.out_grid().pixels() * 2));
        let loss = |x: &[f64], weight: &[f64], bias: Option<&[f64]>| {
            let op = Conv { x: x.into(), weight, bias, size };
            dot(&d_out, &output(d_out.len(), |out| Reference.conv2d(op, out.into())))
        };

        let d_x = written(x.len(), |write, d| Reference.conv2d_input_grad((&d_out).into(), &weight, size, write, d));
        let (mut d_weight, mut d_bias) = (filled(weight.len()), filled(2));
        Reference.conv2d_weight_grad((&d_out).into(), (&x).into(), size, &mut d_weight, Some(&mut d_bias));

        check("conv2d x", &x, &d_x, |x| loss(x, &weight, None));
        check("conv2d weight", &weight, &increase(&d_weight), |weight| loss(&x, weight, None));
        check("conv2d bias", &bias, &increase(&d_bias), |bias| loss(&x, &weight, Some(bias)));
    }
}

#[test]
fn depthwise_matches_differences() {
    let mut rng = generator(22);
    for [images, height, width, channels] in [[1, 1, 1, 1], [2, 3, 4, 3], [1, 5, 2, 2]] {
        let grid = Grid { images, height, width };
        let [x, d_out] = [0, 1].map(|_| random(&mut rng, grid.pixels() * channels));
        let (weight, bias) = (random(&mut rng, 9 * channels), random(&mut rng, channels));
        let op = Depthwise { x: &x, weight: &weight, bias: &bias, grid };
        let loss = |op: Depthwise<'_, f64>| dot(&d_out, &output(x.len(), |out| Reference.depthwise(op, out)));

        let (mut d_weight, mut d_bias) = (filled(9 * channels), filled(channels));
        let d_x = output(x.len(), |d| {
            let grad = DepthwiseGrad { x: d, weight: Some(&mut d_weight), bias: Some(&mut d_bias) };
            Reference.depthwise_backward(&d_out, op, grad);
        });

        check("depthwise x", &x, &d_x, |x| loss(Depthwise { x, ..op }));
        check("depthwise weight", &weight, &increase(&d_weight), |weight| loss(Depthwise { weight, ..op }));
        check("depthwise bias", &bias, &increase(&d_bias), |bias| loss(Depthwise { bias, ..op }));
    }
}

#[test]
fn pools_match_differences() {
    let mut rng = generator(23);
    for [images, height, width, channels] in [[1, 1, 1, 1], [2, 5, 4, 3], [3, 6, 7, 2]] {
        let (grid, window) = (Grid { images, height, width }, Window { kernel: 3, stride: 2, padding: 1 });
        let len = grid.windows(window).pixels() * channels;
        let (x, d_out) = (random(&mut rng, grid.pixels() * channels), random(&mut rng, len));
        let forward = |x: &[f64]| {
            let mut taps = poisoned(len);
            (output(len, |out| Reference.max_pool(x, grid, window, out, &mut taps)), taps)
        };
        let taps = forward(&x).1;
        let d_x = output(x.len(), |d| Reference.max_pool_backward(&d_out, &taps, grid, window, d));
        check("max_pool", &x, &d_x, |x| dot(&d_out, &forward(x).0));

        let d_out = random(&mut rng, images * channels);
        let d_x = output(x.len(), |d| Reference.mean_pool_backward(&d_out, images, channels, d));
        check("mean_pool", &x, &d_x, |x| {
            dot(&d_out, &output(d_out.len(), |out| Reference.mean_pool(x, images, channels, out)))
        });
    }
}

#[test]
fn the_first_of_equal_values_gets_the_gradient_of_a_max_pool() {
    let (grid, window) = (Grid { images: 1, height: 3, width: 3 }, Window { kernel: 3, stride: 2, padding: 1 });
    let x = [1.0, 2.0, 0.0, 2.0, 2.0, 0.0, f64::NAN, 0.0, 0.0];
    let (mut out, mut taps) = (poisoned(4), poisoned(4));
    Reference.max_pool(&x, grid, window, &mut out, &mut taps);
    let d_x = output(9, |d| Reference.max_pool_backward(&[1.0, 10.0, 100.0, 1000.0], &taps, grid, window, d));
    assert_eq!((out[0], out[1], out[3]), (2.0, 2.0, 2.0));
    assert!(out[2].is_nan());
    assert_eq!(d_x, [0.0, 11.0, 0.0, 0.0, 1000.0, 0.0, 100.0, 0.0, 0.0]);
}

fn full(out: &mut [f64]) -> BatchNormOut<'_, f64> {
    BatchNormOut { full: Some(out), half: None }
}

#[test]
fn batch_norm_matches_differences_whatever_follows_it() {
    let mut rng = generator(5);
    let eps = 1e-5; // PyTorch's default
    for (rows, width) in [(1, 4), (3, 5), (7, 1), (37, 6)] {
        for (activation, skipped) in [
            (Activation::Identity, false),
            (Activation::Identity, true),
            (Activation::Relu, false),
            (Activation::Relu, true),
        ] {
            let [x, skip, d_out] = [0, 1, 2].map(|_| random(&mut rng, rows * width));
            let (gamma, beta) = (random(&mut rng, width), random(&mut rng, width));
            let op = BatchNormForward {
                x: (&x).into(),
                gamma: &gamma,
                beta: &beta,
                eps,
                skip: skipped.then_some(&skip),
                activation,
            };
            let forward = |op: BatchNormForward<'_, f64>| {
                let (mut mean, mut variance) = (poisoned(width), poisoned(width));
                let out = output(rows * width, |out| Reference.batch_norm(op, full(out), &mut mean, &mut variance));
                (out, mean, variance)
            };

            let (out, mean, variance) = forward(op);
            let same = output(out.len(), |out| Reference.batch_norm_with(op, &mean, &variance, full(out)));
            assert_eq!(out, same);
            let passed = match (activation, skipped) {
                (Activation::Identity, _) => Passed::All,
                (Activation::Relu, false) => Passed::Normed,
                (Activation::Relu, true) => Passed::Positive(&out),
            };
            let (mean, variance) = (&mean[..], &variance[..]);
            let back = BatchNormBackward { x: op.x, gamma: &gamma, beta: &beta, mean, variance, eps, passed };
            let (mut d_gamma, mut d_beta, mut d_skip) = (filled(width), filled(width), d_out.clone());
            let grad = BatchNormGrad { d_out: &mut d_skip, gamma: Some(&mut d_gamma), beta: Some(&mut d_beta) };
            let d_x = output(rows * width, |d| Reference.batch_norm_backward(back, grad, d.into()));

            let loss = |op: BatchNormForward<'_, f64>| dot(&d_out, &forward(op).0);
            check("batch_norm x", &x, &d_x, |x| loss(BatchNormForward { x: x.into(), ..op }));
            check("batch_norm gamma", &gamma, &increase(&d_gamma), |gamma| loss(BatchNormForward { gamma, ..op }));
            check("batch_norm beta", &beta, &increase(&d_beta), |beta| loss(BatchNormForward { beta, ..op }));
            if skipped {
                check("batch_norm skip", &skip, &d_skip, |skip| loss(BatchNormForward { skip: Some(skip), ..op }));
            }
        }
    }
}
