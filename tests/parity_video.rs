//! Video segmentation against plain PyTorch, OpenCV, Pillow and NumPy, and J and F against the official evaluator's own figures.
#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read fails the test")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dinoxide::eval::video::{
    FrameScore, Mask, Propagation, Propagator, Statistics, object_scores, score_frame, scored_frames, shown_size,
    summarise, to_mask,
};
use dinoxide::run::protocols::video::mask_file::read_mask;
use dinoxide_views::Image;
use dinoxide_views::opencv::resize_linear;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::{Fixture, assert_close, filler, filler_bytes, fixture_path, fixtures};

/// Cosines are f32 here and f64 there, apart by 1e-7 and a few of those; the temperature makes tenfold of it in a weight, and every frame
/// hands it on to the next.
const LABELS: f64 = 1e-5;
/// Counts are whole on both sides: the same divisions.
const COUNTS: f64 = 1e-12;
/// The official figures are printed with six decimals.
const PRINTED: f64 = 1e-6;

fn json(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixture_path(path)).unwrap()).unwrap()
}

fn number(value: &Value, key: &str) -> usize {
    value[key].as_u64().unwrap() as usize
}

fn pair(value: &Value) -> (usize, usize) {
    (value[0].as_u64().unwrap() as usize, value[1].as_u64().unwrap() as usize)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Labels in cells, as the generator makes them.
fn blocks(name: &str, (width, height): (usize, usize), cell: usize, objects: usize) -> Vec<u8> {
    let columns = width.div_ceil(cell);
    let cells = filler_bytes(name, columns * height.div_ceil(cell));
    let label = |byte: u8| if byte % (2 * objects as u8) > objects as u8 { 0 } else { byte % (2 * objects as u8) };
    let at = |row: usize, column: usize| label(cells[row / cell * columns + column / cell]);
    (0..height)
        .flat_map(|row| (0..width).map(move |column| (row, column)))
        .map(|(row, column)| at(row, column))
        .collect()
}

#[test]
fn labels_are_handed_on_as_by_full_matrices() {
    let mut compared = 0;
    for path in fixtures("video").iter().filter(|path| path.ends_with(".safetensors")) {
        let fixture = Fixture::open(path);
        let [rows, columns, dim, frames, objects, factor] =
            ["rows", "columns", "width", "frames", "objects", "factor"].map(|key| fixture.usize(key));
        let name = path.trim_start_matches("video/").trim_end_matches(".safetensors");
        let features = filler(&format!("{name}.features"), frames * rows * columns * dim, 1.0, 0.0);
        let mut features = features.chunks_exact(rows * columns * dim).map(<[f32]>::to_vec);
        let size = (columns * factor, rows * factor);
        let mask = Mask::new(size.0, size.1, blocks(&format!("{name}.mask"), size, factor + 3, objects)).unwrap();
        let settings = Propagation {
            last_frames: fixture.usize("last_frames"),
            neighborhood: fixture.usize("neighborhood"),
            top_k: fixture.usize("top_k"),
            temperature: fixture.f64("temperature"),
        };
        let mut propagator = Propagator::new(settings, (rows, columns), features.next().unwrap(), &mask).unwrap();
        let found: Vec<Vec<f32>> = features.map(|features| propagator.advance(features).unwrap()).collect();
        assert_close(path, found.concat(), &fixture.values("labels"), LABELS);
        let last = to_mask(found.last().unwrap(), (rows, columns), propagator.channels(), factor).unwrap();
        let theirs = fixture.values("mask");
        assert_eq!(last.labels().len(), theirs.len());
        let differ = last.labels().iter().zip(&theirs).filter(|(own, theirs)| f64::from(**own) != **theirs).count();
        // Where two channels are equal to the last bits, either may win.
        assert!(differ * 1000 <= theirs.len(), "{path}: {differ} of {} pixels differ", theirs.len());
        compared += 1;
    }
    assert_eq!(compared, 4);
}

#[test]
fn frames_are_resized_as_by_opencv_to_the_byte() {
    for case in json("video/sizes.json")["frames"].as_array().unwrap() {
        let ((width, height), to) = (pair(&case["from"]), pair(&case["to"]));
        let pixels = filler_bytes(case["name"].as_str().unwrap(), width * height * 3);
        let image = Image { width: width as u32, height: height as u32, channels: 3, pixels };
        let resized = resize_linear(&image, to.0 as u32, to.1 as u32);
        assert_eq!(sha256(&resized.pixels), case["sha256"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn masks_are_resized_as_by_pillow() {
    for case in json("video/sizes.json")["masks"].as_array().unwrap() {
        let ((width, height), to) = (pair(&case["from"]), pair(&case["to"]));
        let mask = Mask::new(width, height, filler_bytes(case["name"].as_str().unwrap(), width * height)).unwrap();
        assert_eq!(sha256(mask.resized(to.0, to.1).labels()), case["sha256"].as_str().unwrap(), "{case}");
    }
}

#[test]
fn measures_equal_dilation_by_a_disk() {
    for case in json("video/scores.json")["frames"].as_array().unwrap() {
        let size = (number(case, "width"), number(case, "height"));
        let (cell, objects, name) = (number(case, "cell"), number(case, "objects"), case["name"].as_str().unwrap());
        let truth = blocks(&format!("{name}.truth"), size, cell, objects);
        let other = blocks(&format!("{name}.own"), size, cell, objects);
        let moved = |at: usize| {
            let (row, column) = (at / size.0 + size.1 * 2, at % size.0 + size.0 * 3);
            truth[(row - 2) % size.1 * size.0 + (column - 3) % size.0]
        };
        let own = (0..truth.len()).map(|at| if at % size.0 < size.0 / 3 { other[at] } else { moved(at) }).collect();
        let mask = |labels| Mask::new(size.0, size.1, labels).unwrap();
        let scores = score_frame(&mask(truth.clone()), &mask(own), objects).unwrap();
        let theirs = case["scores"].as_array().unwrap();
        assert_eq!(scores.len(), theirs.len());
        for (own, theirs) in scores.iter().zip(theirs) {
            let (j, f) = (theirs[0].as_f64().unwrap(), theirs[1].as_f64().unwrap());
            assert!((own.j - j).abs() <= COUNTS && (own.f - f).abs() <= COUNTS, "{name}: {own:?} and {theirs}");
        }
    }
}

#[test]
fn statistics_equal_those_of_numpy() {
    for case in json("video/scores.json")["series"].as_array().unwrap() {
        let count = number(case, "count");
        let values = filler(&format!("values.{count}"), count, 0.5, 0.5);
        let own = Statistics::of(&values.iter().map(|value| f64::from(*value)).collect::<Vec<_>>()).unwrap();
        for (own, theirs) in [own.mean, own.recall, own.decay].into_iter().zip(case["statistics"].as_array().unwrap()) {
            assert!((own - theirs.as_f64().unwrap()).abs() <= COUNTS, "{count} values");
        }
    }
    assert_eq!(Statistics::of(&[]), None);
}

#[test]
fn sizes_follow_the_short_side() {
    assert_eq!(shown_size((854, 480), 480, 16).unwrap(), (832, 480));
    assert_eq!(shown_size((480, 854), 480, 8).unwrap(), (480, 832));
    assert_eq!(shown_size((1920, 1080), 480, 16).unwrap(), (832, 480));
    // The program shows a square as 448x480, and its mask as 480x448.
    assert_eq!(shown_size((500, 500), 480, 16).unwrap(), (448, 480));
    assert_eq!(shown_size((860, 480), 480, 14).unwrap(), (854, 476));
    assert_eq!(shown_size((854, 480), 96, 32).unwrap(), (128, 96));
    for (size, short_side) in [((854, 480), 8), ((100_000, 10), 480), ((40, 40), 48)] {
        assert!(shown_size(size, short_side, 16).is_err());
    }
}

fn davis() -> Option<(PathBuf, PathBuf)> {
    let Some(root) = std::env::var_os("DINOXIDE_DATA").map(PathBuf::from) else {
        println!("DINOXIDE_DATA is not set: skipped");
        return None;
    };
    Some((root.join("video/DAVIS/Annotations/480p"), root.join("metrics/davis")))
}

/// Rows of a table, by all columns that are no numbers.
fn rows(path: &Path, keys: usize) -> BTreeMap<Vec<String>, Vec<f64>> {
    let mut table = csv::Reader::from_path(path).unwrap();
    let row = |row: csv::StringRecord| {
        let (key, values) = (row.iter().take(keys).map(str::to_owned), row.iter().skip(keys));
        (key.collect(), values.map(|value| value.parse().unwrap()).collect())
    };
    table.records().map(|record| row(record.unwrap())).collect()
}

fn binary(mask: &Mask) -> Mask {
    let labels = mask.labels().iter().map(|label| u8::from(*label > 0)).collect();
    Mask::new(mask.width(), mask.height(), labels).unwrap()
}

fn assert_printed(what: &[String], own: &[f64], theirs: &[f64]) {
    assert_eq!(own.len(), theirs.len());
    assert!(
        own.iter().zip(theirs).all(|(own, theirs)| (own - theirs).abs() <= PRINTED),
        "{what:?}: {own:?}, {theirs:?}"
    );
}

#[test]
fn binary_masks_score_as_the_official_evaluator_says() {
    let Some((annotations, reference)) = davis() else { return };
    let mut frames: BTreeMap<String, Vec<Vec<FrameScore>>> = BTreeMap::new();
    for (key, values) in rows(&reference.join("reference_binary_per_frame.csv"), 2) {
        let [sequence, frame] = key.as_slice() else { unreachable!() };
        let name = format!("{sequence}/{frame}.png");
        let [truth, own] = [annotations.join(&name), reference.join("osvos").join(&name)];
        let read = |path: &Path| binary(&read_mask(path).unwrap().mask);
        let score = score_frame(&read(&truth), &read(&own), 1).unwrap();
        assert_printed(&key, &[score[0].j, score[0].f], &values);
        frames.entry(sequence.clone()).or_default().push(score);
    }
    let summaries = rows(&reference.join("reference_binary_summary.csv"), 1);
    assert_eq!(frames.len(), 4);
    for (sequence, frames) in frames {
        let scores = object_scores(&frames[scored_frames(frames.len())]);
        let values = [scores[0].j, scores[0].f].map(|s| [s.mean, s.recall, s.decay]).concat();
        let key = vec![sequence];
        assert_printed(&key, &values, &summaries[&key]);
        let all = summarise(&scores).unwrap();
        assert!((all.j_and_f - (values[0] + values[3]) / 2.0).abs() < COUNTS);
    }
}

#[test]
fn objects_of_a_frame_score_as_the_official_evaluator_says() {
    let Some((_, reference)) = davis() else { return };
    let mut compared = 0;
    let mut masks: BTreeMap<PathBuf, Mask> = BTreeMap::new();
    for (key, values) in rows(&reference.join("reference_multiobject_shift_per_frame.csv"), 3) {
        let [sequence, object, frame] = key.as_slice() else { unreachable!() };
        let (object, frame): (usize, usize) = (object.parse().unwrap(), frame.parse().unwrap());
        let mut mask = |frame: usize| {
            let path = reference.join("osvos").join(sequence).join(format!("{frame:05}.png"));
            masks.entry(path.clone()).or_insert_with(|| read_mask(&path).unwrap().mask).clone()
        };
        let (truth, own) = (mask(frame), mask(frame - 1));
        let score = score_frame(&truth, &own, truth.objects().max(own.objects()).max(object)).unwrap()[object - 1];
        assert_printed(&key, &[score.j, score.f], &values);
        compared += 1;
    }
    assert!(compared > 100);
}
