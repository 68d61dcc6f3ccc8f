//! Convolutions, batch normalisation with what follows it, and pooling against PyTorch: a network of a stem and one
//! bottleneck on two groups of images.
#![expect(clippy::expect_used, reason = "a fixture that lacks a tensor fails the test")]

mod support;

use std::sync::Arc;

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::{Activation, Grid, Window};
use dinoxide_engine::params::{Layout, Params, Role};
use dinoxide_engine::tape::{BatchNorm, ConvNorm, Convolution, Statistics, Tape};
use dinoxide_engine::tensor::{Matrix, Pool};
use support::{Fixture, assert_close, fill, filler};

/// f32 against f64 through four convolutions of up to 147 terms and their normalisations, relative to the largest value.
const TOLERANCE: f64 = 2e-5;

type Layer = ConvNorm<'static>;

/// The network's layers, in the order of the fixture.
fn layers(fixture: &Fixture) -> (Vec<Layer>, Params) {
    let mut layout = Layout::new();
    let layers = fixture.case["layers"].as_array().expect("layers").iter().map(|layer| {
        let name = format!("residual.{}", layer[0].as_str().expect("a name"));
        let size = |at: usize| layer[at].as_u64().expect("a size") as usize;
        let (inputs, outputs, kernel, stride) = (size(1), size(2), size(3), size(4));
        let mut vector = |name: &str, role| layout.push(name, &[outputs], role);
        let norm = BatchNorm {
            gamma: vector(&format!("{name}_bn.weight"), Role::Trained),
            beta: vector(&format!("{name}_bn.bias"), Role::Trained),
            running_mean: vector(&format!("{name}_bn.running_mean"), Role::Statistic),
            running_var: vector(&format!("{name}_bn.running_var"), Role::Statistic),
            batches: layout.push(format!("{name}_bn.num_batches_tracked"), &[], Role::Statistic),
        };
        let weight = layout.push(format!("{name}.weight"), &[outputs, inputs, kernel, kernel], Role::Trained);
        let conv = Convolution { weight, bias: None, window: Window { kernel, stride, padding: kernel / 2 } };
        ConvNorm { conv, norm, eps: 1e-5, skip: None, activation: Activation::Relu }
    });
    let layers = layers.collect();
    let mut params = Params::zeros(Arc::new(layout));
    fill(&mut params);
    (layers, params)
}

fn forward(tape: &mut Tape<'_>, layers: &[Layer], images: usize, side: usize) -> Matrix {
    let [stem, conv1, conv2, conv3, downsample] = layers else { unreachable!("five layers") };
    let grid = Grid { images, height: side, width: side + 3 };
    let x = tape.constant(&filler(&format!("x.{side}"), grid.pixels() * 3, 2.0, 0.0), grid.pixels(), 3);
    let x = tape.conv_norm(&x, grid, *stem);
    let (grid, pool) = (grid.windows(stem.conv.window), Window { kernel: 3, stride: 2, padding: 1 });
    let x = tape.max_pool(&x, grid, pool);
    let grid = grid.windows(pool);
    let h = tape.conv_norm(&x, grid, *conv1);
    let h = tape.conv_norm(&h, grid, *conv2);
    let skip = tape.conv_norm(&x, grid, ConvNorm { activation: Activation::Identity, ..*downsample });
    let out = tape.conv_norm(&h, grid.windows(conv2.conv.window), ConvNorm { skip: Some(&skip), ..*conv3 });
    tape.mean_pool(&out, images)
}

#[test]
fn a_residual_network_equals_pytorch() {
    let fixture = Fixture::open("residual/bottleneck.safetensors");
    let (layers, mut params) = layers(&fixture);
    let (cpu, pool, images) = (Cpu::new(), Pool::new(), fixture.usize("images"));
    let mut grads = vec![0.0; params.values().len()];
    let mut both = Tape::infer(&cpu, &params, &pool);
    for side in [19, 12] {
        forward(&mut both, &layers, images, side);
        let mut tape = Tape::train(&cpu, &params, &pool);
        let out = forward(&mut tape, &layers, images, side);
        let expected = fixture.values(&format!("out.{side}"));
        assert_close(&format!("output of {side}"), out.values().iter().copied(), &expected, TOLERANCE);
        tape.backward_from(&out, &filler(&format!("grad.{side}"), out.values().len(), 1.0, 0.0), &mut grads);
    }
    for spec in params.layout().specs().iter().filter(|spec| spec.role == Role::Trained) {
        let expected = fixture.values(&spec.name.replace("residual.", "grad."));
        assert_close(&spec.name, grads[spec.range()].iter().copied(), &expected, TOLERANCE);
    }

    let statistics = both.take_statistics();
    drop(both);
    for (id, values) in statistics {
        let name = params.layout().spec(id).name.replace("residual.", "after.");
        assert_close(&name, values.iter().copied(), &fixture.values(&name), TOLERANCE);
        params.get_mut(id).copy_from_slice(&values);
    }
    let mut tape = Tape::infer(&cpu, &params, &pool);
    tape.normalize_by(Statistics::Running);
    let out = forward(&mut tape, &layers, images, 12);
    assert_close("evaluation", out.values().iter().copied(), &fixture.values("evaluated"), TOLERANCE);
    assert!(tape.take_statistics().is_empty(), "an evaluation changes no statistic");
}
