//! Convolutions, and batch normalisation of what they hand over.

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::*;
use dinoxide_engine::reference::Reference;
use dinoxide_engine::values::{Values, ValuesMut};

use super::{EXACT, Named, Real, agree, full, half, values, wide};

fn conv<E: Real>(
    k: &dyn Kernels<E>,
    ([images, height, width], [inputs, outputs], [kernel, stride, padding]): Shape,
) -> Vec<Named> {
    let (grid, window) = (Grid { images, height, width }, Window { kernel, stride, padding });
    let size = ConvSize { grid, inputs, outputs, window };
    let len = size.out_grid().pixels() * outputs;
    let (x, half_d_out) = (values(grid.pixels() * inputs, 1), values(len, 4));
    let (wide_x, d_out) = (wide::<E>(&x), wide::<E>(&half_d_out));
    let (weight, bias) = (wide::<E>(&values(size.weight_len(), 2)), wide::<E>(&values(outputs, 3)));
    let (mut out, mut out_of_full, mut rounded) = (d_out.clone(), d_out.clone(), half_d_out.clone());
    let op = Conv { x: Values::Half(&x), weight: &weight, bias: Some(&bias), size };
    let from_full = Conv { x: Values::Full(&wide_x), ..op };
    k.conv2d(op, ValuesMut::Full(&mut out));
    k.conv2d(from_full, ValuesMut::Full(&mut out_of_full));
    k.conv2d(from_full, ValuesMut::Half(&mut rounded));
    let mut d_x = wide_x.clone();
    k.conv2d_input_grad((&d_out).into(), &weight, size, Write::Add, &mut d_x);
    k.conv2d_input_grad(Values::Half(&half_d_out), &weight, size, Write::Add, &mut d_x);
    let (mut d_weight, mut d_bias) = (weight.clone(), bias.clone());
    k.conv2d_weight_grad((&d_out).into(), Values::Half(&x), size, &mut d_weight, Some(&mut d_bias));
    k.conv2d_weight_grad((&d_out).into(), Values::Full(&wide_x), size, &mut d_weight, None);
    k.conv2d_weight_grad(Values::Half(&half_d_out), Values::Half(&x), size, &mut d_weight, Some(&mut d_bias));
    vec![
        full("out", out),
        full("out of full", out_of_full),
        half("rounded", rounded, 1),
        full("d_x", d_x),
        full("d_weight", d_weight),
        full("d_bias", d_bias),
    ]
}

/// Images, height and width; inputs and outputs; kernel, stride and padding.
type Shape = ([usize; 3], [usize; 2], [usize; 3]);

#[test]
fn convolutions_agree() {
    for window in [[1, 1, 0], [3, 1, 1], [3, 2, 1], [1, 2, 0], [7, 2, 3], [2, 3, 0]] {
        for shape in [([2, 9, 7], [3, 5], window), ([1, 14, 13], [20, 64], window), ([1, 8, 9], [130, 97], window)] {
            let expected = conv(&Reference, shape);
            agree(&format!("conv {shape:?}"), EXACT, conv(&Cpu::bf16_anywhere(), shape), expected);
            if let Some(cpu) = Cpu::bf16() {
                agree(&format!("conv {shape:?}"), EXACT, conv(&cpu, shape), conv(&Cpu::bf16_anywhere(), shape));
            }
        }
    }
}

fn batch_norm<E: Real>(k: &dyn Kernels<E>, (rows, width): (usize, usize)) -> Vec<Named> {
    let (x, half_d_out) = (values(rows * width, 1), values(rows * width, 2));
    let (gamma, beta) = (wide::<E>(&values(width, 3)), wide::<E>(&values(width, 4)));
    let (mut out, mut d_out) = (wide::<E>(&half_d_out), wide::<E>(&half_d_out));
    let (mut mean, mut variance) = (beta.clone(), beta.clone());
    let (gamma, beta, eps, skip, activation) = (&gamma[..], &beta[..], 1e-5, None, Activation::Relu);
    let op = BatchNormForward { x: Values::Half(&x), gamma, beta, eps, skip, activation };
    k.batch_norm(op, (&mut out).into(), &mut mean, &mut variance);
    let (mut rounded, mut both) = (half_d_out.clone(), (out.clone(), half_d_out.clone()));
    k.batch_norm(op, BatchNormOut { full: None, half: Some(&mut rounded) }, &mut mean, &mut variance);
    let to = BatchNormOut { full: Some(&mut both.0), half: Some(&mut both.1) };
    k.batch_norm_with(op, &mean, &variance, to);
    let (mut d_gamma, mut d_beta, mut d_x) = (beta.to_vec(), gamma.to_vec(), half_d_out.clone());
    let grad = BatchNormGrad { d_out: &mut d_out, gamma: Some(&mut d_gamma), beta: Some(&mut d_beta) };
    let passed = Passed::Normed;
    let op = BatchNormBackward { x: op.x, gamma, beta, mean: &mean, variance: &variance, eps, passed };
    k.batch_norm_backward(op, grad, ValuesMut::Half(&mut d_x));
    let (both, of_both) = both;
    vec![
        full("out", out),
        half("rounded", rounded, 1),
        full("both", both),
        half("rounded of both", of_both, 1),
        half("d_x", d_x, 1),
        full("d_gamma", d_gamma),
        full("d_beta", d_beta),
    ]
}

#[test]
fn batch_norms_agree() {
    for shape in [(3, 5), (80, 192), (1000, 37)] {
        let case = format!("batch_norm {shape:?}");
        agree(&case, EXACT, batch_norm(&Cpu::bf16_anywhere(), shape), batch_norm(&Reference, shape));
    }
}
