//! Retrieval and copy detection through the public API: against NumPy, PyTorch and the official scores, and on odd input.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test helper may panic: that fails the test")]

mod support;

use std::path::{Path, PathBuf};

use dinoxide::eval::EvalError;
use dinoxide::eval::copy_detection::{descriptors, find_copies, generalised_mean, mean_average_precision};
use dinoxide::eval::features::{Frozen, ImageBatch};
use dinoxide::eval::multi_scale::{THREE_SCALES, multi_scale, scaled};
use dinoxide::eval::nearest::UnitRows;
use dinoxide::eval::retrieval::{
    Mark, QueryScore, Ranked, Scores, Setting, Truth, average_precision, query_score, rank, rank_classes,
};
use dinoxide::eval::whitening::Whitening;
use dinoxide::nn::backbone::Backbone;
use dinoxide::run::protocols::retrieval::ground_truth::{GroundTruth, locate};
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use serde_json::Value;
use support::{Fixture, assert_close, filled_vit, filler_bytes, fixture_path, imagenet, vit_config};

/// Both sides sum the same fractions in f64, in another order.
const EXACT: f64 = 1e-12;
/// Inputs and results are f32, sums f64.
const SINGLE: f64 = 2e-6;
/// Two networks in f32 and f64.
const NETWORK: f64 = 1e-5;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn indices(value: &Value) -> Vec<usize> {
    serde_json::from_value(value.clone()).unwrap()
}

fn truth(value: &Value) -> Truth {
    Truth { easy: indices(&value["easy"]), hard: indices(&value["hard"]), junk: indices(&value["junk"]) }
}

fn f32s(fixture: &Fixture, name: &str) -> Vec<f32> {
    fixture.values(name).iter().map(|value| *value as f32).collect()
}

/// Average precision and the three precisions, as the fixture lists them.
fn flat(score: &QueryScore) -> Vec<f64> {
    [vec![score.average_precision], score.precision.to_vec()].concat()
}

fn assert_scores(what: &str, ours: &[f64], theirs: &[f64], tolerance: f64) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert!((ours - theirs).abs() <= tolerance, "{what}: {ours} and not {theirs}");
    }
}

/// Scores of given rankings, one for each query.
fn score<R: AsRef<[usize]>>(rankings: &[R], truth: &[Truth], images: usize, setting: Setting) -> Scores {
    let query = |(ranking, truth): (&R, &Truth)| {
        let marks = truth.marks(setting, images).unwrap();
        let right = marks.iter().filter(|mark| **mark == Mark::Right).count();
        query_score(ranking.as_ref().iter().map(|image| marks[*image]), right)
    };
    Scores::of(rankings.iter().zip(truth).map(query).collect()).unwrap()
}

#[test]
fn scores_of_rankings_equal_a_plain_program() {
    let file = json(&fixture_path("retrieval/scores.json"));
    let queries: Vec<Truth> = file["queries"].as_array().unwrap().iter().map(truth).collect();
    let rankings: Vec<Vec<usize>> = file["rankings"].as_array().unwrap().iter().map(indices).collect();
    let images = file["images"].as_u64().unwrap() as usize;
    for setting in Setting::ALL {
        let expected = &file["expected"][setting.name()];

        let found = score(&rankings, &queries, images, setting);

        let means: Vec<f64> = serde_json::from_value(expected["means"].clone()).unwrap();
        assert_scores(setting.name(), &[vec![found.map], found.precision.to_vec()].concat(), &means, EXACT);
        for (ours, theirs) in found.queries.iter().zip(expected["queries"].as_array().unwrap()) {
            let theirs: Option<Vec<f64>> = serde_json::from_value(theirs.clone()).unwrap();
            assert_eq!(ours.is_none(), theirs.is_none());
            assert_scores(
                setting.name(),
                &ours.as_ref().map(flat).unwrap_or_default(),
                &theirs.unwrap_or_default(),
                EXACT,
            );
        }
    }
}

#[test]
fn official_scores_of_revisited_oxford() {
    let Some(data) = std::env::var_os("DINOXIDE_DATA") else {
        println!("skipped: DINOXIDE_DATA is not set");
        return;
    };
    let folder = PathBuf::from(data).join("metrics/revisitop");
    let benchmark = GroundTruth::read(&folder.join("gnd_roxford5k.json")).unwrap();
    let bytes = std::fs::read(folder.join("ranks_roxford5k.u16le")).unwrap();
    let ranks: Vec<usize> = bytes.as_chunks::<2>().0.iter().map(|two| usize::from(u16::from_le_bytes(*two))).collect();
    let rankings: Vec<&[usize]> = ranks.chunks_exact(benchmark.images.len()).collect();
    let expected = json(&folder.join("expected_roxford5k.json"));
    assert_eq!((rankings.len(), benchmark.name.as_str()), (70, "roxford5k"));
    for (setting, key) in Setting::ALL.into_iter().zip(["E", "M", "H"]) {
        let found = score(&rankings, &benchmark.truth, benchmark.images.len(), setting);

        let theirs = &expected[key];
        let means: Vec<f64> = serde_json::from_value(theirs["mP@k"].clone()).unwrap();
        let each: Vec<Option<f64>> = serde_json::from_value(theirs["AP_per_query"].clone()).unwrap();
        assert_scores(key, &[found.map], &[theirs["mAP"].as_f64().unwrap()], 1e-9);
        assert_scores(key, &found.precision, &means, 1e-9);
        let ours: Vec<Option<f64>> = found.queries.iter().map(|query| query.map(|q| q.average_precision)).collect();
        assert_eq!(ours.len(), each.len());
        for (ours, theirs) in ours.iter().zip(&each) {
            assert_eq!(ours.is_none(), theirs.is_none());
            assert_scores(key, &[ours.unwrap_or(0.0)], &[theirs.unwrap_or(0.0)], 1e-9);
        }
    }
}

#[test]
fn an_image_of_two_lists_is_right_where_one_says_so() {
    let both = Truth { easy: vec![0], hard: vec![0], junk: vec![0] };
    for setting in Setting::ALL {
        assert_eq!(both.marks(setting, 2).unwrap(), [Mark::Right, Mark::Wrong]);
    }
}

#[test]
fn precision_is_read_no_further_than_the_last_right_image() {
    let marks = [Mark::Junk, Mark::Right, Mark::Junk, Mark::Wrong, Mark::Right, Mark::Wrong];

    let found = query_score(marks, 2).unwrap();

    // Without junk: right, wrong, right, wrong; the last right one is third.
    assert_eq!(found.precision, [1.0, 2.0 / 3.0, 2.0 / 3.0]);
    // (1 + 1) / 2 and (1/2 + 2/3) / 2, half of the recall each.
    assert!((found.average_precision - (1.0 + 7.0 / 12.0) / 2.0).abs() < EXACT);
}

#[test]
fn what_cannot_be_found_scores_nothing_and_nothing_to_find_is_no_score() {
    assert_eq!(average_precision(&[], 3), 0.0);
    let lost = query_score([Mark::Wrong, Mark::Junk], 1).unwrap();
    assert_eq!((lost.average_precision, lost.precision), (0.0, [0.0; 3]));
    assert_eq!(query_score([Mark::Wrong], 0), None);
    assert!(matches!(Scores::of(vec![None, None]), Err(EvalError::NothingToFind)));
    let two = Scores::of(vec![None, query_score([Mark::Right], 1)]).unwrap();
    assert_eq!(two.map, 1.0);
}

/// Rows in the plane at these angles, in degrees.
fn at_angles(degrees: &[f32]) -> Vec<f32> {
    degrees.iter().flat_map(|angle| [angle.to_radians().cos(), angle.to_radians().sin()]).collect()
}

#[test]
fn a_database_is_ranked_by_cosine_under_every_setting() {
    let database = UnitRows::new(at_angles(&[0.0, 10.0, 20.0, 30.0, 40.0]), 2, "the features").unwrap();
    let truth = Truth { easy: vec![1], hard: vec![3], junk: vec![0] };

    let found = rank(&database, &at_angles(&[-1.0, 41.0]), &[truth.clone(), truth], 3).unwrap();

    // The first query sees 0 1 2 3 4, the second 4 3 2 1 0.
    let average =
        |ranked: &Ranked| ranked.scores.iter().map(|score| score.unwrap().average_precision).collect::<Vec<_>>();
    let second = |place: usize| average_precision(&[place], 1);
    assert_eq!(average(&found[0]), [1.0, average_precision(&[0, 2], 2), second(1)]);
    assert_eq!(average(&found[1]), [second(2), average_precision(&[1, 3], 2), second(1)]);
    let first = |ranked: &Ranked| ranked.first.iter().map(|(near, mark)| (near.index, *mark)).collect::<Vec<_>>();
    assert_eq!(first(&found[0]), [(0, Mark::Junk), (1, Mark::Right), (2, Mark::Wrong)]);
    assert!(matches!(rank(&database, &at_angles(&[1.0]), &[], 3), Err(EvalError::Size { .. })));
    let beyond = Truth { easy: vec![5], ..Truth::default() };
    let error = rank(&database, &at_angles(&[1.0]), &[beyond], 3).unwrap_err();
    assert!(matches!(error, EvalError::NoSuchImage { index: 5, images: 5 }), "{error}");
}

#[test]
fn images_of_a_class_find_each_other_but_not_themselves() {
    let images = UnitRows::new(at_angles(&[0.0, 1.0, 90.0, 91.0, 45.0]), 2, "the features").unwrap();

    let found = rank_classes(&images, &[0, 0, 1, 1, 2], 2).unwrap();

    let scores = Scores::of(found.iter().map(|ranked| ranked.scores[0]).collect()).unwrap();
    assert_eq!((scores.map, scores.precision), (1.0, [1.0; 3]));
    assert_eq!(scores.queries[4], None);
    assert!(found.iter().enumerate().all(|(query, ranked)| ranked.first.iter().all(|(near, _)| near.index != query)));
    assert!(matches!(rank_classes(&images, &[0; 4], 2), Err(EvalError::Size { .. })));
}

#[test]
fn descriptors_equal_pytorch() {
    let fixture = Fixture::open("retrieval/descriptors.safetensors");
    let (images, dim) = (fixture.usize("images"), fixture.usize("dim"));

    let ours = descriptors(&f32s(&fixture, "tokens"), images, dim).unwrap();

    assert_close("descriptors", ours, &fixture.values("descriptors"), SINGLE);
}

#[test]
fn negative_values_vanish_from_the_generalised_mean() {
    let pooled = generalised_mean(&[-5.0, 2.0, -1.0, 4.0], 2);

    assert!((pooled[0] - 1e-6).abs() < 1e-12);
    assert!((f64::from(pooled[1]) - ((16.0 + 256.0) / 2.0_f64).powf(0.25)).abs() < 1e-6);
    assert!(generalised_mean(&[f32::NAN, 1.0], 1)[0].is_nan());
    assert!(matches!(descriptors(&[0.0; 7], 2, 2), Err(EvalError::Size { .. })));
    assert!(matches!(descriptors(&[], 0, 2), Err(EvalError::Size { .. })));
}

#[test]
fn whitened_cosines_equal_numpy() {
    for name in ["whitening_200", "whitening_10"] {
        let fixture = Fixture::open(&format!("retrieval/{name}.safetensors"));
        let dim = fixture.usize("dim");
        let whitening = Whitening::fit(&f32s(&fixture, "learnt"), dim).unwrap();
        let white = |rows: &str| UnitRows::new(whitening.apply(&f32s(&fixture, rows)).unwrap(), dim, "rows").unwrap();
        let (queries, base) = (white("queries"), white("base"));

        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let cosines = (0..queries.len()).flat_map(|q| (0..base.len()).map(move |b| (q, b)));
        let cosines: Vec<f32> = cosines.map(|(q, b)| dot(queries.row(q), base.row(b))).collect();

        assert_close(name, cosines, &fixture.values("cosines"), SINGLE);
    }
}

#[test]
fn whitening_of_nothing_or_of_damaged_values_is_an_error() {
    assert!(matches!(Whitening::fit(&[], 4), Err(EvalError::Empty { .. })));
    assert!(matches!(Whitening::fit(&[0.0; 5], 4), Err(EvalError::Size { .. })));
    assert!(matches!(Whitening::fit(&[0.0, f32::INFINITY], 2), Err(EvalError::BadValue { row: 0, .. })));
    // Equal images have one direction only; nothing becomes infinite.
    let same = Whitening::fit(&[1.0, 2.0].repeat(3), 2).unwrap();
    assert!(same.apply(&[1.0, 2.0, 5.0, -3.0]).unwrap().iter().all(|value| value.is_finite()));
    let dark = Whitening::fit(&[0.0; 6], 2).unwrap();
    assert!(dark.apply(&[0.0, 0.0]).unwrap().iter().all(|value| *value == 0.0));
}

#[test]
fn copies_are_scored_by_their_first_twenty() {
    let fixture = Fixture::open("retrieval/copies.safetensors");
    let originals: Vec<Vec<usize>> = serde_json::from_value(fixture.case["originals"].clone()).unwrap();
    let expected: Vec<Option<f64>> = serde_json::from_value(fixture.case["expected"].clone()).unwrap();
    let database = UnitRows::new(f32s(&fixture, "database"), fixture.usize("dim"), "the database").unwrap();

    let found = find_copies(&database, &f32s(&fixture, "queries"), &originals).unwrap();

    for (ours, theirs) in found.iter().zip(&expected) {
        assert_eq!(ours.average_precision.is_none(), theirs.is_none());
        assert_scores("copies", &[ours.average_precision.unwrap_or(0.0)], &[theirs.unwrap_or(0.0)], EXACT);
        assert_eq!(ours.nearest.len(), 20);
    }
    let known: Vec<f64> = expected.iter().copied().flatten().collect();
    let (map, queries) = mean_average_precision(&found).unwrap();
    assert_eq!(queries, known.len());
    assert_scores("mean", &[map], &[known.iter().sum::<f64>() / known.len() as f64], EXACT);
}

#[test]
fn a_database_may_have_fewer_than_twenty_images() {
    let database = UnitRows::new(at_angles(&[0.0, 50.0]), 2, "the database").unwrap();

    let found = find_copies(&database, &at_angles(&[49.0]), &[vec![1]]).unwrap();

    assert_eq!((found[0].average_precision, found[0].nearest.len()), (Some(1.0), 2));
    assert!(matches!(find_copies(&database, &at_angles(&[49.0]), &[vec![2]]), Err(EvalError::NoSuchImage { .. })));
    assert!(matches!(mean_average_precision(&[]), Err(EvalError::NothingToFind)));
}

#[test]
fn several_scales_equal_pytorch() {
    let fixture = Fixture::open("retrieval/multi_scale.safetensors");
    let (vit, params) = filled_vit(vit_config(&fixture, "image"));
    let (cpu, pool, backbone) = (Cpu::new(), Pool::new(), Backbone::Vit(vit));
    let frozen = Frozen::new(&cpu, &pool, &backbone, &params);
    let sizes: Vec<(usize, usize)> = serde_json::from_value(fixture.case["sizes"].clone()).unwrap();
    for (height, width) in sizes {
        let name = format!("{height}x{width}");
        let pixels = filler_bytes(&format!("scaled.{name}"), height * width * 3);
        let batch = ImageBatch { pixels: &pixels, images: 1, height, width };
        for (scale, key) in [(THREE_SCALES[1], 71), (THREE_SCALES[2], 50)] {
            let small = scaled(batch, scale);

            let normalize = imagenet();
            let at = |channel: usize, y: usize, x: usize| {
                let value = small.values[(y * small.width + x) * 3 + channel] / 255.0;
                (value - normalize.mean[channel]) / normalize.std[channel]
            };
            let places = (0..small.height).step_by(3).flat_map(|y| (0..small.width).step_by(5).map(move |x| (y, x)));
            let places: Vec<_> = places.collect();
            let ours = (0..3).flat_map(|channel| places.iter().map(move |(y, x)| (channel, *y, *x)));
            let ours: Vec<f32> = ours.map(|(channel, y, x)| at(channel, y, x)).collect();
            assert_close(&name, ours, &fixture.values(&format!("{name}.{key}")), SINGLE);
        }

        let ours = multi_scale(&frozen, batch, &THREE_SCALES);

        assert_close(&name, ours, &fixture.values(&format!("{name}.features")), NETWORK);
    }
}

#[test]
fn images_of_a_batch_are_scaled_one_by_one() {
    let (height, width) = (13, 22);
    let pixels = filler_bytes("scaled.batch", 2 * height * width * 3);
    let batch = |images: usize, pixels| scaled(ImageBatch { pixels, images, height, width }, THREE_SCALES[1]).values;
    let (first, second) = pixels.split_at(height * width * 3);

    assert_eq!(batch(2, &pixels), [batch(1, first), batch(1, second)].concat());
}

#[test]
fn ground_truth_of_every_pickle_protocol() {
    for protocol in 2..=5 {
        let path = fixture_path(&format!("retrieval/gnd_small{protocol}.pkl"));

        let found = GroundTruth::read(&path).unwrap();

        assert_eq!(found.name, format!("small{protocol}"));
        assert_eq!(found.images, ["tower_000", "tower_001", "bridge_000", "oxford_42"]);
        assert_eq!(found.queries, ["tower_q", "bridge_q"]);
        assert_eq!(found.truth[0], Truth { easy: vec![0], hard: vec![1], junk: vec![3] });
        assert_eq!(found.boxes, [Some([1.5, 2.0, 30.25, 40.0]), Some([0.0, 0.0, 10.0, 10.0])]);
    }
}

/// What is said of a ground truth of these bytes.
fn refusal(name: &str, bytes: &[u8]) -> String {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    match GroundTruth::read(&path) {
        Ok(found) => panic!("{name} was read: {found:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_hostile_pickle_is_refused_and_runs_nothing() {
    let place = tempfile::tempdir().unwrap();
    let mark = place.path().join("executed");
    // os.system("touch …"), called by Python's own reader.
    let command = format!("touch {}", mark.display());
    let mut bytes = b"\x80\x03cposix\nsystem\nX".to_vec();
    bytes.extend((command.len() as u32).to_le_bytes());
    bytes.extend(command.as_bytes());
    bytes.extend(b"\x85R.");

    let said = refusal("gnd_hostile.pkl", &bytes);

    assert!(said.contains("plain lists") && said.contains("posix.system"), "{said}");
    assert!(!mark.exists());
    assert!(refusal("gnd_cut.pkl", &bytes[..20]).contains("too early"));
    assert!(refusal("gnd_text.pkl", b"hello").contains("no pickle"));
    assert!(refusal("gnd_empty.pkl", b"").contains("no pickle"));
}

#[test]
fn a_ground_truth_that_does_not_fit_together_is_refused() {
    let with = |key: &str, value: Value| {
        let query = serde_json::json!({"easy": [0], "hard": [], "junk": []});
        let mut all = serde_json::json!({"imlist": ["a", "b"], "qimlist": ["q"], "gnd": [query]});
        all[key] = value;
        refusal("gnd_odd.json", all.to_string().as_bytes())
    };
    let query = |index: i64| serde_json::json!([{"easy": [], "hard": [index], "junk": []}]);
    assert!(with("gnd", query(2)).contains("lists image 2"));
    assert!(with("gnd", query(-1)).contains("not a usable ground truth"));
    assert!(with("gnd", serde_json::json!([])).contains("0 entries"));
    assert!(with("gnd", serde_json::json!([{"ok": [0], "junk": []}])).contains("easy"));
    assert!(with("imlist", serde_json::json!(["../../etc/passwd", "b"])).contains("leads out"));
    assert!(with("imlist", serde_json::json!(["/etc/passwd", "b"])).contains("leads out"));
    assert!(with("imlist", serde_json::json!(["", "b"])).contains("leads out"));
    assert!(with("qimlist", serde_json::json!(3)).contains("not a usable"));
    assert!(refusal("gnd_none.json", b"{}").contains("imlist"));
    assert!(refusal("gnd_broken.json", b"{").contains("no JSON"));
}

#[test]
fn a_ground_truth_is_found_in_the_folder_or_one_below() {
    let place = tempfile::tempdir().unwrap();
    let [oxford, paris] = ["roxford5k", "rparis6k"].map(|name| place.path().join(name));
    std::fs::create_dir(&oxford).unwrap();
    let file = oxford.join("gnd_roxford5k.pkl");
    std::fs::write(&file, "").unwrap();
    std::fs::write(oxford.join("gnd_roxford5k.json"), "").unwrap();

    assert_eq!(locate(&oxford).unwrap(), Some(file.clone()));
    assert_eq!(locate(place.path()).unwrap(), Some(file.clone()));
    assert_eq!(locate(&file).unwrap(), Some(file));
    std::fs::create_dir(&paris).unwrap();
    assert_eq!(locate(&paris).unwrap(), None);
    std::fs::write(paris.join("gnd_rparis6k.json"), "").unwrap();
    assert!(locate(place.path()).unwrap_err().to_string().contains("name one of them"));
}
