//! Cross-covariance attention.

use dinoxide_engine::kernels::*;

use super::{Real, Results, Values, scattered};

fn cross_covariance<E: Real>(
    k: &dyn Kernels<E>,
    v: &mut Values,
    (heads, head_dim): (usize, usize),
    lens: &[usize],
    eps: f64,
) -> Results<E> {
    let (segments, tokens) = scattered(lens);
    let (qkv, d_out) = (v.next::<E>(tokens * 3 * heads * head_dim), v.next::<E>(tokens * heads * head_dim));
    let temperature = v.unscaled::<E>(heads, -8.0..8.0);
    let op =
        CrossCovariance { qkv: (&qkv).into(), heads, head_dim, segments: &segments, temperature: &temperature, eps };
    let mut out = vec![E::from_f32(3.0); tokens * heads * head_dim];
    k.cross_covariance(op, &mut out);
    let (mut d_qkv, mut d_temperature) = (vec![E::from_f32(3.0); qkv.len()], v.next::<E>(heads));
    k.cross_covariance_backward(op, &d_out, (&mut d_qkv).into(), Some(&mut d_temperature));
    let mut d_qkv_alone = vec![E::from_f32(3.0); qkv.len()];
    k.cross_covariance_backward(op, &d_out, (&mut d_qkv_alone).into(), None);
    vec![("out", out), ("d_qkv", d_qkv), ("d_temperature", d_temperature), ("d_qkv alone", d_qkv_alone)]
}

#[test]
fn cross_covariances_agree() {
    agree!(cross_covariance((1, 1), &[1][..], 1e-12));
    agree!(cross_covariance((3, 5), &[3, 1, 7, 0][..], 1e-12));
    agree!(cross_covariance((8, 48), &[196, 36, 36][..], 1e-12));
    agree!(cross_covariance((2, 64), &[784, 63, 64, 65][..], 1e-12));
    agree!(cross_covariance((2, 20), &[97, 128][..], 1e-12));
    agree!(cross_covariance((2, 16), &[37, 12][..], 1e-12), scale 1e-4, tolerance crate::TOLERANCE);
    agree!(cross_covariance((2, 16), &[37, 12][..], 1e-12), scale 1e3, tolerance crate::TOLERANCE);
    // Some columns are shorter than this, some longer.
    agree!(cross_covariance((2, 16), &[3, 2, 1][..], 2.0));
}
