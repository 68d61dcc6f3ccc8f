//! Multi-head self-attention (Vaswani et al. 2017, eq. 1) within the segments of a packed token matrix.

use super::dense::dot;
use super::loss::log_sum_exp;
use super::rounded::full;
use crate::kernels::{Attention, AttentionBackward, Segment};

/// [`Attention`] without rounding.
struct Plain<'a> {
    qkv: &'a [f64],
    heads: usize,
    head_dim: usize,
    segments: &'a [Segment],
    queries: usize,
}

impl<'a> Plain<'a> {
    fn new(op: Attention<'a, f64>, qkv: &'a [f64]) -> Self {
        Plain { qkv, heads: op.heads, head_dim: op.head_dim, segments: op.segments, queries: op.queries }
    }
}

/// Offset of one head's vector inside `qkv`; `part` is 0 for the query, 1 for the key, 2 for the value.
fn at(op: &Plain<'_>, token: usize, part: usize, head: usize) -> usize {
    ((token * 3 + part) * op.heads + head) * op.head_dim
}

/// One head's query, key or value of one token.
fn vector<'a>(op: &Plain<'a>, token: usize, part: usize, head: usize) -> &'a [f64] {
    let start = at(op, token, part, head);
    &op.qkv[start..start + op.head_dim]
}

/// Scaled scores of one query with every key of its segment.
fn scores(op: &Plain<'_>, segment: Segment, query: usize, head: usize) -> Vec<f64> {
    let q = vector(op, query, 0, head);
    let keys = segment.start..segment.start + segment.len;
    keys.map(|key| dot(q, vector(op, key, 1, head)) / (op.head_dim as f64).sqrt()).collect()
}

/// Number of tokens, T, and width of a token, heads·d; checks the input's length.
fn shape(op: &Plain<'_>) -> (usize, usize) {
    let width = op.heads * op.head_dim;
    let tokens = op.qkv.len() / (3 * width);
    assert_eq!(op.qkv.len(), tokens * 3 * width, "attention: length of qkv, tokens·3·heads·head_dim");
    for segment in op.segments {
        let end = segment.start + segment.len;
        assert!(end <= tokens, "attention: a segment ends at row {end}, qkv has {tokens} rows");
    }
    (tokens, width)
}

pub(super) fn attention(op: Attention<'_, f64>, out: &mut [f64], sums: &mut [f64]) {
    let qkv = full(op.qkv);
    let op = Plain::new(op, &qkv);
    let (tokens, width) = shape(&op);
    assert_eq!(out.len(), tokens * width, "attention: length of out, tokens·heads·head_dim");
    assert_eq!(sums.len(), tokens * op.heads, "attention: length of log_sum_exp, tokens·heads");
    for &segment in op.segments {
        for query in segment.start..segment.start + segment.len.min(op.queries) {
            for head in 0..op.heads {
                let scores = scores(&op, segment, query, head);
                let sum = log_sum_exp(scores.iter().copied());
                let row = query * op.heads + head;
                let out = &mut out[row * op.head_dim..(row + 1) * op.head_dim];
                out.fill(0.0);
                for (j, score) in scores.iter().enumerate() {
                    let prob = (score - sum).exp();
                    for (out, v) in out.iter_mut().zip(vector(&op, segment.start + j, 2, head)) {
                        *out += prob * v;
                    }
                }
                sums[row] = sum;
            }
        }
    }
}

pub(super) fn attention_backward(op: Attention<'_, f64>, saved: AttentionBackward<'_, f64>, d_qkv: &mut [f64]) {
    let qkv = full(op.qkv);
    let op = Plain::new(op, &qkv);
    let (tokens, width) = shape(&op);
    assert_eq!(saved.d_out.len(), tokens * width, "attention_backward: length of d_out, tokens·heads·head_dim");
    assert_eq!(saved.log_sum_exp.len(), tokens * op.heads, "attention_backward: length of log_sum_exp, tokens·heads");
    assert_eq!(d_qkv.len(), op.qkv.len(), "attention_backward: lengths of d_qkv and qkv");
    for &segment in op.segments {
        let end = segment.start + segment.len;
        d_qkv[segment.start * 3 * width..end * 3 * width].fill(0.0);
        for query in segment.start..segment.start + segment.len.min(op.queries) {
            for head in 0..op.heads {
                query_backward(&op, saved, (segment, query, head), d_qkv);
            }
        }
    }
}

/// Adds the part of one query and one head: with p the probabilities and s the scores,
/// `dv_j = p_j·d_out`, `ds_j = p_j·(d_out·v_j − Σ_i p_i·d_out·v_i)`, `dq = Σ_j ds_j·k_j·d^-½`, `dk_j = ds_j·q·d^-½`.
fn query_backward(
    op: &Plain<'_>,
    saved: AttentionBackward<'_, f64>,
    (segment, query, head): (Segment, usize, usize),
    d_qkv: &mut [f64],
) {
    let row = query * op.heads + head;
    let columns = row * op.head_dim..(row + 1) * op.head_dim;
    let d_out = &saved.d_out[columns];
    let q = vector(op, query, 0, head);
    let scores = scores(op, segment, query, head).into_iter();
    let probs: Vec<f64> = scores.map(|score| (score - saved.log_sum_exp[row]).exp()).collect();
    let d_probs: Vec<f64> = (0..probs.len()).map(|j| dot(d_out, vector(op, segment.start + j, 2, head))).collect();
    let mean = dot(&probs, &d_probs);
    for (j, (&prob, &d_prob)) in probs.iter().zip(&d_probs).enumerate() {
        let key = segment.start + j;
        let k = vector(op, key, 1, head);
        let d_score = prob * (d_prob - mean) / (op.head_dim as f64).sqrt();
        for c in 0..op.head_dim {
            d_qkv[at(op, query, 0, head) + c] += d_score * k[c];
            d_qkv[at(op, key, 1, head) + c] += d_score * q[c];
            d_qkv[at(op, key, 2, head) + c] += prob * d_out[c];
        }
    }
}

pub(super) fn first_token_attention(op: Attention<'_, f64>, out: &mut [f64]) {
    let qkv = full(op.qkv);
    let op = Plain::new(op, &qkv);
    shape(&op);
    let tokens: usize = op.segments.iter().map(|segment| segment.len).sum();
    assert_eq!(out.len(), tokens * op.heads, "first_token_attention: length of out, heads·tokens of all segments");
    let mut to = out.iter_mut();
    // A segment without tokens has no first one.
    for &segment in op.segments.iter().filter(|segment| segment.len > 0) {
        for head in 0..op.heads {
            let scores = scores(&op, segment, segment.start, head);
            let sum = log_sum_exp(scores.iter().copied());
            for (score, out) in scores.iter().zip(&mut to) {
                *out = (score - sum).exp();
            }
        }
    }
}
