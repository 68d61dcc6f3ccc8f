//! `dinoxide eval video` and `video-score` on made-up videos: a square that moves, masks of all kinds, videos that are too short or odd.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a failed preparation is a failed test")]

mod untrained;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dinoxide::config::Precision;
use dinoxide::eval::video::{Mask, Propagation, Propagator, VideoError, score_frame, to_mask};
use dinoxide::run::input::Network;
use dinoxide::run::protocols::video::mask_file::read_mask;
use dinoxide::run::protocols::video::score::{ScoreRequest, score};
use dinoxide::run::protocols::video::{VideoReport, VideoRequest, video};
use dinoxide::run::protocols::{Manner, Outcome, ProtocolRequest};
use image::{GrayImage, Luma, Rgb, RgbImage};

/// A network to which frames differ: its patch embedding and projections weigh ten times more than fresh ones.
fn model(place: &Path) -> PathBuf {
    untrained::changed_run_folder(place, 32, |name, values| {
        if name.ends_with("proj.weight") || name.ends_with("qkv.weight") {
            values.iter_mut().for_each(|value| *value *= 10.0);
        }
    })
}

fn inside((x, y): (u32, u32), frame: u32, (width, height): (u32, u32)) -> bool {
    let (left, top) = (width / 8 + 2 * frame, height / 4);
    (left..left + width / 3).contains(&x) && (top..top + height / 2).contains(&y)
}

/// Red square on a striped ground.
fn write_frame(root: &Path, name: &str, frame: u32, size: (u32, u32)) {
    let folder = root.join("JPEGImages/480p").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let picture = RgbImage::from_fn(size.0, size.1, |x, y| {
        if inside((x, y), frame, size) {
            Rgb([220, 40, 30])
        } else {
            Rgb([40, 90 + (x / 4 % 2) as u8 * 60, (y % 64) as u8])
        }
    });
    picture.save(folder.join(format!("{frame:05}.png"))).unwrap();
}

fn mask_path(root: &Path, name: &str, frame: u32) -> PathBuf {
    let folder = root.join("Annotations/480p").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{frame:05}.png"))
}

/// A black and white mask.
fn write_mask(root: &Path, name: &str, frame: u32, size: (u32, u32)) {
    let mask = GrayImage::from_fn(size.0, size.1, |x, y| Luma([if inside((x, y), frame, size) { 255 } else { 0 }]));
    mask.save(mask_path(root, name, frame)).unwrap();
}

/// An indexed mask with a palette of three colours.
fn write_indexed(path: &Path, size: (u32, u32), label: impl Fn(u32, u32) -> u8) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), size.0, size.1);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(vec![0, 0, 0, 200, 10, 10, 10, 200, 10]);
    let labels: Vec<u8> = (0..size.0 * size.1).map(|at| label(at % size.0, at / size.0)).collect();
    encoder.write_header().unwrap().write_image_data(&labels).unwrap();
}

/// A video with a mask for every frame.
fn write_video(root: &Path, name: &str, frames: u32, size: (u32, u32)) {
    for frame in 0..frames {
        write_frame(root, name, frame, size);
        write_mask(root, name, frame, size);
    }
}

fn request(place: &Path, data: &Path) -> VideoRequest {
    let protocol = ProtocolRequest {
        model: model(place),
        network: Network::Teacher,
        image_size: None,
        precision: Precision::F32,
        out: place.join("out"),
        manner: Manner::Fitting,
    };
    VideoRequest {
        protocol,
        data: data.to_path_buf(),
        sequences: Vec::new(),
        propagation: Propagation::default(),
        short_side: 64,
    }
}

fn score_request(place: &Path, data: &Path) -> ScoreRequest {
    ScoreRequest {
        predictions: place.join("out"),
        data: data.to_path_buf(),
        sequences: Vec::new(),
        out: place.join("scores"),
    }
}

fn dinoxide(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dinoxide")).args(arguments).output().expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_moving_square_is_followed_and_its_files_are_written() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    write_video(&data, "square", 8, (150, 80));
    let request = request(place.path(), &data);
    let outcome: Outcome<VideoReport> = video(&request).unwrap();
    let summary = outcome.result.summary.unwrap();
    // The first mask kept still reaches 60: the square moves by 14 of 50 pixels.
    assert!(summary.j.mean > 70.0, "{summary:?}");
    let sequence = &outcome.result.sequences[0];
    assert_eq!((sequence.frames, sequence.scored_frames, sequence.objects.len()), (8, 6, 1));
    let out = place.path().join("out");
    let first = read_mask(&out.join("masks/square/00000.png")).unwrap();
    assert_eq!((first.mask.width(), first.mask.height(), first.mask.objects()), (150, 80, 1));
    assert_eq!(first.palette.unwrap()[..6], [0, 0, 0, 128, 0, 0]);
    let text = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    assert!(text("global_results-val.csv").starts_with("J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay\n0."));
    assert!(text("per-sequence_results-val.csv").starts_with("Sequence,J-Mean,F-Mean\nsquare_1,0."));
    let json: serde_json::Value = serde_json::from_str(&text("results.json")).unwrap();
    assert_eq!(json["protocol"], "video");
    assert!((json["j_and_f"].as_f64().unwrap() - summary.j_and_f).abs() < 1e-9);
    assert_eq!(json["published"][0]["value"], 61.8);
    for file in ["pictures/square.png", "pictures/square.gif"] {
        image::open(out.join(file)).unwrap();
    }
    // What was written scores the same without the model.
    let scored = score(&score_request(place.path(), &data)).unwrap();
    assert_eq!((scored.summary, scored.sequences), (summary, outcome.result.sequences.clone()));
    // Neither frames after the last that votes nor threads change a bit.
    let again = video(&request).unwrap();
    assert_eq!(again.result.sequences, outcome.result.sequences);
}

#[test]
fn reference_manner_names_no_deviation_that_it_can_avoid() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    write_video(&data, "square", 3, (96, 80));
    let mut request = request(place.path(), &data);
    let fitting = video(&request).unwrap();
    assert!(fitting.deviations.iter().any(|how| how.contains("0.228")), "{:?}", fitting.deviations);
    assert!(fitting.deviations.iter().any(|how| how.contains("shorter side of frames 64")));
    request.short_side = 480;
    request.protocol.manner = Manner::Reference;
    let reference = video(&request).unwrap();
    assert_eq!(reference.deviations, Vec::<String>::new());
}

#[test]
fn several_objects_keep_their_labels_and_their_palette() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let size = (128, 64);
    for frame in 0..4 {
        write_frame(&data, "two", frame, size);
        // 255 is not to be judged, and nothing that is to be followed.
        let label = |x: u32, y: u32| match (inside((x, y), frame, size), x > 100, y < 2) {
            (true, ..) => 1,
            (_, true, _) => 2,
            (.., true) => 255,
            _ => 0,
        };
        write_indexed(&mask_path(&data, "two", frame), size, label);
    }
    let outcome = video(&request(place.path(), &data)).unwrap();
    assert_eq!(outcome.result.sequences[0].objects.len(), 2);
    let last = read_mask(&place.path().join("out/masks/two/00003.png")).unwrap();
    assert!(last.mask.objects() <= 2);
    assert_eq!(last.palette.unwrap()[..9], [0, 0, 0, 200, 10, 10, 10, 200, 10]);
    let table = std::fs::read_to_string(place.path().join("out/per-sequence_results-val.csv")).unwrap();
    assert!(table.contains("\ntwo_1,") && table.contains("\ntwo_2,"));
}

#[test]
fn odd_videos_work_or_say_what_is_missing() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    write_video(&data, "portrait", 4, (70, 150));
    write_video(&data, "square", 4, (90, 90));
    write_video(&data, "one-frame", 1, (96, 64));
    write_video(&data, "two-frames", 2, (96, 64));
    // Larger frames than masks, of which one is missing.
    for frame in 0..5 {
        write_frame(&data, "larger", frame, (192, 128));
        if frame != 2 {
            write_mask(&data, "larger", frame, (96, 64));
        }
    }
    // No object in the first mask; only a first mask; none at all.
    for frame in 0..3 {
        ["empty", "first-mask-alone", "unlabelled"].iter().for_each(|name| write_frame(&data, name, frame, (96, 64)));
        GrayImage::new(96, 64).save(mask_path(&data, "empty", frame)).unwrap();
    }
    write_mask(&data, "first-mask-alone", 0, (96, 64));
    let outcome = video(&request(place.path(), &data)).unwrap();
    let scored = |name: &str| {
        let sequence = outcome.result.sequences.iter().find(|sequence| sequence.name == name).unwrap();
        (sequence.frames, sequence.scored_frames, sequence.objects.len())
    };
    assert_eq!(scored("portrait"), (4, 2, 1));
    assert_eq!(scored("square"), (4, 2, 1));
    assert_eq!(scored("one-frame"), (1, 0, 0));
    assert_eq!(scored("two-frames"), (2, 0, 0));
    assert_eq!(scored("larger"), (5, 2, 1));
    assert_eq!(scored("empty").2, 0);
    assert_eq!(scored("first-mask-alone"), (3, 0, 0));
    assert_eq!(outcome.result.sequences.len(), 7);
    assert!(outcome.deviations.iter().any(|how| how.contains("square videos")));
    let larger = read_mask(&place.path().join("out/masks/larger/00004.png")).unwrap().mask;
    assert_eq!((larger.width(), larger.height()), (96, 64));
    let empty = read_mask(&place.path().join("out/masks/empty/00002.png")).unwrap().mask;
    assert_eq!(empty.objects(), 0);
    assert!(outcome.result.summary.unwrap().j.mean > 50.0);
    // A video on its own of which nothing is known but the first mask: masks, and no scores.
    let alone = VideoRequest { sequences: vec!["first-mask-alone".to_owned()], ..request(place.path(), &data) };
    assert_eq!(video(&alone).unwrap().result.summary, None);
    let names = |names: &[&str]| VideoRequest {
        sequences: names.iter().map(|name| (*name).to_owned()).collect(),
        ..request(place.path(), &data)
    };
    let error = |request: &VideoRequest| video(request).unwrap_err().to_string();
    assert!(error(&names(&["unlabelled"])).contains("`unlabelled` has no mask"));
    assert!(error(&names(&["absent"])).contains("no sequence `absent`"));
    let too_small = VideoRequest { short_side: 4, ..request(place.path(), &data) };
    assert!(error(&too_small).contains("holds no patch"));
}

#[test]
fn unusable_files_are_named() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let error = || video(&request(place.path(), &data)).unwrap_err().to_string();
    assert!(error().contains("holds no videos"));
    std::fs::create_dir_all(data.join("JPEGImages/480p/empty")).unwrap();
    assert!(error().contains("holds no videos"));
    write_video(&data, "a", 4, (96, 64));
    write_frame(&data, "a", 2, (100, 64));
    assert!(error().contains("100x64"), "{}", error());
    std::fs::write(data.join("JPEGImages/480p/a/00002.png"), "no picture").unwrap();
    assert!(error().contains("00002.png` cannot be read"));
    write_frame(&data, "a", 2, (96, 64));
    write_mask(&data, "a", 2, (48, 32));
    assert!(error().contains("has 96x64 pixels and the annotation 48x32"), "{}", error());
    // Soft edges are no objects, colours no labels, and a text no mask.
    let first = mask_path(&data, "a", 0);
    GrayImage::from_fn(96, 64, |x, _| Luma([x as u8 * 2])).save(&first).unwrap();
    assert!(error().contains("its highest label is 190"), "{}", error());
    RgbImage::from_pixel(96, 64, Rgb([128, 0, 0])).save(&first).unwrap();
    assert!(error().contains("colours and no palette"));
    std::fs::write(&first, "no mask").unwrap();
    assert!(error().contains("cannot be used as a mask"));
}

#[test]
fn gray_masks_in_any_form_are_read() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("mask.png");
    for (color, depth, bytes, expected) in [
        (png::ColorType::Grayscale, png::BitDepth::One, vec![0b0110_0000], [0, 255, 255]),
        (png::ColorType::Grayscale, png::BitDepth::Two, vec![0b0011_0100], [0, 255, 85]),
        (png::ColorType::Indexed, png::BitDepth::Four, vec![0x01, 0x20], [0, 1, 2]),
        (png::ColorType::Rgb, png::BitDepth::Eight, vec![0, 0, 0, 255, 255, 255, 7, 7, 7], [0, 255, 7]),
        (png::ColorType::GrayscaleAlpha, png::BitDepth::Eight, vec![1, 0, 2, 255, 0, 9], [1, 2, 0]),
    ] {
        let mut encoder = png::Encoder::new(std::fs::File::create(&path).unwrap(), 3, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.set_palette(vec![0; 9]);
        encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
        assert_eq!(read_mask(&path).unwrap().mask.labels(), expected, "{color:?} {depth:?}");
    }
}

#[test]
fn predictions_of_others_must_be_complete_and_fit() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    write_video(&data, "a", 4, (96, 64));
    let predictions = place.path().join("out/a");
    std::fs::create_dir_all(&predictions).unwrap();
    let copy = |frame: u32| {
        std::fs::copy(mask_path(&data, "a", frame), predictions.join(format!("{frame:05}.png"))).unwrap();
    };
    let score = || score(&score_request(place.path(), &data));
    // The first and the last are not asked for.
    copy(1);
    assert!(score().unwrap_err().to_string().contains("no prediction"));
    copy(2);
    let report = score().unwrap();
    assert_eq!((report.summary.j_and_f, report.sequences[0].scored_frames), (100.0, 2));
    write_indexed(&predictions.join("00002.png"), (96, 64), |x, _| if x > 50 { 2 } else { 0 });
    let error = score().unwrap_err();
    assert!(format!("{:#}", anyhow::Error::from(error)).contains("has object 2, but the sequence has 1"));
    // An object that is not predicted counts as empty.
    write_indexed(&predictions.join("00002.png"), (96, 64), |_, _| 0);
    assert_eq!(score().unwrap().summary.j.mean, 50.0);
    std::fs::remove_dir_all(data.join("Annotations/480p/a")).unwrap();
    write_mask(&data, "a", 0, (96, 64));
    assert!(score().unwrap_err().to_string().contains("nothing can be scored"));
}

#[test]
fn the_commands_print_tables_and_json() {
    let place = tempfile::tempdir().unwrap();
    let (data, out, scores) = (place.path().join("data"), place.path().join("out"), place.path().join("scores"));
    write_video(&data, "a", 5, (96, 64));
    write_video(&data, "b", 3, (96, 64));
    std::fs::create_dir_all(data.join("ImageSets/2017")).unwrap();
    std::fs::write(data.join("ImageSets/2017/val.txt"), "a\n").unwrap();
    let model = model(place.path());
    let [model, data, out, scores] = [&model, &data, &out, &scores].map(|path| path.to_str().unwrap());
    let table = dinoxide(&[
        "eval",
        "video",
        model,
        data,
        "-o",
        out,
        "--short-side",
        "64",
        "--n_last_frames",
        "2",
        "--topk",
        "3",
    ]);
    assert!(table.status.success(), "{}", stderr(&table));
    let text = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(text.contains("a_1 ") && text.contains("mean") && text.contains("61.8  DINO ViT-S/16"), "{text}");
    assert!(!text.contains("b_1") && text.contains("2 last frames, neighbourhood 12, 3 votes"));
    let json = dinoxide(&["eval", "video-score", out, data, "-o", scores, "--sequences", "a", "--json"]);
    assert!(json.status.success(), "{}", stderr(&json));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["sequences"][0]["name"], "a");
    let refused = dinoxide(&["eval", "video", model, data, "-o", out, "--top-k", "0"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("no patch would vote"));
}

/// J&F of four sequences of DAVIS-2016, percent, when the first mask is taken for every frame (computed with the official evaluator).
const STILL: f64 = 31.5;

#[test]
fn real_videos_are_segmented_better_than_by_keeping_the_first_mask() {
    let Some(root) = std::env::var_os("DINOXIDE_DATA").map(PathBuf::from) else {
        println!("DINOXIDE_DATA is not set: skipped");
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let request = VideoRequest { short_side: 240, ..request(place.path(), &root.join("video/DAVIS")) };
    let outcome = video(&request).unwrap();
    let frames: Vec<_> =
        outcome.result.sequences.iter().map(|s| (s.name.as_str(), s.frames, s.scored_frames)).collect();
    assert_eq!(frames, [("blackswan", 50, 48), ("bmx-trees", 80, 78), ("car-shadow", 40, 38), ("libby", 49, 47)]);
    let summary = outcome.result.summary.unwrap();
    println!("untrained, patches of 8 at 240 pixels: {summary:?}");
    assert!(summary.j_and_f > STILL, "{summary:?}");
    let again = score(&score_request(place.path(), &root.join("video/DAVIS"))).unwrap();
    assert_eq!(again.summary, summary);
}

fn constant(labels: u8) -> Mask {
    Mask::new(4, 4, vec![labels; 16]).unwrap()
}

#[test]
fn odd_features_and_settings_are_errors_and_others_harmless() {
    let paper = Propagation::default();
    let begin = |settings, values: Vec<f32>| Propagator::new(settings, (2, 2), values, &constant(1));
    let refused = |settings| begin(settings, vec![1.0; 8]).unwrap_err();
    assert!(matches!(refused(Propagation { top_k: 0, ..paper }), VideoError::NoVotes));
    assert!(matches!(refused(Propagation { temperature: 0.0, ..paper }), VideoError::Temperature { .. }));
    assert!(matches!(begin(paper, vec![1.0; 7]).unwrap_err(), VideoError::Features { .. }));
    assert!(matches!(begin(paper, vec![f32::NAN; 8]).unwrap_err(), VideoError::BadValue { place: 0, .. }));
    // No earlier frames, features of zeros, hardly any temperature, all places of the image: weights stay finite.
    let cold = Propagation { last_frames: 0, neighborhood: 0, temperature: 1e-6, top_k: usize::MAX };
    let mut propagator = begin(cold, vec![0.0; 8]).unwrap();
    let labels = propagator.advance(vec![0.0; 8]).unwrap();
    assert_eq!(labels, [0.0, 1.0].repeat(4));
    assert!(propagator.advance(vec![1.0; 4]).is_err());
    // The whole frame is the object: its channel is the same everywhere, and wins.
    assert_eq!(to_mask(&labels, (2, 2), 2, 3).unwrap().labels(), [1; 36]);
    assert_eq!(to_mask(&[1.0; 4], (2, 2), 1, 3).unwrap().labels(), [0; 36]);
    assert!(to_mask(&[], (0, 0), 1, 3).is_err() && Mask::new(0, 4, Vec::new()).is_err());
}

#[test]
fn equals_of_the_last_vote_all_count() {
    // Four frames of equal features everywhere: all places of the neighbourhood are equals, whatever `top_k`.
    let one = Propagation { top_k: 1, neighborhood: 1, ..Propagation::default() };
    let mask = Mask::new(3, 1, vec![0, 0, 1]).unwrap();
    let mut propagator = Propagator::new(one, (1, 3), vec![0.5; 9], &mask).unwrap();
    let labels = propagator.advance(vec![0.5; 9]).unwrap();
    let object: Vec<f32> = labels.chunks(2).map(|label| label[1]).collect();
    assert_eq!(object, [0.0, 1.0 / 3.0, 0.5]);
}

#[test]
fn absent_objects_score_as_the_evaluator_has_it() {
    let scores = |truth: u8, own: u8| score_frame(&constant(truth), &constant(own), 1).unwrap()[0];
    assert_eq!((scores(0, 0).j, scores(0, 0).f), (1.0, 1.0));
    assert_eq!((scores(1, 0).j, scores(0, 1).j), (0.0, 0.0));
    // Masks that fill the frame have no boundary.
    assert_eq!((scores(1, 1).f, scores(1, 0).f), (1.0, 1.0));
    assert!(matches!(
        score_frame(&constant(1), &constant(2), 1),
        Err(VideoError::UnknownObject { found: 2, objects: 1 })
    ));
    let small = Mask::new(2, 2, vec![0; 4]).unwrap();
    assert!(matches!(score_frame(&constant(1), &small, 1), Err(VideoError::MaskSize { .. })));
}

#[test]
fn a_mask_whose_header_promises_too_much_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("huge.png");
    write_indexed(&path, (4, 4), |_, _| 0);
    let mut bytes = std::fs::read(&path).unwrap();
    // Width and height, and the checksum of the header.
    let header: Vec<u8> = [b"IHDR".as_slice(), &60_000_u32.to_be_bytes().repeat(2), &bytes[24..29]].concat();
    bytes[12..29].copy_from_slice(&header);
    bytes[29..33].copy_from_slice(&crc32(&header).to_be_bytes());
    std::fs::write(&path, bytes).unwrap();

    let error = read_mask(&path).unwrap_err().to_string();

    assert!(error.contains("60000x60000 pixels"), "{error}");
}

/// The checksum of a PNG's chunk.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}
