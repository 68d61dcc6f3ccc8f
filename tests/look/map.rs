//! Maps: neighbours stay neighbours, the same features give the same map, pages stay small and stand alone.

use dinoxide::eval::kmeans::kmeans;
use dinoxide::eval::map::{Descent, aligned, pca_map, perplexity, tsne_map};
use dinoxide::eval::nearest::UnitRows;
use dinoxide::report::map::{Map, MapGroup, MapPage, MapPoint, group_colour, map_picture, map_sheet, sheet_side};
use dinoxide::report::picture::Picture;
use dinoxide::run::map::{MapMethod, MapRequest, map};

use crate::support::filler;
use crate::{classes, dinoxide, look, picture, rows, run};

/// Rows around four directions, far apart.
fn four_groups(each: usize, dim: usize) -> (Vec<f32>, Vec<usize>) {
    let noise = filler("noise", 4 * each * dim, 0.2, 0.0);
    let group = |row: usize| row % 4;
    let value = |(place, noise): (usize, f32)| {
        let (row, column) = (place / dim, place % dim);
        if column == group(row) { 1.0 + noise } else { noise }
    };
    (noise.into_iter().enumerate().map(value).collect(), (0..4 * each).map(group).collect())
}

fn nearest_is_of_the_same_group(places: &[[f32; 2]], groups: &[usize]) -> f64 {
    let distance = |a: usize, b: usize| (0..2).map(|axis| (places[a][axis] - places[b][axis]).powi(2)).sum::<f32>();
    let right = (0..places.len()).filter(|row| {
        let others = (0..places.len()).filter(|other| other != row);
        let nearest = others.min_by(|a, b| distance(*row, *a).total_cmp(&distance(*row, *b))).unwrap();
        groups[*row] == groups[nearest]
    });
    right.count() as f64 / places.len() as f64
}

#[test]
fn tsne_keeps_groups_together_and_is_the_same_every_time() {
    let (features, groups) = four_groups(30, 8);
    let unit = UnitRows::new(features, 8, "rows").unwrap();
    let mut steps = 0;
    let places = tsne_map(&unit, Descent::default(), |_| steps += 1).unwrap();
    assert_eq!((places.len(), steps), (120, 1000));
    assert!(nearest_is_of_the_same_group(&places, &groups) > 0.99);
    assert_eq!(places, tsne_map(&unit, Descent::default(), |_| {}).unwrap());
    // With other threads around it as well.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    assert_eq!(places, pool.install(|| tsne_map(&unit, Descent::default(), |_| {}).unwrap()));
}

#[test]
fn small_and_odd_sets_have_a_map() {
    assert_eq!((perplexity(8), perplexity(91), perplexity(5000)), (2.0, 30.0, 30.0));
    assert!(tsne_map(&UnitRows::new(vec![1.0; 7], 1, "rows").unwrap(), Descent::default(), |_| {}).is_err());
    for rows in [8, 9, 20] {
        // All equal: there is nothing to tell apart, and every place is still a number.
        let equal = UnitRows::new(vec![0.5; 4 * rows], 4, "rows").unwrap();
        let places = tsne_map(&equal, Descent::default(), |_| {}).unwrap();
        assert!(places.iter().flatten().all(|value| value.is_finite()), "{places:?}");
    }
    assert_eq!(pca_map(&[1.0, 2.0], 1).unwrap().len(), 2);
    let line = pca_map(&[0.0, 0.0, 1.0, 1.0, 2.0, 2.0], 2).unwrap();
    assert!((line[2][0] - line[0][0] - 8.0_f32.sqrt()).abs() < 1e-6 && line.iter().all(|place| place[1].abs() < 1e-6));
}

#[test]
fn kmeans_finds_groups_numbers_them_by_size_and_repeats() {
    let (mut features, mut groups) = four_groups(20, 6);
    // Group 2 becomes the largest.
    let more = filler("more", 15 * 6, 0.1, 0.0);
    features.extend(more.iter().enumerate().map(|(place, noise)| f32::from(u8::from(place % 6 == 2)) + noise));
    groups.extend([2; 15]);
    let found = kmeans(&features, 6, 4, 0).unwrap();
    assert_eq!(found.count, 4);
    for (row, other) in (0..95).flat_map(|row| (0..95).map(move |other| (row, other))) {
        assert_eq!(groups[row] == groups[other], found.of[row] == found.of[other]);
    }
    assert_eq!((found.of[2], found.of[0]), (0, 1));
    assert_eq!(found, kmeans(&features, 6, 4, 0).unwrap());
    // More clusters than different rows.
    let same = kmeans(&[1.0, 1.0, 1.0, 2.0], 1, 4, 0).unwrap();
    assert_eq!((same.count, same.of, same.spread), (2, vec![0, 0, 0, 1], 0.0));
    assert!(kmeans(&[], 1, 2, 0).is_err() && kmeans(&[1.0], 1, 0, 0).is_err() && kmeans(&[f32::NAN], 1, 1, 0).is_err());
}

fn large_map(points: u32, side: u32) -> Map {
    let point = |number: u32| MapPoint {
        name: format!("photos/<{number}>&.jpg"),
        place: [(number % 100) as f32, (number / 100) as f32],
        group: number as usize % 3,
        // Noise: what compresses worst.
        thumbnail: Picture::from_fn(side, side, |x, y| {
            let level = (x * 73 + y * 151 + number * 37).wrapping_mul(2_654_435_761) >> 24;
            [level as u8, (level * 7) as u8, (level * 13) as u8]
        }),
    };
    let group = |number: u32| MapGroup { name: format!("class {number}"), count: points as usize / 3 };
    Map { points: (0..points).map(point).collect(), groups: (0..3).map(group).collect() }
}

#[test]
fn pages_stay_below_eight_megabytes_and_say_what_they_leave_out() {
    let small = MapPage { map: large_map(30, 48), ..MapPage::default() }.to_html().unwrap();
    assert!(small.contains("All 30 images are shown.") && small.matches("<image ").count() == 30);
    assert!(small.contains("&lt;7&gt;&amp;.jpg") && !small.contains("<7>"));
    assert!(!small.contains("http") && !small.contains("src=\"/"));
    let large = MapPage { map: large_map(6000, 32), ..MapPage::default() }.to_html().unwrap();
    assert!(large.len() < 8_000_000, "{}", large.len());
    let shown = large.matches("<image ").count();
    assert!(shown > 500 && shown + large.matches("<circle ").count() == 6000);
    assert!(large.contains(&format!("{shown} of 6000 images are shown as pictures")));
    let picture = map_picture(&large_map(300, 24));
    assert_eq!(picture.width(), 1600);
    let colours: std::collections::BTreeSet<_> = (0..60).map(group_colour).collect();
    assert_eq!(colours.len(), 60);
}

/// Mean distance between the places of the same images, as a share of the first map's mean distance from its middle.
fn displacement(a: &[[f32; 2]], b: &[[f32; 2]]) -> f32 {
    let distances = a.iter().zip(b).map(|(a, b)| (a[0] - b[0]).hypot(a[1] - b[1]));
    distances.sum::<f32>() / a.iter().map(|[x, y]| x.hypot(*y)).sum::<f32>()
}

#[test]
fn maps_over_epochs_lie_as_those_before() {
    let (features, _) = four_groups(20, 8);
    let unit = |values: Vec<f32>| UnitRows::new(values, 8, "rows").unwrap();
    let places = tsne_map(&unit(features.clone()), Descent::default(), |_| {}).unwrap();
    let first = aligned(&places, None);
    assert!(displacement(&first, &aligned(&first, None)) < 1e-6);
    // The same features again, and a map that was turned, mirrored and moved.
    assert!(displacement(&first, &aligned(&places, Some(&first))) < 1e-6);
    let (sin, cos) = 2.0_f32.sin_cos();
    for mirror in [1.0, -1.0] {
        let turn = |[x, y]: &[f32; 2]| [cos * x - mirror * sin * y + 7.0, sin * x + mirror * cos * y - 2.0];
        let other: Vec<[f32; 2]> = places.iter().map(turn).collect();
        assert!(displacement(&first, &aligned(&other, None)) > 0.1);
        assert!(displacement(&first, &aligned(&other, Some(&first))) < 1e-5);
    }
    // Features that changed a little, from the map before: nobody changes sides.
    let drift = filler("drift", features.len(), 0.02, 0.0);
    let moved = unit(features.iter().zip(drift).map(|(value, drift)| value + drift).collect());
    let next = tsne_map(&moved, Descent { steps: 250, start: Some(&first) }, |_| {}).unwrap();
    let moved = displacement(&first, &aligned(&next, Some(&first)));
    assert!(moved > 0.0 && moved < 0.2, "{moved}");
    // Other images, or places that are all the same: nothing to go by.
    assert_eq!(aligned(&places, Some(&first[1..])), first);
    assert_eq!(aligned(&[[2.0, 3.0]; 4], Some(&first[..4])), [[0.0; 2]; 4]);
    assert!(aligned(&[], None).is_empty());
}

#[test]
fn thumbnails_of_a_sheet_do_not_hide_each_other() {
    let side = sheet_side(100);
    let colour = |number: u32| [200, (number % 10 * 25) as u8, (number / 10 * 25) as u8];
    // A spiral, ever denser towards its middle.
    let place = |number: u32| {
        let (radius, angle) = (number as f32 / 100.0, 2.4 * number as f32);
        [radius * angle.cos(), radius * angle.sin()]
    };
    let point = |number: u32| MapPoint {
        name: String::new(),
        place: place(number),
        group: 0,
        thumbnail: Picture::filled(side, side, colour(number)),
    };
    let groups = |count: usize| (0..count).map(|_| MapGroup { name: "heap".into(), count: 1 }).collect();
    let map = |count: usize| Map { points: (0..100).map(point).collect(), groups: groups(count) };
    let sheet = map_sheet(&map(1));
    for number in 0..100 {
        let seen = sheet.rgb().chunks(3).filter(|pixel| *pixel == colour(number)).count();
        assert!(seen > (side * side) as usize * 3 / 4, "image {number}: {seen} of {} pixels", side * side);
    }
    // A legend of many groups is left out; the map keeps its size.
    assert!(map_sheet(&map(25)).height() < sheet.height() && map_sheet(&map(25)).width() == sheet.width());
    let odd = [vec![], vec![[f32::MAX, 0.0]; 3], vec![[0.5, 0.5]; 9]];
    for places in odd {
        let points = places.iter().map(|place| MapPoint { place: *place, ..point(1) });
        assert!(map_sheet(&Map { points: points.collect(), groups: vec![] }).width() == sheet.width());
    }
}

#[test]
fn map_colours_by_folder_and_repeats() {
    let place = tempfile::tempdir().unwrap();
    let (model, photos) = (run(place.path()), classes(place.path(), 3));
    let request = |name: &str, method| MapRequest {
        look: look(&model, &[&photos], &place.path().join(name)),
        method,
        max: 5000,
        clusters: 8,
    };
    for method in [MapMethod::Tsne, MapMethod::Pca] {
        let report = map(&request("one", method)).unwrap();
        assert_eq!((report.images, report.skipped, report.method, report.colours), (18, 0, method, "class"));
        assert_eq!(report.groups[1], ("class-1".to_owned(), 3));
        let table = rows(&place.path().join("one/map.csv"));
        assert_eq!((table[0].as_slice(), table.len()), (["path", "x", "y", "class"].map(str::to_owned).as_slice(), 19));
        assert!(table[1][0].ends_with("photos/class-0/0.png") && table[1][3] == "class-0");
        map(&request("two", method)).unwrap();
        for file in ["map.csv", "map.png", "map.html"] {
            let [one, two] = ["one", "two"].map(|name| std::fs::read(place.path().join(name).join(file)).unwrap());
            assert!(one == two, "{file}");
        }
    }
}

#[test]
fn map_command_clusters_flat_folders_and_shows_few_images_without_tsne() {
    let place = tempfile::tempdir().unwrap();
    let (model, photos, out) = (run(place.path()), place.path().join("flat"), place.path().join("out"));
    (0..7).for_each(|number| drop(picture(&photos.join(format!("{number}.png")), (64, 64), number)));
    std::fs::write(photos.join("bad.png"), "no image").unwrap();
    let [model, photos, out] = [&model, &photos, &out].map(|path| path.to_str().unwrap());
    let output = dinoxide(&["map", model, photos, "-o", out, "--clusters", "3", "--json"]);
    assert!(output.status.success(), "{}", crate::stderr(&output));
    assert!(crate::stderr(&output).contains("t-SNE needs at least 8 images"));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["method"], &json["colours"], &json["skipped"]), (&"pca".into(), &"cluster".into(), &1.into()));
    assert_eq!(json["groups"].as_array().unwrap().len(), 3);
    let one = dinoxide(&["map", model, photos, "-o", out, "--max", "1"]);
    assert_eq!(one.status.code(), Some(2));
}
