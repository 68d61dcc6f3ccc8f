//! Cross-covariance attention (XCiT, El-Nouby et al. 2021, eq. 4) within the segments of a packed token matrix.

use super::dense::{add, dot};
use super::loss::log_sum_exp;
use super::rounded::full;
use crate::kernels::{CrossCovariance, Segment};

/// One head's part of a segment, channel by channel.
struct Head {
    /// Columns of q and k divided by their lengths, and those of v: `[d, N]` each.
    columns: [Vec<Vec<f64>>; 3],
    /// What the columns of q and k were divided by.
    lengths: [Vec<f64>; 2],
    /// Cosines of q's columns and k's, `[d, d]`.
    cosines: Vec<Vec<f64>>,
    /// Softmax over the columns of k, `[d, d]`.
    probs: Vec<Vec<f64>>,
}

/// Number of tokens, T, and width of a token, heads·d; checks the input's length.
fn shape(op: &CrossCovariance<'_, f64>) -> (usize, usize) {
    let width = op.heads * op.head_dim;
    let tokens = op.qkv.len() / (3 * width);
    assert_eq!(op.qkv.len(), tokens * 3 * width, "cross_covariance: length of qkv, tokens·3·heads·head_dim");
    assert_eq!(op.temperature.len(), op.heads, "cross_covariance: length of temperature, heads");
    for segment in op.segments {
        let end = segment.start + segment.len;
        assert!(end <= tokens, "cross_covariance: a segment ends at row {end}, qkv has {tokens} rows");
    }
    (tokens, width)
}

/// Place of a value in `[T, parts·heads·d]`.
fn at(op: &CrossCovariance<'_, f64>, parts: usize, token: usize, [part, head, channel]: [usize; 3]) -> usize {
    ((token * parts + part) * op.heads + head) * op.head_dim + channel
}

/// The channels of one part and head of a segment: `[d, N]`.
fn columns(
    op: &CrossCovariance<'_, f64>,
    (values, parts): (&[f64], usize),
    segment: Segment,
    [part, head]: [usize; 2],
) -> Vec<Vec<f64>> {
    let tokens = segment.start..segment.start + segment.len;
    let column = |channel| tokens.clone().map(|token| values[at(op, parts, token, [part, head, channel])]).collect();
    (0..op.head_dim).map(column).collect()
}

fn head_of(op: &CrossCovariance<'_, f64>, qkv: &[f64], segment: Segment, head: usize) -> Head {
    let mut columns = [0, 1, 2].map(|part| columns(op, (qkv, 3), segment, [part, head]));
    let lengths = [0, 1].map(|part| {
        let lengths: Vec<f64> = columns[part].iter().map(|column| dot(column, column).sqrt().max(op.eps)).collect();
        for (column, length) in columns[part].iter_mut().zip(&lengths) {
            column.iter_mut().for_each(|value| *value /= length);
        }
        lengths
    });
    let [q, k, _] = &columns;
    let cosines: Vec<Vec<f64>> = q.iter().map(|q| k.iter().map(|k| dot(q, k)).collect()).collect();
    let probs = cosines.iter().map(|cosines: &Vec<f64>| {
        let scores: Vec<f64> = cosines.iter().map(|cosine| op.temperature[head] * cosine).collect();
        let sum = log_sum_exp(scores.iter().copied());
        scores.iter().map(|score| (score - sum).exp()).collect()
    });
    let probs = probs.collect();
    Head { columns, lengths, cosines, probs }
}

pub(super) fn cross_covariance(op: CrossCovariance<'_, f64>, out: &mut [f64]) {
    let (tokens, width) = shape(&op);
    assert_eq!(out.len(), tokens * width, "cross_covariance: length of out, tokens·heads·head_dim");
    let qkv = full(op.qkv);
    for &segment in op.segments {
        for head in 0..op.heads {
            let Head { columns: [_, _, v], probs, .. } = head_of(&op, &qkv, segment, head);
            for n in 0..segment.len {
                for (i, probs) in probs.iter().enumerate() {
                    out[at(&op, 1, segment.start + n, [0, head, i])] =
                        probs.iter().zip(&v).map(|(p, v)| p * v[n]).sum();
                }
            }
        }
    }
}

pub(super) fn cross_covariance_backward(
    op: CrossCovariance<'_, f64>,
    d_out: &[f64],
    d_qkv: &mut [f64],
    mut d_temperature: Option<&mut [f64]>,
) {
    let (tokens, width) = shape(&op);
    assert_eq!(d_out.len(), tokens * width, "cross_covariance_backward: length of d_out, tokens·heads·head_dim");
    assert_eq!(d_qkv.len(), op.qkv.len(), "cross_covariance_backward: lengths of d_qkv and qkv");
    let qkv = full(op.qkv);
    for &segment in op.segments {
        for head in 0..op.heads {
            let parts = head_of(&op, &qkv, segment, head);
            let d_out = columns(&op, (d_out, 1), segment, [0, head]);
            let (d_columns, d_head_temperature) = head_backward(&parts, &d_out, (op.temperature[head], op.eps));
            for (part, columns) in d_columns.iter().enumerate() {
                for (channel, column) in columns.iter().enumerate() {
                    for (n, d) in column.iter().enumerate() {
                        d_qkv[at(&op, 3, segment.start + n, [part, head, channel])] = *d;
                    }
                }
            }
            if let Some(d_temperature) = d_temperature.as_deref_mut() {
                d_temperature[head] += d_head_temperature;
            }
        }
    }
}

/// Gradients of q, k and v `[d, N]` and of the temperature: with s the cosines and p the probabilities,
/// `dv_j = Σ_i p_ij·d_out_i`, `dz_ij = p_ij·(d_out_i·v_j − Σ_l p_il·d_out_i·v_l)`, `dtemperature = Σ dz·s`,
/// `dq̂_i = temperature·Σ_j dz_ij·k̂_j`, `dk̂_j = temperature·Σ_i dz_ij·q̂_i`.
fn head_backward(head: &Head, d_out: &[Vec<f64>], (temperature, eps): (f64, f64)) -> ([Vec<Vec<f64>>; 3], f64) {
    let [q, k, v] = &head.columns;
    let zeros = || vec![vec![0.0; d_out[0].len()]; d_out.len()];
    let (mut d, mut d_temperature) = ([zeros(), zeros(), zeros()], 0.0);
    for (i, probs) in head.probs.iter().enumerate() {
        let d_probs: Vec<f64> = v.iter().map(|v| dot(&d_out[i], v)).collect();
        let mean = dot(probs, &d_probs);
        for (j, prob) in probs.iter().enumerate() {
            let d_score = prob * (d_probs[j] - mean);
            d_temperature += d_score * head.cosines[i][j];
            let times = |factor: f64, column: &[f64]| column.iter().map(|value| factor * value).collect::<Vec<_>>();
            add(&times(temperature * d_score, &k[j]), &mut d[0][i]);
            add(&times(temperature * d_score, &q[i]), &mut d[1][j]);
            add(&times(*prob, &d_out[i]), &mut d[2][j]);
        }
    }
    for part in 0..2 {
        for ((d, unit), &length) in d[part].iter_mut().zip(&head.columns[part]).zip(&head.lengths[part]) {
            // A clamped length does not depend on the column, so its direction is not projected out.
            let along = if length > eps { dot(unit, d) } else { 0.0 };
            d.iter_mut().zip(unit).for_each(|(d, unit)| *d = (*d - unit * along) / length);
        }
    }
    (d, d_temperature)
}
