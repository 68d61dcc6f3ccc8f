//! The distributions of drawn parameters against torchvision's rules. Seeds are fixed; bounds are 4 standard errors.
use std::collections::HashMap;

use dinoxide_views::draw::{ColorOp, DrawnView, draw, draw_crop};
use dinoxide_views::random::{Key, Purpose};
use dinoxide_views::recipe::ViewRecipe;

const DRAWS: u64 = 20_000;

fn drawn(view: u32) -> Vec<DrawnView> {
    let recipe = ViewRecipe::default();
    (0..DRAWS).map(|sample| draw(&recipe, &Key { seed: 5, epoch: 2, sample }, view, (400, 300))).collect()
}

fn share(views: &[DrawnView], is: impl Fn(&DrawnView) -> bool) -> f64 {
    views.iter().filter(|view| is(view)).count() as f64 / views.len() as f64
}

fn assert_near(value: f64, expected: f64, bound: f64) {
    assert!((value - expected).abs() <= bound, "{value} is not within {bound} of {expected}");
}

#[test]
fn probabilities_are_those_of_the_recipe() {
    // Four standard errors of a share of 20,000 draws are at most 0.0142.
    let bound = 0.0142;
    for (view, blur, solarized) in [(0, 1.0, 0.0), (1, 0.1, 0.2), (2, 0.5, 0.0), (9, 0.5, 0.0)] {
        let views = drawn(view);
        assert_near(share(&views, |view| view.flip), 0.5, bound);
        assert_near(share(&views, |view| view.jitter.is_some()), 0.8, bound);
        assert_near(share(&views, |view| view.gray), 0.2, bound);
        assert_near(share(&views, |view| view.blur_radius.is_some()), blur, bound);
        assert_near(share(&views, |view| view.solarize.is_some()), solarized, bound);
    }
}

fn assert_uniform(values: &[f64], low: f64, high: f64) {
    let (count, spread) = (values.len() as f64, high - low);
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    assert!(values.iter().all(|value| (low..=high).contains(value)));
    assert_near(mean, (low + high) / 2.0, 4.0 * spread / (12.0 * count).sqrt());
    assert_near(variance, spread * spread / 12.0, 0.03 * spread * spread / 12.0);
}

#[test]
fn jitter_and_blur_are_uniform_in_their_ranges() {
    let views = drawn(0);
    let jitters: Vec<_> = views.iter().filter_map(|view| view.jitter).collect();
    assert_uniform(&jitters.iter().map(|jitter| jitter.brightness).collect::<Vec<_>>(), 0.6, 1.4);
    assert_uniform(&jitters.iter().map(|jitter| jitter.contrast).collect::<Vec<_>>(), 0.6, 1.4);
    assert_uniform(&jitters.iter().map(|jitter| jitter.saturation).collect::<Vec<_>>(), 0.8, 1.2);
    assert_uniform(&jitters.iter().map(|jitter| jitter.hue).collect::<Vec<_>>(), -0.1, 0.1);
    assert_uniform(&views.iter().filter_map(|view| view.blur_radius).collect::<Vec<_>>(), 0.1, 2.0);
}

#[test]
fn every_order_of_jitter_is_equally_likely() {
    let mut orders: HashMap<String, usize> = HashMap::new();
    let jitters: Vec<[ColorOp; 4]> =
        drawn(0).iter().filter_map(|view| view.jitter).map(|jitter| jitter.order).collect();
    jitters.iter().for_each(|order| *orders.entry(format!("{order:?}")).or_default() += 1);
    assert_eq!(orders.len(), 24);
    for &count in orders.values() {
        assert_near(count as f64 / jitters.len() as f64, 1.0 / 24.0, 0.0065);
    }
}

#[test]
fn crops_follow_area_aspect_and_place() {
    let crops: Vec<_> = drawn(2).iter().map(|view| view.crop).collect();
    assert!(crops.iter().all(|crop| crop.width > 0 && crop.x + crop.width <= 400));
    assert!(crops.iter().all(|crop| crop.height > 0 && crop.y + crop.height <= 300));
    // Small crops are hardly ever refused, so area and aspect keep their distributions, up to rounding to pixels.
    let area = |crop: &dinoxide_views::Crop| f64::from(crop.width * crop.height) / 120_000.0;
    let aspect = |crop: &dinoxide_views::Crop| f64::from(crop.width) / f64::from(crop.height);
    let count = crops.len() as f64;
    assert_near(crops.iter().map(area).sum::<f64>() / count, 0.225, 0.004);
    assert_near(crops.iter().map(|crop| aspect(crop).ln()).sum::<f64>() / count, 0.0, 0.006);
    assert!(crops.iter().all(|crop| (0.04..0.41).contains(&area(crop)) && (0.72..1.39).contains(&aspect(crop))));
    let free: Vec<f64> = crops.iter().map(|crop| f64::from(crop.x) / f64::from(400 - crop.width)).collect();
    assert_uniform(&free, 0.0, 1.0);
}

#[test]
fn images_too_long_for_any_crop_give_their_center() {
    let key = Key { seed: 0, epoch: 0, sample: 0 };
    let wide = draw_crop(&mut key.draws(0, Purpose::Crop), [0.9, 1.0], (3000, 30));
    assert_eq!((wide.x, wide.y, wide.width, wide.height), (1480, 0, 40, 30));
    let tall = draw_crop(&mut key.draws(0, Purpose::Crop), [0.9, 1.0], (30, 3000));
    assert_eq!((tall.x, tall.y, tall.width, tall.height), (0, 1480, 30, 40));
}

#[test]
fn draws_depend_on_each_part_of_the_key_only() {
    let first = |key: Key, view| key.draws(view, Purpose::Crop).unit();
    let key = Key { seed: 1, epoch: 2, sample: 3 };
    let others = [
        first(Key { seed: 2, ..key }, 0),
        first(Key { epoch: 3, ..key }, 0),
        first(Key { sample: 4, ..key }, 0),
        first(key, 1),
        key.draws(0, Purpose::Flip).unit(),
    ];
    assert!(others.iter().all(|other| *other != first(key, 0)));
    assert_eq!(first(key, 0), first(key, 0));
}

#[test]
fn recipes_fill_in_the_defaults_of_their_kind_and_refuse_unknown_keys() {
    let recipe: ViewRecipe = serde_json::from_str(r#"{"global": {"size": 96}, "local": {"size": 48}}"#).unwrap();
    assert_eq!((recipe.global.size, recipe.global.count, recipe.global.scale), (96, 2, [0.4, 1.0]));
    assert_eq!((recipe.local.size, recipe.local.count, recipe.local.scale), (48, 8, [0.05, 0.4]));
    assert!(serde_json::from_str::<ViewRecipe>(r#"{"local": {"sise": 48}}"#).is_err());
    let bad: ViewRecipe = serde_json::from_str(r#"{"local": {"scale": [0.4, 0.1]}}"#).unwrap();
    assert!(bad.validate().unwrap_err().to_string().contains("`views.local.scale`"));
    assert!(ViewRecipe::default().validate().is_ok());
}
