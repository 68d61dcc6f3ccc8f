//! `dinoxide bench`: what scripts rely on, and that the operations it counts are those of the network.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dinoxide")).arg("bench").args(arguments.split_whitespace()).output().unwrap()
}

fn figures(arguments: &str) -> Value {
    let output = bench(&format!("{arguments} --threads 1 --json"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn number(figures: &Value, path: &str) -> f64 {
    figures.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| unreachable!("no number at {path} in {figures}"))
}

/// Operations behind a rate and a time.
fn operations(figures: &Value) -> f64 {
    number(figures, "/gflops") * 1e9 * number(figures, "/ms") / 1e3
}

fn assert_close(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-9, "{found} instead of {expected}");
}

/// One block of a ViT of width 192 on a sequence of 5 tokens, multiply-adds: all rows, or the class token's only.
fn block(rows: f64) -> f64 {
    let (width, tokens) = (192.0, 5.0);
    tokens * width * 3.0 * width + 2.0 * rows * tokens * width + rows * 9.0 * width * width
}

#[test]
fn a_step_has_its_figures_and_its_parts_are_within_it() {
    let step =
        figures("step --model vit_tiny_patch16_32 --views 2x32,1x16 --out-dim 64 --drop-path 0 --batch 2 --steps 1");
    let ms = number(&step, "/ms");
    let parts = ["teacher", "student", "loss", "backward", "optimizer"];
    let parts = parts.map(|part| number(&step, &format!("/phases/{part}")));
    assert!(parts.iter().all(|part| *part > 0.0), "{step}");
    let sum: f64 = parts.iter().sum();
    assert!(sum <= ms && sum > ms / 2.0, "the parts take {sum} of {ms} ms");
    assert_close(number(&step, "/images_per_second"), 2e3 / ms);
    assert_eq!(number(&step, "/steps"), 1.0);
    assert_eq!(number(&step, "/place/threads"), 1.0);
    assert_eq!(step["request"]["views"], serde_json::json!(["2x32", "1x16"]));
    assert_eq!(number(&step, "/allocated_mb"), 0.0, "the third step finds all its memory in the pool");
    assert!(number(&step, "/peak_gflops") > 0.0 && number(&step, "/peak_gbytes") > 0.0, "{step}");
}

#[test]
fn a_pass_counts_the_operations_of_the_network() {
    let pass = figures("infer --model vit_tiny_patch16_32 --batch 3 --steps 1");
    let embed = 4.0 * 3.0 * 256.0 * 192.0;
    assert_close(operations(&pass), 3.0 * 2.0 * (embed + 11.0 * block(5.0) + block(1.0)));
}

#[test]
fn the_backbone_alone_has_no_teacher_and_no_update() {
    let step = figures("step --model vit_tiny_patch16_32 --views 1x32 --no-head --batch 1 --steps 1");
    for part in ["teacher", "loss", "optimizer"] {
        assert_eq!(number(&step, &format!("/phases/{part}")), 0.0, "{part}");
    }
    // The gradient takes every product twice, attention's two products five times in all, and the pixels need none.
    let attention = 11.0 * 2.0 * 2.0 * 5.0 * 5.0 * 192.0 + 2.0 * 2.0 * 5.0 * 192.0;
    let embed = 2.0 * 4.0 * 3.0 * 256.0 * 192.0;
    let products = 2.0 * (11.0 * block(5.0) + block(1.0)) - attention;
    let operations_once = 3.0 * products + 3.5 * attention + 2.0 * embed;
    assert_close(operations(&step), operations_once);
    // Computed again: all blocks but the last.
    let again = figures("step --model vit_tiny_patch16_32 --views 1x32 --no-head --recompute --batch 1 --steps 1");
    assert_close(operations(&again), operations_once + 2.0 * 11.0 * block(5.0));
    let activations = |step| number(step, "/activations_mb");
    assert!(activations(&again) < activations(&step), "{again} against {step}");
}

#[test]
fn a_step_counts_the_branches_that_are_taken() {
    let of = |rate: &str| {
        let views = "--model vit_tiny_patch16_32 --views 2x32 --out-dim 64 --batch 1 --steps 1";
        let step = figures(&format!("step {views} --drop-path {rate}"));
        number(&step, "/rates/student") * 1e9 * number(&step, "/phases/student") / 1e3
    };
    // Forward, two crops: block b of twelve keeps 1 − rate·b/11 of them.
    let branches = |rate: f64| {
        let rows = |block: i32| if block < 11 { 5.0 } else { 1.0 };
        let kept = (0..12).map(|index| (1.0 - rate * f64::from(index) / 11.0) * block(rows(index)));
        2.0 * 2.0 * kept.sum::<f64>()
    };
    assert_close(of("0") - of("0.5"), branches(0.0) - branches(0.5));
}

#[test]
fn updates_and_neighbours_have_their_figures() {
    let optim = figures("optim --model vit_tiny_patch16_32 --out-dim 64 --steps 1");
    let moved = number(&optim, "/gbytes") * 1e9 * number(&optim, "/ms") / 1e3;
    assert_close(moved, 44.0 * number(&optim, "/parameters"));
    let knn = figures("knn --train 300 --queries 20 --dim 8 --k 5");
    assert_close(number(&knn, "/gflops") * 1e9 * number(&knn, "/seconds"), 2.0 * 300.0 * 20.0 * 8.0);
}

#[test]
fn what_cannot_be_measured_is_a_usage_error() {
    for (arguments, said) in [
        ("step --model vit_huge", "vit_huge"),
        ("step --views 2x224,8", "2x224"),
        ("step --views 2x8", "multiple of 16"),
        ("step --views 2x224,8x96,1x64", "one size or two"),
        ("step --out-dim 1", "head.out_dim"),
        ("step --drop-path 1", "model.drop_path"),
        ("step --batch 100000000", "this machine's memory"),
        ("knn --train 900000000", "this machine's memory"),
        ("step --views 1x224", "two or more global crops"),
        ("step --batch 0", "a whole number above 0"),
        ("step --threads 0", "a whole number above 0"),
        ("infer --precision f16", "f32"),
    ] {
        let output = bench(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {text}");
        assert!(text.contains(said), "{arguments}: {text}");
    }
}

#[test]
fn bf16_is_computed_or_said_not_to_be() {
    let output = bench("infer --model vit_tiny_patch16_224 --batch 1 --steps 1 --precision bf16 --json");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let said = String::from_utf8_lossy(&output.stderr).contains("computing in f32");
    let expected = if dinoxide_engine::cpu::Cpu::bf16().is_some() { ("bf16", false) } else { ("f32", true) };
    assert_eq!((report["place"]["precision"].as_str(), said), (Some(expected.0), expected.1), "{report}");
}

#[test]
fn views_are_timed_stage_by_stage_and_bad_files_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "b.png"] {
        let picture = image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8, y as u8, 7]));
        picture.save(folder.path().join(name)).unwrap();
    }
    std::fs::write(folder.path().join("c.jpg"), "no picture").unwrap();
    let views = figures(&format!("views {} --views 2x32,1x16 --steps 2", folder.path().display()));
    let stages = ["read", "decode", "crop_resize", "jitter", "blur", "solarize", "store"];
    let sum: f64 = stages.map(|stage| number(&views, &format!("/stages/{stage}"))).iter().sum();
    assert!(sum > 0.0, "{views}");
    assert_close(number(&views, "/images_per_second"), 1e3 / number(&views, "/ms"));
    assert_eq!((number(&views, "/images"), number(&views, "/unreadable")), (3.0, 1.0));
    assert_close(number(&views, "/megapixels"), 0.0012);
    assert_eq!(views["request"]["views"], serde_json::json!(["2x32", "1x16"]));
}

#[test]
fn views_of_nothing_or_of_impossible_sizes_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let empty = bench(&format!("views {}", folder.path().display()));
    assert!(String::from_utf8_lossy(&empty.stderr).contains("no images in"), "{empty:?}");
    let three = bench("views . --views 1x8,1x8,1x8");
    assert!(String::from_utf8_lossy(&three.stderr).contains("one or two sizes"), "{three:?}");
    let large = bench("views . --views 2x5000");
    assert!(String::from_utf8_lossy(&large.stderr).contains("1 to 4096 pixels"), "{large:?}");
}
