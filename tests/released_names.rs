//! The tensors of every published file, by names and shapes written down here from the descriptions of those files, find their place:
//! all of them, and nothing else is missing. Values are not needed for that.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::path::Path;

use dinoxide::checkpoint::dialect::official;
use dinoxide::checkpoint::{NamedTensor, match_names, names};
use dinoxide::config::ModelConfig;
use dinoxide::nn::backbone::{Backbone, BackboneConfig};
use dinoxide::nn::init::Registry;
use dinoxide::run::model::{Metadata, recognise};

type Names = Vec<(String, Vec<usize>)>;

/// Width, blocks, patch, stored positions.
#[derive(Clone, Copy)]
struct Sizes {
    width: usize,
    depth: usize,
    patch: usize,
    positions: usize,
}

const VIT_S16: Sizes = Sizes { width: 384, depth: 12, patch: 16, positions: 197 };
const VIT_S8: Sizes = Sizes { width: 384, depth: 12, patch: 8, positions: 785 };
const VIT_B16: Sizes = Sizes { width: 768, depth: 12, patch: 16, positions: 197 };
const VIT_B8: Sizes = Sizes { width: 768, depth: 12, patch: 8, positions: 785 };
/// DINOv2's, stored for images of 518 pixels.
const V2: [(&str, Sizes); 4] = [
    ("ViT-S/14", Sizes { width: 384, depth: 12, patch: 14, positions: 1370 }),
    ("ViT-B/14", Sizes { width: 768, depth: 12, patch: 14, positions: 1370 }),
    ("ViT-L/14", Sizes { width: 1024, depth: 24, patch: 14, positions: 1370 }),
    ("ViT-g/14", Sizes { width: 1536, depth: 40, patch: 14, positions: 1370 }),
];

fn with_bias(names: &mut Names, name: &str, shape: &[usize]) {
    names.push((format!("{name}.weight"), shape.to_vec()));
    names.push((format!("{name}.bias"), vec![shape[0]]));
}

/// A DINO ViT, as the official program names it.
fn vit(sizes: Sizes) -> Names {
    let Sizes { width, depth, patch, positions } = sizes;
    let mut names =
        vec![("cls_token".to_owned(), vec![1, 1, width]), ("pos_embed".to_owned(), vec![1, positions, width])];
    with_bias(&mut names, "patch_embed.proj", &[width, 3, patch, patch]);
    for block in 0..depth {
        let part = |part: &str| format!("blocks.{block}.{part}");
        with_bias(&mut names, &part("norm1"), &[width]);
        with_bias(&mut names, &part("attn.qkv"), &[3 * width, width]);
        with_bias(&mut names, &part("attn.proj"), &[width, width]);
        with_bias(&mut names, &part("norm2"), &[width]);
        with_bias(&mut names, &part("mlp.fc1"), &[4 * width, width]);
        with_bias(&mut names, &part("mlp.fc2"), &[width, 4 * width]);
    }
    with_bias(&mut names, "norm", &[width]);
    names
}

/// A ViT of DINOv2: LayerScale, a mask token, SwiGLU in the largest, registers in the newer ones.
fn dinov2(sizes: Sizes, registers: usize) -> Names {
    let width = sizes.width;
    let mut names = vit(sizes);
    names.push(("mask_token".to_owned(), vec![1, width]));
    if registers > 0 {
        names.push(("register_tokens".to_owned(), vec![1, registers, width]));
    }
    for block in 0..sizes.depth {
        names.extend([1, 2].map(|branch| (format!("blocks.{block}.ls{branch}.gamma"), vec![width])));
    }
    if width == 1536 {
        names.retain(|(name, _)| !name.contains(".mlp."));
        for block in 0..sizes.depth {
            with_bias(&mut names, &format!("blocks.{block}.mlp.w12"), &[8192, width]);
            with_bias(&mut names, &format!("blocks.{block}.mlp.w3"), &[width, 4096]);
        }
    }
    names
}

fn normed(names: &mut Names, conv: &str, norm: &str, shape: [usize; 4]) {
    names.push((format!("{conv}.weight"), shape.to_vec()));
    for part in ["weight", "bias", "running_mean", "running_var"] {
        names.push((format!("{norm}.{part}"), vec![shape[0]]));
    }
    names.push((format!("{norm}.num_batches_tracked"), Vec::new()));
}

/// torchvision's ResNet-50 without its classifier.
fn resnet50() -> Names {
    let mut names = Names::new();
    normed(&mut names, "conv1", "bn1", [64, 3, 7, 7]);
    let mut inputs = 64;
    for (stage, count) in [(1, 3), (2, 4), (3, 6), (4, 3)] {
        let middle = 32 << stage;
        for block in 0..count {
            let layer = |part: &str| format!("layer{stage}.{block}.{part}");
            normed(&mut names, &layer("conv1"), &layer("bn1"), [middle, inputs, 1, 1]);
            normed(&mut names, &layer("conv2"), &layer("bn2"), [middle, middle, 3, 3]);
            normed(&mut names, &layer("conv3"), &layer("bn3"), [4 * middle, middle, 1, 1]);
            if block == 0 {
                normed(&mut names, &layer("downsample.0"), &layer("downsample.1"), [4 * middle, inputs, 1, 1]);
            }
            inputs = 4 * middle;
        }
    }
    names
}

/// DINO's projection head on features of `width`, without batch normalisation.
fn head(width: usize, out_dim: usize) -> Names {
    let mut names = Names::new();
    with_bias(&mut names, "head.mlp.0", &[2048, width]);
    with_bias(&mut names, "head.mlp.2", &[2048, 2048]);
    with_bias(&mut names, "head.mlp.4", &[256, 2048]);
    names.push(("head.last_layer.weight_g".to_owned(), vec![out_dim, 1]));
    names.push(("head.last_layer.weight_v".to_owned(), vec![out_dim, 256]));
    names
}

/// The same network under the names of transformers; `within` are those of a block's parts.
fn hugging(names: &Names, within: &[(&str, &str)]) -> Names {
    const OUTSIDE: [(&str, &str); 6] = [
        ("cls_token", "embeddings.cls_token"),
        ("pos_embed", "embeddings.position_embeddings"),
        ("mask_token", "embeddings.mask_token"),
        ("register_tokens", "embeddings.register_tokens"),
        ("patch_embed.proj", "embeddings.patch_embeddings.projection"),
        ("norm", "layernorm"),
    ];
    let mut renamed = Names::new();
    for (name, shape) in names {
        let Some((number, part)) = name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) else {
            let (here, there) = OUTSIDE.into_iter().find(|(here, _)| name.starts_with(here)).unwrap();
            renamed.push((format!("{there}{}", &name[here.len()..]), shape.clone()));
            continue;
        };
        if let Some(kind) = part.strip_prefix("attn.qkv.") {
            let third: Vec<usize> = std::iter::once(shape[0] / 3).chain(shape[1..].iter().copied()).collect();
            for part in ["query", "key", "value"] {
                renamed.push((format!("encoder.layer.{number}.attention.attention.{part}.{kind}"), third.clone()));
            }
            continue;
        }
        let (here, there) = within.iter().find(|(here, _)| part.starts_with(here)).unwrap();
        renamed.push((format!("encoder.layer.{number}.{there}{}", &part[here.len()..]), shape.clone()));
    }
    renamed
}

const IN_VIT: [(&str, &str); 5] = [
    ("norm1", "layernorm_before"),
    ("norm2", "layernorm_after"),
    ("attn.proj", "attention.output.dense"),
    ("mlp.fc1", "intermediate.dense"),
    ("mlp.fc2", "output.dense"),
];
const IN_DINOV2: [(&str, &str); 9] = [
    ("norm1", "norm1"),
    ("norm2", "norm2"),
    ("attn.proj", "attention.output.dense"),
    ("ls1.gamma", "layer_scale1.lambda1"),
    ("ls2.gamma", "layer_scale2.lambda1"),
    ("mlp.fc1", "mlp.fc1"),
    ("mlp.fc2", "mlp.fc2"),
    ("mlp.w12", "mlp.weights_in"),
    ("mlp.w3", "mlp.weights_out"),
];

/// All tensors find their place but `ignored` ones; returns how many, and the network.
#[track_caller]
fn places(names: &Names, ignored: usize, what: &str) -> (usize, BackboneConfig) {
    let tensors = names.iter().map(|(name, shape)| NamedTensor::new(name.as_str(), shape.clone(), Vec::new()));
    let mut tensors: Vec<NamedTensor> = tensors.collect();
    names::strip_prefixes_of_all(&mut tensors);
    let (tensors, _) = official(tensors);
    let config = recognise(&tensors, &Metadata::new(), Path::new(what)).unwrap();
    let mut registry = Registry::new();
    Backbone::new(config.clone(), "", &mut registry);
    let layout = registry.into_layout();
    let expected: Vec<_> = layout.specs().iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect();
    let report = match_names(&expected, &tensors, &["head.", "fc."]);
    assert!(report.is_complete(), "{what}: {report}");
    assert_eq!((report.matched.len(), report.ignored.len()), (expected.len(), ignored), "{what}");
    (report.matched.len(), config)
}

fn prefixed(names: &Names, prefix: &str) -> Names {
    names.iter().map(|(name, shape)| (format!("{prefix}{name}"), shape.clone())).collect()
}

#[test]
fn vits_of_dino() {
    for (what, sizes, parameters) in [
        ("ViT-S/16", VIT_S16, 21_665_664),
        ("ViT-S/8", VIT_S8, 21_670_272),
        ("ViT-B/16", VIT_B16, 85_798_656),
        ("ViT-B/8", VIT_B8, 85_807_872),
    ] {
        let backbone = vit(sizes);
        let (count, config) = places(&backbone, 0, what);
        assert_eq!((count, config.parameters()), (150, parameters), "{what}");
        assert_eq!(config.vit().unwrap().num_heads, sizes.width / 64);
        // The student and the teacher of a full checkpoint, with heads.
        let mut student = prefixed(&backbone, "module.backbone.");
        student.extend(prefixed(&head(sizes.width, 65_536), "module."));
        assert_eq!(places(&student, 8, what).1, config);
        let mut teacher = prefixed(&backbone, "backbone.");
        teacher.extend(head(sizes.width, 65_536));
        assert_eq!(places(&teacher, 8, what).1, config);
        // facebook/dino-vits16 and the others: four tensors more a block.
        let there = hugging(&backbone, &IN_VIT);
        assert_eq!(there.len(), 150 + 4 * sizes.depth);
        assert_eq!(places(&there, 0, what).1, config);
    }
}

#[test]
fn vits_of_dinov2() {
    for (what, sizes) in V2 {
        for registers in [0, 4] {
            let backbone = dinov2(sizes, registers);
            let expected = 6 + 1 + 14 * sizes.depth + usize::from(registers > 0);
            let (count, config) = places(&backbone, 0, what);
            assert_eq!((count, config.vit().unwrap().extras.registers), (expected, registers), "{what}");
            assert_eq!(config.vit().unwrap().image_size, 518);
            // A run can be of this network, under the name that its own program has for it.
            let model = ModelConfig::of(&config);
            let ending = if registers > 0 { "_reg" } else { "" };
            let letter = what.trim_start_matches("ViT-").chars().next().unwrap().to_ascii_lowercase();
            assert_eq!(model.full_name(), format!("dinov2_vit{letter}14{ending}"));
            assert_eq!(model.backbone(config.normalize().clone()).unwrap(), config);
            let chunk = |name: &str| match name.strip_prefix("blocks.").and_then(|rest| rest.split_once('.')) {
                Some((number, rest)) => format!("blocks.{}.{number}.{rest}", number.parse::<usize>().unwrap() / 10),
                None => name.to_owned(),
            };
            let chunked: Names = backbone.iter().map(|(name, shape)| (chunk(name), shape.clone())).collect();
            assert_eq!(places(&chunked, 0, what).1, config);
            assert_eq!(places(&hugging(&backbone, &IN_DINOV2), 0, what).1, config);
        }
    }
}

#[test]
fn resnet_of_dino() {
    let backbone = resnet50();
    let (count, config) = places(&backbone, 0, "ResNet-50");
    assert_eq!((count, config.parameters()), (318, 23_508_032));
    // torchvision's own file has a classifier, and those before PyTorch 0.4.1 have no counters.
    let mut whole = backbone.clone();
    with_bias(&mut whole, "fc", &[1000, 2048]);
    assert_eq!(places(&whole, 2, "torchvision").1, config);
    let mut checkpoint = prefixed(&backbone, "module.backbone.");
    checkpoint.extend(prefixed(&head(2048, 60_000), "module."));
    assert_eq!(places(&checkpoint, 8, "checkpoint").1, config);
}

/// An XCiT without its classifier.
fn xcit(width: usize, depth: usize, patch: usize) -> Names {
    let mut names = vec![("cls_token".to_owned(), vec![1, 1, width])];
    let layers = if patch == 16 { 4 } else { 3 };
    let mut inputs = 3;
    for layer in 0..layers {
        let (outputs, place) = (width >> (layers - 1 - layer), format!("patch_embed.proj.{}", 2 * layer));
        normed(&mut names, &format!("{place}.0"), &format!("{place}.1"), [outputs, inputs, 3, 3]);
        inputs = outputs;
    }
    with_bias(&mut names, "pos_embeder.token_projection", &[width, 64, 1, 1]);
    for block in 0..depth {
        let part = |part: &str| format!("blocks.{block}.{part}");
        names.extend(["gamma1", "gamma2", "gamma3"].map(|gamma| (part(gamma), vec![width])));
        names.push((part("attn.temperature"), vec![8, 1, 1]));
        ["norm1", "norm2", "norm3"].iter().for_each(|norm| with_bias(&mut names, &part(norm), &[width]));
        with_bias(&mut names, &part("attn.qkv"), &[3 * width, width]);
        with_bias(&mut names, &part("attn.proj"), &[width, width]);
        with_bias(&mut names, &part("mlp.fc1"), &[4 * width, width]);
        with_bias(&mut names, &part("mlp.fc2"), &[width, 4 * width]);
        normed(&mut names, &part("local_mp.conv1"), &part("local_mp.bn"), [width, 1, 3, 3]);
        names.push((part("local_mp.conv1.bias"), vec![width]));
        with_bias(&mut names, &part("local_mp.conv2"), &[width, 1, 3, 3]);
    }
    for block in 0..2 {
        let part = |part: &str| format!("cls_attn_blocks.{block}.{part}");
        names.extend(["gamma1", "gamma2"].map(|gamma| (part(gamma), vec![width])));
        ["norm1", "norm2"].iter().for_each(|norm| with_bias(&mut names, &part(norm), &[width]));
        with_bias(&mut names, &part("attn.qkv"), &[3 * width, width]);
        with_bias(&mut names, &part("attn.proj"), &[width, width]);
        with_bias(&mut names, &part("mlp.fc1"), &[4 * width, width]);
        with_bias(&mut names, &part("mlp.fc2"), &[width, 4 * width]);
    }
    with_bias(&mut names, "norm", &[width]);
    names
}

#[test]
fn xcits_of_dino() {
    for (what, width, depth, patch, parameters) in [
        ("xcit_small_12_p16", 384, 12, 16, 25_868_304),
        ("xcit_small_12_p8", 384, 12, 8, 25_828_032),
        ("xcit_medium_24_p16", 512, 24, 16, 83_882_752),
        ("xcit_medium_24_p8", 512, 24, 8, 83_810_624),
    ] {
        let backbone = xcit(width, depth, patch);
        let (count, config) = places(&backbone, 0, what);
        assert_eq!((count, config.parameters()), (backbone.len(), parameters), "{what}");
        let mut checkpoint = prefixed(&backbone, "module.backbone.");
        checkpoint.extend(prefixed(&head(width, 65_536), "module."));
        assert_eq!(places(&checkpoint, 8, what).1, config);
    }
}
