//! The commands on a trained model, on a tiny network with random weights: files, shapes, numbers.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod untrained;

use std::path::{Path, PathBuf};

use dinoxide::checkpoint;
use dinoxide::config::Precision;
use dinoxide::eval::features::ImageBatch;
use dinoxide::run::attention::{AttentionRequest, attention};
use dinoxide::run::embed::{EmbedRequest, EmbedWhat, embed};
use dinoxide::run::export::{ExportFormat, ExportRequest, ExportWhat, export};
use dinoxide::run::input::{ImageSize, Network};
use dinoxide::run::model::Model;
use dinoxide::run::protocols::knn::{KnnReport, KnnRequest, knn};
use dinoxide::run::protocols::{Manner, Outcome, ProtocolRequest};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use dinoxide_views::{EvalTransform, Reading, decode_file};
use image::RgbImage;
use untrained::{HEADS, WIDTH, run_folder};

/// Stripes of a colour and a width that depend on the class, shifted from image to image.
fn picture(path: &Path, (width, height): (u32, u32), class: u32, number: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_fn(width, height, |x, y| {
        let on = ((x + number) / (2 + 3 * class) + y / 5).is_multiple_of(2);
        image::Rgb(if on { [250 - 60 * class as u8, 40, 30 + 70 * class as u8] } else { [20, 90, 60] })
    });
    image.save(path).unwrap();
}

/// A folder with one sub-folder for each class.
fn labelled(place: &Path, name: &str, per_class: u32) -> PathBuf {
    for (class, class_name) in ["ant", "bee", "cow"].iter().enumerate() {
        for number in 0..per_class {
            let path = place.join(name).join(class_name).join(format!("{number}.png"));
            picture(&path, (40 + number, 36), class as u32, number);
        }
    }
    place.join(name)
}

fn read_array(path: &Path, name: &str) -> (Vec<usize>, Vec<f32>) {
    let mut file = npyz::npz::NpzArchive::open(path).unwrap();
    let array = file.by_name(name).unwrap().unwrap();
    let shape = array.shape().iter().map(|side| *side as usize).collect();
    (shape, array.into_vec().unwrap())
}

fn embed_request(model: &Path, data: &Path, out: PathBuf, what: EmbedWhat) -> EmbedRequest {
    let data = vec![data.display().to_string()];
    EmbedRequest {
        model: model.to_path_buf(),
        data,
        out,
        what,
        image_size: None,
        network: Network::Teacher,
        precision: Precision::F32,
    }
}

/// The features of one image computed directly.
fn direct(model: &Model, path: &Path, transform: EvalTransform) -> [Vec<f32>; 3] {
    let image = transform.apply(&decode_file(path, &Reading::default()).unwrap());
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let frozen = model.frozen(&cpu, &pool);
    let (height, width) = (image.height as usize, image.width as usize);
    let batch = ImageBatch { pixels: &image.pixels, images: 1, height, width };
    [frozen.class_features(batch), frozen.tokens(batch), frozen.class_attention(batch).unwrap()]
}

fn assert_near(ours: &[f32], expected: &[f32]) {
    assert_eq!(ours.len(), expected.len());
    // Batches of other sizes sum in another order.
    assert!(ours.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn embed_writes_every_kind_of_feature() {
    let place = tempfile::tempdir().unwrap();
    let run = run_folder(place.path(), 32);
    let data = labelled(place.path(), "photos", 3);
    std::fs::write(data.join("ant/bad.jpg"), "not an image").unwrap();
    let model = Model::load(&run, Network::Teacher).unwrap();
    let first = data.join("ant/0.png");
    let small = direct(&model, &first, EvalTransform::ResizeCrop { resize: 32, crop: 32 });
    let large = direct(&model, &first, EvalTransform::Exact { width: 480, height: 320 });
    let wide = Some(ImageSize { width: 480, height: 320 });
    for (name, image_size, expected, patches) in [("small", None, small, 16), ("wide", wide, large, 2400)] {
        for (what, key, row_shape, expected) in [
            (EmbedWhat::Cls, "embeddings", vec![WIDTH], &expected[0]),
            (EmbedWhat::Tokens, "tokens", vec![patches + 1, WIDTH], &expected[1]),
            (EmbedWhat::Attention, "attention", vec![HEADS, patches], &expected[2]),
        ] {
            let out = place.path().join(format!("{name}-{key}.npz"));
            let request = EmbedRequest { image_size, ..embed_request(&run, &data, out.clone(), what) };
            let report = embed(&request).unwrap();
            assert_eq!((report.images, report.skipped), (9, 1));
            let (shape, values) = read_array(&out, key);
            assert_eq!(shape, [vec![9], row_shape].concat());
            assert_eq!(report.shape, shape);
            assert_near(&values[..expected.len()], expected);
        }
    }
}

#[test]
fn embed_writes_csv_with_relative_names() {
    let place = tempfile::tempdir().unwrap();
    let run = run_folder(place.path(), 32);
    let data = labelled(place.path(), "photos", 1);
    let out = place.path().join("features.csv");
    embed(&embed_request(&run, &data, out.clone(), EmbedWhat::Cls)).unwrap();
    let text = std::fs::read_to_string(out).unwrap();
    let names: Vec<_> = text.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(names, ["filename", "ant/0.png", "bee/0.png", "cow/0.png"]);
    assert_eq!(text.lines().nth(1).unwrap().split(',').count(), 1 + WIDTH);
    let refused = embed(&embed_request(&run, &data, place.path().join("t.csv"), EmbedWhat::Tokens));
    assert!(refused.unwrap_err().to_string().contains(".npz"));
}

#[test]
fn embed_of_unreadable_images_only_writes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let run = run_folder(place.path(), 32);
    let data = place.path().join("photos");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("bad.jpg"), "not an image").unwrap();
    let out = place.path().join("none.npz");
    assert!(embed(&embed_request(&run, &data, out.clone(), EmbedWhat::Cls)).is_err());
    assert!(!out.exists());
}

#[test]
fn knn_classifies_fewer_than_a_hundred_images_of_three_classes() {
    let place = tempfile::tempdir().unwrap();
    let model = run_folder(place.path(), 32);
    let (train, val) = (labelled(place.path(), "train", 8), labelled(place.path(), "val", 3));
    let protocol = ProtocolRequest {
        model,
        network: Network::Teacher,
        image_size: None,
        precision: Precision::F32,
        out: place.path().join("eval-knn"),
        manner: Manner::Fitting,
    };
    let request = KnnRequest { protocol, train: train.clone(), val: train, k: vec![1, 10, 200], temperature: 0.07 };
    let report = |request: &KnnRequest| knn(request).unwrap().result;
    // Every image is its own nearest neighbour.
    let itself = report(&request);
    assert_eq!((itself.train, itself.val, itself.classes), (24, 24, 3));
    assert_eq!(itself.top1.keys().copied().collect::<Vec<_>>(), [1, 10, 200]);
    assert_eq!(itself.top1[&1], 100.0);
    assert_eq!(itself.top5[&200], 100.0);
    let cold = report(&KnnRequest { temperature: 1e-6, k: vec![20], ..request.clone() });
    assert_eq!(cold.top1[&20], 100.0);
    let outcome: Outcome<KnnReport> = knn(&KnnRequest { val: val.clone(), ..request.clone() }).unwrap();
    assert_eq!((outcome.result.train, outcome.result.val), (24, 9));
    let written = std::fs::read(request.protocol.out.join("results.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(json, serde_json::to_value(&outcome).unwrap());
    assert_eq!(json["confusion_k"].as_u64(), Some(1), "there is no 20 among those asked for");
    let classes = std::fs::read_to_string(request.protocol.out.join("classes.csv")).unwrap();
    let counted: usize =
        classes.lines().skip(1).map(|line| line.split(',').nth(1).unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!((classes.lines().next(), counted), (Some("class,images,top1"), 9));
    assert!(request.protocol.out.join("confusion.png").exists());
    assert_eq!((json["protocol"].as_str(), json["val"].as_u64()), (Some("knn"), Some(9)));
    assert!(json["top1"]["200"].is_number() && json["seconds"].as_f64() >= Some(0.0));
    assert!(knn(&KnnRequest { temperature: 0.0, ..request.clone() }).is_err());
    picture(&val.join("dog/0.png"), (40, 36), 1, 1);
    assert!(knn(&KnnRequest { val, ..request }).unwrap_err().to_string().contains("`dog`"));
}

#[test]
fn what_differs_from_the_original_program_is_said_and_can_be_forbidden() {
    let place = tempfile::tempdir().unwrap();
    // The original needs a hundred images to classify.
    let (model, images) = (run_folder(place.path(), 32), labelled(place.path(), "train", 34));
    let outcome = |manner| {
        let (network, image_size, precision) = (Network::Teacher, None, Precision::F32);
        let out = place.path().join("eval-knn");
        let protocol = ProtocolRequest { model: model.clone(), network, image_size, precision, out, manner };
        let (train, val) = (images.clone(), images.clone());
        knn(&KnnRequest { protocol, train, val, k: vec![1], temperature: 0.07 }).unwrap()
    };

    let deviations = outcome(Manner::Fitting).deviations;

    assert_eq!(deviations.len(), 2, "{deviations:?}");
    assert!(deviations[0].contains("EXIF") && deviations[1].contains("centre 224x224"), "{deviations:?}");
    assert_eq!(outcome(Manner::Reference).deviations, [""; 0]);
}

#[test]
fn attention_writes_pictures_and_numbers() {
    let place = tempfile::tempdir().unwrap();
    let model = run_folder(place.path(), 32);
    let data = place.path().join("photos");
    picture(&data.join("a.png"), (101, 67), 1, 0);
    picture(&data.join("a.bmp"), (40, 90), 2, 0);
    picture(&data.join("dot.png"), (1, 1), 2, 0);
    std::fs::write(data.join("bad.png"), "not an image").unwrap();
    let out = place.path().join("attention");
    let request = AttentionRequest {
        model,
        images: vec![data.display().to_string()],
        out: out.clone(),
        image_size: None,
        threshold: 0.6,
        network: Network::Teacher,
    };
    let report = attention(&request).unwrap();
    assert_eq!((report.images, report.skipped), (3, 1));
    assert!(report.files.iter().all(|file| file.is_file()));
    assert_eq!(report.files.len(), 3 * (4 + 2 * HEADS + 1));
    // Files come in the order of their names: `a.bmp` is first and takes the short name.
    let (shape, values) = read_array(&out.join("a.png/attention.npz"), "attention");
    assert_eq!(shape, [1, HEADS, 8, 12]);
    for head in values.chunks(8 * 12) {
        let sum: f32 = head.iter().sum();
        assert!(sum > 0.0 && sum < 1.0 && head.iter().all(|value| *value >= 0.0), "{sum}");
    }
    assert_eq!(image::image_dimensions(out.join("a.png/head-1.png")).unwrap(), (96, 64));
    assert_eq!(image::image_dimensions(out.join("a/mask.png")).unwrap(), (40, 88));
    assert_eq!(read_array(&out.join("dot/attention.npz"), "attention").0, [1, HEADS, 1, 1]);
    assert!(attention(&AttentionRequest { threshold: 1.5, ..request.clone() }).is_err());
    let image_size = Some(ImageSize { width: 7, height: 7 });
    assert!(attention(&AttentionRequest { image_size, ..request }).unwrap_err().to_string().contains("one patch of 8"));
}

#[test]
fn exports_give_the_same_features_back() {
    let place = tempfile::tempdir().unwrap();
    let run = run_folder(place.path(), 96);
    let path = place.path().join("a.png");
    picture(&path, (120, 100), 1, 0);
    let request = |what, network, name: &str| ExportRequest {
        run: run.clone(),
        out: place.path().join(name),
        to: Some(ExportFormat::Safetensors),
        what,
        network,
        outputs: Vec::new(),
    };
    let teacher = export(&request(ExportWhat::Backbone, Network::Teacher, "teacher.safetensors")).unwrap();
    let student = export(&request(ExportWhat::Backbone, Network::Student, "student.safetensors")).unwrap();
    let full = export(&request(ExportWhat::Full, Network::Teacher, "full.safetensors")).unwrap();
    // Two networks of 30 + 8 tensors and the centre.
    assert_eq!((teacher.tensors, full.tensors), (30, 77));
    let names: Vec<String> = {
        let file = checkpoint::safetensors::read(&full.out).unwrap();
        file.tensors.into_iter().map(|tensor| tensor.name).collect()
    };
    for name in ["student.backbone.cls_token", "teacher.head.last_layer.weight_v", "dino_loss.center"] {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    let features = |path_of_model: &Path, network| {
        let model = Model::load(path_of_model, network).unwrap();
        assert_eq!(model.transform, EvalTransform::ResizeCrop { resize: 110, crop: 96 });
        direct(&model, &path, model.transform)
    };
    let (of_teacher, of_student) = (features(&run, Network::Teacher), features(&run, Network::Student));
    assert_ne!(of_teacher, of_student);
    assert_eq!(features(&teacher.out, Network::Teacher), of_teacher);
    assert_eq!(features(&student.out, Network::Teacher), of_student);
    assert_eq!(features(&full.out, Network::Teacher), of_teacher);
    assert_eq!(features(&full.out, Network::Student), of_student);
    let again =
        ExportRequest { run: teacher.out.clone(), ..request(ExportWhat::Backbone, Network::Teacher, "b.safetensors") };
    let again = export(&again).unwrap();
    assert_eq!(std::fs::read(&again.out).unwrap(), std::fs::read(&teacher.out).unwrap());
    let full = ExportRequest { run: teacher.out, ..request(ExportWhat::Full, Network::Teacher, "c.safetensors") };
    assert!(export(&full).unwrap_err().to_string().contains("--what backbone"));
}
