//! Linear probe, logistic regression and readouts against PyTorch, scikit-learn and timm; and inputs of odd sizes.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod support;

use dinoxide::eval::EvalError;
use dinoxide::eval::classifier::{Accuracy, LabelledRows, best, rank};
use dinoxide::eval::features::{Frozen, ImageBatch};
use dinoxide::eval::linear::{Course, LinearLayer, LinearProbe, fit};
use dinoxide::eval::logreg::{LogReg, LogRegConfig};
use dinoxide::eval::nearest::UnitRows;
use dinoxide::eval::readout::{PatchMean, Readout, ReadoutError};
use dinoxide::eval::subset::Subset;
use dinoxide::nn::backbone::{Backbone, BackboneConfig};
use dinoxide::nn::resnet::ResNetConfig;
use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use support::{Fixture, assert_close, filled_vit, filler, filler_bytes, fixtures, imagenet, vit_config};

/// Rows around a centre for each class, as `parity/generate/linear.py` makes them.
fn rows(name: &str, (count, width, classes): (usize, usize, usize)) -> (Vec<f32>, Vec<u32>) {
    let labels: Vec<u32> = (0..count).map(|row| (row % classes) as u32).collect();
    let centres = filler("centres", classes * width, 1.0, 0.0);
    let noise = filler(name, count * width, 3.0, 0.0);
    let centred = noise.iter().enumerate().map(|(place, noise)| {
        let class = labels[place / width] as usize;
        centres[class * width + place % width] + noise
    });
    (centred.collect(), labels)
}

fn labelled<'a>((features, labels): &'a (Vec<f32>, Vec<u32>), sizes: (usize, usize)) -> LabelledRows<'a> {
    LabelledRows::new(features, labels, sizes, "the features").unwrap()
}

#[test]
fn losses_of_every_epoch_and_learning_rate_are_those_of_pytorch() {
    for path in fixtures("linear") {
        let fixture = Fixture::open(&path);
        let (width, classes) = (fixture.usize("width"), fixture.usize("classes"));
        let (epochs, batch) = (fixture.usize("epochs"), fixture.usize("batch"));
        let rates: Vec<f64> = fixture.case["rates"].as_array().unwrap().iter().map(|r| r.as_f64().unwrap()).collect();
        let (train, val) = (
            rows("train", (fixture.usize("rows"), width, classes)),
            rows("val", (fixture.usize("val_rows"), width, classes)),
        );
        let orders = fixture.values("orders");
        let course = Course { rates, epochs, batch, seed: 0 };
        let weight = filler("linear.weight", classes * width, 0.02, 0.0);
        let start = LinearLayer { weight, bias: vec![0.0; classes] };
        let cpu = Cpu::new();
        let mut probe = LinearProbe::new(&cpu, &start, &course.scaled_rates());
        let train_rows = labelled(&train, (width, classes));

        let fitted = fit::<EvalError>(
            &mut probe,
            &course,
            labelled(&val, (width, classes)),
            |probe, epoch, factor| {
                let order = &orders[epoch * train.1.len()..][..train.1.len()];
                let order: Vec<u32> = order.iter().map(|place| *place as u32).collect();
                Ok(probe.epoch(train_rows, &order, batch, factor))
            },
            |_, _| {},
        )
        .unwrap();

        let (losses, top1) = (fixture.values("losses"), fixture.values("top1"));
        for (rate, curve) in fitted.curves.iter().enumerate() {
            for (epoch, score) in curve.iter().enumerate() {
                let expected = losses[rate * epochs + epoch];
                // f32 in both; sums of another order, which high learning rates carry on.
                assert!(
                    (score.loss - expected).abs() <= 1e-4 * expected,
                    "{path} {rate} {epoch}: {score:?} {expected}"
                );
                let points = (score.accuracy.top1 - top1[rate * epochs + epoch]).abs();
                // Whether a share is times 100 before or after the division shows in the last digit.
                assert!(points < 1e-9, "{path} rate {rate} epoch {epoch}: {score:?}");
            }
            let len = classes * width;
            let (layer, momentum) = (probe.layer(rate), probe.momentum(rate));
            // Rounding of all steps before.
            assert_close("weight", layer.weight, &fixture.values("weights")[rate * len..][..len], 1e-4);
            assert_close("bias", layer.bias, &fixture.values("biases")[rate * classes..][..classes], 1e-4);
            // A gradient that has nearly vanished, as a share of its own size.
            assert_close("momentum", momentum.weight, &fixture.values("momenta")[rate * len..][..len], 2e-3);
        }
        let highest = fitted.curves.iter().flatten().map(|score| score.accuracy.top1).fold(0.0, f64::max);
        assert_eq!(fitted.best.accuracy.top1, highest);
        let (accuracy, predictions) = fitted.best.layer.evaluate(&cpu, labelled(&val, (width, classes)));
        assert_eq!(accuracy, fitted.best.accuracy);
        let right = predictions.iter().zip(&val.1).filter(|(a, b)| a == b).count();
        assert!((100.0 * right as f64 / val.1.len() as f64 - highest).abs() < 1e-9);
    }
}

#[test]
fn logistic_regression_is_that_of_scikit_learn() {
    for path in fixtures("logreg") {
        let fixture = Fixture::open(&path);
        let (width, classes) = (fixture.usize("width"), fixture.usize("classes"));
        let unit = |name: &str, count: &str| {
            let (features, labels) = rows(name, (fixture.usize(count), width, classes));
            (UnitRows::new(features, width, "the features").unwrap().values().to_vec(), labels)
        };
        let (train, val) = (unit("train", "rows"), unit("val", "val_rows"));
        let (expected_loss, expected_top1) = (fixture.values("loss")[0], fixture.values("top1")[0]);
        for (tolerance, most) in [(1e-4, 1e-4), (1e-10, 1e-7)] {
            let config = LogRegConfig { penalty: fixture.f64("penalty"), tolerance, ..LogRegConfig::default() };

            let solved = LogReg::fit(labelled(&train, (width, classes)), config).unwrap();

            assert!(solved.converged && solved.gap <= tolerance * solved.loss, "{path}");
            // Above the minimum by no more than it says; rows of unit length are rounded to f32 here.
            let above = (solved.loss - expected_loss) / expected_loss;
            assert!((-1e-7..=most).contains(&above), "{path}: {} and {expected_loss}, {above:e}", solved.loss);
            let (accuracy, predictions) = solved.evaluate(labelled(&val, (width, classes)));
            // The loose solution may decide a few rows between two classes otherwise.
            let points = if tolerance > 1e-6 { 0.3f64.max(100.0 / val.1.len() as f64) } else { 1e-9 };
            assert!((accuracy.top1 - expected_top1).abs() <= points, "{path}: {accuracy:?} and {expected_top1}");
            if tolerance < 1e-6 {
                let same = predictions.iter().zip(fixture.values("predictions")).filter(|(a, b)| f64::from(**a) == *b);
                assert_eq!(same.count(), val.1.len());
                let weight = solved.weight.iter().map(|value| *value as f32);
                // The root of what the loss may be off by.
                assert_close("weight", weight, &fixture.values("coef"), 1e-3);
            }
        }
    }
}

#[test]
fn readouts_are_laid_out_as_the_released_heads_expect() {
    let fixture = Fixture::open("readout/vit.safetensors");
    let (vit, params) = filled_vit(vit_config(&fixture, "side"));
    let backbone = Backbone::Vit(vit);
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let frozen = Frozen::new(&cpu, &pool, &backbone, &params);
    let (images, side) = (fixture.usize("images"), fixture.usize("side"));
    let pixels = filler_bytes("image", images * side * side * 3);
    let batch = ImageBatch { pixels: &pixels, images, height: side, width: side };
    for (key, readout) in [
        ("one", Readout::CLASS),
        ("several", Readout { blocks: 4, patches: PatchMean::None }),
        ("interleaved", Readout { blocks: 1, patches: PatchMean::Interleaved }),
        ("appended", Readout { blocks: 4, patches: PatchMean::Appended }),
    ] {
        readout.check(&backbone.config()).unwrap();
        let features = frozen.read(readout, batch);
        assert_eq!(features.len(), images * readout.dim(&backbone.config()));
        // f32 against f64 through six blocks.
        assert_close(key, features, &fixture.values(key), 1e-5);
    }
}

#[test]
fn readouts_that_a_network_does_not_have_are_refused() {
    let fixture = Fixture::open("readout/vit.safetensors");
    let vit: BackboneConfig = vit_config(&fixture, "side").into();
    let resnet: BackboneConfig = ResNetConfig::named("resnet18", imagenet()).unwrap().into();
    let readout = |blocks, patches| Readout { blocks, patches };
    assert_eq!(readout(7, PatchMean::None).check(&vit), Err(ReadoutError::Blocks { asked: 7, depth: 6 }));
    assert_eq!(readout(0, PatchMean::None).check(&vit), Err(ReadoutError::Blocks { asked: 0, depth: 6 }));
    assert_eq!(readout(2, PatchMean::Interleaved).check(&vit), Err(ReadoutError::Interleaved { blocks: 2 }));
    assert_eq!(readout(1, PatchMean::Appended).check(&resnet), Err(ReadoutError::NotAVit));
    assert_eq!(Readout::usual(&resnet), Readout::CLASS);
    assert_eq!(Readout::usual(&vit), readout(4, PatchMean::None));
    let base = dinoxide::nn::vit::VitConfig { embed_dim: 768, ..vit_config(&fixture, "side") };
    assert_eq!(Readout::usual(&base.into()), readout(1, PatchMean::Interleaved));
}

#[test]
fn a_layer_that_diverges_does_not_touch_the_others() {
    let (width, classes) = (16, 4);
    let train = rows("train", (60, width, classes));
    let rows = labelled(&train, (width, classes));
    let cpu = Cpu::new();
    let curves = |rates: Vec<f64>| {
        let course = Course { rates, epochs: 6, batch: 16, seed: 3 };
        let start = LinearLayer::drawn(width, classes, course.seed);
        let mut probe = LinearProbe::new(&cpu, &start, &course.scaled_rates());
        let epoch = |probe: &mut LinearProbe<'_>, number, factor| {
            Ok(probe.epoch(rows, &course.order(number, rows.count()), course.batch, factor))
        };
        fit::<EvalError>(&mut probe, &course, rows, epoch, |_, _| {})
    };
    let (alone, among) = (curves(vec![0.1]).unwrap(), curves(vec![1e39, 0.1]).unwrap());
    // Products of another width may sum in another order.
    for (alone, among) in alone.curves[0].iter().zip(&among.curves[1]) {
        assert!((alone.loss - among.loss).abs() < 1e-5 * alone.loss);
    }
    assert!(!among.curves[0][5].loss.is_finite());
    assert_eq!(among.best.rate, 1);
    assert!(among.best.accuracy.top1 > 50.0);
    assert!(curves(vec![f64::MAX]).is_err());
    assert!(curves(vec![]).unwrap_err().to_string().contains("learning rate"));
    assert!(curves(vec![0.0]).unwrap_err().to_string().contains("above 0"));
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let error = |features: &[f32], labels: &[u32], sizes| {
        LabelledRows::new(features, labels, sizes, "the training features").unwrap_err().to_string()
    };
    assert!(error(&[1.0, f32::NAN], &[0, 1], (1, 2)).contains("NaN in row 1"));
    assert!(error(&[1.0; 3], &[0, 1], (2, 2)).contains("holds 3 values"));
    assert!(error(&[1.0; 2], &[0, 2], (1, 2)).contains("label 2"));
    assert!(error(&[], &[], (1, 2)).contains("empty"));
    let one = LabelledRows::new(&[1.0, 2.0], &[1, 1], (1, 2), "the features").unwrap();
    assert!(LogReg::fit(one, LogRegConfig::default()).unwrap_err().to_string().contains("one class"));
    let two = LabelledRows::new(&[1.0, 2.0], &[0, 1], (1, 2), "the features").unwrap();
    let config = LogRegConfig { penalty: 0.0, ..LogRegConfig::default() };
    assert!(LogReg::fit(two, config).unwrap_err().to_string().contains("penalty 0"));
}

#[test]
fn one_image_of_each_class_is_enough() {
    let features = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0];
    let rows = LabelledRows::new(&features, &[0, 1, 2], (2, 3), "the features").unwrap();
    let solved = LogReg::fit(rows, LogRegConfig::default()).unwrap();
    assert!(solved.converged);
    assert_eq!(solved.evaluate(rows), (Accuracy { top1: 100.0, top5: 100.0 }, vec![0, 1, 2]));
}

#[test]
fn ties_go_to_the_lower_class_and_nan_is_never_right() {
    assert_eq!((rank(&[1.0, 1.0, 0.5], 0), rank(&[1.0, 1.0, 0.5], 1), rank(&[1.0, 1.0, 0.5], 2)), (0, 1, 2));
    assert_eq!((rank(&[f32::NAN; 3], 0), rank(&[f32::NAN, 1.0], 1)), (2, 1));
    assert_eq!(best(&[0.5, 2.0, 2.0]), 1);
}

#[test]
fn subsets_are_balanced_seeded_and_nested() {
    let labels: Vec<u32> = (0..1000).map(|row| if row < 900 { 0 } else { 1 + row % 2 }).collect();
    let count =
        |chosen: &[usize]| [0, 1, 2].map(|class| chosen.iter().filter(|place| labels[**place] == class).count());
    let draw = |subset: Subset, seed| subset.draw(&labels, seed).unwrap();
    assert_eq!(count(&draw(Subset::Fraction(0.1), 0)), [90, 5, 5]);
    assert_eq!(count(&draw(Subset::Fraction(0.001), 0)), [1, 1, 1]);
    assert_eq!(count(&draw(Subset::PerClass(60), 0)), [60, 50, 50]);
    assert_eq!(draw(Subset::All, 7), (0..1000).collect::<Vec<_>>());
    assert_eq!(draw(Subset::PerClass(5), 1), draw(Subset::PerClass(5), 1));
    assert_ne!(draw(Subset::PerClass(5), 1), draw(Subset::PerClass(5), 2));
    let larger = draw(Subset::PerClass(9), 1);
    assert!(draw(Subset::PerClass(5), 1).iter().all(|place| larger.contains(place)));
    assert!(Subset::Fraction(1.5).draw(&labels, 0).is_err() && Subset::PerClass(0).draw(&labels, 0).is_err());
}
