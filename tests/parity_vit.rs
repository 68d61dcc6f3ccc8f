//! The ViT against timm: class token, all tokens, last attention, four layers, at three image sizes.

mod support;

use dinoxide::nn::init::Registry;
use dinoxide::nn::vit::{Extras, Vit, VitConfig};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tape::{Images, Tape};
use dinoxide_engine::tensor::Pool;
use support::{Fixture, assert_close, filled_vit, filler_bytes, imagenet};

/// f32 against f64 through twelve blocks: the reference's own f32 run differs from its f64 run by up to 4e-6.
const TOLERANCE: f64 = 2e-5;

fn check(name: &str, embed_dim: usize, num_heads: usize) {
    let config = VitConfig {
        image_size: 224,
        patch_size: 16,
        embed_dim,
        depth: 12,
        num_heads,
        mlp_ratio: 4.0,
        normalize: imagenet(),
        extras: Extras::default(),
    };
    let (vit, params) = filled_vit(config);
    for (height, width) in [(224, 224), (96, 96), (320, 480)] {
        let fixture = Fixture::open(&format!("vit/vit_{name}_{height}x{width}.safetensors"));
        let pixels = filler_bytes("image", height * width * 3);
        let images = [Images { pixels: (&pixels).into(), patches: vit.patches(1, height, width) }];
        let (cpu, pool) = (Cpu::new(), Pool::new());
        let mut tape = Tape::infer(&cpu, &params, &pool);

        let class = vit.class_tokens(&mut tape, &images, None);
        assert_close("class token", class.values().iter().copied(), &fixture.values("cls"), TOLERANCE);

        let attention = vit.last_class_attention(&mut tape, &images);
        assert_close("attention", attention, &fixture.values("attention"), TOLERANCE);

        let layers = vit.intermediate_layers(&mut tape, &images, 4);
        let (rows, columns) = (fixture.usize("row_stride"), fixture.usize("column_stride"));
        let tokens = layers.iter().map(|layer| &layer.tokens);
        let sample = tokens.clone().flat_map(|tokens| {
            let picked = (0..tokens.rows()).step_by(rows);
            picked.flat_map(move |row| tokens.row(row).iter().step_by(columns).copied())
        });
        assert_close("layers", sample, &fixture.values("layers.sample"), TOLERANCE);
        let sums = tokens.clone().map(|tokens| tokens.values().iter().map(|v| f64::from(v.abs())).sum::<f64>() as f32);
        assert_close("absolute sums", sums, &fixture.values("layers.abs_sum"), TOLERANCE);
        let maxima = tokens.map(|tokens| tokens.values().iter().fold(0.0, |m: f32, v| m.max(v.abs())));
        assert_close("largest values", maxima, &fixture.values("layers.abs_max"), TOLERANCE);
    }
}

#[test]
fn vit_tiny_equals_timm() {
    check("tiny", 192, 3);
}

#[test]
fn vit_small_equals_timm() {
    check("small", 384, 6);
}

#[test]
fn vit_base_equals_timm() {
    check("base", 768, 12);
}

#[test]
fn parameter_counts_are_the_published_ones() {
    for (embed_dim, patch_size, count) in
        [(192, 16, 5_524_416), (384, 16, 21_665_664), (384, 8, 21_670_272), (768, 16, 85_798_656), (768, 8, 85_807_872)]
    {
        let config = VitConfig {
            image_size: 224,
            patch_size,
            embed_dim,
            depth: 12,
            num_heads: embed_dim / 64,
            mlp_ratio: 4.0,
            normalize: imagenet(),
            extras: Extras::default(),
        };
        let mut registry = Registry::new();
        Vit::new(config, "", &mut registry);
        let params = registry.undrawn();
        assert_eq!(params.values().len(), count);
        assert_eq!(params.layout().specs().len(), 150);
    }
}
