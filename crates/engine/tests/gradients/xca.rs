//! Cross-covariance attention.

use dinoxide_engine::kernels::{CrossCovariance, Kernels, Segment};
use dinoxide_engine::reference::Reference;

use super::support::{dot, generator, random};
use super::{check, filled, increase, output};

#[test]
fn cross_covariance_matches_differences_in_every_segment() {
    let mut rng = generator(31);
    let (heads, head_dim, tokens) = (2, 3, 24);
    let width = heads * head_dim;
    // In neither order nor contact: rows 0, 8 and 23 belong to no segment.
    let segments = [(9, 11), (1, 7), (20, 1), (21, 2)].map(|(start, len)| Segment { start, len });
    let outside = [0, 8, 23];
    let qkv: Vec<f64> = random(&mut rng, tokens * 3 * width).iter().map(|x| 2.0 * x).collect();
    let (d_out, temperature) = (random(&mut rng, tokens * width), vec![3.0, -1.5]);
    // Far above 1e-12, so that clamped columns can be differentiated: those of the segment of one token that are shorter.
    for eps in [1e-12, 1.0] {
        let op = CrossCovariance {
            qkv: (&qkv).into(),
            heads,
            head_dim,
            segments: &segments,
            temperature: &temperature,
            eps,
        };
        let loss = |op: CrossCovariance<'_, f64>| {
            let mut out = vec![0.0; tokens * width];
            Reference.cross_covariance(op, &mut out);
            dot(&d_out, &out)
        };

        let mut d_temperature = filled(heads);
        let mut d_qkv = output(tokens * 3 * width, |d| {
            Reference.cross_covariance_backward(op, &d_out, d.into(), Some(&mut d_temperature));
        });

        for row in outside {
            let row = &mut d_qkv[row * 3 * width..(row + 1) * 3 * width];
            assert!(row.iter().all(|d| d.is_nan()), "a row outside every segment was written");
            row.fill(0.0);
        }
        check("cross_covariance", &qkv, &d_qkv, |qkv| loss(CrossCovariance { qkv: qkv.into(), ..op }));
        check("cross_covariance temperature", &temperature, &increase(&d_temperature), |temperature| {
            loss(CrossCovariance { temperature, ..op })
        });
    }
}
