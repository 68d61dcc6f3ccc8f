//! Near-duplicates: connected components against a plain union, copies of pictures.

use std::collections::BTreeSet;

use dinoxide::eval::dedup::groups;
use dinoxide::eval::nearest::UnitRows;
use dinoxide::run::dedup::{DedupRequest, dedup};
use image::imageops::{FilterType, crop_imm, resize};

use crate::support::filler;
use crate::{dinoxide, look, picture, rows, run};

/// Connected components by merging sets until nothing changes.
fn plain_union(values: &[f32], dim: usize, threshold: f64) -> BTreeSet<Vec<usize>> {
    let rows: Vec<&[f32]> = values.chunks_exact(dim).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let cosine = |a: usize, b: usize| dot(rows[a], rows[b]) / (dot(rows[a], rows[a]) * dot(rows[b], rows[b])).sqrt();
    let mut set: Vec<usize> = (0..rows.len()).collect();
    for a in 0..rows.len() {
        for b in a + 1..rows.len() {
            if cosine(a, b) >= threshold {
                let (from, to) = (set[b].max(set[a]), set[b].min(set[a]));
                set.iter_mut().filter(|head| **head == from).for_each(|head| *head = to);
            }
        }
    }
    let members = |head: usize| (0..rows.len()).filter(|row| set[*row] == head).collect::<Vec<_>>();
    (0..rows.len()).map(members).filter(|group| group.len() > 1).collect()
}

#[test]
fn groups_equal_a_plain_union() {
    let (rows, dim) = (700, 4);
    let values = filler("points", rows * dim, 1.0, 0.0);
    let unit = UnitRows::new(values.clone(), dim, "points").unwrap();
    // No pair lies within 3e-6 of these: f32 and f64 agree on all of them.
    for threshold in [0.9, 0.9905, 0.999, 0.99999] {
        let found = groups(&unit, threshold, |_| {}).unwrap();
        let sets: BTreeSet<Vec<usize>> = found.groups.iter().cloned().collect();
        assert_eq!(sets, plain_union(&values, dim, threshold), "{threshold}");
        assert!(found.groups.windows(2).all(|pair| pair[0].len() >= pair[1].len()));
        assert_eq!(found.nearest.len(), rows);
    }
}

#[test]
fn a_chain_is_one_group_and_equal_rows_reach_a_threshold_of_one() {
    let angles = [0.0_f32, 0.1, 0.2, 0.3, 2.0, 2.0];
    let values: Vec<f32> = angles.iter().flat_map(|angle| [angle.cos(), angle.sin()]).collect();
    let unit = UnitRows::new(values, 2, "points").unwrap();
    // Neighbours in the chain have a cosine of 0.995, its ends one of 0.955.
    let found = groups(&unit, 0.99, |_| {}).unwrap();
    assert_eq!(found.groups, [vec![0, 1, 2, 3], vec![4, 5]]);
    assert!((found.nearest[0].unwrap() - 0.1_f32.cos()).abs() < 1e-6);
    assert_eq!(groups(&unit, 1.0, |_| {}).unwrap().groups, [vec![4, 5]]);
    for threshold in [0.0, -1.0, 1.01, f64::NAN] {
        assert!(groups(&unit, threshold, |_| {}).is_err());
    }
    assert_eq!(groups(&UnitRows::new(vec![1.0], 1, "one").unwrap(), 0.5, |_| {}).unwrap().nearest, [None]);
}

#[test]
fn a_collapsed_network_gives_one_group() {
    let unit = UnitRows::new(vec![0.3; 3 * 5000], 3, "points").unwrap();
    let found = groups(&unit, 0.95, |_| {}).unwrap();
    assert_eq!(found.groups.iter().map(Vec::len).collect::<Vec<_>>(), [5000]);
}

#[test]
fn copies_are_found_however_they_are_stored_and_others_stay_apart() {
    let place = tempfile::tempdir().unwrap();
    let (model, photos) = (run(place.path()), place.path().join("photos"));
    for number in 0..8 {
        picture(&photos.join(format!("{number}.png")), (64, 64), number);
    }
    // Of 1: written as JPEG, made smaller, made larger (the one to keep), cut a little at the edges. Of 6: the same size, by name.
    let one = picture(&photos.join("1.png"), (64, 64), 1);
    one.save(photos.join("1-again.jpg")).unwrap();
    resize(&one, 40, 40, FilterType::Triangle).save(photos.join("small.png")).unwrap();
    resize(&one, 96, 96, FilterType::CatmullRom).save(photos.join("z-large.png")).unwrap();
    crop_imm(&one, 1, 1, 62, 62).to_image().save(photos.join("cut.png")).unwrap();
    std::fs::copy(photos.join("6.png"), photos.join("6-copy.png")).unwrap();
    std::fs::write(photos.join("bad.png"), "no image").unwrap();
    let out = place.path().join("out");
    let request = DedupRequest { look: look(&model, &[&photos], &out), threshold: 0.97 };
    let report = dedup(&request).unwrap();
    let table = rows(&out.join("groups.csv"));
    assert_eq!((report.images, report.skipped, report.groups, report.copies), (13, 1, 2, 5), "{table:?}");
    assert_eq!(table[0], ["group", "path", "similarity", "role"]);
    let name = |row: &[String]| row[1].rsplit('/').next().unwrap().to_owned();
    let group = |number: &str| table.iter().filter(|row| row[0] == number).map(|row| name(row)).collect::<Vec<_>>();
    assert_eq!(group("1")[0], "z-large.png");
    assert_eq!(
        group("1").into_iter().collect::<BTreeSet<_>>(),
        ["z-large.png", "1.png", "1-again.jpg", "small.png", "cut.png"].map(str::to_owned).into()
    );
    assert_eq!(group("2"), ["6-copy.png", "6.png"]);
    let roles: Vec<&str> = table[1..].iter().map(|row| row[3].as_str()).collect();
    assert_eq!(roles, ["keep", "copy", "copy", "copy", "copy", "keep", "copy"]);
    assert!(report.files.iter().all(|file| file.is_file()) && report.files.len() == 3);
}

#[test]
fn dedup_command_says_when_nothing_repeats_and_when_the_threshold_is_too_low() {
    let place = tempfile::tempdir().unwrap();
    let (model, photos, out) = (run(place.path()), place.path().join("photos"), place.path().join("out"));
    (0..6).for_each(|number| drop(picture(&photos.join(format!("{number}.png")), (64, 64), number)));
    let [model, photos, out] = [&model, &photos, &out].map(|path| path.to_str().unwrap());
    let output = dinoxide(&["dedup", model, photos, "-o", out, "--threshold", "0.9999", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["groups"], &json["copies"]), (&0.into(), &0.into()));
    let low = dinoxide(&["dedup", model, photos, "-o", out, "--threshold", "0.0001"]);
    assert!(crate::stderr(&low).contains("is low for this network"), "{}", crate::stderr(&low));
    let wrong = dinoxide(&["dedup", model, photos, "-o", out, "--threshold", "1.5"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(crate::stderr(&wrong).contains("outside of (0, 1]"));
}
