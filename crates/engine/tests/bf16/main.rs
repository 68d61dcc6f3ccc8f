//! Kernels that multiply bf16, against the reference on the same rounded values.
//!
//! All inputs are bf16 numbers, so that rounding operands changes nothing and results in full precision agree as well as
//! those of `f32` do: 1e-5 of the largest value. Attention rounds its weights before it multiplies them. A rounded result may fall to the other side of a tie: one step of bf16; and
//! a GELU of a rounded result is rounded again: two.

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::{Attention, AttentionBackward, Kernels, LayerNorm, Linear, LinearSize, Segment, Write};
use dinoxide_engine::reference::Reference;
use dinoxide_engine::values::{Precision, Values, ValuesMut};
use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

mod image;
mod xca;

/// Few rows and many, inner lengths odd and beyond a slab, widths that end inside a tile.
const SIZES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (3, 5, 7),
    (37, 192, 5),
    (80, 64, 1000),
    (600, 49, 610),
    (511, 4300, 9),
    (1500, 1000, 7),
    (97, 300, 17),
    // A weight's gradient of three slabs, the last one odd.
    (4301, 1000, 7),
];

/// Lengths of sequences, and widths of heads.
const HEADS: [(&[usize], usize); 3] = [(&[1, 5, 17], 64), (&[65, 37], 16), (&[50], 7)];

fn values(len: usize, seed: u64) -> Vec<bf16> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| bf16::from_f32(random.random_range(-2.0f32..2.0))).collect()
}

/// Numbers of a device.
trait Real: Copy + Default + Into<f64> {
    fn from_half(value: bf16) -> Self;
}

impl Real for f32 {
    fn from_half(value: bf16) -> Self {
        value.to_f32()
    }
}

impl Real for f64 {
    fn from_half(value: bf16) -> Self {
        value.to_f64()
    }
}

/// A result: its name, its values, and how many times they were rounded.
type Named = (&'static str, Vec<f64>, u8);

fn full<E: Real>(name: &'static str, values: Vec<E>) -> Named {
    (name, values.into_iter().map(Into::into).collect(), 0)
}

fn half(name: &'static str, values: Vec<bf16>, times: u8) -> Named {
    (name, values.into_iter().map(bf16::to_f64).collect(), times)
}

fn wide<E: Real>(values: &[bf16]) -> Vec<E> {
    values.iter().map(|value| E::from_half(*value)).collect()
}

fn dense<E: Real>(k: &dyn Kernels<E>, (rows, inputs, outputs): (usize, usize, usize)) -> Vec<Named> {
    let size = LinearSize { rows, inputs, outputs };
    let (x, half_d_out) = (values(rows * inputs, 1), values(rows * outputs, 4));
    let d_out = wide::<E>(&half_d_out);
    let (weight, bias) = (wide::<E>(&values(outputs * inputs, 2)), wide::<E>(&values(outputs, 3)));
    let wide_x = wide::<E>(&x);
    let op = Linear { x: Values::Half(&x), weight: &weight, bias: Some(&bias), size, packed: None };
    let from_full = Linear { x: Values::Full(&wide_x), ..op };
    let (mut out, mut out_of_full) = (vec![E::default(); rows * outputs], vec![E::default(); rows * outputs]);
    k.linear(op, ValuesMut::Full(&mut out));
    k.linear(from_full, ValuesMut::Full(&mut out_of_full));
    let mut rounded = [(); 4].map(|()| vec![bf16::NAN; rows * outputs]);
    let [plain, pre, activated, alone] = &mut rounded;
    k.linear(op, ValuesMut::Half(plain));
    k.linear_gelu(from_full, Some(ValuesMut::Half(pre)), ValuesMut::Half(activated));
    k.linear_gelu(op, None, ValuesMut::Half(alone));
    let (mut kept, mut d_kept) = (x.clone(), vec![E::default(); rows * inputs]);
    k.gelu_linear_input_grad((&d_out).into(), &weight, size, ValuesMut::Half(&mut kept), (&mut d_kept).into());
    let (mut kept_again, mut d_kept_half) = (x.clone(), vec![bf16::NAN; rows * inputs]);
    let [kept_to, d_kept_to] = [&mut kept_again, &mut d_kept_half].map(|values| ValuesMut::Half(values));
    k.gelu_linear_input_grad(Values::Half(&half_d_out), &weight, size, kept_to, d_kept_to);
    assert_eq!(kept, kept_again, "the same GELU whether its gradient is rounded or not");
    let mut d_x = wide_x.clone();
    k.linear_input_grad((&d_out).into(), &weight, size, Write::Add, &mut d_x);
    k.linear_input_grad(Values::Half(&half_d_out), &weight, size, Write::Add, &mut d_x);
    let (mut d_weight, mut d_bias) = (weight.clone(), bias.clone());
    k.linear_weight_grad((&d_out).into(), Values::Half(&x), size, &mut d_weight, Some(&mut d_bias));
    k.linear_weight_grad((&d_out).into(), Values::Full(&wide_x), size, &mut d_weight, None);
    k.linear_weight_grad(Values::Half(&half_d_out), Values::Half(&x), size, &mut d_weight, Some(&mut d_bias));
    let [plain, pre, activated, alone] = rounded;
    assert_eq!(alone, activated, "the same GELU whether its input is kept or not");
    vec![
        full("out", out),
        full("out of full", out_of_full),
        half("rounded", plain, 1),
        half("pre", pre, 1),
        half("activated", activated, 2),
        half("alone", alone, 2),
        half("kept", kept, 1),
        full("d_kept", d_kept),
        half("d_kept rounded", d_kept_half, 1),
        full("d_x", d_x),
        full("d_weight", d_weight),
        full("d_bias", d_bias),
    ]
}

/// Sequences of these lengths one after the other, and the number of rows.
fn packed(lens: &[usize]) -> (Vec<Segment>, usize) {
    let mut tokens = 0;
    let mut segments = Vec::new();
    for &len in lens {
        segments.push(Segment { start: tokens, len });
        tokens += len;
    }
    (segments, tokens)
}

fn attention<E: Real>(k: &dyn Kernels<E>, lens: &[usize], head_dim: usize) -> Vec<Named> {
    let heads = 3;
    let (segments, tokens) = packed(lens);
    let qkv = values(tokens * 3 * heads * head_dim, 5);
    let op = Attention { qkv: Values::Half(&qkv), heads, head_dim, segments: &segments, queries: usize::MAX };
    let d_out = wide::<E>(&values(tokens * heads * head_dim, 6));
    let (mut out, mut sums) = (vec![E::default(); d_out.len()], vec![E::default(); tokens * heads]);
    k.attention(op, &mut out, &mut sums);
    let mut d_qkv = vec![E::default(); qkv.len()];
    let saved = AttentionBackward { d_out: &d_out, log_sum_exp: &sums };
    k.attention_backward(op, saved, (&mut d_qkv).into());
    let mut d_qkv_half = vec![bf16::NAN; qkv.len()];
    k.attention_backward(op, saved, ValuesMut::Half(&mut d_qkv_half));
    let mut first = vec![E::default(); tokens * heads];
    k.first_token_attention(op, &mut first);
    vec![
        full("out", out),
        full("log_sum_exp", sums),
        full("d_qkv", d_qkv),
        half("d_qkv rounded", d_qkv_half, 1),
        full("first", first),
    ]
}

fn norm<E: Real>(k: &dyn Kernels<E>, rows: usize, width: usize) -> Vec<Named> {
    let (x, gamma, beta) =
        (wide::<E>(&values(rows * width, 7)), wide::<E>(&values(width, 8)), wide::<E>(&values(width, 9)));
    let (mut out, mut stats) = (vec![bf16::NAN; rows * width], vec![E::default(); 2 * rows]);
    k.layer_norm(LayerNorm { x: &x, gamma: &gamma, beta: &beta, eps: 1e-6 }, ValuesMut::Half(&mut out), &mut stats);
    vec![half("out", out, 1), full("stats", stats)]
}

/// Sums of unrounded products.
const EXACT: f64 = 1e-5;
/// Products of weights that are rounded first: each is off by up to 2^-9 of itself, as are their gradients, which are
/// differences.
const WEIGHTED: f64 = 4e-3;
/// A GELU of rounded numbers and its derivative.
const COARSE: f64 = 1e-4;
/// What has gone through one.
const AFTER_GELU: [&str; 5] = ["activated", "alone", "kept", "d_kept", "d_kept rounded"];

/// Compares results one by one: within so much of the largest value.
fn agree(case: &str, within: f64, results: Vec<Named>, expected: Vec<Named>) {
    agree_each(case, |_| within, results, expected);
}

/// The same, within what the result's name says.
fn agree_each(case: &str, within: impl Fn(&str) -> f64, results: Vec<Named>, expected: Vec<Named>) {
    for ((name, results, times), (_, expected, _)) in results.into_iter().zip(expected) {
        let within = within(name);
        let scale = expected.iter().fold(0.0f64, |most, value| most.max(value.abs()));
        for (index, (value, expected)) in results.into_iter().zip(expected).enumerate() {
            let step = f64::from(times) * expected.abs() / 128.0;
            let error = (value - expected).abs();
            assert!(error <= within * scale + step, "{case}, {name}[{index}]: {value}, expected {expected}");
        }
    }
}

#[test]
fn dense_layers_agree_with_the_reference() {
    for size in SIZES {
        let within = |name: &str| if AFTER_GELU.contains(&name) { COARSE } else { EXACT };
        agree_each(&format!("{size:?}"), within, dense(&Cpu::bf16_anywhere(), size), dense(&Reference, size));
    }
}

#[test]
fn attention_and_norms_agree_with_the_reference() {
    for (lens, head_dim) in HEADS {
        let case = format!("attention {lens:?} x {head_dim}");
        agree(&case, WEIGHTED, attention(&Cpu::bf16_anywhere(), lens, head_dim), attention(&Reference, lens, head_dim));
    }
    for (rows, width) in [(1, 3), (40, 384), (600, 49)] {
        agree(
            &format!("{rows} x {width}"),
            EXACT,
            norm(&Cpu::bf16_anywhere(), rows, width),
            norm(&Reference, rows, width),
        );
    }
}

#[test]
fn slabs_of_a_left_operand_in_place_are_added_up() {
    let (rows, inputs, outputs) = (513, 3100, 700);
    let (x, weight) = (values(rows * inputs, 1), values(outputs * inputs, 2));
    let mut out = vec![f32::NAN; rows * outputs];
    let op = Linear {
        x: Values::Half(&x),
        weight: &wide::<f32>(&weight),
        bias: None,
        size: LinearSize { rows, inputs, outputs },
        packed: None,
    };
    Cpu::bf16_anywhere().linear(op, ValuesMut::Full(&mut out));
    // Every element would take the reference minutes.
    for (row, column) in (0..rows).step_by(37).flat_map(|row| (0..outputs).step_by(29).map(move |at| (row, at))) {
        let pairs = x[row * inputs..][..inputs].iter().zip(&weight[column * inputs..][..inputs]);
        let expected: f64 = pairs.map(|(x, w)| x.to_f64() * w.to_f64()).sum();
        let error = (f64::from(out[row * outputs + column]) - expected).abs();
        // Sums are of the size of √3100 · 4/3.
        assert!(error <= 1e-3, "[{row}, {column}] is off by {error}");
    }
}

#[test]
fn operands_are_rounded_and_sums_are_not() {
    // 1 + 2^-9 is no bf16 number and becomes 1; the sum of 300 ones and one of it is no bf16 number either.
    let (x, weight) = (vec![1.0 + 2.0f32.powi(-9); 301], vec![1.0f32; 301]);
    let size = LinearSize { rows: 1, inputs: 301, outputs: 1 };
    let mut out = [0.0f32];
    let op = Linear { x: Values::Full(&x), weight: &weight, bias: Some(&[0.25]), size, packed: None };
    Cpu::bf16_anywhere().linear(op, ValuesMut::Full(&mut out));
    assert_eq!(out, [301.25]);
    assert_eq!(Kernels::<f32>::precision(&Cpu::bf16_anywhere()), Precision::Bf16);
    assert_eq!(Kernels::<f32>::precision(&Cpu::new()), Precision::F32);
}

#[test]
fn the_instruction_does_what_any_machine_does() {
    let Some(cpu) = Cpu::bf16() else {
        println!("skipped: this machine does not multiply bf16 pairs by an instruction");
        return;
    };
    for size in SIZES {
        agree(&format!("{size:?}"), EXACT, dense(&cpu, size), dense(&Cpu::bf16_anywhere(), size));
    }
    for (lens, head_dim) in HEADS {
        let case = format!("attention {lens:?} x {head_dim}");
        agree(&case, EXACT, attention(&cpu, lens, head_dim), attention(&Cpu::bf16_anywhere(), lens, head_dim));
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    for size in [SIZES[4], SIZES[6]] {
        let mut results = [1, 3, 8].into_iter().map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            let cpu = Cpu::bf16().unwrap_or_else(Cpu::bf16_anywhere);
            let bits = |(_, values, _): Named| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
            pool.install(|| dense::<f32>(&cpu, size).into_iter().map(bits).collect::<Vec<_>>())
        });
        let first = results.next().expect("one thread");
        assert!(results.all(|other| other == first), "{size:?} depends on the number of threads");
    }
}
