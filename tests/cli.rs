//! The command as a script sees it: exit codes, stdout, stderr.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use dinoxide::config::recipe::{RECIPES, VIEW_RECIPES};
use std::process::{Command, Output};

fn dinoxide(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dinoxide")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn mistyped_flag_gets_a_suggestion_and_exit_code_2() {
    let output = dinoxide(&["pretrain", "photos", "--epoch", "3"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--epochs"), "{}", stderr(&output));
}

#[test]
fn mistyped_key_gets_a_suggestion_and_exit_code_2() {
    for arguments in
        [["pretrain", "photos", "--set", "run.epochz=3"].as_slice(), &["pretrain", "photos", "run.epochz=3"]]
    {
        let output = dinoxide(arguments);
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(stderr(&output), "error: --set: unknown key `run.epochz`; did you mean `run.epochs`?\n");
        assert_eq!(stdout(&output), "");
    }
}

#[test]
fn pretrain_without_data_says_what_to_type() {
    let output = dinoxide(&["pretrain"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("dinoxide pretrain photos/"));
}

#[test]
fn device_that_is_not_built_is_a_usage_error() {
    let output = dinoxide(&["pretrain", "photos", "--device", "cuda"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("possible values: cpu"), "{}", stderr(&output));
}

#[test]
fn unreadable_configuration_names_file_and_cause() {
    let output = dinoxide(&["pretrain", "photos", "-c", "no/such.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.starts_with("error: cannot read the configuration `no/such.toml`\n  because: "), "{text}");
}

#[test]
fn recipes_are_listed_and_shown() {
    let list = stdout(&dinoxide(&["recipes", "ls"]));
    assert_eq!(list.lines().count(), RECIPES.len() + VIEW_RECIPES.len());
    let dino = stdout(&dinoxide(&["recipes", "show", "dino"]));
    assert!(dino.contains("out_dim = 65536"));
    assert_eq!(dinoxide(&["recipes", "show", "dyno"]).status.code(), Some(2));
}

#[test]
fn models_are_listed_and_shown() {
    let list = stdout(&dinoxide(&["models", "ls"]));
    // The paper's table 1: 21 and 85 million parameters.
    assert!(list.contains("vit_small_patch16_224      384     12     6     21.7 M"), "{list}");
    assert!(list.contains("vit_base_patch16_224       768     12    12     85.8 M"), "{list}");
    let eight = stdout(&dinoxide(&["models", "show", "vit_small_patch8_224", "--json"]));
    let eight: serde_json::Value = serde_json::from_str(&eight).expect("JSON");
    assert_eq!((eight["patch_size"].as_u64(), eight["parameters"].as_u64()), (Some(8), Some(21_670_272)));
    let wrong = dinoxide(&["models", "show", "vit_smal"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("vit_small"), "{}", stderr(&wrong));
}

#[test]
fn every_command_has_help() {
    for command in [
        ["pretrain"].as_slice(),
        &["check"],
        &["preview"],
        &["pack"],
        &["bench", "views"],
        &["embed"],
        &["eval", "knn"],
        &["eval", "linear"],
        &["eval", "logreg"],
        &["eval", "video"],
        &["eval", "video-score"],
        &["attention"],
        &["demo"],
        &["export"],
    ] {
        let output = dinoxide(&[command, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("Usage: dinoxide"));
    }
}

#[test]
fn image_size_that_is_none_is_explained() {
    let output = dinoxide(&["embed", "m.safetensors", "photos", "-o", "o.npz", "--image-size", "big"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("480x320"), "{}", stderr(&output));
}

#[test]
fn recipe_flag_against_a_file_made_from_another_recipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    std::fs::write(&file, "recipe = \"dino\"\n").unwrap();
    let output = dinoxide(&["pretrain", "photos", "-r", "laptop", "-c", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("does not go with recipe = \"dino\""), "{}", stderr(&output));
}

#[test]
fn recipe_of_views_against_a_file_made_from_another_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[views]\nrecipe = \"swav\"\n").unwrap();
    let output = dinoxide(&["preview", "photos", "-c", file.to_str().unwrap(), "--set", "views.recipe=byol"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("leave one of the two away"), "{}", stderr(&output));
}
