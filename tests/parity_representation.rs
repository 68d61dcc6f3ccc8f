//! Rank, spread and agreement of features against NumPy.

mod support;

use dinoxide::eval::representation::{agreement, rank, spread};
use support::{Fixture, fixtures};

/// Both sides sum the same f32 numbers in f64; the singular values of two libraries differ by rounding.
const TOLERANCE: f64 = 1e-9;

#[test]
fn figures_of_features_equal_numpy() {
    for path in fixtures("representation") {
        let fixture = Fixture::open(&path);
        let width = fixture.usize("width");
        let rows = |name: &str| fixture.values(name).iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let (one, other) = (rows("one"), rows("other"));
        for (what, ours) in [
            ("rank", rank(&one, width)),
            ("spread", spread(&one, width)),
            ("agreement", agreement(&one, &other, width)),
        ] {
            let theirs = fixture.values(what)[0];
            let ours = ours.unwrap_or(f64::NAN);
            assert!((ours - theirs).abs() <= TOLERANCE * theirs.abs(), "{path} {what}: {ours} and not {theirs}");
        }
    }
}

#[test]
fn features_that_say_nothing_are_no_figures() {
    assert_eq!((rank(&[], 4), spread(&[], 4), agreement(&[], &[], 4)), (None, None, None));
    assert_eq!(rank(&[f32::NAN; 8], 4), None);
    let same = [1.0f32, 2.0, 2.0].repeat(5);
    assert!((rank(&same, 3).unwrap_or(f64::NAN) - 1.0).abs() < 1e-4);
    assert!(spread(&same, 3).is_some_and(|spread| spread < 1e-7));
}
