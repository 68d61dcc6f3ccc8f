//! Runs that start from the weights of a network of DINOv2: trained, resumed, exported, evaluated, and from some of the tensors.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::path::{Path, PathBuf};
use std::process::Command;

use dinoxide::checkpoint::{NamedTensor, Section, TensorRef, read_any, safetensors};
use dinoxide::nn::init::Registry;
use dinoxide::nn::pos_embed::Resampling;
use dinoxide::nn::vit::{Extras, Ffn, MaskToken, Vit, VitConfig};
use dinoxide::run::export::{ExportFormat, ExportRequest, ExportWhat, export};
use dinoxide::run::input::Network;
use dinoxide::run::model::{Metadata, Model};
use dinoxide::run::verify_export::verify_export;
use dinoxide_engine::kernels::Normalize;
use running::{Outcome, Running, TINY, make_images, run};

/// All that DINOv2 adds, in small.
fn config() -> VitConfig {
    VitConfig {
        image_size: 40,
        patch_size: 8,
        embed_dim: 24,
        depth: 2,
        num_heads: 2,
        // The hidden width that transformers expects: 4 * 24 * 2 / 3.
        mlp_ratio: VitConfig::mlp_ratio_of(64, 24),
        normalize: Normalize { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] },
        extras: Extras {
            layer_scale: Some(0.3),
            registers: 3,
            ffn: Ffn::SwiGlu,
            mask_token: MaskToken::Stored,
            resampling: Resampling::Antialiased,
        },
    }
}

/// A file of such weights under the official names.
fn weights(folder: &Path) -> PathBuf {
    let mut registry = Registry::new();
    Vit::new(config(), "", &mut registry);
    let mut params = registry.finish(7);
    let mask = params.layout().find("mask_token").unwrap();
    params.get_mut(mask).iter_mut().enumerate().for_each(|(at, value)| *value = 0.1 + at as f32 / 7.0);
    let tensors = params.tensors().map(|(spec, values)| TensorRef { name: &spec.name, shape: &spec.shape, values });
    let path = folder.join("dinov2_tiny.safetensors");
    let stated = Metadata::from([("num_heads".to_owned(), "2".to_owned())]);
    safetensors::write(&path, &tensors.collect::<Vec<_>>(), &stated).unwrap();
    path
}

/// `dinoxide pretrain DATA -o OUT --init WEIGHTS` in which the weights say what the network is.
fn pretrain(data: &Path, out: &Path, weights: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    command.arg("pretrain").arg(data).arg("-o").arg(out).arg("--init").arg(weights);
    let of_network = |value: &&&str| value.starts_with("model.") && !value.starts_with("model.drop_path");
    for value in TINY.iter().filter(|value| !of_network(value)) {
        command.args(["--set", value]);
    }
    command.args(["--set", "model.image_size=40"]);
    command
}

fn network(path: &Path) -> Vec<NamedTensor> {
    let mut tensors = read_any(path).unwrap().network(Section::Teacher).unwrap().tensors;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    tensors
}

#[test]
fn a_run_starts_from_dinov2_goes_on_and_gives_the_same_tensors_back() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let (data, file) = (at("data"), weights(place.path()));
    make_images(&data, 4);
    run(pretrain(&data, &at("whole"), &file)).expect(0).saying(&["36 tensors of the backbone", "the head starts anew"]);
    let mut stopped = Running::start(pretrain(&data, &at("parts"), &file));
    stopped.wait_for_step(&at("parts"), 3);
    stopped.signal("INT");
    stopped.end();
    run(pretrain(&data, &at("parts"), &file)).expect(0);
    Outcome::of(&at("parts")).assert_same(&Outcome::of(&at("whole")), "after a stop");

    let model = Model::load(&at("whole"), Network::Teacher).unwrap();
    let found = model.backbone.config();
    let vit = found.vit().unwrap();
    let scale = vit.extras.layer_scale;
    assert_eq!(*vit, VitConfig { extras: Extras { layer_scale: scale, ..config().extras }, ..config() });
    let formats =
        [("v.safetensors", None), ("v.pth", None), ("timm", Some(ExportFormat::Timm)), ("hf", Some(ExportFormat::Hf))];
    for (name, to) in formats {
        let (what, network, outputs) = (ExportWhat::Backbone, Network::Teacher, Vec::new());
        export(&ExportRequest { run: at("whole"), out: at(name), to, what, network, outputs }).unwrap();
        verify_export(&at("whole"), &at(name), Network::Teacher).unwrap();
    }
    let before = network(&file);
    for name in ["v.safetensors", "v.pth"] {
        let after = network(&at(name));
        let names = |tensors: &[NamedTensor]| -> Vec<(String, Vec<usize>)> {
            tensors.iter().map(|tensor| (tensor.name.clone(), tensor.shape.clone())).collect()
        };
        assert_eq!(names(&after), names(&before), "{name}");
        // All have learned but the token that nothing trains.
        for (after, before) in after.iter().zip(&before) {
            assert_eq!(after.values == before.values, after.name == "mask_token", "{name}: {}", after.name);
        }
    }
    let mut knn = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    knn.args(["eval", "knn"])
        .arg(at("whole"))
        .arg("--train")
        .arg(&data)
        .arg("--val")
        .arg(&data)
        .arg("-o")
        .arg(at("knn"));
    run(knn).expect(0).saying(&["ViT of width 24"]);
}

#[test]
fn half_precision_and_recomputation_know_the_additions() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), weights(place.path()));
    make_images(&data, 2);
    for (name, more) in [("bf16", "run.precision=bf16"), ("again", "run.recompute=true")] {
        let mut command = pretrain(&data, &place.path().join(name), &file);
        command.args(["--epochs", "1", "--set", more]);
        run(command).expect(0);
    }
}

#[test]
fn a_run_starts_from_some_of_the_tensors_only_if_it_is_told_to() {
    let place = tempfile::tempdir().unwrap();
    let (data, out, file) = (place.path().join("data"), place.path().join("run"), weights(place.path()));
    make_images(&data, 2);
    let deeper = |more: &[&str]| {
        let mut command = pretrain(&data, &out, &file);
        command.args(["--epochs", "1", "--set", "model.depth=3"]).args(more);
        run(command)
    };
    deeper(&[]).expect(1).saying(&["--init-partial", "14 missing in the file", "`blocks.2.ls1.gamma`"]);
    deeper(&["--overwrite", "--init-partial"]).expect(0).saying(&["14 begin with random values", "and 11 more"]);
    // The run knows that it was told, and needs neither the flag nor the file.
    std::fs::remove_file(&file).unwrap();
    deeper(&[]).expect(0);
}
