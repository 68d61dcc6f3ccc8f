//! Features of a k-NN that are saved and taken again, and the search in bf16: against PyTorch's files and numbers, and on odd input.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;
mod untrained;

use std::path::{Path, PathBuf};

use dinoxide::checkpoint::torch_save::{self, Item};
use dinoxide::checkpoint::{Content, ElementType, TensorRef, read_any};
use dinoxide::config::Precision;
use dinoxide::eval::knn::{KnnBank, NEIGHBOURS};
use dinoxide::run::input::{ImageSize, Network};
use dinoxide::run::protocols::knn::{KnnReport, KnnRequest, SavedKnnRequest, knn, knn_of_saved, knn_saving};
use dinoxide::run::protocols::{Manner, Outcome, ProtocolRequest};
use dinoxide_engine::cpu::Cpu;
use image::{Rgb, RgbImage};
use support::fixture_path;

/// Six images of each of three classes in `train`, three in `val`.
fn images(place: &Path) {
    for (side, count) in [("train", 6), ("val", 3)] {
        for (class, name) in (0..).zip(["ant", "bee", "cow"]) {
            let folder = place.join(side).join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for number in 0..count {
                let picture = RgbImage::from_fn(40, 36, |x, y| {
                    let on = ((x + number) / (2 + 3 * class) + y / 5).is_multiple_of(2);
                    Rgb(if on { [250 - 60 * class as u8, 40, 30 + 70 * class as u8] } else { [20, 90, 60] })
                });
                picture.save(folder.join(format!("{side}{number}.png"))).unwrap();
            }
        }
    }
}

fn request(place: &Path) -> KnnRequest {
    let protocol = ProtocolRequest {
        model: untrained::run_folder(place, 32),
        network: Network::Teacher,
        image_size: Some(ImageSize { width: 32, height: 32 }),
        precision: Precision::F32,
        out: place.join("out"),
        manner: Manner::Fitting,
    };
    KnnRequest { protocol, train: place.join("train"), val: place.join("val"), k: vec![1, 3, 100], temperature: 0.07 }
}

fn saved(features: PathBuf, out: PathBuf, k: &[usize]) -> SavedKnnRequest {
    SavedKnnRequest { features, out, precision: Precision::F32, k: k.to_vec(), temperature: 0.07 }
}

#[test]
fn saved_features_give_the_numbers_of_the_images() {
    let place = tempfile::tempdir().unwrap();
    images(place.path());
    let request = request(place.path());
    let plain = knn(&request).unwrap();

    let folder = place.path().join("features");
    let of_images: Outcome<KnnReport> = knn_saving(&request, &folder).unwrap();
    let out = place.path().join("again");
    let of_files = knn_of_saved(&saved(folder.clone(), out.clone(), &request.k)).unwrap();

    assert_eq!((&plain.result, &of_images.result), (&of_images.result, &of_files.result));
    let table = |folder: &Path| std::fs::read_to_string(folder.join("confusion.csv")).unwrap();
    assert_eq!(table(&request.protocol.out), table(&out));
    assert!(of_images.files.iter().chain(&of_files.files).all(|file| file.is_file()));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(json, serde_json::to_value(&of_files).unwrap());
    let shape_of = |name: &str| match read_any(&folder.join(name)).unwrap().into_content() {
        Content::Pytorch(mut file) => {
            let tensor = file.tensors("root").unwrap().remove(0);
            (tensor.shape, tensor.stored)
        }
        Content::Safetensors(_) => unreachable!("a .pth file"),
    };
    assert_eq!(shape_of("trainfeat.pth"), (vec![18, untrained::WIDTH], ElementType::F32));
    assert_eq!(shape_of("testlabels.pth"), (vec![9], ElementType::I64));
}

#[test]
fn files_of_pytorch_give_the_accuracies_of_the_published_program() {
    let text = std::fs::read_to_string(fixture_path("knn/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let place = tempfile::tempdir().unwrap();
    let request = saved(fixture_path("knn"), place.path().join("out"), &[1, 5, 20]);

    let found = knn_of_saved(&request).unwrap();

    assert_eq!((found.result.train, found.result.val, found.result.classes), (300, 160, 7));
    assert_eq!(found.deviations, Vec::<String>::new());
    for k in [1, 5, 20] {
        let of_torch = &expected["f32"][k.to_string()];
        // Shares of 160 images; whether they are times 100 before or after the division shows in the last digit.
        assert!((found.result.top1[&k] - of_torch[0].as_f64().unwrap()).abs() < 1e-9, "{k}: {:?}", found.result);
        assert!((found.result.top5[&k] - of_torch[1].as_f64().unwrap()).abs() < 1e-9, "{k}: {:?}", found.result);
    }
}

fn tensor_of(name: &str) -> Vec<f32> {
    match read_any(&fixture_path(name)).unwrap().into_content() {
        Content::Pytorch(mut file) => file.tensors("root").unwrap().remove(0).values,
        Content::Safetensors(_) => unreachable!("a .pth file"),
    }
}

#[test]
fn a_search_in_bf16_is_that_of_pytorch_on_rounded_features() {
    let text = std::fs::read_to_string(fixture_path("knn/expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let labels = |name: &str| tensor_of(name).into_iter().map(|label| label as u32).collect::<Vec<_>>();
    let bank = KnnBank::new(tensor_of("knn/trainfeat.pth"), labels("knn/trainlabels.pth"), 7).unwrap();
    let (val, truth) = (tensor_of("knn/testfeat.pth"), labels("knn/testlabels.pth"));

    let result = bank.rounded(Cpu::bf16_anywhere()).evaluate(&val, &truth, &[1, 5, 20]).unwrap();

    assert_ne!(expected["bf16"]["1"], expected["f32"]["1"], "rounding shows in this fixture");
    for score in &result.per_k {
        let of_torch = &expected["bf16"][score.k.to_string()];
        // Both round the same features and sum up in f32.
        assert!((score.top1 - of_torch[0].as_f64().unwrap()).abs() < 1e-9, "{score:?} {of_torch}");
        assert!((score.top5 - of_torch[1].as_f64().unwrap()).abs() < 1e-9, "{score:?} {of_torch}");
    }
}

#[test]
fn blocks_of_the_search_in_bf16_do_not_show() {
    // More rows and queries than a block, odd sizes, and copies whose order is that of their indices.
    let (train, queries, dim) = (4_500, 300, 9);
    let value = |at: usize| ((at * 2_654_435_761) % 1009) as f32 / 504.5 - 1.0;
    let features: Vec<f32> = (0..train * dim).map(|at| value(at % (2_000 * dim))).collect();
    let asked: Vec<f32> = (0..queries * dim).map(|at| value(at + 31)).collect();
    let rounded = |values: &[f32]| -> Vec<f32> {
        let rows = dinoxide::eval::nearest::UnitRows::new(values.to_vec(), dim, "rows").unwrap();
        rows.values().iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect()
    };
    let (bank, of_queries) = (rounded(&features), rounded(&asked));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    // Of the nearest row, the first of its copies.
    let nearest = |query: &[f32]| {
        let all = (0..2_000).map(|row| dot(&bank[row * dim..][..dim], query));
        all.enumerate().fold((0, f64::MIN), |best, (row, cosine)| if cosine > best.1 { (row, cosine) } else { best })
    };
    let truths: Vec<u32> = of_queries.chunks_exact(dim).map(|query| nearest(query).0 as u32).collect();

    let labels = (0..train as u32).collect();
    let knn = KnnBank::new(features, labels, train).unwrap().rounded(Cpu::bf16_anywhere());
    let result = knn.evaluate(&asked, &truths, &[1]).unwrap();

    assert!(result.predictions.iter().all(|row| *row < 2_000), "of equal rows the first one leads");
    // Where two rows agree to the rounding of f32, the order of sums decides.
    assert!(result.per_k[0].top1 > 99.0, "{:?}", result.per_k);
}

#[test]
fn rounding_to_bf16_changes_few_answers_on_real_features() {
    let Some(data) = std::env::var_os("DINOXIDE_DATA") else {
        println!("skipped: DINOXIDE_DATA is not set");
        return;
    };
    let folder = PathBuf::from(data).join("metrics/knn");
    let words = |name: &str| -> Vec<[u8; 4]> { std::fs::read(folder.join(name)).unwrap().as_chunks::<4>().0.to_vec() };
    let features = |name: &str| words(name).into_iter().map(f32::from_le_bytes).collect::<Vec<_>>();
    let labels = |name: &str| words(name).into_iter().map(u32::from_le_bytes).collect::<Vec<_>>();
    let bank = KnnBank::new(features("train_features.f32le"), labels("train_labels.i32le"), 10).unwrap();
    let (val, truth) = (features("val_features.f32le"), labels("val_labels.i32le"));

    let exact = bank.clone().evaluate(&val, &truth, &NEIGHBOURS).unwrap();
    let rounded = bank.rounded(Cpu::bf16_anywhere()).evaluate(&val, &truth, &NEIGHBOURS).unwrap();

    for (exact, rounded) in exact.per_k.iter().zip(&rounded.per_k) {
        println!("k {}: f32 {} {}, bf16 {} {}", exact.k, exact.top1, exact.top5, rounded.top1, rounded.top5);
        // A value of bf16 is off by 2⁻⁹ of itself at most, a cosine so by about 2⁻⁹ · √(2 / 192) of its terms' size: 4e-4, and a vote by 0.6 %.
        // That decides where two classes are as near to each other: three of these 500 images.
        assert!((exact.top1 - rounded.top1).abs() <= 0.6 && (exact.top5 - rounded.top5).abs() <= 0.6);
    }
}

#[test]
fn folders_that_are_no_features_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("features");
    std::fs::create_dir(&folder).unwrap();
    let refused = || {
        let request = saved(folder.clone(), place.path().join("out"), &[1]);
        knn_of_saved(&request).err().unwrap().to_string()
    };
    let features = |name: &str, shape: &[usize], value: f32| {
        let values = vec![value; shape.iter().product()];
        let tensor = TensorRef { name: "x", shape, values: &values };
        torch_save::write(&folder.join(name), &Item::Tensor(tensor)).unwrap();
    };
    let labels = |name: &str, labels: &[i64]| {
        torch_save::write(&folder.join(name), &Item::Integers(labels)).unwrap();
    };
    assert!(refused().contains("trainfeat.pth`; the folder of `--features` holds"));
    features("trainfeat.pth", &[2, 3], 1.0);
    labels("trainlabels.pth", &[0]);
    assert!(refused().contains("[1], and one label for each of 2 images was expected"));
    labels("trainlabels.pth", &[0, -1]);
    assert!(refused().contains("whole numbers from 0 on"));
    labels("trainlabels.pth", &[0, 1]);
    labels("testlabels.pth", &[1]);
    features("testfeat.pth", &[3], 1.0);
    assert!(refused().contains("[3], and one of [images, values]"));
    features("testfeat.pth", &[1, 4], 1.0);
    assert!(refused().contains("rows of 4, and rows of 3 was expected"));
    features("testfeat.pth", &[1, 3], f32::NAN);
    assert!(refused().contains("the validation features holds the value NaN in row 0"));
    features("testfeat.pth", &[1, 3], 1.0);
    std::fs::write(folder.join("classes.json"), r#"["ant"]"#).unwrap();
    assert!(refused().contains("a name for each of 2 classes"));
    std::fs::remove_file(folder.join("classes.json")).unwrap();
    let request = saved(folder.clone(), place.path().join("out"), &[2]);
    assert_eq!(knn_of_saved(&request).unwrap().result.top5[&2], 100.0);
    let state = Item::dict([("a", Item::Integers(&[1])), ("b", Item::Integers(&[2]))]);
    torch_save::write(&folder.join("testlabels.pth"), &state).unwrap();
    assert!(refused().contains("2 tensors, and one tensor was expected"));
}
