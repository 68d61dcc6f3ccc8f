//! Masked patches: how many, where, and what the draws depend on.

use dinoxide::nn::masking::{MaskKey, Masking, Masks};

const KEY: MaskKey = MaskKey { seed: 3, step: 5, first_image: 0 };
const USUAL: Masking = Masking { probability: 0.5, ratio: [0.1, 0.5] };

#[test]
fn half_of_the_crops_are_masked_by_evenly_spread_shares() {
    let (crops, grid, patches) = (32, (14, 14), 196);
    let mut missing = 0;
    for step in 0..50 {
        let masks = USUAL.draw(MaskKey { step, ..KEY }, crops, grid);
        assert_eq!(masks.crops.len(), crops);
        let mut counts: Vec<usize> = masks.crops.iter().map(Vec::len).filter(|count| *count > 0).collect();
        assert_eq!(counts.len(), crops / 2);
        counts.sort_unstable();
        for (bin, count) in counts.into_iter().enumerate() {
            let most = patches as f64 * (0.1 + 0.4 * (bin + 1) as f64 / 16.0);
            assert!(count as f64 <= most, "step {step}: mask {bin} of {count} patches, at most {most}");
            missing += usize::from((count as f64) < most - 0.4 * patches as f64 / 16.0 - 1.0);
        }
        assert!(
            masks.crops.iter().all(|crop| crop.is_sorted_by(|a, b| a < b) && crop.iter().all(|patch| *patch < 196))
        );
        assert!((masks.weights().iter().sum::<f64>() - 0.5).abs() < 1e-12, "half of the crops count, each the same");
        assert_eq!(masks.rows(patches).len(), masks.weights().len());
    }
    // A mask stays below its share only where ten rectangles in a row did not fit.
    assert!(missing <= 40, "{missing} of 800 masks are short");
}

#[test]
fn rectangles_leave_neighbours_together() {
    // Of patches masked one by one at 30 %, 30 % of the right neighbours would be masked; in rectangles far more are.
    let (mut neighbours, mut pairs) = (0, 0);
    for step in 0..50 {
        let masking = Masking { probability: 1.0, ratio: [0.3, 0.3] };
        for crop in masking.draw(MaskKey { step, ..KEY }, 2, (14, 14)).crops {
            for patch in crop.iter().filter(|patch| **patch % 14 < 13) {
                pairs += 1;
                neighbours += usize::from(crop.contains(&(patch + 1)));
            }
        }
    }
    assert!(neighbours * 10 > pairs * 7, "{neighbours} of {pairs}");
}

#[test]
fn draws_depend_on_seed_step_and_image_and_on_nothing_else() {
    let draw = |key| USUAL.draw(key, 16, (14, 14));
    assert_eq!(draw(KEY), draw(KEY));
    for other in [MaskKey { seed: 4, ..KEY }, MaskKey { step: 6, ..KEY }, MaskKey { first_image: 8, ..KEY }] {
        assert_ne!(draw(KEY), draw(other));
    }
}

#[test]
fn extremes_end() {
    for grid in [(1, 1), (1, 9), (2, 2), (3, 40)] {
        for (probability, ratio) in [(0.0, [0.1, 0.5]), (1.0, [1.0, 1.0]), (1.0, [0.0, 0.0]), (0.1, [0.1, 0.5])] {
            let masks = Masking { probability, ratio }.draw(KEY, 3, grid);
            assert_eq!(masks.crops.len(), 3);
            let most = if probability < 1.0 || ratio[1] == 0.0 { 0 } else { grid.0 * grid.1 };
            assert!(masks.crops.iter().all(|crop| crop.len() <= most), "{grid:?} {probability} {ratio:?}");
        }
    }
    let masks = Masks { crops: vec![vec![0, 2], Vec::new(), vec![1]] };
    assert_eq!((masks.rows(4), masks.weights()), (vec![0, 2, 9], vec![1.0 / 6.0, 1.0 / 6.0, 1.0 / 3.0]));
}
