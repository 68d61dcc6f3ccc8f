//! Nearest images: against brute force and scikit-learn, as a command.

use dinoxide::eval::nearest::UnitRows;
use dinoxide::run::neighbors::{NeighborsRequest, neighbors};

use crate::support::{Fixture, filler, fixtures};
use crate::{classes, dinoxide, look, picture, rows, run};

#[test]
fn neighbours_equal_brute_force_across_blocks() {
    // More rows than two blocks of either kind.
    let (rows, dim, k) = (4500, 6, 7);
    let values = filler("rows", rows * dim, 1.0, 0.1);
    let unit = UnitRows::new(values.clone(), dim, "rows").unwrap();
    let queries: Vec<usize> = (0..rows).step_by(31).collect();
    let own: Vec<Option<usize>> = queries.iter().copied().map(Some).collect();
    let asked: Vec<f32> = queries.iter().flat_map(|row| &values[row * dim..][..dim]).copied().collect();
    let found = unit.nearest_others(&asked, &own, k).unwrap();
    for (query, found) in queries.iter().zip(found) {
        let cosine = |other: usize| {
            let (a, b) = (&values[query * dim..][..dim], &values[other * dim..][..dim]);
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        let mut all: Vec<(f64, usize)> = (0..rows).filter(|row| row != query).map(|row| (cosine(row), row)).collect();
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        assert_eq!(found.len(), k);
        for (near, (similarity, index)) in found.iter().zip(&all) {
            // f32 may order two that are as near to within its spacing the other way round.
            assert!((f64::from(near.similarity) - similarity).abs() < 1e-6);
            assert!(near.index == *index || (cosine(near.index) - similarity).abs() < 1e-6);
        }
    }
}

#[test]
fn neighbours_equal_scikit_learn() {
    for path in fixtures("neighbors") {
        let fixture = Fixture::open(&path);
        let (count, dim, k) = (fixture.usize("rows"), fixture.usize("width"), fixture.usize("k"));
        let values: Vec<f32> = fixture.values("features").iter().map(|value| *value as f32).collect();
        let unit = UnitRows::new(values.clone(), dim, "rows").unwrap();
        let own: Vec<Option<usize>> = (0..count).map(Some).collect();
        let found = unit.nearest_others(&values, &own, k).unwrap();
        let (indices, similarities) = (fixture.values("indices"), fixture.values("similarities"));
        let theirs = indices.iter().zip(&similarities);
        for (ours, (index, similarity)) in found.iter().flatten().zip(theirs) {
            assert_eq!(ours.index, *index as usize, "{path}");
            // Sums of products in f32.
            assert!((f64::from(ours.similarity) - similarity).abs() < 1e-6, "{path}");
        }
    }
}

#[test]
fn a_query_is_not_its_own_neighbour_and_small_sets_give_fewer() {
    // Rows 0 and 1 are equal: each is the other's nearest.
    let unit = UnitRows::new(vec![1.0, 0.0, 2.0, 0.0, 0.0, 1.0], 2, "rows").unwrap();
    let found = unit.nearest_others(&[1.0, 0.0, 2.0, 0.0, 5.0, 5.0], &[Some(0), Some(1), None], 9).unwrap();
    let indices: Vec<Vec<usize>> = found.iter().map(|found| found.iter().map(|near| near.index).collect()).collect();
    assert_eq!(indices, [vec![1, 2], vec![0, 2], vec![0, 1, 2]]);
    assert!(unit.nearest_others(&[1.0, 0.0], &[None], 0).is_err());
    assert!(unit.nearest_others(&[1.0], &[None], 1).is_err());
    assert!(UnitRows::new(vec![f32::INFINITY, 0.0], 2, "rows").is_err());
}

#[test]
fn neighbors_of_drawn_queries_know_their_classes() {
    let place = tempfile::tempdir().unwrap();
    let (model, photos) = (run(place.path()), classes(place.path(), 4));
    std::fs::write(photos.join("class-0/bad.png"), "no image").unwrap();
    let request = |name: &str| NeighborsRequest {
        look: look(&model, &[&photos], &place.path().join(name)),
        queries: Vec::new(),
        k: 3,
    };
    let report = neighbors(&request("one")).unwrap();
    assert_eq!((report.images, report.skipped, report.queries, report.k), (24, 1, 8, 3));
    // The three others of each class are almost the same picture.
    assert_eq!(report.same_class, Some(1.0));
    let table = rows(&place.path().join("one/neighbors.csv"));
    assert_eq!(table[0], ["query", "rank", "neighbour", "similarity"]);
    assert_eq!(table.len(), 1 + 8 * 3);
    assert_eq!(table[1][1], "1");
    assert!(table[1..].iter().all(|row| row[0] != row[2]));
    assert_eq!(neighbors(&request("two")).unwrap().neighbors, report.neighbors);
    let pages = ["one", "two"].map(|name| std::fs::read(place.path().join(name).join("neighbors.png")).unwrap());
    assert_eq!(pages[0], pages[1]);
}

#[test]
fn neighbors_command_takes_queries_from_the_data_and_from_elsewhere() {
    let place = tempfile::tempdir().unwrap();
    let (model, photos, out) = (run(place.path()), classes(place.path(), 2), place.path().join("out"));
    let (inside, outside) = (photos.join("class-2/0.png"), place.path().join("other.png"));
    picture(&outside, (60, 60), 2);
    let [model, photos, out, inside, outside] =
        [&model, &photos, &out, &inside, &outside].map(|path| path.to_str().unwrap());
    let command = ["neighbors", model, photos, "--query", inside, "--query", outside, "-o", out, "-k", "50", "--json"];
    let output = dinoxide(&command);
    assert!(output.status.success(), "{}", crate::stderr(&output));
    assert!(crate::stderr(&output).contains("only 11 other images"));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found = json["neighbors"].as_array().unwrap();
    assert_eq!(found[0]["nearest"].as_array().unwrap().len(), 11);
    assert_eq!(found[0]["nearest"][0]["image"], "class-2/1.png");
    assert_eq!(found[1]["nearest"].as_array().unwrap().len(), 12);
    let zero = dinoxide(&["neighbors", model, photos, "-o", out, "-k", "0"]);
    assert_eq!(zero.status.code(), Some(1));
    assert!(crate::stderr(&zero).contains("at least 1"));
}
