//! What DINOv2 adds to a ViT. Its features are compared with timm's and transformers' in `tests/interop/interop.py`; here are
//! gradients, sizes and what is stored.

mod support;

use dinoxide::checkpoint::NamedTensor;
use dinoxide::nn::pos_embed::{Resampling, position_mix};
use dinoxide::nn::vit::{Extras, Ffn, LAYER_SCALE, MaskToken, Vit, VitConfig};
use dinoxide::run::model::{Metadata, recognise};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Patches;
use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Images, Tape};
use dinoxide_engine::tensor::Pool;
use std::path::Path;
use support::{filled_vit, imagenet};

fn config(ffn: Ffn) -> VitConfig {
    let extras = Extras {
        layer_scale: Some(0.5),
        registers: 3,
        ffn,
        mask_token: MaskToken::Stored,
        resampling: Resampling::Antialiased,
    };
    VitConfig {
        image_size: 32,
        patch_size: 8,
        embed_dim: 24,
        depth: 2,
        num_heads: 3,
        mlp_ratio: 2.0,
        normalize: imagenet(),
        extras,
    }
}

/// A number that depends on the class tokens of images of two sizes, and its gradient.
fn loss(vit: &Vit, params: &Params, gradient: Option<&mut [f32]>) -> f64 {
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let pixels: Vec<u8> = (0..2 * 32 * 32 * 3).map(|at| (at * 37 % 251) as u8).collect();
    let small: Vec<u8> = pixels[..24 * 16 * 3].to_vec();
    let groups = [(2, 32, 32, &pixels), (1, 24, 16, &small)].map(|(images, height, width, pixels)| Images {
        pixels: pixels.into(),
        patches: Patches { images, height, width, channels: 3, patch: 8 },
    });
    let mut tape = Tape::train(&cpu, params, &pool);
    let out = vit.class_tokens(&mut tape, &groups, None);
    let weights: Vec<f32> = (0..out.values().len()).map(|at| (at as f32 * 0.7).sin()).collect();
    let value = out.values().iter().zip(&weights).map(|(value, weight)| f64::from(*value) * f64::from(*weight)).sum();
    if let Some(gradient) = gradient {
        tape.backward_from(&out, &weights, gradient);
    }
    value
}

#[test]
fn every_addition_has_its_gradient() {
    for ffn in [Ffn::Mlp, Ffn::SwiGlu] {
        let (vit, mut params) = filled_vit(config(ffn));
        let mut gradient = vec![0.0; params.values().len()];
        loss(&vit, &params, Some(&mut gradient));
        let specs = params.layout().specs().to_vec();
        for spec in specs.iter().filter(|spec| spec.name != "mask_token") {
            let own = &gradient[spec.range()];
            let length: f64 = own.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            assert!(length > 0.0, "`{}` has no gradient", spec.name);
            // Along its own direction the difference is the gradient's length.
            let along: Vec<f32> = own.iter().map(|value| value / length as f32).collect();
            const STEP: f32 = 4e-3;
            let mut moved = |step: f32| {
                let before = params.values()[spec.range()].to_vec();
                let values = &mut params.values_mut()[spec.range()];
                values.iter_mut().zip(&along).for_each(|(value, along)| *value += step * along);
                let value = loss(&vit, &params, None);
                params.values_mut()[spec.range()].copy_from_slice(&before);
                value
            };
            let mut central = |step: f32| (moved(step) - moved(-step)) / f64::from(2.0 * step);
            // Of fourth order: registers are small, and what follows them is strongly curved. Sums in f32 do the rest.
            let difference = (4.0 * central(STEP) - central(2.0 * STEP)) / 3.0;
            assert!((difference - length).abs() <= 2e-3 * (length + 0.1), "`{}`: {difference} and {length}", spec.name);
        }
    }
}

#[test]
fn tensors_show_what_was_added() {
    for ffn in [Ffn::Mlp, Ffn::SwiGlu] {
        let (_, params) = filled_vit(config(ffn));
        let tensors: Vec<NamedTensor> = params
            .tensors()
            .map(|(spec, values)| NamedTensor::new(&spec.name, spec.shape.clone(), values.to_vec()))
            .collect();
        let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert!(names.contains(&"register_tokens") && names.contains(&"blocks.1.ls2.gamma"), "{names:?}");
        assert_eq!(names.contains(&"blocks.0.mlp.w12.weight"), ffn == Ffn::SwiGlu);
        let stated = Metadata::from([("num_heads".to_owned(), "3".to_owned())]);
        let found = recognise(&tensors, &stated, Path::new("x")).expect("a known network");
        let found = found.vit().expect("a ViT");
        let expected = config(ffn);
        let extras = Extras { layer_scale: Some(LAYER_SCALE), ..expected.extras };
        assert_eq!((found.extras, found.hidden()), (extras, expected.hidden()));
    }
}

#[test]
fn antialiased_positions_are_averages() {
    for (base, rows, columns) in [(37, 16, 16), (37, 40, 9), (4, 2, 7), (16, 37, 37)] {
        let mix = position_mix(base, [rows, columns], false, Resampling::Antialiased).expect("another grid");
        assert_eq!(mix.outputs(), rows * columns);
        for (index, weights) in mix.index.chunks_exact(mix.taps).zip(mix.weights.chunks_exact(mix.taps)) {
            let total: f32 = weights.iter().sum();
            assert!((total - 1.0).abs() < 1e-5, "weights of {base} to {rows} x {columns} add up to {total}");
            assert!(index.iter().all(|source| (*source as usize) < base * base), "{index:?}");
        }
    }
}
