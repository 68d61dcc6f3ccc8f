//! Every kernel of `cpu` against the same kernel of `reference`, on random shapes, odd sizes and extreme values.
//!
//! Tolerance: 1e-5 of the largest value of each result. `f32` keeps 24 bits (6e-8), and the longest sums here have some
//! thousand terms in dozens of accumulators. Each case also runs twice and must give the same bits.

use dinoxide_engine::cpu::{Cpu, math};
use dinoxide_engine::kernels::*;
use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

#[macro_use]
mod agree;
mod image;
mod xca;

const TOLERANCE: f64 = 1e-5;

/// Numbers that both implementations take: each starts from the same `f32`.
trait Real: Copy + Default + 'static {
    fn from_f32(value: f32) -> Self;
    fn as_f64(self) -> f64;
}

impl Real for f32 {
    fn from_f32(value: f32) -> Self {
        value
    }
    fn as_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    fn from_f32(value: f32) -> Self {
        f64::from(value)
    }
    fn as_f64(self) -> f64 {
        self
    }
}

/// Random inputs, the same for every element type.
struct Values(ChaCha8Rng, f32);

impl Values {
    fn next<E: Real>(&mut self, len: usize) -> Vec<E> {
        (0..len).map(|_| E::from_f32(self.0.random_range(-2.0f32..2.0) * self.1)).collect()
    }

    fn unscaled<E: Real>(&mut self, len: usize, range: std::ops::Range<f32>) -> Vec<E> {
        (0..len).map(|_| E::from_f32(self.0.random_range(range.clone()))).collect()
    }
}

/// Results of a case, by name.
type Results<E> = Vec<(&'static str, Vec<E>)>;

fn compare(case: &str, cpu: Results<f32>, again: Results<f32>, reference: Results<f64>, tolerance: f64) {
    for (((name, cpu), (_, again)), (_, reference)) in cpu.iter().zip(&again).zip(&reference) {
        assert_eq!(cpu.len(), reference.len());
        let scale = reference.iter().fold(0.0f64, |max, value| max.max(value.abs())).max(1e-30);
        for (index, (&value, &expected)) in cpu.iter().zip(reference).enumerate() {
            let error = (value.as_f64() - expected).abs() / scale;
            assert!(error <= tolerance, "{case}: {name}[{index}] = {value}, expected {expected} (error {error:.1e})");
        }
        let same = cpu.iter().zip(again).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{case}: {name} differs between two runs");
    }
}

const SIZES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (3, 5, 7),
    (7, 48, 1),
    (37, 192, 5),
    (197, 48, 192),
    (80, 64, 1000),
    (5, 384, 17),
    (513, 37, 70),
    (2, 1, 384),
];

fn dense<E: Real>(k: &dyn Kernels<E>, v: &mut Values, (rows, inputs, outputs): (usize, usize, usize)) -> Results<E> {
    let size = LinearSize { rows, inputs, outputs };
    let (x, weight, bias) = (v.next(rows * inputs), v.next(outputs * inputs), v.next(outputs));
    let d_out = v.next::<E>(rows * outputs);
    let mut plain = vec![E::from_f32(f32::NAN); rows * outputs];
    k.linear(Linear { x: (&x).into(), weight: &weight, bias: None, size, packed: None }, (&mut plain).into());
    let mut pre = vec![E::from_f32(f32::NAN); rows * outputs];
    let mut out = pre.clone();
    let op = Linear { x: (&x).into(), weight: &weight, bias: Some(&bias), size, packed: None };
    k.linear(op, (&mut out).into());
    let biased = out.clone();
    k.linear_gelu(op, Some((&mut pre).into()), (&mut out).into());
    let mut alone = vec![E::from_f32(f32::NAN); rows * outputs];
    k.linear_gelu(op, None, (&mut alone).into());
    let (mut kept, mut d_kept) = (x.clone(), vec![E::from_f32(f32::NAN); rows * inputs]);
    k.gelu_linear_input_grad((&d_out).into(), &weight, size, (&mut kept).into(), (&mut d_kept).into());
    let mut d_x = vec![E::from_f32(f32::NAN); rows * inputs];
    k.linear_input_grad((&d_out).into(), &weight, size, Write::Replace, &mut d_x);
    let mut d_x_twice = d_x.clone();
    k.linear_input_grad((&d_out).into(), &weight, size, Write::Add, &mut d_x_twice);
    let (mut d_weight, mut d_bias) = (v.next(outputs * inputs), v.next(outputs));
    k.linear_weight_grad((&d_out).into(), (&x).into(), size, &mut d_weight, Some(&mut d_bias));
    k.linear_weight_grad((&d_out).into(), (&x).into(), size, &mut d_weight, None);
    vec![
        ("plain", plain),
        ("biased", biased),
        ("pre", pre),
        ("gelu", out),
        ("gelu alone", alone),
        ("kept", kept),
        ("d_kept", d_kept),
        ("d_x", d_x),
        ("d_x twice", d_x_twice),
        ("d_weight", d_weight),
        ("d_bias", d_bias),
    ]
}

#[test]
fn dense_layers_agree() {
    for size in SIZES {
        agree!(dense(size));
    }
    agree!(dense((37, 48, 192)), scale 1e-4, tolerance TOLERANCE);
    agree!(dense((37, 48, 192)), scale 1e3, tolerance TOLERANCE);
}

fn elementwise<E: Real>(k: &dyn Kernels<E>, v: &mut Values, len: usize) -> Results<E> {
    let x = v.next::<E>(len);
    let mut out = x.clone();
    k.gelu(&x, &mut out);
    let mut grad = v.next::<E>(len);
    k.gelu_backward(&x, &mut grad);
    let mut sum = v.next::<E>(len);
    k.add(&x, &mut sum);
    let mut mean = v.next::<E>(len);
    k.average(&x, 0.996, &mut mean);
    let squares = E::from_f32(k.sum_of_squares(&x) as f32);
    vec![("gelu", out), ("gelu_backward", grad), ("add", sum), ("average", mean), ("squares", vec![squares])]
}

#[test]
fn elementwise_kernels_agree() {
    for len in [0, 1, 5, 37, 100_003] {
        agree!(elementwise(len));
    }
    agree!(elementwise(1000), scale 1e-4, tolerance TOLERANCE);
    agree!(elementwise(1000), scale 1e3, tolerance TOLERANCE);
}

fn norms<E: Real>(k: &dyn Kernels<E>, v: &mut Values, (rows, width): (usize, usize)) -> Results<E> {
    let (x, d_out) = (v.next::<E>(rows * width), v.next::<E>(rows * width));
    let (gamma, beta) = (v.unscaled::<E>(width, 0.5..1.5), v.unscaled::<E>(width, -0.5..0.5));
    let (mut out, mut stats) = (vec![E::default(); rows * width], vec![E::default(); rows * 2]);
    k.layer_norm(LayerNorm { x: &x, gamma: &gamma, beta: &beta, eps: 1e-6 }, (&mut out).into(), &mut stats);
    let mut d_x = vec![E::from_f32(f32::NAN); rows * width];
    let (mut d_gamma, mut d_beta) = (v.next::<E>(width), v.next::<E>(width));
    let back = LayerNormBackward { d_out: &d_out, x: &x, gamma: &gamma, stats: &stats };
    k.layer_norm_backward(back, Write::Replace, &mut d_x, &mut d_gamma, &mut d_beta);
    let mut d_x_twice = d_x.clone();
    k.layer_norm_backward(back, Write::Add, &mut d_x_twice, &mut d_gamma, &mut d_beta);
    let mut results = vec![("layer_norm", out), ("stats", stats), ("d_x", d_x), ("d_x twice", d_x_twice)];
    results.extend([("d_gamma", d_gamma), ("d_beta", d_beta)]);
    let (mut out, mut lengths) = (vec![E::default(); rows * width], vec![E::default(); rows]);
    k.l2_normalize(&x, 1e-12, &mut out, &mut lengths);
    let mut d_x = out.clone();
    k.l2_normalize_backward(&d_out, &out, &lengths, 1e-12, &mut d_x);
    results.extend([("l2", out), ("lengths", lengths), ("l2 d_x", d_x)]);
    results
}

#[test]
fn row_norms_agree() {
    for shape in [(1, 5), (3, 48), (37, 192), (197, 384), (600, 37)] {
        agree!(norms(shape));
    }
    agree!(norms((37, 48)), scale 1e3, tolerance TOLERANCE);
    // Tiny inputs: eps dominates the variance, and the gradients are a thousand times the inputs.
    agree!(norms((37, 48)), scale 1e-2, tolerance TOLERANCE);
}

#[test]
fn clamped_l2_norms_agree() {
    let x = [0.0f32; 5];
    let (mut out, mut norms, mut d_x) = ([1.0; 5], [1.0], [0.0; 5]);
    Cpu::new().l2_normalize(&x, 1e-3, &mut out, &mut norms);
    Cpu::new().l2_normalize_backward(&[2.0; 5], &out, &norms, 1e-3, &mut d_x);
    assert_eq!((out, norms, d_x), ([0.0; 5], [1e-3], [2.0f32 / 1e-3; 5]));
}

/// Sequences of these lengths, the last one first and with rows between them that belong to none; and the number of rows.
fn scattered(lens: &[usize]) -> (Vec<Segment>, usize) {
    let mut segments: Vec<Segment> = Vec::new();
    let mut start = 1;
    for &len in lens {
        segments.push(Segment { start, len });
        start += len + 2;
    }
    segments.reverse();
    (segments, start + 1)
}

fn attention<E: Real>(
    k: &dyn Kernels<E>,
    v: &mut Values,
    (heads, head_dim): (usize, usize),
    lens: &[usize],
    queries: usize,
) -> Results<E> {
    let (segments, tokens) = scattered(lens);
    let (qkv, d_out) = (v.next::<E>(tokens * 3 * heads * head_dim), v.next::<E>(tokens * heads * head_dim));
    let op = Attention { qkv: (&qkv).into(), heads, head_dim, segments: &segments, queries };
    let (mut out, mut log_sum_exp) =
        (vec![E::default(); tokens * heads * head_dim], vec![E::default(); tokens * heads]);
    k.attention(op, &mut out, &mut log_sum_exp);
    let mut d_qkv = vec![E::from_f32(3.0); qkv.len()];
    let saved = AttentionBackward { d_out: &d_out, log_sum_exp: &log_sum_exp };
    k.attention_backward(op, saved, (&mut d_qkv).into());
    let mut first = vec![E::default(); heads * lens.iter().sum::<usize>()];
    k.first_token_attention(op, &mut first);
    vec![("out", out), ("log_sum_exp", log_sum_exp), ("d_qkv", d_qkv), ("first token", first)]
}

#[test]
fn attention_agrees() {
    agree!(attention((1, 1), &[1][..], usize::MAX));
    agree!(attention((3, 5), &[3, 1, 7][..], usize::MAX));
    agree!(attention((2, 64), &[5, 17, 5, 17, 16][..], usize::MAX));
    agree!(attention((2, 48), &[197, 37, 37][..], usize::MAX));
    agree!(attention((1, 64), &[49, 48, 96, 97][..], usize::MAX));
    agree!(attention((2, 64), &[37][..], usize::MAX), scale 1e-4, tolerance TOLERANCE);
    agree!(attention((2, 64), &[197, 37, 5, 1][..], 1));
    agree!(attention((2, 20), &[97, 37, 3][..], 50));
    // Scores of some hundreds: each is only known to its last bit, 3e-5, and e^x hands that on.
    agree!(attention((2, 16), &[37, 12][..], usize::MAX), scale 5.0, tolerance 1e-4);
}

fn rows<E: Real>(k: &dyn Kernels<E>, v: &mut Values, (rows, width): (usize, usize)) -> Results<E> {
    let (x, branch) = (v.next::<E>(rows * width), v.next::<E>(rows * width));
    let gamma = v.next::<E>(width);
    let mut results = Vec::new();
    for gamma in [None, Some(&gamma[..])] {
        let op = Residual { branch: &branch, gamma, width };
        let (mut out, mut d_branch, mut d_gamma) = (x.clone(), x.clone(), v.next::<E>(width));
        k.residual(&x, op, &mut out);
        k.residual_backward(&x, op, &mut d_branch, gamma.map(|_| &mut d_gamma[..]));
        results.extend([("residual", out), ("d_branch", d_branch), ("d_gamma", d_gamma)]);
    }
    let ascending: Vec<u32> = (0..rows as u32).filter(|row| row % 3 != 1).collect();
    let descending: Vec<u32> = ascending.iter().rev().copied().collect();
    for (picked, factor) in [(&ascending, 1.0), (&ascending, 1.25), (&descending, 0.5)] {
        let op = Rows { rows: picked, width, factor };
        let mut out = vec![E::default(); picked.len() * width];
        k.gather_rows(&x, op, &mut out);
        let mut d_x = branch.clone();
        k.scatter_add_rows(&out, op, &mut d_x);
        results.extend([("gather", out), ("scatter", d_x)]);
    }
    let index = (0..3 * 11).map(|tap| (tap * 7 % rows) as u32).collect();
    let mix = RowMix { index, weights: v.next(33), taps: 3 };
    let mut out = vec![E::from_f32(f32::NAN); 11 * width];
    k.mix_rows(&x, &mix, width, &mut out);
    let mut d_x = branch.clone();
    k.mix_rows_backward(&out, &mix, width, &mut d_x);
    results.extend([("mix", out), ("mix back", d_x)]);
    results
}

#[test]
fn row_kernels_agree() {
    for shape in [(1, 5), (3, 1), (37, 48), (197, 384), (700, 48)] {
        agree!(rows(shape));
    }
}

fn tokens<E: Real>(k: &dyn Kernels<E>, v: &mut Values, (images, patches, width): (usize, usize, usize)) -> Results<E> {
    let embedded = v.next::<E>(images * patches * width);
    let (cls, cls_position, positions) = (v.next::<E>(width), v.next::<E>(width), v.next::<E>(patches * width));
    let op = Tokens { patches: &embedded, cls: &cls, cls_position: &cls_position, positions: &positions, images };
    let mut out = vec![E::default(); images * (patches + 1) * width];
    k.tokens(op, &mut out);
    let d_out = v.next::<E>(out.len());
    let (mut d_patches, mut d_positions) = (embedded.clone(), positions.clone());
    let (mut d_cls, mut d_cls_position) = (cls.clone(), cls_position.clone());
    let grad = TokensGrad {
        patches: &mut d_patches,
        cls: &mut d_cls,
        cls_position: &mut d_cls_position,
        positions: &mut d_positions,
    };
    k.tokens_backward(&d_out, images, grad);
    vec![
        ("tokens", out),
        ("d_patches", d_patches),
        ("d_cls", d_cls),
        ("d_cls_position", d_cls_position),
        ("d_positions", d_positions),
    ]
}

fn patchify<E: Real>(k: &dyn Kernels<E>, v: &mut Values, patches: Patches) -> Results<E> {
    let mut bytes = vec![0u8; patches.images * patches.height * patches.width * patches.channels];
    v.0.fill_bytes(&mut bytes);
    let normalize = Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] };
    let mut out = vec![E::default(); patches.images * patches.per_image() * patches.patch_len()];
    k.patchify(&bytes, patches, &normalize, &mut out);
    vec![("rows", out)]
}

#[test]
fn token_kernels_agree() {
    for shape in [(1, 1, 5), (3, 36, 48), (5, 196, 192)] {
        agree!(tokens(shape));
    }
    agree!(patchify(Patches { images: 3, height: 37, width: 50, channels: 3, patch: 8 }));
    agree!(patchify(Patches { images: 3, height: 37, width: 50, channels: 3, patch: 1 }));
    agree!(patchify(Patches { images: 2, height: 32, width: 32, channels: 3, patch: 16 }));
}

fn weight_norm<E: Real>(
    k: &dyn Kernels<E>,
    v: &mut Values,
    (rows, inputs, outputs): (usize, usize, usize),
) -> Results<E> {
    let size = LinearSize { rows, inputs, outputs };
    let (x, directions, g) = (v.next::<E>(rows * inputs), v.next::<E>(outputs * inputs), v.unscaled(outputs, 0.5..2.0));
    let op = WeightNormLinear { x: &x, v: &directions, g: &g, size };
    let (mut inverse_norms, mut out) = (vec![E::default(); outputs], vec![E::default(); rows * outputs]);
    k.weight_norm_linear(op, &mut inverse_norms, &mut out);
    let d_out = v.next::<E>(rows * outputs);
    let (mut d_x, mut d_v, mut d_g) = (x.clone(), v.next::<E>(outputs * inputs), v.next::<E>(outputs));
    let grad = WeightNormLinearGrad { x: Some(&mut d_x), v: Some(&mut d_v), g: Some(&mut d_g) };
    k.weight_norm_linear_backward(op, &inverse_norms, &mut d_out.clone(), grad);
    let mut d_v_alone = vec![E::default(); outputs * inputs];
    let grad = WeightNormLinearGrad { x: None, v: Some(&mut d_v_alone), g: None };
    k.weight_norm_linear_backward(op, &inverse_norms, &mut d_out.clone(), grad);
    vec![
        ("inverse_norms", inverse_norms),
        ("out", out),
        ("d_x", d_x),
        ("d_v", d_v),
        ("d_g", d_g),
        ("d_v alone", d_v_alone),
    ]
}

#[test]
fn weight_normalised_layers_agree() {
    for shape in [(1, 5, 3), (7, 48, 512), (16, 64, 1300), (3, 37, 513)] {
        agree!(weight_norm(shape));
    }
}

fn loss<E: Real>(
    k: &dyn Kernels<E>,
    v: &mut Values,
    (images, teacher_views, student_views): (usize, usize, usize),
    width: usize,
) -> Results<E> {
    let teacher_logits = v.next::<E>(teacher_views * images * width);
    let (logits, center) = (v.next::<E>(student_views * images * width), v.unscaled(width, -0.1..0.1));
    let mut probs = teacher_logits.clone();
    let targets = Targets { logits: &teacher_logits, center: &center, temp: 0.04 };
    let entropy = E::from_f32(k.targets(targets, &mut probs) as f32);
    let op = SoftCrossEntropy { logits: &logits, targets: &probs, temp: 0.1, images, teacher_views, student_views };
    let mut log_sum_exp = vec![E::default(); student_views * images];
    let value = E::from_f32(k.soft_cross_entropy(op, &mut log_sum_exp) as f32);
    let mut d_logits = vec![E::from_f32(f32::NAN); logits.len()];
    k.soft_cross_entropy_backward(op, &log_sum_exp, 0.7, &mut d_logits);
    vec![
        ("probs", probs),
        ("entropy", vec![entropy]),
        ("loss", vec![value]),
        ("log_sum_exp", log_sum_exp),
        ("d_logits", d_logits),
    ]
}

#[test]
fn losses_agree() {
    // Scores are divided by temperatures of 0.04: with logits near 1 they reach 50 and are known to 4e-6.
    agree!(loss((1, 2, 2), 5));
    agree!(loss((3, 2, 10), 384));
    agree!(loss((2, 3, 4), 10_007));
    agree!(loss((2, 1, 3), 37));
    agree!(loss((2, 2, 6), 1000), scale 1e-4, tolerance TOLERANCE);
    // Scores of 2500, known to 2.4e-4.
    agree!(loss((2, 2, 6), 1000), scale 50.0, tolerance 5e-4);
}

fn updates<E: Real>(k: &dyn Kernels<E>, v: &mut Values, len: usize) -> Results<E> {
    let mut value = v.next::<E>(len);
    let (mut first, mut teacher, mut momentum) = (v.next::<E>(len), v.next::<E>(len), v.next::<E>(len));
    let mut second = v.unscaled::<E>(len, 0.0..1.0);
    for step in 1..4 {
        let mut grad = v.next::<E>(len);
        let with = AdamW { lr: 1e-2, weight_decay: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, step, grad_scale: 0.5 };
        let teacher = (step > 1).then_some((&mut teacher[..], 0.99));
        let (value, first, second) = (&mut value[..], &mut first[..], &mut second[..]);
        k.adamw(Update { value, grad: &mut grad, first, second, teacher }, with);
        assert!(grad.iter().all(|grad| grad.as_f64() == 0.0));
    }
    let adamw = value.clone();
    let mut grad = v.next::<E>(len);
    let with = Sgd { lr: 0.1, weight_decay: 1e-4, momentum: 0.9, trust: 0.3, grad_scale: 0.5 };
    let update = Update { value: &mut value, grad: &mut grad, first: &mut momentum, second: &mut [], teacher: None };
    k.sgd(update, with);
    assert!(grad.iter().all(|grad| grad.as_f64() == 0.0));
    vec![
        ("adamw", adamw),
        ("sgd", value),
        ("first", first),
        ("second", second),
        ("momentum", momentum),
        ("teacher", teacher),
    ]
}

#[test]
fn updates_agree() {
    for len in [1, 5, 384, 40_001] {
        agree!(updates(len));
    }
}

#[test]
fn exp_keeps_its_bound_over_its_whole_range() {
    for step in 0..1_753_000 {
        let x = (-87.3 + f64::from(step) * 1e-4) as f32;
        let expected = f64::from(x).exp();
        let error = (f64::from(math::exp(x)) - expected).abs() / expected;
        assert!(error <= 2.5e-7, "exp({x}) has relative error {error:.2e}");
    }
    assert_eq!(math::exp(-88.0), 0.0);
    assert_eq!(math::exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(math::exp(0.0), 1.0);
    assert!(math::exp(f32::NAN).is_nan());
}

#[test]
fn erf_and_the_normal_distribution_keep_their_bounds() {
    for step in -120_000..120_000 {
        let x = step as f32 * 1e-4;
        let exact = f64::from(x);
        let error = (f64::from(math::erf(x)) - libm::erf(exact)).abs();
        assert!(error <= 6e-7, "erf({x}) has error {error:.2e}");
        let (cdf, density) = math::normal(x);
        let error = (f64::from(cdf) - 0.5 * libm::erfc(-exact / 2f64.sqrt())).abs();
        assert!(error <= 3e-7, "the normal distribution at {x} has error {error:.2e}");
        let error = (f64::from(density) - (-0.5 * exact * exact).exp() / std::f64::consts::TAU.sqrt()).abs();
        assert!(error <= 3e-7, "the normal density at {x} has error {error:.2e}");
    }
    assert!(math::normal(f32::NAN).0.is_nan());
}
