//! Layers some of whose tensors are fixed: the gradients of the others, and of what comes before, are those that there are when
//! everything is trained.

use std::sync::Arc;

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::{Activation, Grid, Kernels, Window};
use dinoxide_engine::params::{Layout, ParamId, Params, Role};
use dinoxide_engine::tape::{BatchNorm, ConvNorm, Convolution, Norm, Tape};
use dinoxide_engine::tensor::{Matrix, Pool};

const GRID: Grid = Grid { images: 2, height: 5, width: 4 };
const CHANNELS: usize = 6;

/// Some values for each tensor.
fn fill(params: &mut Params) {
    for (index, value) in params.values_mut().iter_mut().enumerate() {
        *value = ((index * 37 % 101) as f32 - 50.0) / 50.0;
    }
}

/// A layer that gives the gradients of what comes before it something to be wrong about.
struct Case {
    params: Params,
    first: ParamId,
    layer: [ParamId; 2],
    rest: Vec<ParamId>,
}

/// Tensors of a layer with the roles of weight and bias, after another layer that is trained.
fn case(weight: &[usize], roles: [Role; 2]) -> Case {
    let mut layout = Layout::new();
    let first = layout.push("first.weight", &[CHANNELS, CHANNELS], Role::Trained);
    let weight = layout.push("weight", weight, roles[0]);
    let bias = layout.push("bias", &[CHANNELS], roles[1]);
    let rest =
        ["gamma", "beta", "mean", "variance", "batches"].map(|name| layout.push(name, &[CHANNELS], Role::Trained));
    let mut params = Params::zeros(Arc::new(layout));
    fill(&mut params);
    Case { params, first, layer: [weight, bias], rest: rest.to_vec() }
}

/// Gradients of the first layer, and of weight and bias.
fn grads(cpu: &dyn Kernels<f32>, case: &Case, run: fn(&mut Tape<'_>, &Matrix, &Case) -> Matrix) -> [Vec<f32>; 3] {
    let pool = Pool::new();
    // What is not written shows.
    drop([1, 2, 3].map(|_| {
        let mut spoiled = pool.take(GRID.pixels() * CHANNELS);
        spoiled.fill(f32::NAN);
        spoiled
    }));
    let mut tape = Tape::train(cpu, &case.params, &pool);
    let x: Vec<f32> = (0..GRID.pixels() * CHANNELS).map(|index| ((index * 29 % 83) as f32 - 41.0) / 41.0).collect();
    let x = tape.constant(&x, GRID.pixels(), CHANNELS);
    let plain = Window { kernel: 1, stride: 1, padding: 0 };
    let x = tape.conv2d(&x, GRID, Convolution { weight: case.first, bias: None, window: plain });
    let out = run(&mut tape, &x, case);
    let d_out: Vec<f32> = (0..out.values().len()).map(|index| ((index * 31 % 67) as f32 - 33.0) / 33.0).collect();
    let mut grads = vec![0.0; case.params.values().len()];
    tape.backward_from(&out, &d_out, &mut grads);
    [case.first, case.layer[0], case.layer[1]].map(|id| grads[case.params.layout().spec(id).range()].to_vec())
}

fn check(name: &str, weight: &[usize], run: fn(&mut Tape<'_>, &Matrix, &Case) -> Matrix) {
    // A bias's gradient alone is summed up in another order, and of values that are not rounded first.
    for (cpu, tolerance) in [(Cpu::new(), 1e-5), (Cpu::bf16_anywhere(), 0.05)] {
        let [first, d_weight, d_bias] = grads(&cpu, &case(weight, [Role::Trained; 2]), run);
        for roles in [[Role::Fixed, Role::Trained], [Role::Trained, Role::Fixed], [Role::Fixed; 2]] {
            let some = grads(&cpu, &case(weight, roles), run);
            assert_eq!(some[0], first, "{name}, {roles:?}: what comes before");
            for (role, some, all) in [(roles[0], &some[1], &d_weight), (roles[1], &some[2], &d_bias)] {
                let expected = if role == Role::Trained { all.clone() } else { vec![0.0; all.len()] };
                let off = some.iter().zip(&expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(off <= tolerance, "{name}, {roles:?}: off by {off}");
            }
        }
    }
}

fn convolution(case: &Case, kernel: usize) -> Convolution {
    let [weight, bias] = case.layer;
    Convolution { weight, bias: Some(bias), window: Window { kernel, stride: 1, padding: kernel / 2 } }
}

#[test]
fn convolutions() {
    check("3x3", &[CHANNELS, CHANNELS, 3, 3], |tape, x, case| tape.conv2d(x, GRID, convolution(case, 3)));
    check("1x1", &[CHANNELS, CHANNELS, 1, 1], |tape, x, case| tape.conv2d(x, GRID, convolution(case, 1)));
}

#[test]
fn normed_convolutions() {
    check("conv_norm", &[CHANNELS, CHANNELS, 3, 3], |tape, x, case| {
        let [gamma, beta, running_mean, running_var, batches] = case.rest[..] else { return x.clone() };
        let norm = BatchNorm { gamma, beta, running_mean, running_var, batches };
        let conv = convolution(case, 3);
        tape.conv_norm(x, GRID, ConvNorm { conv, norm, eps: 1e-5, skip: None, activation: Activation::Relu })
    });
}

#[test]
fn depthwise_convolutions() {
    check("depthwise", &[CHANNELS, 1, 3, 3], |tape, x, case| tape.depthwise(x, GRID, case.layer.into()));
}

#[test]
fn dense_layers() {
    check("linear", &[CHANNELS, CHANNELS], |tape, x, case| tape.linear(x, case.layer[0], Some(case.layer[1])));
}

#[test]
fn layer_norms() {
    check("layer_norm", &[CHANNELS], |tape, x, case| {
        tape.layer_norm(x, Norm { gamma: case.layer[0], beta: case.layer[1], eps: 1e-6 })
    });
}
