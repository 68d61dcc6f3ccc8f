//! What DINOv2 adds to a ViT against timm: features and gradients of groups of images, and branches that images skip.

mod support;

use dinoxide::nn::init::Registry;
use dinoxide::nn::pos_embed::Resampling;
use dinoxide::nn::vit::{Extras, Ffn, MaskToken, Vit, VitConfig};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Keep, Tape};
use dinoxide_engine::tensor::Pool;
use support::{Fixture, Groups, assert_close, fill_values, gradient_errors, imagenet, kept};

/// f32 against f64: PyTorch's own features in f32 are off by up to 7e-7, its gradients by 2e-6 of a tensor's length
/// (`f32_relative_difference` in the fixtures).
const TOLERANCE: f64 = 1e-5;

fn filled(fixture: &Fixture) -> (Vit, Params) {
    let config = VitConfig {
        image_size: fixture.usize("image"),
        patch_size: fixture.usize("patch"),
        embed_dim: fixture.usize("dim"),
        depth: fixture.usize("depth"),
        num_heads: fixture.usize("heads"),
        mlp_ratio: VitConfig::mlp_ratio_of(fixture.usize("hidden"), fixture.usize("dim")),
        normalize: imagenet(),
        extras: Extras {
            layer_scale: Some(1.0),
            registers: fixture.usize("registers"),
            ffn: if fixture.case["swiglu"] == true { Ffn::SwiGlu } else { Ffn::Mlp },
            mask_token: MaskToken::Absent,
            // As timm does, with and without registers.
            resampling: Resampling::Antialiased,
        },
    };
    let mut registry = Registry::new();
    let network = Vit::new(config, "", &mut registry);
    let mut params = registry.undrawn();
    fill_values(&mut params);
    (network, params)
}

/// Features of all groups, and gradients.
fn train(network: &Vit, params: &Params, fixture: &Fixture, keep: Keep) -> (Vec<f32>, Vec<f32>) {
    let (cpu, pool, groups) = (Cpu::new(), Pool::new(), Groups::of(fixture));
    let mut tape = Tape::train(&cpu, params, &pool);
    tape.keep(keep);
    let images = groups.images(|[images, height, width]| network.patches(images, height, width));
    let out = network.class_tokens(&mut tape, &images, kept(fixture, 2).as_ref());
    let mut grads = vec![0.0; params.values().len()];
    tape.backward_from(&out, &groups.d_features(out.columns()), &mut grads);
    (out.values().to_vec(), grads)
}

fn check(name: &str) {
    let fixture = Fixture::open(&format!("dinov2/{name}.safetensors"));
    let (network, params) = filled(&fixture);
    let (features, grads) = train(&network, &params, &fixture, Keep::Everything);
    assert_close("features", features, &Groups::of(&fixture).expected(&fixture), TOLERANCE);
    gradient_errors(&params, &grads, &fixture, TOLERANCE);
    let again = train(&network, &params, &fixture, Keep::Inputs).1;
    assert!(grads == again, "recomputation changes gradients");
}

#[test]
fn layer_scale_equals_timm() {
    check("layer_scale");
}

#[test]
fn registers_equal_timm() {
    check("registers");
}

#[test]
fn swiglu_equals_timm() {
    check("swiglu");
}

#[test]
fn skipped_branches_equal_branches_times_zero() {
    check("drop_path");
}
