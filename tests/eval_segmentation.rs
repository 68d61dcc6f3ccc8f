//! `eval segmentation` and `eval saliency`: against other programs, on made-up images, and what is said of odd ones.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;
mod untrained;

use std::path::{Path, PathBuf};

use dinoxide::config::Precision;
use dinoxide::eval::attention::{AttentionMaps, TruthMask, object_jaccard};
use dinoxide::run::RunError;
use dinoxide::run::input::{ImageSize, Network};
use dinoxide::run::protocols::retrieval::Missing;
use dinoxide::run::protocols::saliency::{SaliencyRequest, saliency};
use dinoxide::run::protocols::segmentation::truth::{MaskKind, MaskReading, StoredMask, Unknown};
use dinoxide::run::protocols::segmentation::{SegmentationReport, SegmentationRequest, segmentation};
use dinoxide::run::protocols::{Manner, Outcome, ProtocolRequest};
use image::{GrayImage, Luma, Rgb, RgbImage};
use support::{filler, filler_bytes, fixture_path};

/// Sums of shares in another order, in f64 on both sides.
const TOLERANCE: f64 = 1e-12;

fn fixture(name: &str) -> Vec<serde_json::Value> {
    serde_json::from_slice(&std::fs::read(fixture_path(name)).unwrap()).unwrap()
}

fn pair(value: &serde_json::Value) -> (usize, usize) {
    (value[0].as_u64().unwrap() as usize, value[1].as_u64().unwrap() as usize)
}

/// A picture of 6 x 4 blocks of these values, as the generator makes it.
fn coarse(name: &str, (width, height): (usize, usize), values: &[u8]) -> GrayImage {
    let cells = filler_bytes(name, 24);
    let value = |x: u32, y: u32| {
        let (column, row) = (x as usize * 6 / width, y as usize * 4 / height);
        Luma([values[usize::from(cells[6 * row + column]) % values.len()]])
    };
    GrayImage::from_fn(width as u32, height as u32, value)
}

#[test]
fn objects_score_as_with_torch_pillow_and_scikit_learn() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("mask.png");
    for (number, case) in fixture("segmentation/objects.json").iter().enumerate() {
        let (heads, patch) = (case["heads"].as_u64().unwrap() as usize, case["patch"].as_u64().unwrap() as usize);
        let (grid, shown) = (pair(&case["grid"]), pair(&case["shown"]));
        let levels = filler(&format!("attention.{number}"), heads * grid.0 * grid.1, 0.5, 0.5);
        let maps = levels.iter().map(|level| f64::from(*level).powi(3) as f32).collect();
        let maps = AttentionMaps::new(maps, grid).unwrap();
        coarse(&format!("mask.{number}"), pair(&case["mask"]), &[0, 0, 1, 7, 255]).save(&path).unwrap();

        let reading = MaskReading { kind: MaskKind::Indices, unknown: Unknown::Usual };
        let mask = StoredMask::read(&path, reading).unwrap().resized(shown.0, shown.1);
        let objects = mask.objects(&path).unwrap();
        let truths: Vec<TruthMask> = objects.iter().map(|object| object.truth.clone()).collect();
        let scores = object_jaccard(&maps, patch, case["share"].as_f64().unwrap(), &truths).unwrap();

        let theirs = case["objects"].as_array().unwrap();
        assert_eq!(scores.len(), theirs.len());
        for ((object, score), theirs) in objects.iter().zip(&scores).zip(theirs) {
            assert_eq!(
                (u64::from(object.index), score.head as u64),
                (theirs[0].as_u64().unwrap(), theirs[1].as_u64().unwrap())
            );
            let pairs = [(score.score.best_head, 2), (score.score.mean_heads, 3), (score.score.foreground, 4)];
            for (ours, place) in pairs {
                assert!((ours - theirs[place].as_f64().unwrap()).abs() < TOLERANCE, "{number}: {ours}, {theirs}");
            }
        }
    }
}

fn saliency_request(place: &Path, unknown: Unknown) -> SaliencyRequest {
    SaliencyRequest {
        maps: place.join("maps"),
        masks: place.join("masks"),
        reading: MaskReading { kind: MaskKind::Auto, unknown },
        missing: Missing::Error,
        out: place.join("out"),
    }
}

#[test]
fn saliency_scores_as_with_scikit_learn() {
    for case in fixture("segmentation/saliency.json") {
        let place = tempfile::tempdir().unwrap();
        let (size, number) = (pair(&case["size"]), &case["number"]);
        for folder in ["maps", "masks"] {
            std::fs::create_dir(place.path().join(folder)).unwrap();
        }
        let levels = filler_bytes(&format!("map.{number}"), size.0 * size.1);
        let map = GrayImage::from_raw(size.0 as u32, size.1 as u32, levels).unwrap();
        map.save(place.path().join("maps/a.png")).unwrap();
        coarse(&format!("truth.{number}"), size, &[0, 128, 255, 200]).save(place.path().join("masks/a.png")).unwrap();
        let unknown = if case["unknown"].is_null() { Unknown::None } else { Unknown::Usual };

        let report = saliency(&saliency_request(place.path(), unknown)).unwrap();

        assert!((report.mae - case["mae"].as_f64().unwrap()).abs() < TOLERANCE, "{report:?}");
        assert!((report.jaccard / 100.0 - case["jaccard"].as_f64().unwrap()).abs() < TOLERANCE, "{report:?}");
    }
}

#[test]
fn real_saliency_maps_score_as_the_references_say() {
    let Some(data) = std::env::var_os("DINOXIDE_DATA").map(PathBuf::from) else {
        println!("skipped: DINOXIDE_DATA is not set");
        return;
    };
    let maps = data.join("metrics/sod_saliency_maps");
    let mut reference = csv::Reader::from_path(maps.join("reference.csv")).unwrap();
    let reference: Vec<csv::StringRecord> = reference.records().collect::<Result<_, _>>().unwrap();
    let mut compared = 0;
    for method in ["PiCANet", "Amulet"] {
        let out = tempfile::tempdir().unwrap();
        let request = SaliencyRequest {
            maps: maps.join(method),
            masks: data.join("segmentation/sod/masks"),
            ..saliency_request(out.path(), Unknown::Usual)
        };
        let report = saliency(&request).unwrap();
        println!("{method}: MAE {:.6}, J {:.4} % of {} images", report.mae, report.jaccard, report.images);
        let mut table = csv::Reader::from_path(out.path().join("out/per-image.csv")).unwrap();
        for row in table.records() {
            let row = row.unwrap();
            let theirs = reference.iter().find(|theirs| &theirs[0] == method && theirs[1] == row[0]).unwrap();
            let number = |text: &str| text.parse::<f64>().unwrap();
            // The references have six decimals.
            assert!((number(&row[1]) - number(&theirs[3])).abs() < 6e-7, "{row:?}, {theirs:?}");
            assert!((number(&row[2]) - number(&theirs[2])).abs() < 6e-7, "{row:?}, {theirs:?}");
            compared += 1;
        }
    }
    assert_eq!(compared, 200);
}

/// Two red squares on a striped ground.
fn write_image(path: &Path, size: (u32, u32)) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let colour = |x: u32, y: u32| match object(x, y, size) {
        0 => Rgb([40, 90 + (x / 4 % 2) as u8 * 60, (y % 64) as u8]),
        _ => Rgb([220, 40, 30]),
    };
    RgbImage::from_fn(size.0, size.1, colour).save(path).unwrap();
}

fn object(x: u32, y: u32, (width, height): (u32, u32)) -> u8 {
    let inside = |left: u32| (left..left + width / 4).contains(&x) && (height / 4..height / 2).contains(&y);
    u8::from(inside(width / 8)) + 2 * u8::from(inside(width / 2))
}

fn write_mask(path: &Path, size: (u32, u32), level: impl Fn(u8) -> u8) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_fn(size.0, size.1, |x, y| Luma([level(object(x, y, size))])).save(path).unwrap();
}

fn write_indexed(path: &Path, size: (u32, u32)) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), size.0, size.1);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette((0..=255).flat_map(|index| [index, index / 2, 255 - index]).collect::<Vec<u8>>());
    // A void border, as PASCAL VOC has.
    let label = |x: u32, y: u32| if x == 0 { 255 } else { object(x, y, size) };
    let labels: Vec<u8> = (0..size.0 * size.1).map(|at| label(at % size.0, at / size.0)).collect();
    encoder.write_header().unwrap().write_image_data(&labels).unwrap();
}

/// A network to which places differ.
fn request(place: &Path) -> SegmentationRequest {
    let model = untrained::changed_run_folder(place, 32, |name, values| {
        if name.ends_with("proj.weight") || name.ends_with("qkv.weight") {
            values.iter_mut().for_each(|value| *value *= 10.0);
        }
    });
    let protocol = ProtocolRequest {
        model,
        network: Network::Teacher,
        image_size: Some(ImageSize { width: 64, height: 48 }),
        precision: Precision::F32,
        out: place.join("out"),
        manner: Manner::Fitting,
    };
    SegmentationRequest {
        protocol,
        data: place.join("data"),
        threshold: 0.6,
        reading: MaskReading::default(),
        missing: Missing::Error,
    }
}

fn said(result: Result<impl Sized, RunError>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn images_with_masks_are_scored_and_written_down() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    for (name, size) in [("a", (100, 80)), ("b", (61, 47)), ("tiny", (5, 4)), ("empty", (64, 64))] {
        write_image(&data.join(format!("images/{name}.png")), size);
        write_mask(&data.join(format!("masks/{name}.png")), size, |object| {
            if name == "empty" { 0 } else { 255 * object.min(1) }
        });
    }
    let request = request(place.path());

    let outcome: Outcome<SegmentationReport> = segmentation(&request).unwrap();

    let report = &outcome.result;
    assert_eq!((report.images, report.objects, report.image_size.as_str()), (3, 3, "64x48"));
    assert_eq!(report.without_object, ["empty"]);
    assert_eq!(report.best_heads.len(), untrained::HEADS);
    assert_eq!(report.best_heads.iter().sum::<usize>(), 3);
    for value in [report.jaccard, report.jaccard_mean_heads, report.untrained, report.ellipse, report.foreground] {
        assert!(value > 0.0 && value < 100.0, "{report:?}");
    }
    assert!(report.jaccard >= report.jaccard_mean_heads);
    assert!(
        (report.foreground - 12.0).abs() < 3.0,
        "two squares of an eighth of the width and a quarter of the height"
    );
    assert!(outcome.deviations.iter().any(|line| line.contains("64x48")), "{:?}", outcome.deviations);
    assert_eq!(outcome.published[2].value, 45.9);
    let out = &request.protocol.out;
    let rows = |name: &str| std::fs::read_to_string(out.join(name)).unwrap().lines().count();
    assert_eq!((rows("per-image.csv"), rows("per-object.csv")), (4, 4));
    image::open(out.join("heads.png")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    assert!((json["jaccard"].as_f64().unwrap() - report.jaccard).abs() < 1e-9);
    // Threads and batches change nothing.
    assert_eq!(segmentation(&request).unwrap().result, *report);
}

#[test]
fn voc_has_a_list_and_an_index_for_each_object() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    for name in ["2007_1", "2007_2", "2007_3"] {
        write_image(&data.join(format!("JPEGImages/{name}.jpg")), (90, 60));
        write_indexed(&data.join(format!("SegmentationObject/{name}.png")), (90, 60));
    }
    write_image(&data.join("JPEGImages/no_mask.jpg"), (90, 60));
    let list = data.join("ImageSets/Segmentation/val.txt");
    std::fs::create_dir_all(list.parent().unwrap()).unwrap();
    std::fs::write(&list, "2007_1\n2007_3\n").unwrap();

    let outcome = segmentation(&request(place.path())).unwrap();
    assert_eq!((outcome.result.images, outcome.result.objects), (2, 4));

    std::fs::write(&list, "2007_1\n2007_9\n").unwrap();
    let text = said(segmentation(&request(place.path())));
    assert!(text.contains("2007_9") && text.contains("--missing skip"), "{text}");
    let skipping = SegmentationRequest { missing: Missing::Skip, ..request(place.path()) };
    assert_eq!(segmentation(&skipping).unwrap().result.images, 1);
    // Classes are not objects, which is said.
    std::fs::write(&list, "2007_1\n").unwrap();
    std::fs::rename(data.join("SegmentationObject"), data.join("SegmentationClass")).unwrap();
    let outcome = segmentation(&request(place.path())).unwrap();
    assert!(outcome.deviations.iter().any(|line| line.contains("classes")), "{:?}", outcome.deviations);
}

#[test]
fn the_reference_has_one_size_and_one_share() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    write_image(&data.join("images/a.png"), (60, 60));
    write_mask(&data.join("masks/a.png"), (60, 60), |object| 255 * object.min(1));
    let mut request = request(place.path());
    (request.protocol.image_size, request.protocol.manner) = (None, Manner::Reference);

    let outcome = segmentation(&request).unwrap();

    assert_eq!(outcome.result.image_size, "480x480");
    assert_eq!(outcome.deviations, Vec::<String>::new());
}

#[test]
fn what_does_not_go_together_is_said() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let request = request(place.path());
    assert!(said(segmentation(&request)).contains("neither `images/` and `masks/`"));
    write_image(&data.join("images/a.png"), (60, 40));
    write_mask(&data.join("masks/a.png"), (40, 60), |object| 255 * object.min(1));
    let text = said(segmentation(&request));
    assert!(text.contains("40x60") && text.contains("60x40"), "{text}");
    // Half the size is the same shape.
    write_mask(&data.join("masks/a.png"), (30, 20), |object| 255 * object.min(1));
    assert_eq!(segmentation(&request).unwrap().result.images, 1);
    // Indices without a palette look like a dark gray mask.
    write_mask(&data.join("masks/a.png"), (60, 40), |object| object);
    let text = said(segmentation(&request));
    assert!(text.contains("--masks indices"), "{text}");
    let reading = MaskReading { kind: MaskKind::Indices, unknown: Unknown::Usual };
    let indexed = SegmentationRequest { reading, ..request.clone() };
    assert_eq!(segmentation(&indexed).unwrap().result.objects, 2);
    write_image(&data.join("images/b.png"), (60, 40));
    assert!(said(segmentation(&request)).contains("masks/b"));
    std::fs::write(data.join("masks/b.png"), "no picture").unwrap();
    assert!(said(segmentation(&indexed)).contains("b.png` cannot be used as a mask"));
    std::fs::remove_file(data.join("masks/b.png")).unwrap();
    std::fs::write(data.join("images/b.png"), "no picture").unwrap();
    write_mask(&data.join("masks/b.png"), (60, 40), |object| object);
    let report = segmentation(&indexed).unwrap().result;
    assert_eq!((report.images, report.left_out.len()), (1, 1));
    write_image(&data.join("images/b.bmp"), (60, 40));
    assert!(said(segmentation(&indexed)).contains("the same name"));
    let mut small = request.clone();
    small.protocol.image_size = Some(ImageSize { width: 4, height: 64 });
    std::fs::remove_file(data.join("images/b.bmp")).unwrap();
    assert!(said(segmentation(&small)).contains("smaller than one patch"));
    assert!(said(segmentation(&SegmentationRequest { threshold: 0.0, ..request })).contains("outside of (0, 1]"));
}

#[test]
fn maps_and_masks_of_several_sizes_are_refused() {
    let place = tempfile::tempdir().unwrap();
    write_mask(&place.path().join("maps/a.png"), (30, 20), |_| 200);
    write_mask(&place.path().join("masks/a.png"), (60, 40), |object| 255 * object.min(1));
    let text = said(saliency(&saliency_request(place.path(), Unknown::Usual)));
    assert!(text.contains("30x20") && text.contains("60x40"), "{text}");
    write_mask(&place.path().join("masks/a.png"), (30, 20), |_| 128);
    assert!(said(saliency(&saliency_request(place.path(), Unknown::Usual))).contains("--unknown none"));
    write_mask(&place.path().join("masks/b.png"), (30, 20), |_| 0);
    assert!(said(saliency(&saliency_request(place.path(), Unknown::Usual))).contains("maps/b"));
}
