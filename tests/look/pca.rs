//! Principal components: against scikit-learn, over epochs, as pictures.

use dinoxide::eval::foreground::foreground;
use dinoxide::eval::pca::{COLOURS, Pca, colours, matched};
use dinoxide::eval::pca_maps::{Ground, PatchTokens, pca_maps};
use dinoxide::report::pca_sheet::Upsampling;
use dinoxide::run::pca::{PcaRequest, pca};

use crate::support::{Fixture, assert_close, filler, fixtures};
use crate::{classes, dinoxide, look, run};

/// Inputs are f32 on both sides and the sums f64, so the two agree far better; projections are given back in f32, with a spacing of
/// 6e-8 of the largest. 1e-5 leaves room for another order of sums where two variances are close.
const TOLERANCE: f64 = 1e-5;

#[test]
fn components_equal_scikit_learn_with_their_signs() {
    for path in fixtures("pca") {
        let fixture = Fixture::open(&path);
        let (width, count) = (fixture.usize("width"), fixture.usize("components"));
        let rows = |name: &str| fixture.values(name).iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let (features, others) = (rows("features"), rows("others"));
        let pca = Pca::fit(&features, width, count).unwrap();
        let f32s = |values: &[f64]| values.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        for (what, ours, theirs) in [
            ("axes", f32s(pca.axes()), "axes"),
            ("variances", f32s(pca.variances()), "variances"),
            ("shares", f32s(&pca.explained()), "ratios"),
            ("projections", pca.project(&features).unwrap(), "projections"),
            ("projections of others", pca.project(&others).unwrap(), "projections_of_others"),
            ("colours", colours(&pca.project(&features).unwrap(), count).unwrap(), "colours"),
        ] {
            assert_close(&format!("{path}: {what}"), ours, &fixture.values(theirs), TOLERANCE);
        }
    }
}

#[test]
fn few_features_of_many_dimensions_have_the_same_components() {
    let (rows, dim) = (9, 40);
    let features = filler("few", rows * dim, 1.0, 0.5);
    // All components are taken from the covariance, three from the products of rows.
    let (all, few) = (Pca::fit(&features, dim, dim).unwrap(), Pca::fit(&features, dim, 3).unwrap());
    let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-9);
    assert!(close(few.axes(), all.axes()) && few.axes().len() == 3 * dim);
    assert!(close(few.variances(), all.variances()) && close(&few.explained(), &all.explained()));
}

#[test]
fn odd_features_are_refused_or_harmless() {
    assert!(Pca::fit(&[], 3, 3).is_err());
    assert!(Pca::fit(&[1.0; 7], 3, 3).is_err());
    assert!(Pca::fit(&[1.0, f32::NAN, 2.0], 3, 3).is_err());
    // One row and equal rows have no direction; nothing is divided by zero.
    for rows in [1, 5] {
        let pca = Pca::fit(&vec![2.0; 4 * rows], 4, 3).unwrap();
        assert_eq!(pca.explained(), [0.0; 3]);
        let shown = colours(&pca.project(&vec![2.0; 4 * rows]).unwrap(), 3).unwrap();
        assert!(shown.iter().all(|level| *level == 0.5));
    }
}

/// Points in a plane whose longer axis turns from the first direction to the second.
fn epoch(share: f64) -> Vec<f32> {
    let points = filler("points", 3 * 400, 1.0, 0.0);
    let (first, second) = (1.5 - share, 0.5 + share);
    points.chunks_exact(3).flat_map(|p| [p[0] * first as f32, p[1] * second as f32, p[2] * 0.2]).collect()
}

fn largest_step(films: &[Vec<f32>]) -> f32 {
    let step = |pair: &[Vec<f32>]| pair[0].iter().zip(&pair[1]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    films.windows(2).map(step).fold(0.0, f32::max)
}

#[test]
fn matched_axes_do_not_flicker_where_plain_ones_change_places() {
    let epochs: Vec<Vec<f32>> = (0..=20).map(|number| epoch(f64::from(number) / 20.0)).collect();
    let plain: Vec<Vec<f32>> =
        epochs.iter().map(|values| Pca::fit(values, 3, 3).unwrap().project(values).unwrap()).collect();
    let mut film = vec![matched(&plain[0], &plain[0], 3).unwrap()];
    for projections in &plain[1..] {
        film.push(matched(projections, film.last().unwrap(), 3).unwrap());
    }
    let shown = |film: &[Vec<f32>]| film.iter().map(|values| colours(values, 3).unwrap()).collect::<Vec<_>>();
    // Colours go from 0 to 1: plain ones jump through all of it when the axes change places.
    assert!(largest_step(&shown(&plain)) > 0.9);
    assert!(largest_step(&shown(&film)) < 0.1, "{}", largest_step(&shown(&film)));
}

#[test]
fn matching_undoes_turns_and_flips() {
    // Components are not correlated; else another turn would also change variances.
    let points = filler("before", 600, 1.0, 0.0);
    let plain = Pca::fit(&points, 3, 3).unwrap().project(&points).unwrap();
    let before = matched(&plain, &plain, 3).unwrap();
    let (sin, cos) = 0.7_f32.sin_cos();
    // Another order, a flip, another scale of all, a turn in a plane.
    type Change = fn(&[f32], f32, f32) -> [f32; 3];
    let changes: [Change; 3] = [
        |p, _, _| [4.0 * p[2], -4.0 * p[0], 4.0 * p[1]],
        |p, sin, cos| [cos * p[0] - sin * p[1], sin * p[0] + cos * p[1], p[2]],
        |p, _, _| [-p[0], -p[1], -p[2]],
    ];
    for change in changes {
        let now: Vec<f32> = before.chunks_exact(3).flat_map(|p| change(p, sin, cos)).collect();
        let back = matched(&now, &before, 3).unwrap();
        assert!(back.iter().zip(&before).all(|(a, b)| (a - b).abs() < 1e-4));
    }
    assert!(matched(&before, &before[3..], 3).is_err());
}

#[test]
fn foreground_is_the_side_that_is_rare_at_the_borders() {
    let grid = (6, 8);
    let inside = |place: usize| (1..5).contains(&(place / 8)) && (2..6).contains(&(place % 8));
    for sign in [1.0, -1.0] {
        let first: Vec<f32> = (0..48).map(|place| sign * if inside(place) { 3.0 } else { -1.0 }).collect();
        let found = foreground(&first, &[grid]).unwrap();
        assert!(found.iter().enumerate().all(|(place, kept)| *kept == inside(place)));
    }
    assert!(foreground(&[1.0; 5], &[grid]).is_err());
}

#[test]
fn maps_leave_the_class_token_out_and_keep_the_background_dark() {
    let dim = 5;
    let mut tokens = PatchTokens::default();
    for number in 0..2 {
        let mut values = vec![1e6; dim];
        values.extend(filler(&format!("tokens.{number}"), 12 * dim, 1.0, 0.0));
        tokens.push(&values, dim, (3, 4));
    }
    let maps = pca_maps(&tokens, Ground::Foreground, None).unwrap();
    assert_eq!((maps.colours.len(), maps.projections.len()), (24 * COLOURS, 24 * COLOURS));
    assert!(maps.projections.iter().all(|value| value.abs() < 10.0));
    let front = maps.foreground.unwrap();
    let background = front.colours.chunks(3).zip(&front.kept).filter(|(_, kept)| !**kept);
    assert!(background.clone().count() > 0 && background.clone().all(|(colour, _)| colour == [0.0; 3]));
    let again = pca_maps(&tokens, Ground::Whole, Some(&maps.projections)).unwrap();
    assert!(again.colours.iter().zip(&maps.colours).all(|(a, b)| (a - b).abs() < 1e-3));
    tokens.grids.pop();
    assert!(pca_maps(&tokens, Ground::Whole, None).is_err());
}

#[test]
fn pca_writes_a_map_for_each_image_and_a_page() {
    let place = tempfile::tempdir().unwrap();
    let (model, photos) = (run(place.path()), classes(place.path(), 2));
    std::fs::write(photos.join("bad.png"), "no image").unwrap();
    let request = |name: &str| PcaRequest {
        look: look(&model, &[&photos], &place.path().join(name)),
        max: 64,
        ground: Ground::Foreground,
        upsampling: Upsampling::Smooth,
    };
    let report = pca(&request("one")).unwrap();
    assert_eq!((report.images, report.skipped, report.patches), (12, 1, 12 * 25));
    assert_eq!(report.files.len(), 12 * 2 + 2);
    assert!(report.explained.windows(2).all(|pair| pair[0] >= pair[1]) && report.explained.iter().sum::<f64>() <= 1.0);
    // Images are 40 and 41 pixels wide; whole patches cover 40.
    assert_eq!(image::image_dimensions(place.path().join("one/maps/class-3/1.png")).unwrap(), (40, 40));
    let page = std::fs::read_to_string(place.path().join("one/pca.html")).unwrap();
    assert!(page.contains("300 patches of 12 images") && !page.contains("http"));
    let again = pca(&request("two")).unwrap();
    for (one, two) in report.files.iter().zip(&again.files) {
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
    }
}

#[test]
fn pca_command_prints_json_and_thins_out() {
    let place = tempfile::tempdir().unwrap();
    let (model, photos, out) = (run(place.path()), classes(place.path(), 2), place.path().join("pca"));
    let [model, photos, out] = [&model, &photos, &out].map(|path| path.to_str().unwrap());
    let output = dinoxide(&["pca", model, photos, "-o", out, "--max", "5", "--image-size", "64", "--json"]);
    assert!(output.status.success(), "{}", crate::stderr(&output));
    assert!(crate::stderr(&output).contains("5 of 12 images"));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["images"], &json["patches"]), (&5.into(), &(5 * 64).into()));
}
