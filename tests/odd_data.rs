//! Folders as they are found on real disks: odd images, broken files, nothing at all, and what people mistype.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::path::{Path, PathBuf};
use std::process::Command;

use running::{Said, json_lines, make_images, picture, pretrain, rows, run};

/// Logged steps of a run.
fn steps(out: &Path) -> usize {
    rows(out).iter().filter(|row| row.get("eval").is_none()).count()
}

/// Good images beside the odd ones.
const GOOD: u32 = 13;
/// Readable but unusual files.
const ODD: [&str; 5] = ["pixel.png", "panorama.jpg", "gray16.png", "cmyk.jpg", "palette_alpha.png"];
/// Files that hold no image.
const BROKEN: [&str; 2] = ["text.jpg", "truncated.jpg"];

/// A temporary folder with the odd images in `data`, and the place of a run beside them.
fn odd_data() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    std::fs::create_dir(&data).unwrap();
    odd_folder(&data);
    (folder, data, out)
}

/// Good images, five odd ones and two that cannot be read: twenty files.
fn odd_folder(folder: &Path) {
    for number in 0..GOOD {
        picture(60 + number, 80, number).save(folder.join(format!("good-{number:02}.jpg"))).unwrap();
    }
    picture(1, 1, 0).save(folder.join("pixel.png")).unwrap();
    picture(12_000, 300, 1).save(folder.join("panorama.jpg")).unwrap();
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures/views/odd");
    for name in ["gray16.png", "cmyk.jpg", "palette_alpha.png"] {
        std::fs::copy(fixtures.join(name), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("text.jpg"), "a text, whatever its name says").unwrap();
    let whole = std::fs::read(folder.join("good-00.jpg")).unwrap();
    std::fs::write(folder.join("truncated.jpg"), &whole[..whole.len() / 2]).unwrap();
}

/// The names in `skipped.jsonl`, sorted.
fn skipped(out: &Path) -> Vec<String> {
    let name = |row: serde_json::Value| {
        assert!(row["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "a reason: {row}");
        Path::new(row["path"].as_str().unwrap()).file_name().unwrap().to_string_lossy().into_owned()
    };
    let mut names: Vec<String> = json_lines(&out.join("skipped.jsonl")).into_iter().map(name).collect();
    names.sort();
    names
}

#[test]
fn odd_images_train_and_the_unreadable_ones_are_listed_and_counted() {
    let (_folder, data, out) = odd_data();
    // Exactly the share of 2 in 20 is still allowed.
    let said = run(pretrain(&data, &out, &["--set", "data.max_bad=0.1"])).expect(0);
    said.saying(&["warning: 2 images could not be read; see ", "skipped.jsonl"]);
    assert_eq!(skipped(&out), BROKEN);
    assert_eq!(steps(&out), 15, "three epochs of five steps, each of four images");
    // Once more: nothing is left to do, and the count is still known.
    let said = run(pretrain(&data, &out, &["--set", "data.max_bad=0.1"])).expect(0);
    said.saying(&["warning: 2 images could not be read"]);
    assert_eq!(skipped(&out), BROKEN);
}

#[test]
fn a_few_unreadable_images_stop_no_run_by_default() {
    let (_folder, data, out) = odd_data();
    run(pretrain(&data, &out, &[]))
        .expect(0)
        .saying(&["data.max_bad", "3 unreadable files do not stop a run on 20 images"]);
    assert_eq!(skipped(&out), BROKEN);
}

#[test]
fn odd_images_alone_are_good_enough() {
    let (_folder, data, out) = odd_data();
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        if !ODD.iter().any(|name| path.ends_with(name)) {
            std::fs::remove_file(path).unwrap();
        }
    }
    run(pretrain(&data, &out, &["--set", "data.max_bad=0"])).expect(0);
    assert!(skipped(&out).is_empty());
}

#[test]
fn too_many_unreadable_images_stop_the_run_with_counts_and_names() {
    let (_folder, data, out) = odd_data();
    let said = run(pretrain(&data, &out, &["--set", "data.max_bad=0.06"])).expect(1);
    said.saying(&["2 of 20 images are unreadable", "text.jpg", "truncated.jpg", "max_bad"]);
}

#[test]
fn folder_of_nothing_but_broken_files_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    for number in 0..8 {
        std::fs::write(data.join(format!("{number}.jpg")), "none").unwrap();
    }
    let out = folder.path().join("run");
    run(pretrain(&data, &out, &["--set", "data.max_bad=1.0"])).expect(1).saying(&["no readable image", ".jpg"]);
    run(pretrain(&data, &out, &[])).expect(1).saying(&["data.max_bad"]);
}

/// Runs on `data`, expecting an error.
#[track_caller]
fn refused(data: &Path, more: &[&str], code: i32) -> Said {
    let folder = tempfile::tempdir().unwrap();
    run(pretrain(data, &folder.path().join("run"), more)).expect(code)
}

#[test]
fn places_without_images_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no-such-folder");
    refused(&missing, &[], 1).saying(&["no such file or folder", "no-such-folder"]);
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    refused(&empty, &[], 1).saying(&["no images in", "empty"]);
    std::fs::write(empty.join("notes.md"), "no images here").unwrap();
    refused(&empty, &[], 1).saying(&["no images in", "empty"]);
    picture(40, 40, 0).save(empty.join("one.png")).unwrap();
    refused(&empty, &[], 2).saying(&["1 ", "images in", "at least 2"]);
    // A single file, and a validation folder without classes.
    refused(&empty.join("one.png"), &[], 2).saying(&["at least 2"]);
    picture(40, 40, 1).save(empty.join("two.png")).unwrap();
    let val = empty.display().to_string();
    refused(&empty, &["--val", &val], 1).saying(&["no class folders in", "sub-folder per class"]);
    refused(&empty, &["--val", "no/such/labels"], 1).saying(&["no/such/labels"]);
    refused(&empty, &["--init", "no/such.pth"], 1).saying(&["no/such.pth"]);
}

#[test]
fn two_images_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    std::fs::create_dir(&data).unwrap();
    picture(40, 40, 0).save(data.join("one.png")).unwrap();
    picture(40, 40, 1).save(data.join("two.png")).unwrap();
    run(pretrain(&data, &out, &[])).expect(0);
    assert_eq!(steps(&out), 3, "one step per epoch");
}

#[test]
fn mistyped_flag_key_and_configuration_get_a_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    refused(data, &["--epoch", "3"], 2).saying(&["--epochs"]);
    refused(data, &["--overwritee"], 2).saying(&["--overwrite"]);
    refused(data, &["--set", "run.epohcs=3"], 2).saying(&["did you mean `run.epochs`?"]);
    refused(data, &["--set", "optim.lr"], 2).saying(&["has no `=`"]);
    refused(data, &["--set", "optim.lr=fast"], 2).saying(&["optim.lr", "fast"]);
    refused(data, &["--recipe", "dinoo"], 2).saying(&["did you mean `dino`?"]);
    let file = folder.path().join("mine.toml");
    let path = file.display().to_string();
    std::fs::write(&file, "[optim]\nlearning_rate = 0.1\n").unwrap();
    refused(data, &["-c", &path], 2).saying(&["mine.toml:2", "optim.learning_rate"]);
    std::fs::write(&file, "[run]\nepoch = 3\n").unwrap();
    refused(data, &["-c", &path], 2).saying(&["mine.toml:2", "did you mean `run.epochs`?"]);
    std::fs::write(&file, "[run\n").unwrap();
    refused(data, &["-c", &path], 2).saying(&["mine.toml:1", "not valid TOML"]);
}

#[test]
fn values_that_make_no_sense_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    odd_folder(&data);
    // Where 0 leaves the choice to the program, it is no mistake and not in this list.
    let absurd = [
        "run.epochs=0",
        "run.batch=0",
        "run.batch=-3",
        "run.micro_batch=-1",
        "model.num_heads=5",
        "model.patch_size=0",
        "views.global.size=0",
        "views.global.size=33",
        "views.local.size=4",
        "views.global.scale=[0.9, 0.1]",
        "views.blur=[2, 0, 0]",
        "views.blur_radius=[2.0, 0.1]",
        "head.out_dim=1",
        "head.layers=0",
        "dino.teacher_temp=[0.0, 0.04]",
        "dino.momentum=[0.9, 1.1]",
        "optim.lr=-1.0",
        "optim.lr=nan",
        "optim.warmup_epochs=-1",
        "data.max_bad=2",
        "data.std=[0.0, 1.0, 1.0]",
        "data.mean=[0.5]",
        "data.mean=measure",
        "data.channels=0",
        "data.channels=33",
        "data.channels=many",
        "data.range=[[5.0, 5.0]]",
        "data.range=[[0.0, 1.0], [0.0, 1.0]]",
        "data.range=[1.0, 0.0]",
        "data.range=[0.0]",
        "data.channels=4",
        "data.weights=[1.0, 2.0]",
        "data.weights=[-1.0]",
        "data.weights=[inf]",
        "eval.knn_k=0",
    ];
    for value in absurd {
        let out = folder.path().join("run");
        let said = run(pretrain(&data, &out, &["--set", "data.max_bad=0.1", "--set", value]));
        assert!(!said.text.contains("panicked"), "{value}: {}", said.text);
        let key = value.split_once('=').unwrap().0;
        assert_eq!(said.code, Some(2), "{value}: {}", said.text);
        assert!(said.text.contains(key.rsplit('.').next().unwrap()), "{value}: {}", said.text);
        assert!(!out.join("config.toml").exists(), "{value} was refused too late");
    }
}

#[test]
fn output_that_cannot_be_a_run_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    odd_folder(&data);
    run(pretrain(&data, &data, &[])).expect(1).saying(&["is not empty and holds no run"]);
    let file = data.join("text.jpg");
    run(pretrain(&data, &file, &[])).expect(1).saying(&["text.jpg"]);
    run(pretrain(&data, &file.join("run"), &[])).expect(1).saying(&["text.jpg"]);
}

#[test]
fn closed_output_ends_nothing() {
    let (_folder, data, out) = odd_data();
    let mut shell = Command::new("sh");
    let tiny: Vec<String> = running::TINY.iter().map(|value| format!("--set '{value}'")).collect();
    shell.arg("-c").arg(format!(
        "'{}' pretrain '{}' -o '{}' {} --set data.max_bad=0.1 --json 2>&1 | head -n 1",
        env!("CARGO_BIN_EXE_dinoxide"),
        data.display(),
        out.display(),
        tiny.join(" ")
    ));
    shell.status().unwrap();
    assert_eq!(steps(&out), 15, "the run went on without a reader");
}

#[test]
fn many_copies_among_the_images_are_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    make_images(&data, 6);
    std::fs::copy(data.join("cat/01.png"), data.join("cat/copy.png")).unwrap();
    run(pretrain(&data, &out, &["--epochs", "1"])).expect(0).saying(&["1 of 13 images are copies of others"]);
    // Only the run that begins is told.
    let again = run(pretrain(&data, &out, &["--epochs", "1"])).expect(0);
    assert!(!again.text.contains("copies"), "{}", again.text);
}
