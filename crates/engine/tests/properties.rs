//! What defines each kernel, checked on the reference: values by hand, laws, and which memory a kernel may touch.

mod support;

use dinoxide_engine::kernels::{
    Activation, Attention, BatchNormForward, Kernels, LayerNorm, LayerNormBackward, Linear, LinearSize, Normalize,
    Patches, Residual, RowMix, Rows, Segment, SoftCrossEntropy, Targets, Tokens, TokensGrad, WeightNormLinear,
    WeightNormLinearGrad, Write,
};
use dinoxide_engine::reference::Reference;
use support::{dot, generator, poisoned, random};

/// Allowed difference between two ways of computing the same number in `f64`: some hundred roundings.
const ROUNDING: f64 = 1e-12;

#[track_caller]
fn assert_close(actual: &[f64], expected: &[f64]) {
    assert_eq!(actual.len(), expected.len());
    for (i, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let error = (actual - expected).abs();
        assert!(error <= ROUNDING * (1.0 + expected.abs()), "value {i}: {actual}, expected {expected}");
    }
}

#[test]
fn patchify_crops_orders_and_normalizes() {
    let patches = Patches { images: 2, height: 5, width: 7, channels: 3, patch: 2 };
    let normalize = Normalize { mean: vec![0.5, 0.25, 0.0], std: vec![0.5, 0.25, 2.0] };
    let images: Vec<u8> = (0..2 * 5 * 7 * 3).map(|i| (i * 37 % 256) as u8).collect();
    let mut expected = Vec::new();
    for (image, patch_row, patch_column) in
        (0..2).flat_map(|b| (0..2).flat_map(move |y| (0..3).map(move |x| (b, y, x))))
    {
        for (channel, y, x) in (0..3).flat_map(|c| (0..2).flat_map(move |y| (0..2).map(move |x| (c, y, x)))) {
            let pixel = (image * 5 + 2 * patch_row + y) * 7 + 2 * patch_column + x;
            let value = f64::from(images[pixel * 3 + channel]) / 255.0;
            expected.push((value - [0.5, 0.25, 0.0][channel]) / [0.5, 0.25, 2.0][channel]);
        }
    }

    let mut out = poisoned(2 * 6 * 12);
    Reference.patchify(&images, patches, &normalize, &mut out);

    assert_eq!((patches.per_image(), patches.patch_len()), (6, 12));
    assert_close(&out, &expected);
}

#[test]
fn linear_is_x_times_weight_transposed_plus_bias() {
    let op = Linear {
        x: [1.0, 2.0, 3.0, 4.0][..].into(),
        weight: &[1.0, 0.0, 0.0, 1.0, 10.0, 100.0],
        bias: Some(&[0.5, 0.0, -1.0]),
        size: LinearSize { rows: 2, inputs: 2, outputs: 3 },
        packed: None,
    };
    let mut out = poisoned(6);
    Reference.linear(op, (&mut out).into());
    assert_eq!(out, [1.5, 2.0, 209.0, 3.5, 4.0, 429.0]);
}

#[test]
fn linear_gelu_keeps_what_goes_into_the_gelu() {
    let mut rng = generator(1);
    let (x, weight) = (random(&mut rng, 12), random(&mut rng, 20));
    let op = Linear {
        x: (&x).into(),
        weight: &weight,
        bias: None,
        size: LinearSize { rows: 3, inputs: 4, outputs: 5 },
        packed: None,
    };
    let (mut pre, mut out) = (poisoned(15), poisoned(15));
    Reference.linear_gelu(op, Some((&mut pre).into()), (&mut out).into());
    let mut alone = poisoned(15);
    Reference.linear_gelu(op, None, (&mut alone).into());
    assert_eq!(alone, out);
    let (mut expected_pre, mut expected_out) = (poisoned(15), poisoned(15));
    Reference.linear(op, (&mut expected_pre).into());
    Reference.gelu(&expected_pre, &mut expected_out);
    assert_eq!((pre, out), (expected_pre, expected_out));
}

#[test]
fn gelu_is_exact_far_into_the_left_tail() {
    let mut out = poisoned(5);
    Reference.gelu(&[0.0, 1.0, -1.0, -10.0, 50.0], &mut out);
    // x·Φ(x); Φ(1) and Φ(-10) from tables of the normal distribution.
    let expected = [0.0, 0.841_344_746_068_542_9, -0.158_655_253_931_457_05, -7.619_853_024_160_527e-23, 50.0];
    for (actual, expected) in out.iter().zip(expected) {
        assert!((actual - expected).abs() <= 1e-13 * expected.abs(), "{actual}, expected {expected}");
    }
}

#[test]
fn add_adds_what_replace_writes() {
    let mut rng = generator(2);
    let size = LinearSize { rows: 3, inputs: 4, outputs: 5 };
    let (d_out, weight, before) = (random(&mut rng, 15), random(&mut rng, 20), random(&mut rng, 12));
    let (mut replaced, mut added) = (poisoned(12), before.clone());
    Reference.linear_input_grad((&d_out).into(), &weight, size, Write::Replace, &mut replaced);
    Reference.linear_input_grad((&d_out).into(), &weight, size, Write::Add, &mut added);
    let sum: Vec<f64> = replaced.iter().zip(&before).map(|(a, b)| a + b).collect();
    assert_close(&added, &sum);

    let (x, gamma, stats) = (random(&mut rng, 15), random(&mut rng, 5), [0.1, 2.0, 0.2, 1.5, -0.1, 1.7]);
    let op = LayerNormBackward { d_out: &d_out, x: &x, gamma: &gamma, stats: &stats };
    let before = random(&mut rng, 15);
    let (mut replaced, mut added) = (poisoned(15), before.clone());
    let (mut d_gamma, mut d_beta) = (vec![0.0; 5], vec![0.0; 5]);
    Reference.layer_norm_backward(op, Write::Replace, &mut replaced, &mut d_gamma, &mut d_beta);
    let once = [d_gamma.clone(), d_beta.clone()].concat();
    Reference.layer_norm_backward(op, Write::Add, &mut added, &mut d_gamma, &mut d_beta);
    let sum: Vec<f64> = replaced.iter().zip(&before).map(|(a, b)| a + b).collect();
    assert_close(&added, &sum);
    assert_close(&[d_gamma, d_beta].concat(), &once.iter().map(|d| 2.0 * d).collect::<Vec<_>>());
}

#[test]
fn layer_norm_standardizes_rows_and_batch_norm_columns() {
    let mut rng = generator(3);
    let (rows, width, eps) = (7, 5, 1e-5);
    let x = random(&mut rng, rows * width);
    let (ones, zeros) = (vec![1.0; 7], vec![0.0; 7]);
    let mut stats = poisoned(2 * rows);
    let mut by_row = poisoned(rows * width);
    let op = LayerNorm { x: &x, gamma: &ones[..width], beta: &zeros[..width], eps };
    Reference.layer_norm(op, (&mut by_row).into(), &mut stats);

    for (r, row) in by_row.chunks(width).enumerate() {
        let variance = 1.0 / stats[2 * r + 1].powi(2) - eps;
        assert_close(&[row.iter().sum(), dot(row, row)], &[0.0, width as f64 * variance / (variance + eps)]);
        assert_close(&[stats[2 * r]], &[x[r * width..(r + 1) * width].iter().sum::<f64>() / width as f64]);
    }

    // Columns of a matrix are the rows of its transpose.
    let transposed: Vec<f64> = (0..rows * width).map(|i| x[(i % rows) * width + i / rows]).collect();
    let x = (&transposed).into();
    let op = BatchNormForward { x, gamma: &ones, beta: &zeros, eps, skip: None, activation: Activation::Identity };
    let (mut by_column, mut mean, mut variance) = (poisoned(rows * width), poisoned(rows), poisoned(rows));
    Reference.batch_norm(op, (&mut by_column).into(), &mut mean, &mut variance);
    let expected: Vec<f64> = (0..rows * width).map(|i| by_row[(i % rows) * width + i / rows]).collect();
    assert_close(&by_column, &expected);
    assert_close(&mean, &stats.iter().copied().step_by(2).collect::<Vec<_>>());
    assert_close(&variance, &stats.iter().skip(1).step_by(2).map(|s| 1.0 / (s * s) - eps).collect::<Vec<_>>());
}

#[test]
fn packed_segments_equal_sequences_on_their_own() {
    let mut rng = generator(4);
    let (heads, head_dim, tokens) = (3, 2, 12);
    let qkv = random(&mut rng, tokens * 18);
    let segments = [Segment { start: 1, len: 7 }, Segment { start: 9, len: 3 }];
    let (mut out, mut sums) = (vec![42.0; tokens * 6], vec![42.0; tokens * heads]);
    Reference.attention(
        Attention { qkv: (&qkv).into(), heads, head_dim, segments: &segments, queries: usize::MAX },
        &mut out,
        &mut sums,
    );

    for Segment { start, len } in segments {
        let alone = Segment { start: 0, len };
        let op = Attention {
            qkv: qkv[start * 18..(start + len) * 18].into(),
            heads,
            head_dim,
            segments: &[alone],
            queries: usize::MAX,
        };
        let (mut out_alone, mut sums_alone) = (poisoned(len * 6), poisoned(len * heads));
        Reference.attention(op, &mut out_alone, &mut sums_alone);
        assert_eq!(out[start * 6..(start + len) * 6], out_alone);
        assert_eq!(sums[start * heads..(start + len) * heads], sums_alone);
    }
    for outside in [0, 8] {
        assert_eq!(out[outside * 6..(outside + 1) * 6], [42.0; 6]);
        assert_eq!(sums[outside * heads..(outside + 1) * heads], [42.0; 3]);
    }
}

#[test]
fn equal_keys_average_the_values_and_a_lone_token_keeps_its_own() {
    // One head of width 1: three tokens with key 2 and values 1, 2, 6, then a token alone.
    let qkv = [0.3, 2.0, 1.0, -1.0, 2.0, 2.0, 5.0, 2.0, 6.0, 3.0, 4.0, 7.0];
    let segments = [Segment { start: 0, len: 3 }, Segment { start: 3, len: 1 }];
    let (mut out, mut sums) = (poisoned(4), poisoned(4));
    Reference.attention(
        Attention { qkv: qkv[..].into(), heads: 1, head_dim: 1, segments: &segments, queries: usize::MAX },
        &mut out,
        &mut sums,
    );
    let ln3 = 3.0_f64.ln();
    assert_close(&out, &[3.0, 3.0, 3.0, 7.0]);
    assert_close(&sums, &[0.6 + ln3, -2.0 + ln3, 10.0 + ln3, 12.0]);
}

#[test]
fn first_token_attention_holds_the_weights_of_the_first_output() {
    let mut rng = generator(5);
    let (heads, head_dim, tokens) = (2, 3, 11);
    let qkv = random(&mut rng, tokens * 18);
    let segments = [Segment { start: 4, len: 7 }, Segment { start: 0, len: 3 }];
    let op = Attention { qkv: (&qkv).into(), heads, head_dim, segments: &segments, queries: usize::MAX };
    let (mut out, mut sums, mut weights) = (poisoned(tokens * 6), poisoned(tokens * heads), poisoned(20));
    Reference.attention(op, &mut out, &mut sums);
    Reference.first_token_attention(op, &mut weights);

    let mut first = 0;
    for Segment { start, len } in segments {
        for head in 0..heads {
            let weights = &weights[first..first + len];
            let value = |token: usize, c: usize| qkv[token * 18 + 12 + head * head_dim + c];
            let mixed: Vec<f64> =
                (0..head_dim).map(|c| (0..len).map(|j| weights[j] * value(start + j, c)).sum()).collect();
            assert_close(&[weights.iter().sum()], &[1.0]);
            assert_close(&out[start * 6 + head * head_dim..][..head_dim], &mixed);
            first += len;
        }
    }
    assert_eq!(first, weights.len());
}

#[test]
fn residual_scales_columns() {
    let branch = [1.0, 2.0, 3.0, 4.0];
    let op = Residual { branch: &branch, gamma: Some(&[10.0, 100.0]), width: 2 };
    let mut out = poisoned(4);
    Reference.residual(&[0.5; 4], op, &mut out);
    assert_eq!(out, [10.5, 200.5, 30.5, 400.5]);
    Reference.residual(&[0.5; 4], Residual { gamma: None, ..op }, &mut out);
    assert_eq!(out, [1.5, 2.5, 3.5, 4.5]);
}

#[test]
fn scatter_adds_to_the_gathered_rows_only() {
    let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let mut out = poisoned(4);
    let op = Rows { rows: &[2, 0], width: 2, factor: 2.0 };
    Reference.gather_rows(&x, op, &mut out);
    assert_eq!(out, [10.0, 12.0, 2.0, 4.0]);
    let mut d_x = [10.0; 6];
    Reference.scatter_add_rows(&[1.0, 2.0, 3.0, 4.0], op, &mut d_x);
    assert_eq!(d_x, [16.0, 18.0, 10.0, 10.0, 12.0, 14.0]);
}

#[test]
fn tokens_put_the_class_token_first() {
    let op = Tokens {
        patches: &[1.0, 2.0, 3.0, 4.0],
        cls: &[100.0],
        cls_position: &[0.5],
        positions: &[10.0, 20.0],
        images: 2,
    };
    let mut out = poisoned(6);
    Reference.tokens(op, &mut out);
    assert_eq!(out, [100.5, 11.0, 22.0, 100.5, 13.0, 24.0]);

    let (mut patches, mut cls, mut cls_position, mut positions) = (poisoned(4), [1.0], [2.0], poisoned(2));
    let grad =
        TokensGrad { patches: &mut patches, cls: &mut cls, cls_position: &mut cls_position, positions: &mut positions };
    Reference.tokens_backward(&[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], 2, grad);
    assert_eq!((patches, positions), (vec![2.0, 3.0, 20.0, 30.0], vec![22.0, 33.0]));
    assert_eq!((cls, cls_position), ([12.0], [13.0]));
}

#[test]
fn mix_rows_backward_is_the_transpose() {
    let mut rng = generator(6);
    let mix = RowMix { index: vec![0, 2, 2, 2, 1, 0, 3, 0], weights: random(&mut rng, 8), taps: 2 };
    let (x, y, before) = (random(&mut rng, 4 * 5), random(&mut rng, 4 * 5), random(&mut rng, 4 * 5));
    let (mut mixed, mut transposed) = (poisoned(20), before.clone());
    Reference.mix_rows(&x, &mix, 5, &mut mixed);
    Reference.mix_rows_backward(&y, &mix, 5, &mut transposed);

    assert_close(&mixed[5..6], &[(mix.weights[2] + mix.weights[3]) * x[10]]);
    assert_close(&[dot(&transposed, &x) - dot(&before, &x)], &[dot(&mixed, &y)]); // ⟨Aᵀy, x⟩ = ⟨Ax, y⟩
}

#[test]
fn l2_normalize_makes_unit_rows_and_divides_short_ones_by_eps() {
    let mut norms = poisoned(3);
    let mut out = poisoned(6);
    Reference.l2_normalize(&[3.0, -4.0, 0.03, 0.04, 0.0, 0.0], 0.1, &mut out, &mut norms);
    assert_close(&out, &[0.6, -0.8, 0.3, 0.4, 0.0, 0.0]);
    assert_close(&norms, &[5.0, 0.1, 0.1]);
}

#[test]
fn weight_norm_linear_ignores_the_length_of_the_directions() {
    let mut rng = generator(7);
    let (x, v, g) = (random(&mut rng, 12), random(&mut rng, 20), random(&mut rng, 5));
    let longer: Vec<f64> = v.iter().map(|v| 3.0 * v).collect();
    let size = LinearSize { rows: 3, inputs: 4, outputs: 5 };
    let op = WeightNormLinear { x: &x, v: &v, g: &g, size };
    let (mut inverse_norms, mut out, mut expected) = (poisoned(5), poisoned(15), poisoned(15));
    Reference.weight_norm_linear(op, &mut inverse_norms, &mut out);
    Reference.weight_norm_linear(WeightNormLinear { v: &longer, ..op }, &mut poisoned(5), &mut expected);
    assert_close(&out, &expected);

    let weight: Vec<f64> =
        (0..20).map(|i| g[i / 4] * v[i] / dot(&v[i / 4 * 4..][..4], &v[i / 4 * 4..][..4]).sqrt()).collect();
    Reference
        .linear(Linear { x: (&x).into(), weight: &weight, bias: None, size, packed: None }, (&mut expected).into());
    assert_close(&out, &expected);

    // Hence the gradient of a direction is perpendicular to it.
    let mut d_v = vec![0.0; 20];
    let grad = WeightNormLinearGrad { x: None, v: Some(&mut d_v), g: None };
    Reference.weight_norm_linear_backward(op, &inverse_norms, &mut random(&mut rng, 15), grad);
    let along: Vec<f64> = (0..5).map(|k| dot(&d_v[k * 4..][..4], &v[k * 4..][..4])).collect();
    assert_close(&along, &[0.0; 5]);
}

#[test]
fn targets_are_centred_sharpened_and_report_their_entropy() {
    let mut rng = generator(8);
    let (logits, center) = (random(&mut rng, 21), random(&mut rng, 7));
    let mut probs = poisoned(21);
    let entropy = Reference.targets(Targets { logits: &logits, center: &center, temp: 0.04 }, &mut probs);

    let weights: Vec<f64> = (0..21).map(|i| ((logits[i] - center[i % 7]) / 0.04).exp()).collect();
    let expected: Vec<f64> = (0..21).map(|i| weights[i] / weights[i / 7 * 7..][..7].iter().sum::<f64>()).collect();
    assert_close(&probs, &expected);
    assert_close(&[entropy], &[-expected.iter().map(|p| p * p.ln()).sum::<f64>() / 3.0]);
}

#[test]
fn targets_entropy_is_ln_k_when_flat_and_zero_when_certain() {
    let mut probs = poisoned(14);
    let flat = Reference.targets(Targets { logits: &[3.0; 14], center: &[0.5; 7], temp: 0.04 }, &mut probs);
    assert_close(&probs, &[1.0 / 7.0; 14]);
    assert_close(&[flat], &[7.0_f64.ln()]);

    let certain = [1e4, 0.0, -1e4];
    let mut probs = poisoned(3);
    let entropy = Reference.targets(Targets { logits: &certain, center: &[0.0; 3], temp: 0.04 }, &mut probs);
    assert_eq!((entropy, probs), (0.0, vec![1.0, 0.0, 0.0]));
}

#[test]
fn constant_logits_cost_ln_k() {
    let mut rng = generator(9);
    let (images, k) = (3, 11);
    for (teacher_views, student_views) in [(2, 2), (2, 4), (2, 10), (1, 2)] {
        let teacher_logits = random(&mut rng, teacher_views * images * k);
        let mut targets = poisoned(teacher_logits.len());
        Reference.targets(Targets { logits: &teacher_logits, center: &[0.0; 11], temp: 0.07 }, &mut targets);
        let logits = vec![0.3; student_views * images * k];
        let op =
            SoftCrossEntropy { logits: &logits, targets: &targets, temp: 0.1, images, teacher_views, student_views };
        let mut sums = poisoned(student_views * images);
        assert_close(&[Reference.soft_cross_entropy(op, &mut sums)], &[(k as f64).ln()]);
        assert_close(&sums, &vec![3.0 + (k as f64).ln(); student_views * images]);
    }
}

#[test]
fn pairs_of_a_crop_with_itself_are_left_out() {
    let mut rng = generator(10);
    let (images, k, temp) = (2, 3, 0.5);
    let targets = [0.2, 0.3, 0.5, 0.1, 0.8, 0.1, 0.6, 0.4, 0.0, 0.0, 0.0, 1.0];
    let logits = random(&mut rng, 3 * images * k);
    let op = SoftCrossEntropy { logits: &logits, targets: &targets, temp, images, teacher_views: 2, student_views: 3 };
    let pair = |i: usize, v: usize, b: usize| {
        let logits = &logits[(v * images + b) * k..][..k];
        let sum: f64 = logits.iter().map(|logit| (logit / temp).exp()).sum();
        let log_probs: Vec<f64> = logits.iter().map(|logit| ((logit / temp).exp() / sum).ln()).collect();
        -dot(&targets[(i * images + b) * k..][..k], &log_probs)
    };
    let pairs = [(0, 1), (0, 2), (1, 0), (1, 2)];
    let expected: f64 = pairs.iter().map(|&(i, v)| (pair(i, v, 0) + pair(i, v, 1)) / 2.0).sum::<f64>() / 4.0;

    assert_close(&[Reference.soft_cross_entropy(op, &mut poisoned(6))], &[expected]);
    assert_eq!(op.terms(), pairs.len());
    assert_eq!(SoftCrossEntropy { student_views: 10, ..op }.terms(), 18); // 2 + 8 crops, as the paper's Algorithm 1
}

#[test]
fn sums_add_to_what_is_there() {
    let mut sums = [10.0, 20.0];
    Reference.add_column_sums((&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..]).into(), &mut sums);
    assert_eq!(sums, [19.0, 32.0]);
    Reference.add(&[0.5, 0.25], &mut sums);
    assert_eq!(sums, [19.5, 32.25]);
    assert_eq!(Reference.sum_of_squares(&[3.0, -4.0, 12.0]), 169.0);
    assert_eq!(Reference.sum_of_squares(&[]), 0.0);
}

#[test]
#[should_panic(expected = "length of x, rows·inputs")]
fn lengths_that_do_not_fit_panic() {
    let op = Linear {
        x: [1.0; 5][..].into(),
        weight: &[1.0; 6],
        bias: None,
        size: LinearSize { rows: 2, inputs: 3, outputs: 2 },
        packed: None,
    };
    Reference.linear(op, [0.0; 4][..].as_mut().into());
}
