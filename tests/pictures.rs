//! Pictures of every evaluation of a run, and what its page makes of them.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod running;

use std::path::Path;

use image::AnimationDecoder;
use running::{make_images, pretrain, run};

/// The images of the run that has them, by kind: the names of the files in `pictures/KIND`.
fn sheets(run: &Path, kind: &str) -> Vec<String> {
    let entries = std::fs::read_dir(run.join("pictures").join(kind)).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("epoch-")).collect();
    names.sort();
    names
}

/// What a run keeps of its map after so many steps.
fn kept(run: &Path, step: usize) -> serde_json::Value {
    let path = run.join(format!("pictures/map/places-{step}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn every_evaluation_draws_a_map_that_moves_only_with_the_network() {
    let root = tempfile::tempdir().unwrap();
    let (out, data) = (root.path().join("run"), root.path().join("data"));
    make_images(&data, 8);
    // The teacher stays as it is, and with it the features.
    run(pretrain(&data, &out, &["--set", "dino.momentum=[1.0, 1.0]"])).expect(0);
    assert_eq!(sheets(&out, "map"), ["epoch-0000.jpg", "epoch-0001.jpg", "epoch-0002.jpg", "epoch-0003.jpg"]);
    let (first, last) = (kept(&out, 0), kept(&out, 12));
    assert_eq!(first["groups"], last["groups"]);
    let places = |kept: &serde_json::Value| serde_json::from_value::<Vec<[f64; 2]>>(kept["places"].clone()).unwrap();
    let (first, last) = (places(&first), places(&last));
    assert_eq!(first.len(), 16);
    let moved = first.iter().zip(&last).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1])).sum::<f64>() / 16.0;
    assert!(moved < 1e-5, "{moved}");
}

/// Frames of a film, and its size.
fn film(run: &Path, kind: &str) -> (usize, (u32, u32)) {
    let file = std::fs::File::open(run.join("pictures").join(format!("{kind}.gif"))).unwrap();
    let decoder = image::codecs::gif::GifDecoder::new(std::io::BufReader::new(file)).unwrap();
    let frames = decoder.into_frames().collect_frames().unwrap();
    (frames.len(), frames[0].buffer().dimensions())
}

#[test]
fn a_finished_run_has_films_and_a_page_with_its_last_sheets() {
    let root = tempfile::tempdir().unwrap();
    let (out, data) = (root.path().join("run"), root.path().join("data"));
    make_images(&data, 8);
    run(pretrain(&data, &out, &[])).expect(0);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for kind in ["attention", "pca", "map"] {
        let (frames, (width, _)) = film(&out, kind);
        assert!(frames == sheets(&out, kind).len() && frames == 4 && width <= 720, "{kind}: {frames}, {width}");
    }
    assert!(!out.join("pictures/neighbors.gif").exists());
    assert_eq!(page.matches("Film over the epochs").count(), 3);
    assert_eq!(page.matches("data:image/gif;base64,").count(), 3);
    for part in [
        "Attention of the class token",
        "Components of the patches",
        "Nearest images",
        "Map of the images",
        "Augmentations",
    ] {
        assert_eq!(page.matches(&format!("<h3>{part}</h3>")).count(), 1, "{part}");
    }
    assert!(page.contains("After epoch 3.") && page.len() < 5_000_000);
    assert!(!page.contains("src=\"http") && !page.contains("<script"));
}

#[test]
fn images_without_classes_keep_the_colours_of_their_groups() {
    let root = tempfile::tempdir().unwrap();
    let (out, data) = (root.path().join("run"), root.path().join("data"));
    make_images(&data, 24);
    // A rate so low that the features stay: then so do the groups.
    run(pretrain(&data.join("cat"), &out, &["--set", "run.batch=8", "--set", "optim.lr=1e-7"])).expect(0);
    let (before, after) = (kept(&out, 0), kept(&out, 9));
    let groups = |kept: &serde_json::Value| serde_json::from_value::<Vec<usize>>(kept["groups"].clone()).unwrap();
    let (before, after) = (groups(&before), groups(&after));
    assert!(before.len() == 24 && after.iter().all(|group| *group < 8));
    let same = before.iter().zip(&after).filter(|(before, after)| before == after).count();
    assert!(same > 18, "{before:?} {after:?}");
}

#[test]
fn a_run_without_pictures_draws_none() {
    let root = tempfile::tempdir().unwrap();
    let (out, data) = (root.path().join("run"), root.path().join("data"));
    make_images(&data, 4);
    run(pretrain(&data, &out, &["--set", "eval.pictures=false"])).expect(0);
    for kind in ["attention", "pca", "neighbors", "map"] {
        assert!(!out.join("pictures").join(kind).exists(), "{kind}");
    }
    assert!(["attention", "pca", "map"].iter().all(|kind| !out.join(format!("pictures/{kind}.gif")).exists()));
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("Attention of the class token") && !page.contains("Film over the epochs"));
}

#[test]
fn the_page_tells_a_run_from_the_recipe_and_from_published_results() {
    let root = tempfile::tempdir().unwrap();
    let (out, data) = (root.path().join("run"), root.path().join("data"));
    make_images(&data, 8);
    run(pretrain(&data, &out, &["--val", data.to_str().unwrap(), "--set", "optim.name=sgd"])).expect(0);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    // Width 24 and patches of 8 pixels.
    let beside = page.split("<h3>Beside published results</h3>").nth(1).unwrap().split("</table>").next().unwrap();
    for part in ["this run, teacher", "this run, student", "this run, best teacher", "16 images, 32 px", "not a target"]
    {
        assert!(beside.contains(part), "{part}: {beside}");
    }
    let row = "<td>DINO ViT-S/8 (table 2)</td><td>ImageNet-1k, 224 px</td><td>800</td><td>78.3</td><td>79.7</td>";
    assert!(beside.contains(row) && !beside.contains("ViT-B"), "{beside}");
    let differs = page.split("<h3>What differs from the recipe</h3>").nth(1).unwrap().split("</table>").next().unwrap();
    for row in [
        "<td>head.out_dim</td><td>64</td><td>65536</td>",
        "<td>optim.name</td><td>&quot;sgd&quot;</td><td>&quot;adamw&quot;</td>",
    ] {
        assert!(differs.contains(row), "{row}: {differs}");
    }
    for key in ["data.train", "data.val", "run.threads", "data.workers", "run.seed", "eval.knn_k", "log.every_steps"] {
        assert!(!differs.contains(&format!("<td>{key}</td>")), "{key}: {differs}");
    }
}
