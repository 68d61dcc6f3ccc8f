//! Cross-covariance attention.

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::*;
use dinoxide_engine::reference::Reference;
use dinoxide_engine::values::{Values, ValuesMut};
use half::bf16;

use super::{EXACT, Named, Real, WEIGHTED, agree, full, half, packed, values, wide};

/// Lengths of sequences, and widths of heads. The gradient of a single token's query is a difference of equal terms.
const HEADS: [(&[usize], usize); 4] = [(&[5, 17], 64), (&[196, 36], 48), (&[65, 130], 16), (&[50], 7)];

fn cross_covariance<E: Real>(k: &dyn Kernels<E>, lens: &[usize], head_dim: usize) -> Vec<Named> {
    let heads = 3;
    let (segments, tokens) = packed(lens);
    let qkv = values(tokens * 3 * heads * head_dim, 5);
    let temperature: Vec<E> = wide(&[4.0, -2.0, 1.0].map(bf16::from_f32));
    let (qkv, segments, temperature) = (Values::Half(&qkv), &segments[..], &temperature[..]);
    let op = CrossCovariance { qkv, heads, head_dim, segments, temperature, eps: 1e-12 };
    let d_out = wide::<E>(&values(tokens * heads * head_dim, 6));
    let mut out = vec![E::default(); d_out.len()];
    k.cross_covariance(op, &mut out);
    let (mut d_qkv, mut d_temperature) = (vec![E::default(); qkv.len()], vec![E::default(); heads]);
    k.cross_covariance_backward(op, &d_out, (&mut d_qkv).into(), Some(&mut d_temperature));
    let mut d_qkv_half = vec![bf16::NAN; qkv.len()];
    k.cross_covariance_backward(op, &d_out, ValuesMut::Half(&mut d_qkv_half), None);
    vec![
        full("out", out),
        full("d_qkv", d_qkv),
        full("d_temperature", d_temperature),
        half("d_qkv rounded", d_qkv_half, 1),
    ]
}

#[test]
fn cross_covariances_agree() {
    for (lens, head_dim) in HEADS {
        let case = format!("cross_covariance {lens:?} x {head_dim}");
        let anywhere = cross_covariance(&Cpu::bf16_anywhere(), lens, head_dim);
        // Probabilities and their gradients are rounded before they are multiplied.
        agree(&case, WEIGHTED, anywhere.clone(), cross_covariance(&Reference, lens, head_dim));
        if let Some(cpu) = Cpu::bf16() {
            agree(&case, EXACT, cross_covariance(&cpu, lens, head_dim), anywhere);
        }
    }
}

#[test]
fn the_number_of_threads_changes_no_bit_of_cross_covariances() {
    for cpu in [Cpu::new(), Cpu::bf16().unwrap_or_else(Cpu::bf16_anywhere)] {
        let precise = Kernels::<f32>::precision(&cpu) == dinoxide_engine::values::Precision::F32;
        let mut results = [1, 3, 8].into_iter().map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            pool.install(|| bits(&cpu, precise))
        });
        let first = results.next().expect("one thread");
        assert!(results.all(|other| other == first), "{cpu:?} depends on the number of threads");
    }
}

/// The bits of all results, of tokens in full precision or rounded.
fn bits(cpu: &Cpu, precise: bool) -> Vec<u32> {
    let (heads, head_dim, len) = (4, 48, 100);
    let segments: Vec<Segment> = (0..9).map(|index| Segment { start: index * len, len }).collect();
    let half = values(9 * len * 3 * heads * head_dim, 7);
    let (whole, d_out) = (wide::<f32>(&half), wide::<f32>(&values(9 * len * heads * head_dim, 8)));
    let qkv = if precise { Values::Full(&whole[..]) } else { Values::Half(&half) };
    let temperature = [1.0, 2.0, 3.0, 4.0];
    let op = CrossCovariance { qkv, heads, head_dim, segments: &segments, temperature: &temperature, eps: 1e-12 };
    let (mut out, mut d_qkv, mut d_temperature) = (d_out.clone(), whole.clone(), vec![0.0; heads]);
    cpu.cross_covariance(op, &mut out);
    cpu.cross_covariance_backward(op, &d_out, (&mut d_qkv).into(), Some(&mut d_temperature));
    [out, d_qkv, d_temperature].concat().into_iter().map(f32::to_bits).collect()
}
