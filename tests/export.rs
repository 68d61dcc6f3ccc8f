//! Exports read back, and what tells a wrong one. What other programs make of them: `tests/interop/interop.py`.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;
mod untrained;

use std::fs;
use std::path::{Path, PathBuf};

use dinoxide::checkpoint::onnx::Output;
use dinoxide::checkpoint::{Section, TensorRef, read_any, safetensors};
use dinoxide::nn::pos_embed::Resampling;
use dinoxide::nn::vit::{Extras, Ffn, MaskToken, VitConfig};
use dinoxide::run::RunError;
use dinoxide::run::export::{ExportFormat, ExportReport, ExportRequest, ExportWhat, export};
use dinoxide::run::input::Network;
use dinoxide::run::inspect::inspect;
use dinoxide::run::model::Model;
use dinoxide::run::verify_export::verify_export;
use dinoxide_views::EvalTransform;
use serde_json::Value;
use support::{filled_vit, imagenet};
use untrained::run_folder;

fn write(run: &Path, out: &Path, to: Option<ExportFormat>, what: ExportWhat) -> Result<ExportReport, RunError> {
    let (run, out) = (run.to_path_buf(), out.to_path_buf());
    let is_graph = out.extension().is_some_and(|ending| ending == "onnx");
    let outputs = if is_graph { vec![Output::Attention] } else { Vec::new() };
    export(&ExportRequest { run, out, to, what, network: Network::Teacher, outputs })
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_format_holds_the_same_network() {
    let place = tempfile::tempdir().unwrap();
    let run = run_folder(place.path(), 96);
    for (name, to) in [
        ("weights.safetensors", None),
        ("weights.pth", None),
        ("weights.onnx", None),
        ("timm", Some(ExportFormat::Timm)),
        ("hf", Some(ExportFormat::Hf)),
    ] {
        let out = place.path().join(name);
        let report = write(&run, &out, to, ExportWhat::Backbone).unwrap();
        let verified = verify_export(&run, &out, Network::Teacher).unwrap();
        // In transformers' names each block has four tensors more.
        let split = if name == "hf" { 4 * 2 } else { 0 };
        assert_eq!(report.tensors, verified.tensors + split, "{name}");
        assert_eq!(verified.feature_difference, (name != "weights.onnx").then_some(0.0), "{name}");
        // Written again, over what is there.
        write(&run, &out, to, ExportWhat::Backbone).unwrap();
    }
    let timm = json(place.path().join("timm/config.json"));
    assert_eq!(timm["pretrained_cfg"]["mean"], serde_json::json!([0.485, 0.456, 0.406]));
    assert_eq!((&timm["num_classes"], &timm["global_pool"]), (&0.into(), &"token".into()));
    let hf = json(place.path().join("hf/config.json"));
    assert_eq!((&hf["layer_norm_eps"], &hf["architectures"][0]), (&1e-6.into(), &"ViTModel".into()));
    let images = json(place.path().join("hf/preprocessor_config.json"));
    assert_eq!((&images["image_processor_type"], &images["resample"]), (&"BitImageProcessor".into(), &3.into()));
}

/// A graph masks nothing.
#[test]
fn a_graph_of_dinov2_lacks_the_mask_token_alone() {
    let place = tempfile::tempdir().unwrap();
    let extras = Extras {
        layer_scale: Some(0.5),
        registers: 2,
        ffn: Ffn::SwiGlu,
        mask_token: MaskToken::Stored,
        resampling: Resampling::Antialiased,
    };
    let (image_size, patch_size, embed_dim, mlp_ratio) = (28, 14, 24, 2.0);
    let normalize = imagenet();
    let config = VitConfig { image_size, patch_size, embed_dim, depth: 2, num_heads: 3, mlp_ratio, normalize, extras };
    let (_, params) = filled_vit(config);
    let tensors = params.tensors().map(|(spec, values)| TensorRef { name: &spec.name, shape: &spec.shape, values });
    let (weights, out) = (place.path().join("dinov2.safetensors"), place.path().join("dinov2.onnx"));
    let texts = [("num_heads".to_owned(), "3".to_owned())].into();
    safetensors::write(&weights, &tensors.collect::<Vec<_>>(), &texts).unwrap();
    let report = write(&weights, &out, None, ExportWhat::Backbone).unwrap();
    let verified = verify_export(&weights, &out, Network::Teacher).unwrap();
    assert_eq!(report.tensors + 1, verified.tensors);
}

#[test]
fn the_weights_of_a_folder_bring_its_descriptions() {
    let place = tempfile::tempdir().unwrap();
    let run = run_folder(place.path(), 96);
    let out = place.path().join("hf");
    write(&run, &out, Some(ExportFormat::Hf), ExportWhat::Backbone).unwrap();
    fs::write(
        out.join("preprocessor_config.json"),
        r#"{"size": {"height": 80, "width": 112}, "do_center_crop": false}"#,
    )
    .unwrap();
    for path in [out.clone(), out.join("model.safetensors")] {
        let model = Model::load(&path, Network::Teacher).unwrap();
        assert_eq!(model.transform, EvalTransform::Exact { width: 112, height: 80 });
    }
    let error = verify_export(&run, &out, Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("brought to size"), "{error}");
    // ConvNext's processor, as transformers' ResNets have it.
    for (text, expected) in [
        (r#"{"size": 224, "crop_pct": 0.875}"#, EvalTransform::ResizeCrop { resize: 256, crop: 224 }),
        (
            r#"{"size": {"shortest_edge": 224}, "crop_pct": 0.875}"#,
            EvalTransform::ResizeCrop { resize: 256, crop: 224 },
        ),
        (r#"{"size": {"shortest_edge": 384}, "crop_pct": 0.875}"#, EvalTransform::Exact { width: 384, height: 384 }),
    ] {
        fs::write(out.join("preprocessor_config.json"), text).unwrap();
        assert_eq!(Model::load(&out, Network::Teacher).unwrap().transform, expected, "{text}");
    }
}

#[test]
fn another_network_is_told() {
    let place = tempfile::tempdir().unwrap();
    let run = run_folder(place.path(), 96);
    let out = place.path().join("weights.safetensors");
    write(&run, &out, None, ExportWhat::Backbone).unwrap();
    let mut file = safetensors::read(&out).unwrap();
    file.tensors.iter_mut().find(|tensor| tensor.name == "norm.bias").unwrap().values[1] += 1e-6;
    safetensors::write(&out, &file.tensor_refs(), &file.metadata).unwrap();
    let error = verify_export(&run, &out, Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("another `norm.bias`"), "{error}");
    file.metadata.insert("mean".to_owned(), "[0.5, 0.5, 0.5]".to_owned());
    file.tensors.iter_mut().find(|tensor| tensor.name == "norm.bias").unwrap().values[1] -= 1e-6;
    write(&run, &out, None, ExportWhat::Backbone).unwrap();
    let whole = safetensors::read(&out).unwrap();
    safetensors::write(&out, &whole.tensor_refs(), &file.metadata).unwrap();
    let error = verify_export(&run, &out, Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("mean"), "{error}");
}

#[test]
fn a_full_checkpoint_has_the_official_keys() {
    let place = tempfile::tempdir().unwrap();
    let run = run_folder(place.path(), 96);
    let out = place.path().join("checkpoint.pth");
    write(&run, &out, None, ExportWhat::Full).unwrap();
    let report = inspect(&out, Network::Student).unwrap();
    let sections: Vec<&str> = report.sections.keys().map(String::as_str).collect();
    // This run has made no step, so that there are no moments.
    assert_eq!(sections, ["dino_loss", "student", "teacher"]);
    assert_eq!(report.stated.get("arch").map(String::as_str), Some("vit_tiny"));
    for (section, part) in [(Section::Student, "student"), (Section::Teacher, "teacher")] {
        let theirs = read_any(&out).unwrap().network(section).unwrap().tensors;
        let ours = safetensors::read(&run.join(format!("checkpoints/last/{part}.safetensors"))).unwrap().tensors;
        assert_eq!(theirs.len(), ours.len());
        for (theirs, ours) in theirs.iter().zip(&ours) {
            assert!(ours.name.ends_with(&theirs.name), "{} and {}", ours.name, theirs.name);
            assert_eq!((&theirs.shape, &theirs.values), (&ours.shape, &ours.values), "{}", ours.name);
        }
    }
}

#[test]
fn what_cannot_be_written_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let run = run_folder(place.path(), 96);
    let error = write(&run, &place.path().join("weights"), None, ExportWhat::Backbone).unwrap_err().to_string();
    assert!(error.contains("--to timm"), "{error}");
    let error = write(&run, &place.path().join("full.onnx"), None, ExportWhat::Full).unwrap_err().to_string();
    assert!(error.contains("backbone"), "{error}");
    let weights = place.path().join("weights.pth");
    write(&run, &weights, None, ExportWhat::Backbone).unwrap();
    let error = write(&weights, &place.path().join("full.pth"), None, ExportWhat::Full).unwrap_err().to_string();
    assert!(error.contains("weights.pth"), "{error}");
    let error = write(&run, &weights, Some(ExportFormat::Hf), ExportWhat::Backbone).unwrap_err().to_string();
    assert!(error.contains("weights.pth") && error.contains("folder"), "{error}");
    let error = write(&run, &run, Some(ExportFormat::Timm), ExportWhat::Backbone).unwrap_err().to_string();
    assert!(error.contains("is a run folder"), "{error}");
    let outputs = vec![Output::Attention];
    let request = ExportRequest {
        run: run.clone(),
        out: weights.clone(),
        to: None,
        what: ExportWhat::Backbone,
        network: Network::Teacher,
        outputs,
    };
    assert!(matches!(export(&request), Err(RunError::NoOutputs)));
    let half = fs::read(&weights).unwrap();
    let broken = place.path().join("broken.onnx");
    fs::write(&broken, &half[..half.len() / 2]).unwrap();
    let error = verify_export(&run, &broken, Network::Teacher).unwrap_err().to_string();
    assert!(error.contains("ONNX"), "{error}");
}
