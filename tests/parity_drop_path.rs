//! Stochastic depth against timm: class tokens and every gradient, where some sequences, none and all take a branch.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

mod support;

use dinoxide::nn::drop_path::{Kept, KeptBranches};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tape::{Images, Tape};
use dinoxide_engine::tensor::Pool;
use serde_json::Value;
use support::{Fixture, assert_close, filled_vit, filler, filler_bytes, fixtures, vit_config};

/// f32 through three blocks, as for the whole ViT.
const TOLERANCE: f64 = 2e-5;
/// f32 backwards through three blocks, sums over eight sequences.
const GRADIENT_TOLERANCE: f64 = 1e-4;

fn branches(case: &Value) -> KeptBranches {
    let kept = |branch: &Value| {
        let sequences = branch[0].as_array()?.iter().map(|sequence| sequence.as_u64().unwrap() as u32).collect();
        Some(Kept { sequences, factor: branch[1].as_f64().unwrap() })
    };
    KeptBranches::new(case["kept"].as_array().unwrap().iter().map(kept).collect())
}

#[test]
fn skipped_branches_equal_branches_times_zero() {
    fixtures("drop_path").iter().for_each(|path| check(&Fixture::open(path)));
}

fn check(fixture: &Fixture) {
    let (vit, params) = filled_vit(vit_config(fixture, "image"));
    let groups: Vec<(usize, usize)> = serde_json::from_value(fixture.case["groups"].clone()).unwrap();
    let pixels: Vec<Vec<u8>> =
        groups.iter().map(|(side, images)| filler_bytes(&format!("images.{side}"), images * side * side * 3)).collect();
    let images: Vec<Images<'_>> = groups
        .iter()
        .zip(&pixels)
        .map(|((side, images), pixels)| Images { pixels: pixels.into(), patches: vit.patches(*images, *side, *side) })
        .collect();

    let (cpu, pool) = (Cpu::new(), Pool::new());
    let mut tape = Tape::train(&cpu, &params, &pool);
    let class = vit.class_tokens(&mut tape, &images, Some(&branches(&fixture.case)));
    assert_close("class tokens", class.values().iter().copied(), &fixture.values("cls"), TOLERANCE);

    let mut grads = vec![0.0; params.values().len()];
    tape.backward_from(&class, &filler("grad", class.values().len(), 1.0, 0.0), &mut grads);
    for spec in params.layout().specs() {
        let ours = grads[spec.range()].iter().step_by(fixture.usize("grad_stride")).copied();
        assert_close(&spec.name, ours, &fixture.values(&format!("grad.{}", spec.name)), GRADIENT_TOLERANCE);
    }
}
