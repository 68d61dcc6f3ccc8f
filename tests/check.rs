//! `dinoxide check` and `dinoxide preview`: what scripts rely on.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::path::Path;
use std::process::{Command, Output};

use image::{DynamicImage, GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use serde_json::{Value, json};

fn dinoxide(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dinoxide")).current_dir(folder).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A picture with something to see in it.
fn scene(seed: u32, side: u32) -> RgbImage {
    let at = |x: u32, y: u32| f64::from(x * 7 + y * (3 + seed)).sin() + f64::from(seed * x + 2 * y).cos() / 2.0;
    RgbImage::from_fn(side, side, |x, y| {
        let value = at(8 * x / side, 8 * y / side) * 70.0 + 128.0;
        Rgb([value as u8, (255.0 - value) as u8, (x * 255 / side) as u8])
    })
}

fn save(folder: &Path, name: &str, image: impl Into<DynamicImage>) {
    image.into().save(folder.join(name)).unwrap();
}

#[test]
fn a_check_counts_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    save(&data, "black.png", RgbImage::from_pixel(4, 2, Rgb([0, 0, 0])));
    save(&data, "white.png", GrayImage::from_pixel(8, 6, Luma([255])));
    save(&data, "deep.png", ImageBuffer::from_pixel(2, 2, Luma([0xFF00u16])));
    save(&data, "red.jpg", RgbImage::from_pixel(16, 16, Rgb([254, 0, 0])));
    std::fs::write(data.join("text.jpg"), "no picture").unwrap();
    let output = dinoxide(folder.path(), &["check", "data", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["images"], 5);
    let path = Path::new("data").join("text.jpg").display().to_string();
    assert_eq!(found["bad"][0]["path"], json!(path));
    assert!(found["bad"][0]["reason"].as_str().unwrap().starts_with("not an image"));
    assert_eq!(found["formats"], json!({ "JPEG": 1, "PNG": 3 }));
    assert_eq!(found["channels"], json!({ "1": 2, "3": 2 }));
    assert_eq!(found["bits"], json!({ "16": 1, "8": 3 }));
    assert_eq!(found["width"], json!({ "min": 2, "median": 8, "max": 16 }));
    // Black, white, white and red: green is on half of the time.
    assert_eq!(found["mean"][1], 0.5);
    assert_eq!(found["std"][1], 0.5);
    assert!((found["mean"][0].as_f64().unwrap() - (0.0 + 1.0 + 1.0 + 254.0 / 255.0) / 4.0).abs() < 1e-6);
    assert_eq!(found["page"], Value::Null);
    assert!(!folder.path().join("data.html").exists(), "with --json there is no page unless one is named");
}

#[test]
fn copies_are_found_to_the_byte_and_to_the_eye() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..6 {
        save(folder.path(), &format!("{seed}.png"), scene(seed, 64));
    }
    std::fs::copy(folder.path().join("2.png"), folder.path().join("2 again.png")).unwrap();
    save(folder.path(), "3 small.jpg", scene(3, 48));
    // Nothing to see: alike, but no copies.
    save(folder.path(), "gray.png", GrayImage::from_pixel(9, 9, Luma([90])));
    save(folder.path(), "dark.png", GrayImage::from_pixel(9, 9, Luma([40])));
    let output = dinoxide(folder.path(), &["check", ".", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["duplicates"], json!([["2 again.png", "2.png"]]));
    assert_eq!(found["near_duplicates"], json!([["3 small.jpg", "3.png"]]));
}

#[test]
fn the_page_of_a_check_says_what_to_look_at() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "a.png", scene(1, 40));
    std::fs::write(folder.path().join("<b>.jpg"), "no picture").unwrap();
    let output = dinoxide(folder.path(), &["check", ".", "-j", "1"]);
    assert!(text(&output.stdout).contains("2, 1 unreadable"), "{output:?}");
    let page = std::fs::read_to_string(folder.path().join("data.html")).unwrap();
    assert!(page.contains("1 images can be read, 1 cannot"));
    assert!(page.contains("&lt;b&gt;.jpg") && !page.contains("<b>.jpg"), "names are escaped");
    assert!(page.contains("data:image/jpeg;base64,"), "the contact sheet is part of the page");
}

#[test]
fn a_folder_of_nothing_readable_is_an_error_with_examples() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.jpg"), "no picture").unwrap();
    let output = dinoxide(folder.path(), &["check", "."]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("a.jpg`: not an image"), "{output:?}");
    assert!(!folder.path().join("data.html").exists());
}

/// What fuzzing found (`crates/views/fuzz`), among it a panic inside a decoder.
#[test]
fn findings_of_fuzzing_are_reasons_without_a_backtrace() {
    let findings = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/views/fuzz/findings");
    let folder = tempfile::tempdir().unwrap();
    let output = dinoxide(folder.path(), &["check", &findings.display().to_string()]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("decoder failed on this file") && said.contains("truncated"), "{said}");
    assert!(!said.contains("panicked") && !said.contains("stack backtrace"), "{said}");
}

#[test]
fn a_preview_is_a_picture_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 1..4 {
        save(folder.path(), &format!("{seed}.png"), scene(seed, 64));
    }
    let few = ["preview", ".", "views.local.count=1", "-o", "few.png"];
    let output = dinoxide(folder.path(), &few);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).trim(), "few.png");
    assert!(dinoxide(folder.path(), &["preview", ".", "--set", "views.local.count=6"]).status.success());
    let width = |name: &str| image::open(folder.path().join(name)).unwrap().width();
    assert!(width("few.png") < width("augmentations.png"));
    let nothing = dinoxide(folder.path(), &["preview"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(text(&nothing.stderr).contains("no images given"), "{nothing:?}");
}
