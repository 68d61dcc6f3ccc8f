//! `eval retrieval` and `eval copy` on a tiny network with random weights: files, figures, what is said of bad data.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod untrained;

use std::path::{Path, PathBuf};

use dinoxide::config::Precision;
use dinoxide::run::RunError;
use dinoxide::run::input::{ImageSize, Network};
use dinoxide::run::protocols::copy::{CopyReport, CopyRequest, Pairing, copy};
use dinoxide::run::protocols::retrieval::{Missing, QueryPart, RetrievalReport, RetrievalRequest, Scales, retrieval};
use dinoxide::run::protocols::{Manner, Outcome, ProtocolRequest};
use image::RgbImage;
use untrained::run_folder;

/// A picture of its own for each number: a few large patches of colour.
fn picture(number: u32, width: u32, height: u32) -> RgbImage {
    let level = |x: u32, y: u32, channel: u32| {
        let cell = (x * 4 / width) + 4 * (y * 4 / height);
        ((cell * 37 + number * 101 + channel * 59 + cell * number * 13) % 256) as u8
    };
    RgbImage::from_fn(width, height, |x, y| image::Rgb([level(x, y, 0), level(x, y, 1), level(x, y, 2)]))
}

fn save(image: &RgbImage, path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    image.save(path).unwrap();
}

fn protocol(place: &Path, manner: Manner) -> ProtocolRequest {
    ProtocolRequest {
        model: run_folder(place, 32),
        network: Network::Teacher,
        image_size: None,
        precision: Precision::F32,
        out: place.join("out"),
        manner,
    }
}

fn request(place: &Path, data: &Path) -> RetrievalRequest {
    RetrievalRequest {
        protocol: protocol(place, Manner::Fitting),
        data: data.to_path_buf(),
        images: None,
        scales: None,
        queries: QueryPart::Whole,
        missing: Missing::Error,
    }
}

/// Eight images of which the first four are two pairs, and queries that equal the first of each pair.
fn benchmark(place: &Path) -> PathBuf {
    let data = place.join("roxford5k");
    for number in 0..8 {
        save(&picture(number / 2, 60 + 4 * number, 70 - number), &data.join(format!("jpg/image_{number}.png")));
    }
    save(&picture(0, 60, 70), &data.join("jpg/query_0.png"));
    save(&picture(1, 68, 68), &data.join("jpg/query_1.png"));
    let images: Vec<String> = (0..8).map(|number| format!("image_{number}")).collect();
    let truth = serde_json::json!({"imlist": images, "qimlist": ["query_0", "query_1"], "gnd": [
        {"bbx": [0.0, 0.0, 30.4, 40.0], "easy": [0], "hard": [1], "junk": [7]},
        {"bbx": [5.0, 5.0, 90.0, 90.0], "easy": [2], "hard": [], "junk": [3]},
    ]});
    std::fs::write(data.join("gnd_roxford5k.json"), truth.to_string()).unwrap();
    data
}

fn said(result: Result<impl Sized, RunError>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn a_benchmark_is_scored_and_written_down() {
    let place = tempfile::tempdir().unwrap();
    let request = request(place.path(), &benchmark(place.path()));

    let outcome = retrieval(&request).unwrap();

    let RetrievalReport { dataset, images, queries, within, scales, settings, per_query, .. } = &outcome.result;
    assert_eq!((dataset.as_str(), *images, *queries), ("roxford5k", 8, 2));
    assert_eq!((*within, scales.as_slice()), ((224, 224), [1.0].as_slice()));
    // Each query is one of the images, which therefore comes first.
    assert!((settings["easy"].map - 100.0).abs() < 1e-9, "{settings:?}");
    assert_eq!((settings["easy"].queries, settings["hard"].queries), (2, 1));
    assert_eq!(settings["easy"].precision_at.keys().copied().collect::<Vec<_>>(), [1, 5, 10]);
    assert_eq!(per_query[1].average_precision["hard"], None);
    assert!(outcome.published.iter().all(|row| row.figure.contains("Oxford")) && outcome.published.len() == 10);
    let out = &request.protocol.out;
    assert_eq!(outcome.files, [out.join("retrieved.csv"), out.join("retrieved.png")]);
    let table = std::fs::read_to_string(&outcome.files[0]).unwrap();
    assert!(table.starts_with("query,rank,image,similarity,mark\nquery_0,1,image_0,"), "{table}");
    assert_eq!(table.lines().count(), 1 + 2 * 8);
    let stored: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(stored["protocol"], "retrieval");
    assert_eq!(stored["settings"]["medium"]["map"], settings["medium"].map);
}

#[test]
fn size_scales_and_boxes_are_said_where_they_differ() {
    let place = tempfile::tempdir().unwrap();
    let data = benchmark(place.path());
    let mut other = request(place.path(), &data);
    (other.scales, other.queries) = (Some(Scales::Three), QueryPart::Box);
    other.protocol.image_size = Some(ImageSize { width: 48, height: 48 });
    let plain =
        RetrievalRequest { protocol: protocol(place.path(), Manner::Reference), ..request(place.path(), &data) };

    let (other, plain) = (retrieval(&other).unwrap(), retrieval(&plain).unwrap());

    assert_eq!(other.result.scales.len(), 3);
    for word in ["48x48", "three scales", "boxes"] {
        assert!(other.deviations.iter().any(|how| how.contains(word)), "{word}: {:?}", other.deviations);
    }
    assert_eq!(plain.deviations, Vec::<String>::new());
}

#[test]
fn missing_images_are_an_error_or_left_out_as_asked() {
    let place = tempfile::tempdir().unwrap();
    let data = benchmark(place.path());
    std::fs::remove_file(data.join("jpg/image_1.png")).unwrap();
    std::fs::remove_file(data.join("jpg/query_1.png")).unwrap();
    let request = request(place.path(), &data);
    let error = said(retrieval(&request));
    assert!(error.contains("2 of 10 images are missing") && error.contains("image_1.jpg"), "{error}");

    let outcome = retrieval(&RetrievalRequest { missing: Missing::Skip, ..request }).unwrap();

    assert_eq!((outcome.result.images, outcome.result.queries), (7, 1));
    assert_eq!(outcome.result.left_out, ["image_1", "query_1"]);
    assert!(outcome.deviations.iter().any(|how| how.contains("1 of 8 images and 1 of 2 queries")), "{outcome:?}");
    // The hard image of the first query is gone, so nothing hard is left to find.
    assert!(!outcome.result.settings.contains_key("hard"));
}

#[test]
fn images_that_are_none_and_folders_that_are_not_there_are_named() {
    let place = tempfile::tempdir().unwrap();
    let data = benchmark(place.path());
    let request = request(place.path(), &data);
    std::fs::write(data.join("jpg/image_4.png"), "no picture").unwrap();
    let error = said(retrieval(&request));
    assert!(error.contains("image_4.png") && error.contains("--missing skip"), "{error}");
    save(&picture(3, 400, 3), &data.join("jpg/image_4.png"));
    let error = said(retrieval(&request));
    assert!(error.contains("smaller than a patch of 8"), "{error}");
    std::fs::rename(data.join("jpg"), data.join("elsewhere")).unwrap();
    assert!(said(retrieval(&request)).contains("--images DIR"));
    let found = RetrievalRequest { images: Some(data.join("elsewhere")), missing: Missing::Skip, ..request };
    assert_eq!(retrieval(&found).unwrap().result.images, 7);
    let nowhere = RetrievalRequest { images: Some(data.clone()), ..found };
    assert!(said(retrieval(&nowhere)).contains("none of the queries"));
}

#[test]
fn own_folders_are_scored_by_their_classes() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("photos");
    for number in 0..6 {
        save(&picture(number / 2, 64, 48), &data.join(format!("class {}/{number}.png", number / 2)));
    }
    save(&picture(9, 64, 48), &data.join("alone/9.png"));
    std::fs::write(data.join("alone/broken.png"), "no picture").unwrap();

    let outcome: Outcome<RetrievalReport> = retrieval(&request(place.path(), &data)).unwrap();

    // Two equal images in each class.
    let report = &outcome.result;
    assert!((report.settings["classes"].map - 100.0).abs() < 1e-9);
    assert_eq!((report.images, report.settings["classes"].queries), (7, 6));
    assert_eq!(report.left_out, ["alone/broken.png"]);
    assert!(outcome.published.is_empty());
}

#[test]
fn folders_with_nothing_to_find_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("photos");
    save(&picture(0, 40, 40), &data.join("0.png"));
    let request = request(place.path(), &data);
    assert!(said(retrieval(&request)).contains("neither a ground truth"));
    save(&picture(0, 40, 40), &data.join("a/0.png"));
    assert!(said(retrieval(&request)).contains("only one image"));
    save(&picture(1, 40, 40), &data.join("b/1.png"));
    assert!(said(retrieval(&request)).contains("nothing to find"));
    let missing = RetrievalRequest { data: data.join("no such folder"), ..request };
    assert!(said(retrieval(&missing)).contains("no such folder"));
}

fn copy_request(place: &Path, data: &Path) -> CopyRequest {
    let protocol =
        ProtocolRequest { image_size: Some(ImageSize { width: 32, height: 32 }), ..protocol(place, Manner::Fitting) };
    CopyRequest { protocol, data: data.to_path_buf(), distractors: None, whitening: None }
}

/// Five originals and, in each of these blocks, copies that equal them.
fn copydays(place: &Path, blocks: &[&str]) -> PathBuf {
    let data = place.join("copydays");
    for number in 0..5 {
        save(&picture(number, 50, 40), &data.join(format!("original/20{number}000.png")));
        for block in blocks {
            let name = if *block == "strong" { format!("20{number}0_01.png") } else { format!("20{number}000.png") };
            save(&picture(number, 50, 40), &data.join(block).join(name));
        }
    }
    data
}

fn blocks(outcome: &Outcome<CopyReport>) -> Vec<(&str, Pairing)> {
    outcome.result.blocks.iter().map(|block| (block.block.as_str(), block.pairing)).collect()
}

#[test]
fn copies_of_every_block_find_their_originals() {
    let place = tempfile::tempdir().unwrap();
    let data = copydays(place.path(), &["crops/10", "crops/9", "jpegqual/75", "strong"]);
    let mut request = copy_request(place.path(), &data);
    for number in 20..26 {
        save(&picture(number, 50, 40), &place.path().join(format!("others/{number}.png")));
        save(&picture(number + 30, 50, 40), &place.path().join(format!("more/{number}.png")));
    }
    request.distractors = Some(place.path().join("others"));
    request.whitening = Some(place.path().join("more"));

    let outcome = copy(&request).unwrap();

    use Pairing::{Name, Prefix};
    let expected =
        [("original", Name), ("strong", Prefix), ("crops/9", Name), ("crops/10", Name), ("jpegqual/75", Name)];
    assert_eq!(blocks(&outcome), expected);
    let report = &outcome.result;
    assert!(report.blocks.iter().all(|block| block.map.is_some_and(|map| (map - 100.0).abs() < 1e-9)), "{report:?}");
    assert_eq!((report.originals, report.distractors, report.whitening), (5, 6, Some(6)));
    assert_eq!(report.per_query.len(), 25);
    assert_eq!(outcome.published.len(), 5);
    let out = request.protocol.out;
    let table = std::fs::read_to_string(out.join("retrieved.csv")).unwrap();
    assert!(table.contains("\nstrong/2000_01.png,1,original/200000.png,"), "{table}");
    assert!(out.join("retrieved.png").is_file() && out.join("results.json").is_file());
}

#[test]
fn what_published_figures_have_and_these_have_not_is_said() {
    let place = tempfile::tempdir().unwrap();
    let outcome = copy(&copy_request(place.path(), &copydays(place.path(), &["crop50"]))).unwrap();

    for word in ["no distractors", "no whitening", "32x32", "5 images are ranked"] {
        assert!(outcome.deviations.iter().any(|how| how.contains(word)), "{word}: {:?}", outcome.deviations);
    }
    // Not Copydays.
    assert!(outcome.published.is_empty());
}

#[test]
fn copies_without_the_names_of_originals_pair_by_order_or_not_at_all() {
    let place = tempfile::tempdir().unwrap();
    let data = copydays(place.path(), &[]);
    for number in 0..5 {
        save(&picture(number, 50, 40), &data.join(format!("attack/copy {number}.png")));
    }
    let request = copy_request(place.path(), &data);
    let outcome = copy(&request).unwrap();
    assert_eq!(blocks(&outcome)[1], ("attack", Pairing::Order));
    assert!((outcome.result.blocks[1].map.unwrap() - 100.0).abs() < 1e-9);

    std::fs::remove_file(data.join("attack/copy 2.png")).unwrap();
    let error = said(copy(&request));
    assert!(error.contains("4 images") && error.contains("5 originals"), "{error}");
}

#[test]
fn a_strong_copy_without_an_original_is_not_scored_and_unreadable_ones_are_left_out() {
    let place = tempfile::tempdir().unwrap();
    let data = copydays(place.path(), &["strong"]);
    save(&picture(7, 50, 40), &data.join("strong/9999.png"));
    std::fs::write(data.join("strong/2000_02.png"), "no picture").unwrap();
    std::fs::write(data.join("original/204000.png"), "no picture").unwrap();

    let outcome = copy(&copy_request(place.path(), &data)).unwrap();

    let report = &outcome.result;
    // Five strong copies less the one whose original is gone.
    assert_eq!((report.originals, report.blocks[1].queries), (4, 4));
    assert_eq!(report.left_out.len(), 2);
    assert!(report.per_query.iter().any(|query| query.query.contains("9999") && query.average_precision.is_none()));
}

#[test]
fn folders_without_originals_or_copies_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("copydays");
    std::fs::create_dir(&data).unwrap();
    let request = copy_request(place.path(), &data);
    assert!(said(copy(&request)).contains("original/"));
    save(&picture(0, 50, 40), &data.join("original/0.png"));
    assert!(said(copy(&request)).contains("no folder of copies"));
    save(&picture(0, 50, 40), &data.join("strong/1234.png"));
    assert!(said(copy(&request)).contains("nothing to find"));
    let missing = CopyRequest { whitening: Some(data.join("nowhere")), ..request };
    assert!(said(copy(&missing)).contains("nowhere"));
}

#[test]
fn a_query_without_a_box_cannot_be_cut_to_it() {
    let place = tempfile::tempdir().unwrap();
    let data = benchmark(place.path());
    let path = data.join("gnd_roxford5k.json");
    let mut truth: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    truth["gnd"][1].as_object_mut().unwrap().remove("bbx");
    std::fs::write(&path, truth.to_string()).unwrap();

    let error = said(retrieval(&RetrievalRequest { queries: QueryPart::Box, ..request(place.path(), &data) }));

    assert!(error.contains("query `query_1` has no box"), "{error}");
    assert!(retrieval(&request(place.path(), &data)).is_ok());
}

#[test]
fn what_only_a_benchmark_has_is_refused_for_own_folders() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("own");
    for number in 0..4 {
        save(&picture(number, 40, 40), &data.join(format!("{}/{number}.png", number / 2)));
    }
    let own = request(place.path(), &data);
    let with = |change: fn(&mut RetrievalRequest)| {
        let mut request = own.clone();
        change(&mut request);
        said(retrieval(&request))
    };

    assert!(with(|request| request.images = Some("jpg".into())).contains("`--images` is for a benchmark"));
    assert!(with(|request| request.queries = QueryPart::Box).contains("`--queries box`"));
    assert!(with(|request| request.missing = Missing::Skip).contains("`--missing skip`"));
    assert!(retrieval(&own).is_ok());
}

#[test]
fn results_inside_of_the_data_are_neither_images_nor_copies() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("own");
    for number in 0..4 {
        save(&picture(number, 40, 40), &data.join(format!("{}/{number}.png", number / 2)));
        save(&picture(number, 40, 40), &data.join(format!("original/{number}.png")));
        save(&picture(number, 44, 40), &data.join(format!("strong/{number}.png")));
    }
    let mut own = request(place.path(), &data);
    own.protocol.out = data.join("eval-retrieval");
    let (first, again) = (retrieval(&own).unwrap(), retrieval(&own).unwrap());
    assert_eq!(first.result, again.result);

    std::fs::remove_dir_all(data.join("0")).unwrap();
    std::fs::remove_dir_all(data.join("1")).unwrap();
    std::fs::remove_dir_all(data.join("eval-retrieval")).unwrap();
    let mut protocol = own.protocol.clone();
    protocol.out = data.join("eval-copy");
    let request = CopyRequest { protocol, data, distractors: None, whitening: None };
    let (first, again) = (copy(&request).unwrap(), copy(&request).unwrap());
    assert_eq!(first.result, again.result);
}
