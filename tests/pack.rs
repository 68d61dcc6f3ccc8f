//! `dinoxide pack`: what goes in comes out again, smaller where asked for.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::path::Path;
use std::process::{Command, Output};

use dinoxide_views::{Reading, Source};
use image::{Rgb, RgbImage};
use serde_json::Value;

fn pack(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dinoxide"));
    command.current_dir(folder).arg("pack").args(arguments).output().unwrap()
}

fn save(folder: &Path, name: &str, width: u32, height: u32) {
    std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
    let picture = RgbImage::from_fn(width, height, |x, y| Rgb([(x * 3) as u8, (y * 2) as u8, 90]));
    picture.save(folder.join(name)).unwrap();
}

#[test]
fn small_images_are_copied_and_large_ones_made_smaller() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "photos/cat/small.png", 40, 30);
    save(folder.path(), "photos/cat/tall.jpg", 100, 300);
    save(folder.path(), "photos/large.png", 200, 150);
    std::fs::write(folder.path().join("photos/text.jpg"), "no picture").unwrap();
    let output = pack(folder.path(), &["photos", "-o", "packed", "--side", "50", "--json"]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["images"], &report["resized"], &report["skipped"]), (&3.into(), &2.into(), &1.into()));
    let source = Source::open(&[folder.path().join("packed").display().to_string()]).unwrap();
    let seen: Vec<(String, (u32, u32))> = source
        .images
        .iter()
        .map(|image| (image.name.to_string(), image.decode(&Reading::default()).unwrap()))
        .map(|(name, image)| (name, (image.width, image.height)))
        .collect();
    let name = |name: &str| format!("shard-00000.tar/{name}");
    let expected = [("large.png.jpg", (67, 50)), ("cat/small.png", (40, 30)), ("cat/tall.jpg", (50, 150))];
    assert_eq!(seen, expected.map(|(file, size)| (name(file), size)));
    let original = std::fs::read(folder.path().join("photos/cat/small.png")).unwrap();
    assert_eq!(source.images[1].read().unwrap(), original, "to the byte");
}

#[test]
fn shards_are_closed_when_they_are_full() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..4 {
        let noise = RgbImage::from_fn(500, 500, |x, y| Rgb([x as u8, y as u8, number]));
        std::fs::create_dir_all(folder.path().join("photos")).unwrap();
        noise.save(folder.path().join(format!("photos/{number}.bmp"))).unwrap();
    }
    // Each file has three quarters of a megabyte.
    let output = pack(folder.path(), &["photos", "-o", "packed", "--shard-mb", "1", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["shards"].as_array().unwrap().len(), 2);
    let names: Vec<_> =
        std::fs::read_dir(folder.path().join("packed")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(names.iter().all(|path| path.extension().is_some_and(|extension| extension == "tar")), "{names:?}");
}

#[test]
fn a_folder_with_something_in_it_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), "photos/a.png", 8, 8);
    let output = pack(folder.path(), &["photos", "-o", "photos"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not empty; choose another folder"), "{output:?}");
}
