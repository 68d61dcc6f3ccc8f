//! Every backward kernel of the reference against central differences of its forward kernel.
//!
//! The scalar is `Σ d_out·out` with random `d_out` (the loss itself for the cross-entropy). The error of a gradient is
//! its largest absolute deviation from the differences, divided by the largest difference of the same tensor. Overwritten
//! destinations start as NaN; destinations that are added to start at [`BEFORE`], which is subtracted again.

mod image;
#[path = "../support/mod.rs"]
mod support;
mod xca;

use dinoxide_engine::kernels::{
    Attention, AttentionBackward, Kernels, LayerNorm, LayerNormBackward, Linear, LinearSize, Residual, RowMix, Rows,
    Segment, SoftCrossEntropy, Targets, Tokens, TokensGrad, WeightNormLinear, WeightNormLinearGrad, Write,
};
use dinoxide_engine::reference::Reference;
use rand::RngExt;
use support::{dot, generator, poisoned, random};

/// Half the distance of the two points of a difference: truncation is about 1e-10, rounding about 1e-11.
const STEP: f64 = 1e-5;
/// Largest error relative to the gradient's scale.
const TOLERANCE: f64 = 1e-6;
/// Gradients smaller than this everywhere are compared absolutely, to `TOLERANCE · SMALLEST_SCALE`.
const SMALLEST_SCALE: f64 = 1e-3;
/// What destinations hold before a kernel adds to them.
const BEFORE: f64 = 0.5;

/// A destination that is added to.
fn filled(len: usize) -> Vec<f64> {
    vec![BEFORE; len]
}

/// What a kernel added to a destination made by [`filled`].
fn increase(after: &[f64]) -> Vec<f64> {
    after.iter().map(|value| value - BEFORE).collect()
}

/// Compares `analytic` with the central differences of `loss` around `at`.
fn check(what: &str, at: &[f64], analytic: &[f64], loss: impl Fn(&[f64]) -> f64) {
    assert_eq!(at.len(), analytic.len(), "{what}: lengths of the point and its gradient");
    let mut point = at.to_vec();
    let (mut scale, mut error) = (SMALLEST_SCALE, 0.0_f64);
    for i in 0..at.len() {
        assert!(analytic[i].is_finite(), "{what}: gradient {i} is {}", analytic[i]);
        point[i] = at[i] + STEP;
        let above = loss(&point);
        point[i] = at[i] - STEP;
        let below = loss(&point);
        point[i] = at[i];
        let difference = (above - below) / (2.0 * STEP);
        assert!(difference.is_finite(), "{what}: difference {i} is {difference}");
        scale = scale.max(difference.abs());
        error = error.max((analytic[i] - difference).abs());
    }
    assert!(error <= TOLERANCE * scale, "{what}: largest error {error:e}, scale {scale:e}");
}

/// Output of a kernel that overwrites one destination.
fn output(len: usize, kernel: impl FnOnce(&mut [f64])) -> Vec<f64> {
    let mut out = poisoned(len);
    kernel(&mut out);
    out
}

/// Gradients for both ways of writing, which must agree.
fn written(len: usize, mut kernel: impl FnMut(Write, &mut [f64])) -> Vec<f64> {
    let replaced = output(len, |d| kernel(Write::Replace, d));
    let mut added = filled(len);
    kernel(Write::Add, &mut added);
    for (replaced, added) in replaced.iter().zip(increase(&added)) {
        assert!((replaced - added).abs() <= 1e-12 * (1.0 + replaced.abs()), "{replaced} replaced, {added} added");
    }
    replaced
}

fn linear_size(rows: usize, inputs: usize, outputs: usize) -> LinearSize {
    LinearSize { rows, inputs, outputs }
}

#[test]
fn linear_matches_differences() {
    let mut rng = generator(1);
    for size in [linear_size(1, 1, 1), linear_size(3, 5, 2), linear_size(7, 4, 9), linear_size(37, 3, 5)] {
        let LinearSize { rows, inputs, outputs } = size;
        let (x, weight) = (random(&mut rng, rows * inputs), random(&mut rng, outputs * inputs));
        let (bias, d_out) = (random(&mut rng, outputs), random(&mut rng, rows * outputs));
        let loss = |x: &[f64], weight: &[f64], bias: Option<&[f64]>| {
            dot(
                &d_out,
                &output(rows * outputs, |out| {
                    Reference.linear(Linear { x: x.into(), weight, bias, size, packed: None }, out.into())
                }),
            )
        };

        let d_x =
            written(rows * inputs, |write, d| Reference.linear_input_grad((&d_out).into(), &weight, size, write, d));
        let (mut d_weight, mut d_bias) = (filled(outputs * inputs), filled(outputs));
        Reference.linear_weight_grad((&d_out).into(), (&x).into(), size, &mut d_weight, Some(&mut d_bias));
        let mut without_bias = filled(outputs * inputs);
        Reference.linear_weight_grad((&d_out).into(), (&x).into(), size, &mut without_bias, None);

        check("linear x", &x, &d_x, |x| loss(x, &weight, Some(&bias)));
        check("linear x without bias", &x, &d_x, |x| loss(x, &weight, None));
        check("linear weight", &weight, &increase(&d_weight), |weight| loss(&x, weight, Some(&bias)));
        check("linear bias", &bias, &increase(&d_bias), |bias| loss(&x, &weight, Some(bias)));
        assert_eq!(d_weight, without_bias);
    }
}

#[test]
fn gelu_matches_differences() {
    let mut rng = generator(2);
    for len in [1, 3, 7, 37] {
        let d_out = random(&mut rng, len);
        let x: Vec<f64> = random(&mut rng, len).iter().map(|x| 4.0 * x).collect();
        let mut grad = d_out.clone();
        Reference.gelu_backward(&x, &mut grad);
        check("gelu", &x, &grad, |x| dot(&d_out, &output(len, |out| Reference.gelu(x, out))));
    }
}

#[test]
fn linear_gelu_matches_differences() {
    let mut rng = generator(3);
    for rows in [1, 3, 7, 37] {
        let size = linear_size(rows, 5, 3);
        let (x, weight, bias) = (random(&mut rng, rows * 5), random(&mut rng, 15), random(&mut rng, 3));
        let d_out = random(&mut rng, rows * 3);
        let forward = |x: &[f64], weight: &[f64], bias: &[f64]| {
            let mut pre = poisoned(rows * 3);
            let op = Linear { x: x.into(), weight, bias: Some(bias), size, packed: None };
            let out = output(rows * 3, |out| Reference.linear_gelu(op, Some((&mut pre).into()), out.into()));
            (dot(&d_out, &out), pre)
        };

        let mut grad = d_out.clone();
        Reference.gelu_backward(&forward(&x, &weight, &bias).1, &mut grad);
        let d_x = output(rows * 5, |d| Reference.linear_input_grad((&grad).into(), &weight, size, Write::Replace, d));
        let (mut d_weight, mut d_bias) = (filled(15), filled(3));
        Reference.linear_weight_grad((&grad).into(), (&x).into(), size, &mut d_weight, Some(&mut d_bias));

        check("linear_gelu x", &x, &d_x, |x| forward(x, &weight, &bias).0);
        check("linear_gelu weight", &weight, &increase(&d_weight), |weight| forward(&x, weight, &bias).0);
        check("linear_gelu bias", &bias, &increase(&d_bias), |bias| forward(&x, &weight, bias).0);
    }
}

#[test]
fn gelu_linear_matches_differences() {
    let mut rng = generator(13);
    for rows in [1, 3, 7, 37] {
        let size = linear_size(rows, 5, 3);
        let (x, weight, d_out) = (random(&mut rng, rows * 5), random(&mut rng, 15), random(&mut rng, rows * 3));
        let activated = |x: &[f64]| output(rows * 5, |out| Reference.gelu(x, out));
        let mut kept = x.clone();
        let d_x = output(rows * 5, |d| {
            Reference.gelu_linear_input_grad((&d_out).into(), &weight, size, (&mut kept).into(), d.into())
        });
        assert_eq!(kept, activated(&x));
        check("gelu_linear x", &x, &d_x, |x| {
            let x = activated(x);
            let op = Linear { x: (&x).into(), weight: &weight, bias: None, size, packed: None };
            dot(&d_out, &output(rows * 3, |out| Reference.linear(op, out.into())))
        });
    }
}

#[test]
fn layer_norm_matches_differences() {
    let mut rng = generator(4);
    for (rows, width) in [(1, 8), (3, 5), (7, 1), (37, 6)] {
        let eps = 1e-6; // the vision transformer's
        let (x, d_out) = (random(&mut rng, rows * width), random(&mut rng, rows * width));
        let (gamma, beta) = (random(&mut rng, width), random(&mut rng, width));
        let forward = |x: &[f64], gamma: &[f64], beta: &[f64]| {
            let mut stats = poisoned(2 * rows);
            let op = LayerNorm { x, gamma, beta, eps };
            let out = output(rows * width, |out| Reference.layer_norm(op, out.into(), &mut stats));
            (dot(&d_out, &out), stats)
        };

        let stats = forward(&x, &gamma, &beta).1;
        let op = LayerNormBackward { d_out: &d_out, x: &x, gamma: &gamma, stats: &stats };
        let (mut d_gamma, mut d_beta) = (poisoned(0), poisoned(0));
        let d_x = written(rows * width, |write, d| {
            (d_gamma, d_beta) = (filled(width), filled(width));
            Reference.layer_norm_backward(op, write, d, &mut d_gamma, &mut d_beta);
        });

        check("layer_norm x", &x, &d_x, |x| forward(x, &gamma, &beta).0);
        check("layer_norm gamma", &gamma, &increase(&d_gamma), |gamma| forward(&x, gamma, &beta).0);
        check("layer_norm beta", &beta, &increase(&d_beta), |beta| forward(&x, &gamma, beta).0);
    }
}

#[test]
fn l2_normalize_matches_differences_clamped_or_not() {
    let mut rng = generator(6);
    let eps = 0.1; // far above 1e-12, so that clamped rows can be differentiated
    for (rows, width) in [(1, 5), (3, 4), (7, 9), (37, 3)] {
        // Norms of even rows are below eps, the first one is zero; odd rows are at least 1 long.
        let mut x = random(&mut rng, rows * width);
        for (i, x) in x.iter_mut().enumerate() {
            let (r, c) = (i / width, i % width);
            *x = if r == 0 {
                0.0
            } else if r % 2 == 0 {
                *x * 0.01
            } else {
                *x + 2.0 * f64::from(c == 0)
            };
        }
        let d_out = random(&mut rng, rows * width);
        let mut norms = poisoned(rows);
        let out = output(rows * width, |out| Reference.l2_normalize(&x, eps, out, &mut norms));
        let d_x = output(rows * width, |d| Reference.l2_normalize_backward(&d_out, &out, &norms, eps, d));

        assert!(norms.iter().enumerate().all(|(r, &norm)| (norm == eps) == (r % 2 == 0)), "norms {norms:?}");
        check("l2_normalize", &x, &d_x, |x| {
            let mut norms = poisoned(rows);
            dot(&d_out, &output(rows * width, |out| Reference.l2_normalize(x, eps, out, &mut norms)))
        });
    }
}

#[test]
fn weight_norm_linear_matches_differences_for_every_subset() {
    let mut rng = generator(7);
    for size in [linear_size(1, 2, 1), linear_size(3, 5, 2), linear_size(7, 4, 9), linear_size(37, 3, 5)] {
        let LinearSize { rows, inputs, outputs } = size;
        let (x, v) = (random(&mut rng, rows * inputs), random(&mut rng, outputs * inputs));
        let (g, d_out) = (random(&mut rng, outputs), random(&mut rng, rows * outputs));
        let forward = |x: &[f64], v: &[f64], g: &[f64]| {
            let mut inverse_norms = poisoned(outputs);
            let op = WeightNormLinear { x, v, g, size };
            let out = output(rows * outputs, |out| Reference.weight_norm_linear(op, &mut inverse_norms, out));
            (dot(&d_out, &out), inverse_norms)
        };
        let inverse_norms = forward(&x, &v, &g).1;
        let backward = |subset: u32| {
            let (mut d_x, mut d_v, mut d_g) = (poisoned(x.len()), filled(v.len()), filled(g.len()));
            let grad = WeightNormLinearGrad {
                x: (subset & 1 != 0).then_some(&mut d_x),
                v: (subset & 2 != 0).then_some(&mut d_v),
                g: (subset & 4 != 0).then_some(&mut d_g),
            };
            let op = WeightNormLinear { x: &x, v: &v, g: &g, size };
            Reference.weight_norm_linear_backward(op, &inverse_norms, &mut d_out.clone(), grad);
            (d_x, d_v, d_g)
        };

        let (d_x, d_v, d_g) = backward(7);
        check("weight_norm_linear x", &x, &d_x, |x| forward(x, &v, &g).0);
        check("weight_norm_linear v", &v, &increase(&d_v), |v| forward(&x, v, &g).0);
        check("weight_norm_linear g", &g, &increase(&d_g), |g| forward(&x, &v, g).0);
        for subset in 0..7 {
            let (some_x, some_v, some_g) = backward(subset);
            assert!(subset & 1 == 0 || some_x == d_x, "x in subset {subset}");
            assert!(subset & 2 == 0 || some_v == d_v, "v in subset {subset}");
            assert!(subset & 4 == 0 || some_g == d_g, "g in subset {subset}");
        }
    }
}

#[test]
fn attention_matches_differences_in_every_segment() {
    let mut rng = generator(8);
    let (heads, head_dim, tokens) = (2, 3, 52);
    let width = heads * head_dim;
    // In neither order nor contact: rows 0, 8 and 51 belong to no segment.
    let lens = [(9, 37), (1, 7), (46, 1), (47, 3), (50, 1)];
    let segments = lens.map(|(start, len)| Segment { start, len });
    let outside = [0, 8, 51];
    let qkv: Vec<f64> = random(&mut rng, tokens * 3 * width).iter().map(|x| 2.0 * x).collect();
    let d_out = random(&mut rng, tokens * width);
    for queries in [usize::MAX, 5, 1] {
        // Rows outside, and of tokens that do not ask, keep their zeros and so take no part in the scalar.
        let forward = |qkv: &[f64]| {
            let (mut out, mut sums) = (vec![0.0; tokens * width], vec![0.0; tokens * heads]);
            let op = Attention { qkv: qkv.into(), heads, head_dim, segments: &segments, queries };
            Reference.attention(op, &mut out, &mut sums);
            (out, sums)
        };

        let (_, log_sum_exp) = forward(&qkv);
        let op = Attention { qkv: (&qkv).into(), heads, head_dim, segments: &segments, queries };
        let saved = AttentionBackward { d_out: &d_out, log_sum_exp: &log_sum_exp };
        let mut d_qkv = output(tokens * 3 * width, |d| Reference.attention_backward(op, saved, d.into()));

        for row in outside {
            let row = &mut d_qkv[row * 3 * width..(row + 1) * 3 * width];
            assert!(row.iter().all(|d| d.is_nan()), "a row outside every segment was written");
            row.fill(0.0);
        }
        check("attention", &qkv, &d_qkv, |qkv| dot(&d_out, &forward(qkv).0));
    }
}

#[test]
fn residual_matches_differences_with_and_without_gamma() {
    let mut rng = generator(9);
    for (rows, width) in [(1, 1), (3, 5), (7, 4), (37, 3)] {
        let (x, branch) = (random(&mut rng, rows * width), random(&mut rng, rows * width));
        let (gamma, d_out) = (random(&mut rng, width), random(&mut rng, rows * width));
        let loss = |x: &[f64], branch: &[f64], gamma: Option<&[f64]>| {
            let op = Residual { branch, gamma, width };
            dot(&d_out, &output(x.len(), |out| Reference.residual(x, op, out)))
        };

        let plain = Residual { branch: &branch, gamma: None, width };
        let d_plain = output(x.len(), |d| Reference.residual_backward(&d_out, plain, d, None));
        let scaled = Residual { gamma: Some(&gamma), ..plain };
        let mut d_gamma = filled(width);
        let d_scaled = output(x.len(), |d| Reference.residual_backward(&d_out, scaled, d, Some(&mut d_gamma)));

        check("residual x", &x, &d_out, |x| loss(x, &branch, Some(&gamma)));
        check("residual branch", &branch, &d_plain, |branch| loss(&x, branch, None));
        check("residual branch with gamma", &branch, &d_scaled, |branch| loss(&x, branch, Some(&gamma)));
        check("residual gamma", &gamma, &increase(&d_gamma), |gamma| loss(&x, &branch, Some(gamma)));
    }
}

#[test]
fn gather_rows_matches_differences() {
    let mut rng = generator(10);
    for (count, rows) in [(1, vec![0]), (3, vec![2, 0]), (7, vec![6, 1, 3]), (37, vec![36, 0, 17, 5, 20])] {
        let width = 3;
        let (x, d_out) = (random(&mut rng, count * width), random(&mut rng, rows.len() * width));
        let op = Rows { rows: &rows, width, factor: 1.25 };
        let mut d_x = filled(x.len());
        Reference.scatter_add_rows(&d_out, op, &mut d_x);
        check("gather_rows", &x, &increase(&d_x), |x| {
            dot(&d_out, &output(d_out.len(), |out| Reference.gather_rows(x, op, out)))
        });
        let to = filled(x.len());
        let d_from = output(d_out.len(), |d| Reference.gather_rows(&x, op, d));
        check("scatter_add_rows", &d_out, &d_from, |from| {
            let mut sum = to.clone();
            Reference.scatter_add_rows(from, op, &mut sum);
            dot(&x, &sum)
        });
    }
}

#[test]
fn tokens_match_differences() {
    let mut rng = generator(11);
    for (images, count, width) in [(1, 1, 1), (3, 4, 5), (7, 3, 2), (2, 37, 3)] {
        let [patches, cls, cls_position, positions, d_out] =
            [images * count, 1, 1, count, images * (count + 1)].map(|rows| random(&mut rng, rows * width));
        let op = Tokens { patches: &patches, cls: &cls, cls_position: &cls_position, positions: &positions, images };
        let loss = |op: Tokens<'_, f64>| dot(&d_out, &output(d_out.len(), |out| Reference.tokens(op, out)));

        let (mut d_patches, mut d_positions) = (poisoned(patches.len()), poisoned(positions.len()));
        let (mut d_cls, mut d_cls_position) = (filled(width), filled(width));
        let grad = TokensGrad {
            patches: &mut d_patches,
            cls: &mut d_cls,
            cls_position: &mut d_cls_position,
            positions: &mut d_positions,
        };
        Reference.tokens_backward(&d_out, images, grad);

        check("tokens patches", &patches, &d_patches, |patches| loss(Tokens { patches, ..op }));
        check("tokens cls", &cls, &increase(&d_cls), |cls| loss(Tokens { cls, ..op }));
        check("tokens cls_position", &cls_position, &increase(&d_cls_position), |cls_position| {
            loss(Tokens { cls_position, ..op })
        });
        check("tokens positions", &positions, &d_positions, |positions| loss(Tokens { positions, ..op }));
    }
}

#[test]
fn mix_rows_matches_differences() {
    let mut rng = generator(12);
    for (inputs, outputs, taps) in [(1, 1, 1), (3, 7, 2), (7, 3, 4), (9, 37, 16)] {
        let width = 3;
        // Sources repeat within a row, as they do at the border of an image.
        let index = (0..outputs * taps).map(|_| rng.random_range(0..inputs as u32)).collect();
        let mix = RowMix { index, weights: random(&mut rng, outputs * taps), taps };
        let (x, d_out) = (random(&mut rng, inputs * width), random(&mut rng, outputs * width));
        let mut d_x = filled(x.len());
        Reference.mix_rows_backward(&d_out, &mix, width, &mut d_x);
        check("mix_rows", &x, &increase(&d_x), |x| {
            dot(&d_out, &output(d_out.len(), |out| Reference.mix_rows(x, &mix, width, out)))
        });
    }
}

#[test]
fn soft_cross_entropy_matches_differences() {
    let mut rng = generator(13);
    let (temp, scale) = (0.1, 0.7); // DINO's student temperature, an arbitrary loss scale
    for (teacher_views, student_views) in [(2, 2), (2, 4), (2, 10), (1, 2), (1, 7)] {
        for (images, k) in [(1, 2), (3, 5), (7, 3)] {
            let teacher_logits = random(&mut rng, teacher_views * images * k);
            let center = random(&mut rng, k);
            let teacher = Targets { logits: &teacher_logits, center: &center, temp: 0.5 };
            let targets = output(teacher_logits.len(), |probs| {
                Reference.targets(teacher, probs);
            });
            let logits = random(&mut rng, student_views * images * k);
            let rows = student_views * images;
            let op =
                SoftCrossEntropy { logits: &logits, targets: &targets, temp, images, teacher_views, student_views };

            let mut sums = poisoned(rows);
            Reference.soft_cross_entropy(op, &mut sums);
            let d_logits = output(logits.len(), |d| Reference.soft_cross_entropy_backward(op, &sums, scale, d));

            check("soft_cross_entropy", &logits, &d_logits, |logits| {
                scale * Reference.soft_cross_entropy(SoftCrossEntropy { logits, ..op }, &mut poisoned(rows))
            });
        }
    }
}
