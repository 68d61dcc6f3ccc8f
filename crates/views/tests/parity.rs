//! Every pixel operation against Pillow and torchvision (`parity/generate/views.py`).
//!
//! The arithmetic is integer or replays Pillow's mixture of f32 and f64, so the results are expected to be equal.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a fixture that cannot be read fails the test")]

use std::path::PathBuf;

use dinoxide_views::blur::Blur;
use dinoxide_views::color::{ColorStep, Part, apply, level};
use dinoxide_views::draw::{ColorOp, DrawnView, Jitter};
use dinoxide_views::rand_augment::Operations;
use dinoxide_views::resample::{Filter, resize_crop};
use dinoxide_views::{Crop, EvalTransform, Image, Planes, Reading, decode_file, render};
use serde_json::Value;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../parity/fixtures/views")
}

fn load(name: &str) -> Image {
    decode_file(&fixtures().join(name), &Reading::default()).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn integers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|item| item.as_u64().unwrap() as u32).collect()
}

fn crop_of(case: &Value) -> Crop {
    let crop = integers(&case["crop"]);
    Crop { x: crop[0], y: crop[1], width: crop[2], height: crop[3] }
}

fn jitter_of(case: &Value) -> Option<Jitter> {
    let op = |name: &Value| match name.as_str().unwrap() {
        "brightness" => ColorOp::Brightness,
        "contrast" => ColorOp::Contrast,
        "saturation" => ColorOp::Saturation,
        _ => ColorOp::Hue,
    };
    let order: Vec<ColorOp> = case["order"].as_array()?.iter().map(op).collect();
    let factor = |name: &str| number(&case["factors"][name]);
    Some(Jitter {
        order: order.try_into().unwrap(),
        brightness: factor("brightness"),
        contrast: factor("contrast"),
        saturation: factor("saturation"),
        hue: factor("hue"),
    })
}

fn view_of(case: &Value) -> DrawnView {
    DrawnView {
        crop: crop_of(case),
        filter: Filter::Bicubic,
        flip: case["flip"].as_bool().unwrap(),
        flip_vertical: false,
        turns: 0,
        jitter: jitter_of(case),
        gray: case["gray"].as_bool().unwrap(),
        blur_radius: case["blur"].as_f64(),
        solarize: case["solarize"].as_bool().unwrap().then_some(128),
        operations: Operations::default(),
        erased: None,
    }
}

fn compute(case: &Value) -> Image {
    let mut image = load(&format!("source_{}.png", case["source"].as_str().unwrap()));
    let factor = case["factor"].as_f64();
    match case["op"].as_str().unwrap() {
        "resize" => {
            let filter = match case["filter"].as_str().unwrap() {
                "bicubic" => Filter::Bicubic,
                "bilinear" => Filter::Bilinear,
                _ => Filter::Nearest,
            };
            let size = integers(&case["size"]);
            resize_crop(&image, crop_of(case), (size[0], size[1]), filter)
        }
        "eval" => {
            let side = |key: &str| case[key].as_u64().unwrap() as u32;
            EvalTransform::ResizeCrop { resize: side("resize"), crop: side("crop") }.apply(&image)
        }
        "view" => render(&image, &view_of(case), case["size"].as_u64().unwrap() as u32),
        "flip" => {
            image.flip();
            image
        }
        op => {
            let mut planes = Planes::from(&image);
            let gray = level(&planes, Part::Colors);
            match op {
                "blur" => Blur::default().apply(&mut planes, number(&case["radius"])),
                "brightness" => apply(&mut planes, Part::Colors, &[ColorStep::Brightness(factor.unwrap())]),
                "contrast" => {
                    apply(&mut planes, Part::Colors, &[ColorStep::Contrast { factor: factor.unwrap(), gray }])
                }
                "saturation" => apply(&mut planes, Part::Colors, &[ColorStep::Saturation(factor.unwrap())]),
                "hue" => apply(&mut planes, Part::Colors, &[ColorStep::Hue(factor.unwrap())]),
                "solarize" => {
                    apply(&mut planes, Part::Colors, &[ColorStep::Solarize(case["threshold"].as_u64().unwrap() as u8)])
                }
                "gray" => apply(&mut planes, Part::Colors, &[ColorStep::Gray]),
                other => panic!("unknown operation {other}"),
            }
            Image::from(&planes)
        }
    }
}

/// Largest difference and number of differing bytes.
fn difference(ours: &Image, theirs: &Image) -> (u8, usize) {
    assert_eq!((ours.width, ours.height), (theirs.width, theirs.height));
    let apart = ours.pixels.iter().zip(&theirs.pixels).map(|(a, b)| a.abs_diff(*b));
    (apart.clone().max().unwrap_or(0), apart.filter(|&levels| levels > 0).count())
}

#[test]
fn every_operation_equals_pillow_bit_for_bit() {
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(fixtures().join("cases.json")).unwrap()).unwrap();
    assert!(cases.len() > 50);
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case["file"].as_str().unwrap();
        let (largest, count) = difference(&compute(case), &load(name));
        if count > 0 {
            wrong.push(format!("{name}: {count} bytes differ, by up to {largest}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// JPEG decoders round the upsampling of chroma, the inverse transform and the color conversion differently: five levels
/// at the hard edges of these pictures, mostly none.
/// Sixteen-bit gray is clipped by Pillow's `convert("RGB")`; ours keeps the high byte, tested in `odd.rs`.
#[test]
fn odd_files_decode_as_pillow_converts_them() {
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(fixtures().join("odd")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if name.ends_with(".expected.png") || name == "gray16.png" {
            continue;
        }
        let ours = decode_file(&path, &Reading::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (largest, count) = difference(&ours, &load(&format!("odd/{name}.expected.png")));
        let tolerance = if name.ends_with(".jpg") { 5 } else { 0 };
        if largest > tolerance {
            wrong.push(format!("{name}: {count} bytes differ, by up to {largest}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
