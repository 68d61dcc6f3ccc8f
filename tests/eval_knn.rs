//! Weighted k-NN through the public API: against a plain search, on ties, and against the published program's numbers.
#![expect(clippy::unwrap_used, reason = "a test helper may panic: that fails the test")]

use std::path::{Path, PathBuf};

use dinoxide::eval::EvalError;
use dinoxide::eval::knn::{KnnBank, NEIGHBOURS, TEMPERATURE};
use dinoxide::eval::labels::{Labels, positions};
use dinoxide::eval::nearest::{Neighbour, UnitRows};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random::<f32>() - 0.5).collect()
}

fn unit(row: &[f32]) -> Vec<f64> {
    let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    row.iter().map(|&x| f64::from(x) / norm).collect()
}

/// All training rows by cosine in f64, nearest first.
fn plain_search(train: &[f32], query: &[f32], dim: usize) -> Vec<(usize, f64)> {
    let query = unit(query);
    let cosine = |row: &[f32]| unit(row).iter().zip(&query).map(|(a, b)| a * b).sum::<f64>();
    let mut all: Vec<_> = train.chunks_exact(dim).map(cosine).enumerate().collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

fn plain_vote(neighbours: &[(usize, f64)], labels: &[u32], classes: usize) -> Vec<u32> {
    let mut votes = vec![0.0; classes];
    neighbours
        .iter()
        .for_each(|&(index, similarity)| votes[labels[index] as usize] += (similarity / TEMPERATURE).exp());
    let mut ranked: Vec<u32> = (0..classes as u32).collect();
    ranked.sort_by(|&a, &b| votes[b as usize].total_cmp(&votes[a as usize]).then(a.cmp(&b)));
    ranked
}

/// The nearest rows of each query.
fn nearest(rows: &UnitRows, queries: &[f32], k: usize) -> Vec<Vec<Neighbour>> {
    rows.nearest_others(queries, &vec![None; queries.len() / rows.dim()], k).unwrap()
}

#[test]
fn blocked_search_finds_what_a_plain_search_finds() {
    // More rows and queries than one block holds (4096 and 128), and odd sizes.
    let (train_count, query_count, dim, classes, k) = (4_133, 261, 37, 7, 20);
    let train = random(1, train_count * dim);
    let queries = random(2, query_count * dim);
    let labels: Vec<u32> = (0..train_count as u32).map(|index| index * 31 % classes).collect();

    let found = nearest(&UnitRows::new(train.clone(), dim, "rows").unwrap(), &queries, k);
    let plain: Vec<_> = queries.chunks_exact(dim).map(|query| plain_search(&train, query, dim)).collect();
    // Votes of the plain search as the labels: then every prediction is right.
    let voted = plain.iter().map(|plain| plain_vote(&plain[..k], &labels, classes as usize)[0]).collect::<Vec<_>>();
    let bank = KnnBank::new(train, labels, classes as usize).unwrap();
    let result = bank.evaluate(&queries, &voted, &[k]).unwrap();

    assert_eq!(found.len(), query_count);
    for (found, plain) in found.iter().zip(&plain) {
        assert_eq!(found.len(), k);
        for (found, expected) in found.iter().zip(plain) {
            // The place may differ where two cosines agree to f32 accuracy; the similarity may not.
            assert!((f64::from(found.similarity) - expected.1).abs() < 1e-6);
        }
    }
    assert_eq!(result.predictions, voted);
    assert_eq!((result.per_k[0].top1, result.train, result.val), (100.0, train_count, query_count));
}

#[test]
fn a_query_gets_the_same_answer_alone_and_among_others() {
    let (dim, k) = (24, 10);
    let rows = UnitRows::new(random(3, 500 * dim), dim, "rows").unwrap();
    let queries = random(4, 200 * dim);

    let together = nearest(&rows, &queries, k);
    let alone: Vec<_> = queries.chunks_exact(dim).flat_map(|query| nearest(&rows, query, k)).collect();

    let indices = |found: &[Vec<Neighbour>]| -> Vec<Vec<usize>> {
        found.iter().map(|found| found.iter().map(|near| near.index).collect()).collect()
    };
    assert_eq!(indices(&together), indices(&alone));
}

#[test]
fn equal_training_images_rank_by_index_even_across_blocks() {
    // 9,000 copies of one direction: every similarity ties, in three blocks.
    let rows = UnitRows::new((0..9_000).flat_map(|_| [3.0, 4.0, 0.5]).collect(), 3, "rows").unwrap();

    for found in nearest(&rows, &[3.0, 4.0, 0.5, 1.0, 0.0, 0.0], 200) {
        let indices: Vec<usize> = found.iter().map(|neighbour| neighbour.index).collect();
        assert_eq!(indices, (0..200).collect::<Vec<_>>());
    }
}

#[test]
fn equal_votes_go_to_the_lower_label_and_empty_classes_follow() {
    // Two neighbours, symmetric about the query; label 4 comes first in the bank. The order is 2, 4, 0, 1, 3, 5.
    let bank = KnnBank::new(vec![1.0, 1.0, 1.0, -1.0], vec![4, 2], 6).unwrap();

    let scores = |label| bank.evaluate(&[1.0, 0.0], &[label], &[2]).unwrap().per_k[0];

    assert_eq!([2, 4].map(|label| scores(label).top1), [100.0, 0.0]);
    assert_eq!([0, 1, 2, 3, 4, 5].map(|label| scores(label).top5), [100.0, 100.0, 100.0, 100.0, 100.0, 0.0]);
}

#[test]
fn near_neighbours_outvote_many_far_ones() {
    // exp(1 / 0.07) against five times exp(0.6 / 0.07): the one near neighbour wins.
    let mut train = vec![1.0, 0.0];
    train.extend([0.6, 0.8].repeat(5));
    let bank = KnnBank::new(train, vec![1, 0, 0, 0, 0, 0], 2).unwrap();

    let result = bank.evaluate(&[1.0, 0.0], &[1], &[6]).unwrap();

    assert_eq!(result.per_k[0].top1, 100.0);
}

#[test]
fn small_sets_clip_k_and_say_so() {
    let bank = KnnBank::new(random(5, 15 * 4), (0..15).map(|index| index % 3).collect(), 3).unwrap();

    let result = bank.evaluate(&random(6, 2 * 4), &[0, 1], &NEIGHBOURS).unwrap();

    assert_eq!(result.per_k.iter().map(|score| score.k).collect::<Vec<_>>(), [10, 15]);
    assert_eq!(result.clipped, [20, 100, 200]);
    assert_eq!(result.at(20), Some(&result.per_k[1]));
    assert_eq!(result.per_k[0].top5, 100.0, "three classes are all among the first five");
}

#[test]
fn shares_are_percent_and_the_headline_is_predicted() {
    let bank = KnnBank::new(vec![1.0, 0.0, 0.0, 1.0], vec![0, 1], 2).unwrap();

    let result = bank.evaluate(&[1.0, 0.1, 1.0, 0.2, 0.1, 1.0, 0.2, 1.0], &[0, 1, 1, 1], &[1, 2]).unwrap();

    assert_eq!(result.per_k.iter().map(|score| (score.k, score.top1)).collect::<Vec<_>>(), [(1, 75.0), (2, 75.0)]);
    assert_eq!((result.per_k[0].top5, result.headline(), result.predictions), (100.0, 2, vec![0, 0, 1, 1]));
}

#[test]
fn a_bad_value_is_named_by_its_row_among_all() {
    let mut queries = vec![1.0; 300 * 2];
    queries[2 * 261] = f32::INFINITY;
    let rows = UnitRows::new(vec![1.0, 0.0, 0.0, 1.0], 2, "rows").unwrap();
    let bank = KnnBank::new(rows.values().to_vec(), vec![0, 1], 2).unwrap();

    let of_bank = bank.evaluate(&queries, &[0; 300], &[1]);
    let of_ranking = rows.ranked(&queries, |_, _| ());

    assert!(matches!(of_bank, Err(EvalError::BadValue { row: 261, .. })), "{of_bank:?}");
    assert!(matches!(of_ranking, Err(EvalError::BadValue { row: 261, .. })), "{of_ranking:?}");
}

#[test]
fn unusable_input_is_an_error() {
    let bank = || KnnBank::new(vec![1.0, 0.0, 0.0, 1.0], vec![0, 1], 2).unwrap();

    assert!(matches!(KnnBank::new(vec![], vec![], 2), Err(EvalError::Empty { .. })));
    assert!(matches!(KnnBank::new(vec![1.0; 5], vec![0, 1], 2), Err(EvalError::Size { .. })));
    assert!(matches!(KnnBank::new(vec![1.0; 4], vec![0, 2], 2), Err(EvalError::Label { label: 2, index: 1, .. })));
    assert!(matches!(KnnBank::new(vec![1.0, f32::NAN], vec![0], 1), Err(EvalError::BadValue { row: 0, .. })));
    assert!(matches!(bank().evaluate(&[1.0, 0.0], &[0], &[0]), Err(EvalError::NoNeighbours)));
    assert!(matches!(bank().evaluate(&[1.0, 0.0], &[0], &[]), Err(EvalError::NoNeighbours)));
    assert!(matches!(bank().evaluate(&[1.0], &[0], &[1]), Err(EvalError::Size { .. })));
    assert!(matches!(bank().evaluate(&[], &[], &[1]), Err(EvalError::Empty { .. })));
    assert!(matches!(bank().with_temperature(0.0), Err(EvalError::Temperature { .. })));
    let rows = UnitRows::new(vec![1.0, 0.0], 2, "rows").unwrap();
    assert!(matches!(rows.ranked(&[1.0, 0.0, 1.0], |_, _| ()), Err(EvalError::Size { .. })));
    assert_eq!(nearest(&rows, &[1.0, 0.0], usize::MAX).len(), 1);
}

#[test]
fn labels_are_positions_among_sorted_training_classes() {
    let labels = Labels::from_names(&["truck", "cat", "Zebra", "cat"], &["truck", "cat"]).unwrap();

    assert_eq!(labels.classes, ["Zebra", "cat", "truck"]);
    assert_eq!(labels.train, [2, 1, 0, 1]);
    assert_eq!(labels.val, [2, 1]);
    assert_eq!(labels.absent_in_val, ["Zebra"]);
}

#[test]
fn a_list_of_classes_keeps_its_own_order() {
    let own = ["cow", "ant", "bee"].map(str::to_owned);

    assert_eq!(positions(&["ant", "cow", "ant"], &own), Ok(vec![1, 0, 1]));
    assert_eq!(positions(&["fox", "ant", "dog", "fox"], &own), Err(vec!["dog".to_owned(), "fox".to_owned()]));
}

#[test]
fn validation_classes_without_training_images_are_listed() {
    let error = Labels::from_names(&["cat"], &["dog", "cat", "cow", "dog"]).unwrap_err();

    assert_eq!(
        error.to_string(),
        "validation has 2 classes that training lacks: `cow`, `dog`; use folders of the same names in both, or leave \
         these out"
    );
}

fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("DINOXIDE_DATA").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: DINOXIDE_DATA is not set");
    }
    folder
}

fn read_words(path: &Path) -> Vec<[u8; 4]> {
    std::fs::read(path).unwrap().chunks_exact(4).map(|word| word.try_into().unwrap()).collect()
}

#[test]
fn reproduces_the_published_program_on_real_features() {
    let Some(data) = real_data() else { return };
    let folder = data.join("metrics/knn");
    let features = |name: &str| read_words(&folder.join(name)).into_iter().map(f32::from_le_bytes).collect::<Vec<_>>();
    let labels = |name: &str| read_words(&folder.join(name)).into_iter().map(u32::from_le_bytes).collect::<Vec<_>>();
    let text = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let bank = KnnBank::new(features("train_features.f32le"), labels("train_labels.i32le"), 10).unwrap();
    let val_labels = labels("val_labels.i32le");

    let result = bank.evaluate(&features("val_features.f32le"), &val_labels, &NEIGHBOURS).unwrap();

    let one_image = 100.0 / val_labels.len() as f64 + 1e-9; // The order of f32 sums may move one image.
    for score in &result.per_k {
        let reference = &expected["results"][score.k.to_string()];
        println!("k {}: top-1 {} top-5 {}, reference {reference}", score.k, score.top1, score.top5);
        assert!((score.top1 - reference["top1"].as_f64().unwrap()).abs() <= one_image);
    }
    assert_eq!(result.per_k.len(), NEIGHBOURS.len());
}
