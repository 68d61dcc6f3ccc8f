//! Weights of the reference program: every tensor arrives, and a file that does not fit says so.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use std::path::Path;

use dinoxide::checkpoint::{NamedTensor, Section, TensorRef, match_names, read_any, safetensors};
use dinoxide::nn::dino_head::{DinoHead, DinoHeadConfig, HeadNorm, LastLayer};
use dinoxide::nn::init::Registry;
use dinoxide::nn::vit::{Extras, Vit, VitConfig};
use dinoxide::run::RunError;
use dinoxide::run::input::Network;
use dinoxide::run::model::{InitialWeights, Metadata, Model, Wanted, load_backbone, recognise};
use dinoxide_engine::kernels::Normalize;
use dinoxide_engine::params::Params;
use support::{filler, fixture_path, imagenet, parameter};

/// The network of `parity/generate/pth.py`.
fn small_vit(image_size: usize) -> VitConfig {
    VitConfig {
        image_size,
        patch_size: 8,
        embed_dim: 12,
        depth: 2,
        num_heads: 3,
        mlp_ratio: 4.0,
        normalize: imagenet(),
        extras: Extras::default(),
    }
}

fn heads_stated() -> Metadata {
    Metadata::from([("num_heads".to_owned(), "3".to_owned())])
}

fn network(file: &str, section: Section) -> Vec<NamedTensor> {
    read_any(&fixture_path(&format!("pth/{file}"))).unwrap().network(section).unwrap().tensors
}

fn assert_filler(params: &Params, role: &str) {
    for (spec, values) in params.tensors() {
        assert_eq!(values, parameter(&format!("{role}.backbone.{}", spec.name), &spec.shape), "{}", spec.name);
    }
}

#[test]
fn every_official_file_gives_its_backbone() {
    for (file, section, role) in [
        ("backbone.pth", Section::Teacher, "teacher"),
        ("backbone_legacy.pth", Section::Teacher, "teacher"),
        ("full_checkpoint.pth", Section::Teacher, "teacher"),
        ("full_checkpoint.pth", Section::Student, "student"),
        ("full_checkpoint_legacy.pth", Section::Teacher, "teacher"),
        ("full_checkpoint_legacy.pth", Section::Student, "student"),
        ("teacher_bn_module.pth", Section::Teacher, "teacher"),
        ("teacher.safetensors", Section::Teacher, "teacher"),
    ] {
        let tensors = network(file, section);
        let path = Path::new(file);
        let config = recognise(&tensors, &heads_stated(), path).unwrap();
        assert_eq!(config, small_vit(32).into(), "{file}");
        let (_, params) = load_backbone(config, &tensors, path).unwrap();
        assert_filler(&params, role);
    }
}

#[test]
fn unknown_number_of_heads_is_asked_for() {
    let error = Model::load(&fixture_path("pth/backbone.pth"), Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("width 12") && error.contains("num_heads"), "{error}");
}

#[test]
fn a_backbone_file_has_no_student() {
    let error = Model::load(&fixture_path("pth/backbone.pth"), Network::Student).unwrap_err().to_string();
    assert!(error.contains("no section `student`"), "{error}");
}

#[test]
fn tensors_that_do_not_fit_are_listed() {
    let mut tensors = network("backbone.pth", Section::Teacher);
    tensors.retain(|tensor| tensor.name != "norm.bias");
    tensors.push(NamedTensor::new("extra_token", vec![1, 12], vec![0.0; 12]));
    let bias = tensors.iter_mut().find(|tensor| tensor.name == "blocks.1.attn.qkv.bias").unwrap();
    (bias.shape, bias.values) = (vec![12], vec![0.0; 12]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.safetensors");
    let refs: Vec<_> = tensors.iter().map(NamedTensor::as_tensor_ref).collect();
    safetensors::write(&path, &refs, &heads_stated()).unwrap();
    let error = Model::load(&path, Network::Teacher).unwrap_err().to_string();
    for part in
        ["1 missing", "`norm.bias`", "`extra_token`", "`blocks.1.attn.qkv.bias`: the network has [36], the file [12]"]
    {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn files_without_a_vit_are_refused() {
    let error = Model::load(&fixture_path("pth/odd_tensors.pth"), Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("holds no ViT, ResNet or XCiT"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let error = Model::load(folder.path(), Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("without `config.toml`"), "{error}");
    let error = Model::load(&folder.path().join("none.pth"), Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("none.pth"), "{error}");
}

/// A student as training makes it.
fn student(image_size: usize, out_dim: usize) -> Params {
    let head = DinoHeadConfig {
        in_dim: 12,
        out_dim,
        hidden_dim: 16,
        bottleneck_dim: 8,
        layers: 3,
        norm: HeadNorm::None,
        last_layer: LastLayer::Normalized,
    };
    let mut registry = Registry::new();
    Vit::new(small_vit(image_size), "backbone.", &mut registry);
    DinoHead::new(&head, "head.", &mut registry);
    registry.finish(1)
}

/// Puts the weights of a file into a network and says what was used.
fn initialise(params: &mut Params, path: &Path) -> Result<String, RunError> {
    Ok(InitialWeights::read(path)?.put_into(params, Wanted::All)?.words)
}

#[test]
fn a_run_starts_from_backbone_and_head_where_both_fit() {
    let mut params = student(32, 20);
    let taken = InitialWeights::read(&fixture_path("pth/full_checkpoint.pth"))
        .unwrap()
        .put_into(&mut params, Wanted::All)
        .unwrap();
    let report = taken.words;
    assert!(report.contains("30 tensors of the backbone; 8 tensors of the head"), "{report}");
    assert_eq!(taken.center.unwrap(), filler("dino_loss.center", 20, 0.5, 0.0));
    for (spec, values) in params.tensors() {
        assert_eq!(values, parameter(&format!("teacher.{}", spec.name), &spec.shape), "{}", spec.name);
    }
}

#[test]
fn a_head_that_does_not_fit_starts_anew() {
    let before = student(32, 24);
    for file in ["full_checkpoint.pth", "backbone.pth"] {
        let mut params = before.clone();
        let report = initialise(&mut params, &fixture_path(&format!("pth/{file}"))).unwrap();
        assert!(report.contains("the head starts anew"), "{report}");
        for ((spec, values), (_, old)) in params.tensors().zip(before.tensors()) {
            let expected = parameter(&format!("teacher.{}", spec.name), &spec.shape);
            assert_eq!(values, if spec.name.starts_with("head.") { old } else { &expected }, "{}", spec.name);
        }
    }
}

#[test]
fn positions_of_another_grid_are_interpolated() {
    let mut params = student(48, 20);
    let report = initialise(&mut params, &fixture_path("pth/backbone.pth")).unwrap();
    assert!(report.contains("positions interpolated from 4x4 to 6x6"), "{report}");
    let stored = parameter("teacher.backbone.pos_embed", &[1, 17, 12]);
    let id = params.layout().find("backbone.pos_embed").unwrap();
    let fitted = params.get(id);
    assert_eq!(fitted.len(), 37 * 12);
    assert_eq!(fitted[..12], stored[..12]);
    // A cubic through values of at most 1 overshoots by less than a quarter in each direction.
    assert!(fitted.iter().all(|value| value.abs() < 1.6) && fitted[12..].iter().any(|value| value.abs() > 0.1));
}

/// timm's `adapt_input_conv` (`parity/generate/channels.py`); one rounding of a product apart.
#[test]
fn a_patch_embedding_of_colors_is_inflated_to_other_channels_as_timm_does() {
    let file = safetensors::read(&fixture_path("channels/inflate.safetensors")).unwrap();
    let weights = |name: &str| file.tensors.iter().find(|tensor| tensor.name == name).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rgb.safetensors");
    let config = |channels: usize| VitConfig {
        image_size: 8,
        patch_size: 4,
        embed_dim: 4,
        depth: 1,
        num_heads: 1,
        normalize: Normalize { mean: vec![0.5; channels], std: vec![0.25; channels] },
        ..small_vit(8)
    };
    let empty = |channels: usize| {
        let mut registry = Registry::new();
        Vit::new(config(channels), "backbone.", &mut registry);
        registry.finish(1)
    };
    let colors = empty(3);
    let stored = colors.tensors().map(|(spec, values)| {
        let name = spec.name.strip_prefix("backbone.").unwrap();
        let values = if name == "patch_embed.proj.weight" { &weights("rgb").values } else { values };
        TensorRef { name, shape: &spec.shape, values }
    });
    safetensors::write(&path, &stored.collect::<Vec<_>>(), &Metadata::new()).unwrap();
    for channels in [1, 2, 4, 13] {
        let mut params = empty(channels);
        let report = initialise(&mut params, &path).unwrap();
        assert!(report.contains(&format!("to {channels} channels")), "{report}");
        let id = params.layout().find("backbone.patch_embed.proj.weight").unwrap();
        let expected = weights(&channels.to_string());
        assert_eq!(expected.shape, [4, channels, 4, 4]);
        for (value, expected) in params.get(id).iter().zip(&expected.values) {
            assert!((value - expected).abs() <= 1e-6, "{channels}: {value} {expected}");
        }
    }
}

#[test]
fn initial_weights_of_another_width_are_refused() {
    let mut wide = Registry::new();
    Vit::new(VitConfig { embed_dim: 24, ..small_vit(32) }, "backbone.", &mut wide);
    let mut params = wide.finish(0);
    let error = initialise(&mut params, &fixture_path("pth/backbone.pth")).unwrap_err().to_string();
    assert!(error.contains("of another shape"), "{error}");
}

/// What a run says that starts from the tensors of `backbone.pth` after `change`, in the file's own network but for `config`.
fn started(
    config: VitConfig,
    wanted: Wanted,
    change: impl Fn(&mut Vec<NamedTensor>),
) -> (Params, Result<String, RunError>) {
    let mut tensors = network("backbone.pth", Section::Teacher);
    change(&mut tensors);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.safetensors");
    let refs: Vec<_> = tensors.iter().map(NamedTensor::as_tensor_ref).collect();
    safetensors::write(&path, &refs, &heads_stated()).unwrap();
    let mut registry = Registry::new();
    Vit::new(config, "backbone.", &mut registry);
    let mut params = registry.finish(1);
    let words = InitialWeights::read(&path).unwrap().put_into(&mut params, wanted).map(|taken| taken.words);
    (params, words)
}

/// Tensors of the backbone that are those of the file, and those that are as they were drawn.
fn taken_and_drawn(params: &Params, config: VitConfig) -> (Vec<String>, Vec<String>) {
    let mut registry = Registry::new();
    Vit::new(config, "backbone.", &mut registry);
    let drawn = registry.finish(1);
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for ((spec, values), (_, before)) in params.tensors().zip(drawn.tensors()) {
        let name = spec.name.strip_prefix("backbone.").unwrap().to_owned();
        if values == parameter(&format!("teacher.{}", spec.name), &spec.shape) {
            taken.push(name);
        } else {
            assert_eq!(values, before, "{name} is neither the file's nor as it was drawn");
            left.push(name);
        }
    }
    (taken, left)
}

#[test]
fn blocks_that_the_file_lacks_begin_with_random_values_where_that_is_allowed() {
    let deeper = VitConfig { depth: 3, ..small_vit(32) };
    let (_, refused) = started(deeper.clone(), Wanted::All, |_| ());
    let refused = refused.unwrap_err().to_string();
    for part in ["`--init-partial`", "30 tensors match", "12 missing in the file", "`blocks.2.norm1.weight`"] {
        assert!(refused.contains(part), "{refused}");
    }
    let (params, words) = started(deeper.clone(), Wanted::Some, |_| ());
    let words = words.unwrap();
    let named = "30 tensors of the backbone; 12 begin with random values \
                 (`blocks.2.norm1.weight`, `blocks.2.norm1.bias`, `blocks.2.attn.qkv.weight` and 9 more)";
    assert!(words.contains(named), "{words}");
    let (taken, left) = taken_and_drawn(&params, deeper);
    assert_eq!((taken.len(), left.len()), (30, 12));
    assert!(left.iter().all(|name| name.starts_with("blocks.2.")), "{left:?}");
}

#[test]
fn other_patches_and_other_heads_are_named_and_left() {
    let finer = VitConfig { patch_size: 4, image_size: 16, ..small_vit(32) };
    let more = |tensors: &mut Vec<NamedTensor>| {
        // A head that is known to be none of the backbone's, and one that is not.
        tensors.push(NamedTensor::new("fc.weight", vec![2, 12], vec![0.0; 24]));
        tensors.push(NamedTensor::new("decoder.weight", vec![2, 12], vec![0.0; 24]));
    };
    let (_, refused) = started(finer.clone(), Wanted::All, more);
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("1 only in the file") && refused.contains("`decoder.weight`"), "{refused}");
    assert!(!refused.contains("fc.weight"), "{refused}");
    let (params, words) = started(finer.clone(), Wanted::Some, more);
    let words = words.unwrap();
    let named = "29 tensors of the backbone; 1 begin with random values (`patch_embed.proj.weight`, which is [12, 3, 8, 8] there \
                 and [12, 3, 4, 4] here); 1 of the file are not used (`decoder.weight`)";
    assert!(words.contains(named), "{words}");
    assert_eq!(taken_and_drawn(&params, finer).1, ["patch_embed.proj.weight"]);
}

#[test]
fn weights_of_which_nothing_fits_are_refused_always() {
    let wide = VitConfig { embed_dim: 24, patch_size: 4, ..small_vit(16) };
    for wanted in [Wanted::All, Wanted::Some] {
        let (_, error) = started(wide.clone(), wanted, |_| ());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("nothing in the weights") && error.contains("0 tensors match"), "{error}");
    }
    // What a normalisation counted fits any other.
    let (_, error) = started(wide, Wanted::Some, |tensors| {
        tensors.retain(|tensor| tensor.name == "cls_token");
        tensors.push(NamedTensor::new("bn1.num_batches_tracked", vec![], vec![1.0]));
    });
    assert!(error.unwrap_err().to_string().contains("nothing in the weights"));
}

#[test]
fn values_that_are_not_finite_are_refused_even_where_some_tensors_will_do() {
    let (_, error) = started(small_vit(32), Wanted::Some, |tensors| {
        tensors.iter_mut().find(|tensor| tensor.name == "norm.bias").unwrap().values[0] = f32::NAN;
    });
    assert!(error.unwrap_err().to_string().contains("norm.bias"));
}

#[test]
fn heads_of_full_checkpoints_are_ignored_by_name_only() {
    let tensors = network("full_checkpoint.pth", Section::Teacher);
    let report = match_names(&[], &tensors, &["head."]);
    assert_eq!(report.ignored.len(), 8);
    assert_eq!(report.unexpected.len(), 30);
}

#[test]
fn safetensors_are_known_whatever_the_length_of_their_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.safetensors");
    let tensor = NamedTensor::new("cls_token", vec![1], vec![0.5]);
    let mut first_bytes = std::collections::BTreeSet::new();
    for length in (0..256).step_by(8) {
        let texts = Metadata::from([("note".to_owned(), "x".repeat(length))]);
        safetensors::write(&path, &[tensor.as_tensor_ref()], &texts).unwrap();
        first_bytes.insert(std::fs::read(&path).unwrap()[0]);
        assert_eq!(read_any(&path).unwrap().network(Section::Teacher).unwrap().tensors, std::slice::from_ref(&tensor));
    }
    // 128 is how a pickle begins, 80 (`P`) how an archive does.
    assert!(first_bytes.contains(&128) && first_bytes.contains(&80));
}
