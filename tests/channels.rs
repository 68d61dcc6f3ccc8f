//! Images that are not 8-bit RGB through the commands: measured, trained on, used.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::path::Path;
use std::process::{Command, Output};

use npyz::WriterBuilder as _;
use serde_json::Value;

/// Sides of the images.
const SIDE: u64 = 24;
/// Channels of the images.
const CHANNELS: u64 = 5;

fn dinoxide(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_dinoxide")).current_dir(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn talk(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Twelve bits in sixteen: waves of a class's own length, around another level in each channel.
fn value(class: u64, image: u64, at: u64) -> u16 {
    let (channel, x, y) = (at % CHANNELS, at / CHANNELS % SIDE, at / CHANNELS / SIDE);
    let wave = ((x + image) as f64 / (2.0 + class as f64 * 3.0) + y as f64 / 4.0).sin();
    (1000.0 + 500.0 * channel as f64 + 900.0 * wave) as u16
}

fn write_images(folder: &Path, count: u64) {
    for class in 0..2 {
        let place = folder.join(format!("class{class}"));
        std::fs::create_dir_all(&place).unwrap();
        for image in 0..count {
            let file = std::fs::File::create(place.join(format!("{image}.npy"))).unwrap();
            let writer = npyz::WriteOptions::new().default_dtype().shape(&[SIDE, SIDE, CHANNELS]).writer(file);
            let mut writer = writer.begin_nd().unwrap();
            writer.extend((0..SIDE * SIDE * CHANNELS).map(|at| value(class, image, at))).unwrap();
            writer.finish().unwrap();
        }
    }
}

/// Mean and deviation of each channel, 0 to 1, of the bytes that a network is shown.
fn moments(count: u64, range: &[[f64; 2]]) -> (Vec<f64>, Vec<f64>) {
    let of_channel = |channel: u64| {
        let [low, high] = range[channel as usize];
        let all = (0..2).flat_map(|class| (0..count).map(move |image| (class, image)));
        let values: Vec<f64> = all
            .flat_map(|(class, image)| {
                (0..SIDE * SIDE).map(move |pixel| value(class, image, pixel * CHANNELS + channel))
            })
            .map(|value| ((f64::from(value) - low) * 255.0 / (high - low) + 0.5).floor().clamp(0.0, 255.0) / 255.0)
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        (mean, (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
    };
    (0..CHANNELS).map(of_channel).unzip()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn a_check_measures_channels_range_mean_and_deviation() {
    let folder = tempfile::tempdir().unwrap();
    write_images(&folder.path().join("data"), 6);
    let output = dinoxide(folder.path(), &["check", "data", "--json", "--out", "data.html"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["channels_read"], CHANNELS);
    assert_eq!(found["bits"]["16"], 12);
    let range: Vec<[f64; 2]> = serde_json::from_value(found["range"].clone()).unwrap();
    for (channel, [low, high]) in range.iter().enumerate() {
        // The crests of the waves, but for a thousandth of the pixels.
        let middle = 1000.0 + 500.0 * channel as f64;
        assert!((low - (middle - 900.0)).abs() < 10.0 && (high - (middle + 900.0)).abs() < 10.0, "{low} {high}");
    }
    let (mean, std) = moments(6, &range);
    for (found, expected) in numbers(&found["mean"]).iter().chain(&numbers(&found["std"])).zip(mean.iter().chain(&std))
    {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    assert!(std::fs::read_to_string(folder.path().join("data.html")).unwrap().contains("mean of each channel"));
}

#[test]
fn five_channels_of_sixteen_bits_train_and_the_result_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    write_images(&root.join("data"), 10);
    let small = ["model.embed_dim=24", "model.depth=2", "model.num_heads=3", "model.patch_size=8", "head.out_dim=64"];
    let mut train = vec!["pretrain", "data", "--out", "run", "--epochs", "2", "--batch", "10", "--val", "data"];
    train.extend(["--set", "views.global.size=16", "--set", "views.local.size=8", "--set", "model.image_size=16"]);
    small.iter().for_each(|set| train.extend(["--set", set]));
    let said = talk(&dinoxide(root, &train));
    assert!(said.contains("20 images, 5 channels") && said.contains("left out: 5 channels"), "{said}");
    let config = std::fs::read_to_string(root.join("run/config.toml")).unwrap();
    for line in ["channels = 5", "range = [[1", "hue = 0.0", "saturation = 0.0", "gray = 0.0"] {
        assert!(config.contains(line), "{line}: {config}");
    }
    let page = std::fs::read_to_string(root.join("run/report.html")).unwrap();
    assert!(page.contains("in_chans=5") && page.contains("[N, 5, 16, 16]"));
    dinoxide(root, &["export", "run", "--out", "net.safetensors"]);
    for model in ["run", "net.safetensors"] {
        let features = format!("{}.csv", model.replace('.', "_"));
        let said = talk(&dinoxide(root, &["embed", model, "data", "--out", &features]));
        assert!(!said.contains("does not state"), "{said}");
    }
    let features = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    assert_eq!(features("run.csv"), features("net_safetensors.csv"), "range, mean and deviation go with the weights");
    dinoxide(root, &["attention", "run", "data/class0/0.npy", "--out", "seen"]);
    dinoxide(root, &["preview", "data", "--out", "views.png", "--set", "views.global.size=16"]);
    assert!(root.join("views.png").exists() && root.join("seen").is_dir());
    dinoxide(root, &["pretrain", "data", "--out", "more", "--init", "run", "--epochs", "1", "-c", "run/config.toml"]);
}

/// Gray and color are read together; what has other channels is counted. All columns of an image are looked at.
#[test]
fn a_check_finds_the_range_of_whole_images_and_the_channels_of_most() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_images(&data, 1);
    for number in 0..3u16 {
        let at = |x: u32, y: u32| if x < 8 { 0 } else { 1000 + 8 * (x % 256) as u16 + (y % 8) as u16 + number };
        let image = image::ImageBuffer::from_fn(512, 512, |x, y| image::Luma([at(x, y)]));
        image.save(data.join(format!("{number}.png"))).unwrap();
    }
    image::RgbImage::from_pixel(8, 8, image::Rgb([9, 9, 9])).save(data.join("color.png")).unwrap();
    let output = dinoxide(folder.path(), &["check", "data", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["channels_read"], &found["other_channels"]), (&Value::from(3), &Value::from(2)));
    let range: Vec<[f64; 2]> = serde_json::from_value(found["range"].clone()).unwrap();
    assert!(range.len() == 1 && range[0][0] == 0.0 && (range[0][1] - 3049.0).abs() < 20.0, "{range:?}");
    let output = dinoxide(folder.path(), &["check", "data", "--json", "--channels", "5"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((found["channels_read"].as_u64(), found["bad"].as_array().unwrap().len()), (Some(5), 4));
}
