//! RandAugment, random erasing, mixup and CutMix against timm and Pillow (`parity/generate/augment.py`).
//!
//! Pixels are expected to be the same bytes: tables and blends are whole numbers or Pillow's order of f32 and f64.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a fixture that cannot be read fails the test")]

use std::path::PathBuf;

use dinoxide_views::erase::Erased;
use dinoxide_views::mix::{Label, Mix, rectangle};
use dinoxide_views::operation::Operation;
use dinoxide_views::rand_augment::{MOST_LAYERS, RandAugment};
use dinoxide_views::random::{Draws, Key, Purpose};
use dinoxide_views::{Crop, Image, Planes, Reading, decode_file};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../parity/fixtures")
}

fn cases(name: &str) -> Value {
    let text = std::fs::read_to_string(fixtures().join("augment/cases.json")).unwrap();
    let mut cases: Value = serde_json::from_str(&text).unwrap();
    cases[name].take()
}

fn source(name: &str) -> Image {
    if name == "flat" {
        return Image::filled(9, 7, [3; 3]);
    }
    decode_file(&fixtures().join(format!("views/source_{name}.png")), &Reading::default()).unwrap()
}

fn sha256(pixels: &[u8]) -> String {
    Sha256::digest(pixels).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn draws(sample: u64) -> Draws {
    Key { seed: 7, epoch: 0, sample }.draws(0, Purpose::RandAugment)
}

/// The operation of a name of timm's with its argument.
fn operation(name: &str, argument: &Value) -> Operation {
    let number = argument.as_f64().unwrap_or(f64::NAN);
    match name {
        "auto_contrast" => Operation::AutoContrast,
        "equalize" => Operation::Equalize,
        "invert" => Operation::Invert,
        "rotate" => Operation::Rotate(number),
        "posterize" => Operation::Posterize(number as u8),
        "solarize" => Operation::Solarize(number as u16),
        "solarize_add" => Operation::SolarizeAdd(number as u8),
        "color" => Operation::Color(number),
        "contrast" => Operation::Contrast(number),
        "brightness" => Operation::Brightness(number),
        "sharpness" => Operation::Sharpness(number),
        "shear_x" => Operation::ShearX(number),
        "shear_y" => Operation::ShearY(number),
        "translate_x_rel" => Operation::TranslateX(number),
        "translate_y_rel" => Operation::TranslateY(number),
        _ => panic!("no operation is called {name}"),
    }
}

/// The argument of an operation; none for those without.
fn argument(operation: Operation) -> Option<f64> {
    match operation {
        Operation::AutoContrast | Operation::Equalize | Operation::Invert => None,
        Operation::Posterize(value) | Operation::SolarizeAdd(value) => Some(f64::from(value)),
        Operation::Solarize(value) => Some(f64::from(value)),
        Operation::Rotate(value)
        | Operation::Color(value)
        | Operation::Contrast(value)
        | Operation::Brightness(value)
        | Operation::Sharpness(value)
        | Operation::ShearX(value)
        | Operation::ShearY(value)
        | Operation::TranslateX(value)
        | Operation::TranslateY(value) => Some(value),
    }
}

#[test]
fn operations_equal_pillow_byte_for_byte() {
    let cases = cases("operations");
    let mut wrong = Vec::new();
    for case in cases.as_array().unwrap() {
        let (mut view, mut spare) = (Planes::from(&source(case["source"].as_str().unwrap())), Planes::default());
        operation(case["operation"].as_str().unwrap(), &case["argument"]).apply(&mut view, &mut spare);
        if sha256(&Image::from(&view).pixels) != case["sha256"].as_str().unwrap() {
            wrong.push(format!("{} {} {}", case["source"], case["operation"], case["argument"]));
        }
    }
    assert!(cases.as_array().unwrap().len() > 100);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn strengths_become_the_arguments_of_timm() {
    for row in cases("strengths").as_array().unwrap() {
        let strength = row["magnitude"].as_f64().unwrap() / 10.0;
        let kind = row["kind"].as_u64().unwrap() as u32;
        let expected = row["argument"].as_f64();
        // The fixture goes one way; ours both, by chance.
        let found: Vec<Option<f64>> =
            (0..20).map(|sample| argument(Operation::of_strength(kind, strength, &mut draws(sample)))).collect();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        let fits = |found: &Option<f64>| match (found, expected) {
            (Some(found), Some(expected)) => near(*found, expected),
            (found, expected) => *found == expected,
        };
        let mirrored = |found: &Option<f64>| match (found, expected) {
            // Away from 1 for blends, which end at 0.1, away from 0 for the rest.
            (Some(found), Some(expected)) => near(*found, -expected) || near(*found, (2.0 - expected).max(0.1)),
            _ => false,
        };
        assert!(found.iter().any(fits), "{row}: {found:?}");
        assert!(found.iter().all(|found| fits(found) || mirrored(found)), "{row}: {found:?}");
    }
}

#[test]
fn a_view_has_as_many_operations_as_its_chance_says() {
    let recipe: RandAugment = "rand-m9-mstd0.5-inc1".parse().unwrap();
    let drawn: Vec<_> = (0..4000).map(|sample| recipe.draw(&mut draws(sample))).collect();
    let count = drawn.iter().flatten().flatten().count() as f64;
    // 8000 draws with a chance of a half: a standard deviation of 45.
    assert!((count - 4000.0).abs() < 180.0, "{count}");
    let turns: Vec<f64> = drawn
        .iter()
        .flatten()
        .filter_map(|operation| if let Some(Operation::Rotate(degrees)) = operation { Some(*degrees) } else { None })
        .collect();
    let mean = turns.iter().map(|degrees| degrees.abs()).sum::<f64>() / turns.len() as f64;
    assert!((mean - 27.0).abs() < 0.5 && turns.iter().any(|turn| *turn < 0.0), "{mean}");
    assert!(turns.iter().any(|turn| (turn.abs() - 27.0).abs() > 0.5), "the magnitude varies");
}

#[test]
fn the_notation_is_timms() {
    for text in ["", "rand-m9-mstd0.5-inc1", "rand-m7.5-n3-p0.7-inc1"] {
        assert_eq!(text.parse::<RandAugment>().unwrap().to_string(), text);
    }
    let recipe: RandAugment = "rand-m9-n3-inc1".parse().unwrap();
    assert_eq!(recipe, RandAugment { layers: 3, magnitude: 9.0, std: 0.0, chance: 0.5 });
    let refused = |text: &str, word: &str| {
        let error = text.parse::<RandAugment>().unwrap_err();
        assert!(error.contains(word) && error.contains("rand-m9-mstd0.5-inc1"), "{error}");
    };
    refused("augmix-m5", "`rand`");
    refused("rand-m9-mstd0.5", "`inc1`");
    refused("rand-m11-inc1", "0 to 10");
    refused(&format!("rand-n{}-inc1", MOST_LAYERS + 1), "0 to 8");
    refused("rand-w0-inc1", "`w0`");
    refused("rand-mmax20-inc1", "`mmax20`");
}

/// Four crops of one picture, as the generator cuts them.
fn batch() -> Vec<u8> {
    let image = source("large");
    let crop = |(x, y)| image.crop(Crop { x, y, width: 32, height: 32 }).pixels;
    [(0, 0), (60, 7), (120, 55), (166, 100)].into_iter().flat_map(crop).collect()
}

#[test]
fn mixtures_equal_those_of_timm() {
    for case in cases("mixtures").as_array().unwrap() {
        let share = case["share"].as_f64().unwrap();
        let center: Option<Vec<u32>> = serde_json::from_value(case["center"].clone()).unwrap();
        let mix = match center.as_deref() {
            Some([x, y]) => Mix::Paste(rectangle(share, (*x, *y), 32)),
            _ => Mix::Blend(share),
        };
        let (mut pixels, mut labels) = (batch(), [2, 0, 1, 2].map(Label::one));
        mix.apply(&mut pixels, &mut labels, 32);
        assert_eq!(sha256(&pixels), case["sha256"].as_str().unwrap(), "{case}");
        let smoothing = case["smoothing"].as_f64().unwrap();
        for (label, expected) in labels.iter().zip(case["targets"].as_array().unwrap()) {
            for (class, expected) in (0..3).zip(expected.as_array().unwrap()) {
                let of = |class: u32, shown: u32| f64::from(u8::from(class == shown));
                let shown = label.share * of(class, label.class) + (1.0 - label.share) * of(class, label.other);
                let target = shown * (1.0 - smoothing) + smoothing / 3.0;
                // timm's targets are f32.
                assert!((target - expected.as_f64().unwrap()).abs() < 1e-6, "{case}: {label:?}");
            }
        }
    }
}

#[test]
fn the_image_in_the_middle_of_an_odd_batch_stays() {
    let before = batch();
    let three = before.len() / 4 * 3;
    let (mut pixels, mut labels) = (before[..three].to_vec(), [2, 0, 1].map(Label::one));
    Mix::Blend(0.4).apply(&mut pixels, &mut labels, 32);
    assert_eq!(pixels[three / 3..three / 3 * 2], before[three / 3..three / 3 * 2]);
    assert_ne!(pixels[..three / 3], before[..three / 3]);
    assert_eq!(labels[1], Label { class: 0, other: 0, share: 0.4 });
    assert_eq!((labels[0].other, labels[2].other), (1, 2));
}

#[test]
fn mixtures_are_drawn_from_beta_distributions() {
    let shares = |alphas: [f64; 2]| -> Vec<Mix> {
        (0..20_000).filter_map(|sample| Mix::draw(&mut draws(sample), alphas, 32)).collect()
    };
    assert!(shares([0.0, 0.0]).is_empty());
    for alpha in [0.2, 0.8, 1.0, 3.0] {
        let values: Vec<f64> = shares([alpha, 0.0]).iter().map(|mix| mix.share(32)).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        // Beta(a, a): mean 1/2, variance 1/(4·(2a + 1)); four standard errors of 20,000 draws are below 0.011 and 0.004.
        assert!((mean - 0.5).abs() < 0.011, "{alpha}: {mean}");
        assert!((variance - 0.25 / (2.0 * alpha + 1.0)).abs() < 0.004, "{alpha}: {variance}");
    }
    let pasted = shares([0.8, 1.0]).iter().filter(|mix| matches!(mix, Mix::Paste(_))).count();
    // A half of 20,000; the standard deviation is 71.
    assert!((9700..10_300).contains(&pasted), "{pasted}");
}

#[test]
fn erased_rectangles_are_as_large_as_those_of_timm() {
    let expected = cases("erasing");
    let drawn: Vec<Crop> =
        (0..40_000).filter_map(|sample| Erased::draw(&mut draws(sample), 64)).map(|e| e.area).collect();
    let mean = |value: fn(&Crop) -> f64| drawn.iter().map(value).sum::<f64>() / drawn.len() as f64;
    let area = mean(|crop| f64::from(crop.width * crop.height) / 4096.0);
    let aspect = mean(|crop| (f64::from(crop.height) / f64::from(crop.width)).ln().abs());
    // Standard deviations 0.09 and 0.35, 40,000 draws on both sides: four standard errors of the difference.
    assert!((area - expected["area"].as_f64().unwrap()).abs() < 0.0026, "{area}");
    assert!((aspect - expected["aspect"].as_f64().unwrap()).abs() < 0.01, "{aspect}");
    assert!(drawn.iter().all(|crop| crop.x + crop.width <= 64 && crop.y + crop.height <= 64));
    assert!((0..50).filter_map(|sample| Erased::draw(&mut draws(sample), 1)).all(|erased| erased.area.width == 0));
}

#[test]
fn noise_fills_the_rectangle_and_nothing_else() {
    let erased = Erased { area: Crop { x: 3, y: 5, width: 50, height: 40 }, seed: 11 };
    let mut pixels = vec![1_u8; 64 * 64 * 3];
    erased.apply(&mut pixels, 64, 3);
    let inside = |at: usize| (3..53).contains(&(at / 3 % 64)) && (5..45).contains(&(at / 3 / 64));
    assert!(pixels.iter().enumerate().all(|(at, value)| inside(at) || *value == 1));
    for (channel, mean) in [0.485, 0.456, 0.406].into_iter().enumerate() {
        let values = pixels.iter().enumerate().filter(|(at, _)| inside(*at) && at % 3 == channel);
        let values: Vec<f64> = values.map(|(_, value)| f64::from(*value) / 255.0).collect();
        let found = values.iter().sum::<f64>() / values.len() as f64;
        // 2000 values of a standard deviation of 0.225: four standard errors are 0.02; cutting moves the mean less.
        assert!((found - mean).abs() < 0.022, "{channel}: {found}");
    }
    let mut again = vec![1_u8; 64 * 64 * 3];
    erased.apply(&mut again, 64, 3);
    assert_eq!(pixels, again);
}
