//! What a trained network has learnt, shown: `pca`, `neighbors`, `dedup`, `map`. Protocols on numbers, commands on a tiny network.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

#[path = "../support/mod.rs"]
mod support;
#[path = "../untrained/mod.rs"]
mod untrained;

mod dedup;
mod map;
mod neighbors;
mod pca;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dinoxide::config::Precision;
use dinoxide::run::input::Network;
use dinoxide::run::look::LookRequest;
use image::{Rgb, RgbImage};

/// A network to which images differ: its patch embedding and projections weigh ten times more than fresh ones.
fn run(place: &Path) -> PathBuf {
    untrained::changed_run_folder(place, 32, |name, values| {
        if name.ends_with("proj.weight") || name.ends_with("qkv.weight") {
            values.iter_mut().for_each(|value| *value *= 10.0);
        }
    })
}

/// A network that has diverged.
fn damaged_run(place: &Path) -> PathBuf {
    untrained::changed_run_folder(place, 32, |name, values| {
        if name.ends_with("norm.weight") {
            values[0] = f32::NAN;
        }
    })
}

/// A picture in two colours; the shape depends on the number.
fn picture(path: &Path, (width, height): (u32, u32), number: u32) -> RgbImage {
    const COLOURS: [[u8; 3]; 6] =
        [[230, 30, 30], [30, 210, 40], [40, 60, 230], [230, 220, 40], [20, 20, 20], [240, 240, 240]];
    let (a, b) = (COLOURS[number as usize % 6], COLOURS[(number / 6 + number + 1) as usize % 6]);
    let image = RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (16 * x / width, 16 * y / height);
        let inside = match number % 4 {
            0 => x > 9,
            1 => y < 5,
            2 => (x / 4 + y / 4) % 2 == 0,
            _ => (x as i32 - 8).pow(2) + (y as i32 - 8).pow(2) < 20,
        };
        Rgb(if inside { a } else { b })
    });
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
    image
}

/// Six classes of pictures that resemble each other.
fn classes(place: &Path, per_class: u32) -> PathBuf {
    for class in 0..6 {
        for number in 0..per_class {
            let path = place.join("photos").join(format!("class-{class}")).join(format!("{number}.png"));
            picture(&path, (40 + number, 40), class);
        }
    }
    place.join("photos")
}

fn look(model: &Path, data: &[&Path], out: &Path) -> LookRequest {
    LookRequest {
        model: model.to_path_buf(),
        data: data.iter().map(|path| path.display().to_string()).collect(),
        out: out.to_path_buf(),
        image_size: None,
        network: Network::Teacher,
        precision: Precision::F32,
    }
}

fn dinoxide(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dinoxide")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn rows(path: &Path) -> Vec<Vec<String>> {
    let mut table = csv::Reader::from_path(path).unwrap();
    let header = table.headers().unwrap().clone();
    let rows = table.records().map(|row| row.unwrap());
    std::iter::once(header).chain(rows).map(|row| row.iter().map(str::to_owned).collect()).collect()
}

/// What can go wrong in each of the commands in the same way.
#[test]
fn every_command_explains_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    let (model, photos) = (run(place.path()), classes(place.path(), 2));
    let damaged = damaged_run(&place.path().join("damaged"));
    let (empty, file, bad) = (place.path().join("empty"), place.path().join("file.txt"), place.path().join("bad"));
    std::fs::create_dir_all(&empty).unwrap();
    std::fs::create_dir_all(&bad).unwrap();
    std::fs::write(&file, "no folder").unwrap();
    std::fs::write(bad.join("bad.png"), "no image").unwrap();
    let out = place.path().join("out");
    let [model, photos, damaged, empty, file, bad, out] =
        [&model, &photos, &damaged, &empty, &file, &bad, &out].map(|path| path.to_str().unwrap());
    let below = format!("{file}/below");
    for command in ["pca", "neighbors", "dedup", "map"] {
        for (arguments, words) in [
            ([model, empty, "-o", out], "no images in"),
            ([model, bad, "-o", out], "none of the images could be read"),
            ([model, photos, "-o", file], "is a file; `-o` names a folder"),
            ([model, photos, "-o", &below], "cannot create"),
            ([damaged, photos, "-o", out], "hold NaN or infinite values"),
            ([photos, photos, "-o", out], "without `config.toml`"),
            (["no/such/model", photos, "-o", out], "no/such/model"),
        ] {
            let output = dinoxide(&[[command].as_slice(), &arguments].concat());
            assert_eq!(output.status.code(), Some(1), "{command} {arguments:?}");
            assert!(stderr(&output).contains(words), "{command} {arguments:?}: {}", stderr(&output));
            assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
        }
        let help = dinoxide(&[command, "--help"]);
        assert!(String::from_utf8_lossy(&help.stdout).contains("Example: dinoxide "), "{command}");
    }
    for command in ["neighbors", "dedup", "map"] {
        let one = format!("{photos}/class-0/0.png");
        let output = dinoxide(&[command, model, &one, "-o", out]);
        assert!(stderr(&output).contains("only one image"), "{command}: {}", stderr(&output));
    }
}
