//! `eval linear` and `eval logreg` on a tiny network: figures, files, heads, and what cannot be done.
#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod untrained;

use std::path::{Path, PathBuf};

use dinoxide::checkpoint::torch_save::{self, Item};
use dinoxide::checkpoint::{TensorRef, safetensors};
use dinoxide::config::Precision;
use dinoxide::eval::classifier::Confusion;
use dinoxide::eval::readout::{PatchMean, Readout};
use dinoxide::eval::subset::Subset;
use dinoxide::report::confusion_sheet::confusion_sheet;
use dinoxide::run::RunError;
use dinoxide::run::input::{ImageSize, Network};
use dinoxide::run::protocols::head::read_head;
use dinoxide::run::protocols::knn::KnnRequest;
use dinoxide::run::protocols::linear::{LinearReport, LinearRequest, TrainImages, Training, linear};
use dinoxide::run::protocols::logreg::{LogRegReport, LogRegRequest, logreg};
use dinoxide::run::protocols::{Manner, Outcome, ProtocolRequest};
use image::{Rgb, RgbImage};
use untrained::{WIDTH, changed_run_folder, run_folder};

const CLASSES: [&str; 3] = ["ant", "bee", "cow"];

/// Stripes of a colour and a width that depend on the class, shifted from image to image.
fn picture(path: &Path, class: u32, number: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let image = RgbImage::from_fn(40 + number, 36, |x, y| {
        let on = ((x + number) / (2 + 3 * class) + y / 5).is_multiple_of(2);
        Rgb(if on { [250 - 60 * class as u8, 40, 30 + 70 * class as u8] } else { [20, 90, 60] })
    });
    image.save(path).unwrap();
}

fn labelled(folder: PathBuf, classes: &[&str], per_class: u32) -> PathBuf {
    for (class, name) in (0..).zip(classes) {
        (0..per_class).for_each(|number| picture(&folder.join(name).join(format!("{number}.png")), class, number));
    }
    folder
}

fn protocol(model: &Path, out: PathBuf) -> ProtocolRequest {
    ProtocolRequest {
        model: model.to_path_buf(),
        network: Network::Teacher,
        image_size: Some(ImageSize { width: 32, height: 32 }),
        precision: Precision::F32,
        out,
        manner: Manner::Fitting,
    }
}

struct Place {
    folder: tempfile::TempDir,
    request: LinearRequest,
}

impl Place {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.request.protocol.out.join(name)
    }
}

/// Eight training and four validation images of three classes.
fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let model = run_folder(folder.path(), 32);
    let train = Some(labelled(folder.path().join("train"), &CLASSES, 8));
    let val = labelled(folder.path().join("val"), &CLASSES, 4);
    let request = LinearRequest {
        protocol: protocol(&model, folder.path().join("out")),
        train,
        val,
        blocks: None,
        patches: None,
        training: Training { epochs: Some(20), batch: Some(5), ..Training::default() },
        head: None,
    };
    Place { folder, request }
}

fn refused<T>(result: Result<T, RunError>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn a_layer_is_trained_written_and_read_back() {
    let place = place();

    let outcome: Outcome<LinearReport> = linear(&place.request).unwrap();

    let report = &outcome.result;
    // A network of two blocks has two class tokens.
    assert_eq!((report.features, report.dim), (Readout { blocks: 2, patches: PatchMean::None }, 2 * WIDTH));
    assert_eq!((report.train, report.val, report.classes, report.rates.len()), (24, 12, 3, 6));
    let best = report.rates.iter().map(|rate| rate.best_top1).fold(0.0, f64::max);
    assert_eq!(report.accuracy.top1, best);
    assert!(best > 60.0 && report.accuracy.top5 == 100.0, "{report:?}");
    assert!(report.rates.iter().all(|rate| rate.last.accuracy.top1 <= rate.best_top1));
    assert!(outcome.deviations.iter().any(|words| words.contains("centres")), "{:?}", outcome.deviations);
    assert!(outcome.deviations.iter().any(|words| words.contains("20 epochs")), "{:?}", outcome.deviations);
    assert!(outcome.files.iter().all(|file| file.is_file()));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(place.out("results.json")).unwrap()).unwrap();
    assert_eq!(json, serde_json::to_value(&outcome).unwrap());
    assert_eq!(json["top1"].as_f64(), Some(best));
    let lines = |name: &str| std::fs::read_to_string(place.out(name)).unwrap().lines().count();
    assert_eq!((lines("epochs.csv"), lines("classes.csv")), (1 + 6 * 20, 1 + 3));
    let confusion = std::fs::read_to_string(place.out("confusion.csv")).unwrap();
    let counted: u32 =
        confusion.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().parse::<u32>().unwrap()).sum();
    assert_eq!(counted, 12);

    let head = read_head(&place.out("head.pth")).unwrap();
    assert_eq!(head.classes.as_deref().unwrap(), CLASSES);
    let evaluate = LinearRequest { head: Some(place.out("head.pth")), train: None, ..place.request.clone() };
    let again = linear(&evaluate).unwrap().result;
    assert_eq!((again.accuracy, again.best), (report.accuracy, None));
}

#[test]
fn crops_are_another_in_every_epoch_and_the_same_for_a_seed() {
    let mut place = place();
    place.request.training =
        Training { epochs: Some(3), batch: Some(7), rates: Some(vec![0.1]), images: TrainImages::Crops, seed: 4 };
    let (first, again) = (linear(&place.request).unwrap(), linear(&place.request).unwrap());
    assert_eq!(first.result.rates, again.result.rates);
    assert!(!first.deviations.iter().any(|words| words.contains("centres")), "{:?}", first.deviations);
    let other = linear(&LinearRequest {
        training: Training { seed: 5, ..place.request.training.clone() },
        ..place.request.clone()
    });
    assert_ne!(first.result.rates, other.unwrap().result.rates);
    // Chance before anything is learnt, and something learnt then.
    let losses = std::fs::read_to_string(place.out("epochs.csv")).unwrap();
    let losses: Vec<f64> =
        losses.lines().skip(1).map(|line| line.split(',').nth(2).unwrap().parse().unwrap()).collect();
    assert!(losses[0] > losses[2] && losses[0] < 3.0, "{losses:?}");
    let wide = Some(ImageSize { width: 32, height: 48 });
    let request = LinearRequest {
        protocol: ProtocolRequest { image_size: wide, ..place.request.protocol.clone() },
        ..place.request
    };
    assert!(refused(linear(&request)).contains("32x48"));
}

#[test]
fn the_original_program_is_followed_where_asked_for() {
    let mut place = place();
    place.request.protocol.manner = Manner::Reference;
    place.request.protocol.image_size = None;
    place.request.training = Training { epochs: Some(1), ..Training::default() };
    let outcome = linear(&place.request).unwrap();
    assert_eq!(outcome.result.rates.iter().map(|rate| rate.lr).collect::<Vec<_>>(), [0.001]);
    assert_eq!(outcome.result.batch, 1024);
    assert_eq!(outcome.deviations, ["batches of 1024, 1 epochs; the paper: 1024, 100"]);
}

#[test]
fn heads_of_other_programs_are_read_and_ones_that_do_not_fit_refused() {
    let place = place();
    let write = |name: &str, prefix: &str, width: usize, classes: usize| {
        let (weight, bias) = (vec![0.01; width * classes], vec![0.0; classes]);
        let names = [format!("{prefix}weight"), format!("{prefix}bias")];
        let (shape, path) = ([classes, width], place.file(name));
        let tensors = [
            TensorRef { name: &names[0], shape: &shape, values: &weight },
            TensorRef { name: &names[1], shape: &shape[..1], values: &bias },
        ];
        if name.ends_with(".safetensors") {
            safetensors::write(&path, &tensors, &Default::default()).unwrap();
        } else {
            let state = Item::dict(names.iter().cloned().zip(tensors.map(Item::Tensor)));
            torch_save::write(&path, &state).unwrap();
        }
        path
    };
    let evaluate = |head: PathBuf| linear(&LinearRequest { head: Some(head), ..place.request.clone() });
    // All logits are equal: the first class is always taken.
    for (name, prefix) in [("dinov2.pth", ""), ("dino.pth", "module.linear."), ("timm.safetensors", "fc.")] {
        let report = evaluate(write(name, prefix, 2 * WIDTH, 3)).unwrap().result;
        assert!((report.accuracy.top1 - 100.0 / 3.0).abs() < 1e-9, "{name}: {report:?}");
    }
    let narrow = refused(evaluate(write("narrow.pth", "linear.", WIDTH, 3)));
    assert!(
        narrow.contains(&format!("takes {WIDTH} values")) && narrow.contains("--blocks 1 --patches none"),
        "{narrow}"
    );
    let interleaved = LinearRequest {
        head: Some(write("base.pth", "linear.", 2 * WIDTH, 3)),
        patches: Some(PatchMean::Interleaved),
        ..place.request.clone()
    };
    assert_eq!(linear(&interleaved).unwrap().result.features.blocks, 1);
    assert!(refused(evaluate(write("odd.pth", "linear.", 7, 3))).contains("another network"));
    assert!(
        refused(evaluate(write("many.pth", "linear.", 2 * WIDTH, 1000))).contains("1000 classes and the images have 3")
    );
    let network = place.request.protocol.model.join("checkpoints/last/teacher.safetensors");
    assert!(refused(evaluate(network)).contains("is no linear head"));
    let both = LinearRequest { blocks: Some(9), ..place.request.clone() };
    assert!(refused(linear(&both)).contains("choose 1 to 2"));
}

#[test]
fn a_heads_own_classes_say_which_logit_is_whose() {
    let place = place();
    let head = |name: &str, classes: &[&str]| {
        // The second logit is always the largest.
        let (weight, bias) = (vec![0.0; 2 * WIDTH * classes.len()], vec![0.0, 1.0, 0.0]);
        let (shape, path) = ([classes.len(), 2 * WIDTH], place.file(name));
        let weight = TensorRef { name: "weight", shape: &shape, values: &weight };
        let bias = TensorRef { name: "bias", shape: &shape[..1], values: &bias[..classes.len()] };
        let state = Item::dict([("weight", Item::Tensor(weight)), ("bias", Item::Tensor(bias))]);
        let names = classes.iter().map(|name| Item::Text((*name).to_owned())).collect();
        torch_save::write(&path, &Item::dict([("state_dict", state), ("classes", Item::List(names))])).unwrap();
        path
    };
    let evaluate =
        |head: PathBuf, val: PathBuf| linear(&LinearRequest { head: Some(head), val, ..place.request.clone() });
    let ants = labelled(place.file("ants"), &CLASSES[..1], 2);

    let told = evaluate(head("other.pth", &["cow", "ant", "bee"]), ants.clone()).unwrap();

    assert_eq!(told.result.accuracy.top1, 100.0, "the second logit is that of the ant");
    let table = std::fs::read_to_string(place.out("classes.csv")).unwrap();
    assert!(table.lines().nth(2).unwrap().starts_with("ant,2,100"), "{table}");
    let sorted = evaluate(head("sorted.pth", &["ant", "bee", "cow"]), ants.clone()).unwrap();
    assert_eq!(sorted.result.accuracy.top1, 0.0);
    let words = refused(evaluate(head("strange.pth", &["ant", "bee", "dog"]), ants));
    assert!(words.contains("it lacks cow, and it alone has dog"), "{words}");
    let without_train =
        LinearRequest { head: Some(head("strange.pth", &["ant", "bee", "dog"])), train: None, ..place.request.clone() };
    assert!(refused(linear(&without_train)).contains("it lacks cow;"));
}

#[test]
fn results_inside_of_the_data_are_no_class() {
    let mut place = place();
    place.request.protocol.out = place.file("train").join("eval-linear");
    let first = linear(&place.request).unwrap();
    let again = linear(&place.request).unwrap();
    assert!(first.files.iter().any(|file| file.ends_with("confusion.png")));
    assert_eq!((again.result.classes, again.result.train, again.result.rates), (3, 24, first.result.rates));
}

#[test]
fn numbers_without_sense_are_refused_and_nothing_old_is_left_as_the_result() {
    let mut place = place();
    linear(&place.request).unwrap();
    assert!(place.out("results.json").is_file());
    let knn = |k: Vec<usize>, temperature| {
        let (train, val) = (place.file("train"), place.file("val"));
        // No model: the numbers are looked at first.
        let protocol = ProtocolRequest { model: place.file("nowhere"), ..place.request.protocol.clone() };
        refused(dinoxide::run::protocols::knn::knn(&KnnRequest { protocol, train, val, k, temperature }))
    };
    assert!(knn(vec![], 0.07).contains("each at least 1") && knn(vec![0], 0.07).contains("each at least 1"));
    assert!(knn(vec![1], 0.0).contains("temperature 0") && knn(vec![1], f64::NAN).contains("temperature NaN"));
    let logreg = |change: fn(&mut LogRegRequest)| {
        let mut request = of_labels(&place, vec![Subset::All]);
        request.protocol.model = place.file("nowhere");
        change(&mut request);
        refused(logreg(&request))
    };
    assert!(logreg(|request| request.penalties = vec![-1.0]).contains("penalty -1"));
    assert!(logreg(|request| request.tolerance = 0.0).contains("tolerance 0"));
    assert!(logreg(|request| request.subsets = vec![Subset::PerClass(0)]).contains("per class 0"));
    assert!(logreg(|request| request.subsets = vec![Subset::Fraction(2.0)]).contains("fraction 2"));
    assert!(logreg(|request| request.seeds = usize::MAX).contains("is above 100000"));
    place.request.training = Training { epochs: Some(usize::MAX), ..Training::default() };
    assert!(refused(linear(&place.request)).contains("is above 1000000"));
    place.request.training = Training { batch: Some(usize::MAX), ..Training::default() };
    assert!(refused(linear(&place.request)).contains("is above 16777216"));
    assert!(place.out("results.json").is_file(), "nothing was begun");

    place.request.training = Training { epochs: Some(1), batch: Some(1 << 24), ..Training::default() };
    place.request.val = place.file("nowhere");
    assert!(linear(&place.request).is_err());

    assert!(!place.out("results.json").exists());
    place.request.val = place.file("val");
    assert_eq!(linear(&place.request).unwrap().result.batch, 1 << 24, "a batch may be larger than what there is");
}

#[test]
fn what_differs_from_the_original_is_said() {
    let place = place();
    std::fs::write(place.file("val").join("ant/bad.png"), "not an image").unwrap();
    let said = |deviations: &[String], words: &str| {
        assert!(deviations.iter().any(|said| said.contains(words)), "{words}: {deviations:?}");
    };
    let protocol = place.request.protocol.clone();
    let (train, val) = (place.file("train"), place.file("val"));
    let request = KnnRequest { protocol, train, val, k: vec![5, 100], temperature: 0.5 };
    let of_knn = dinoxide::run::protocols::knn::knn(&request).unwrap().deviations;
    for words in ["temperature 0.5", "k = 100", "12 images are classified", "1 images could not be read"] {
        said(&of_knn, words);
    }
    let mut request = place.request.clone();
    request.training.rates = Some(vec![0.1]);
    for images in [TrainImages::Centres, TrainImages::Crops] {
        request.training.images = images;
        let of_linear = linear(&request).unwrap().deviations;
        said(&of_linear, "learning rate 0.1");
        said(&of_linear, "1 images could not be read");
    }
    let penalties = LogRegRequest { penalties: vec![1.0], ..of_labels(&place, vec![Subset::All]) };
    said(&logreg(&penalties).unwrap().deviations, "penalty 1; the original: 0.1");
    request.protocol.manner = Manner::Reference;
    request.training.rates = Some(vec![0.1, 0.2]);
    assert!(refused(linear(&request)).contains("one learning rate, and 2 were given"));
}

#[test]
fn pixels_are_normalised_as_the_original_does_where_asked_for() {
    let place = place();
    let path = place.request.protocol.model.join("config.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    let own = config.replace("0.485", "0.5");
    assert_ne!(config, own);
    std::fs::write(&path, own).unwrap();
    let of = |manner, image_size| {
        let protocol = ProtocolRequest { manner, image_size, ..place.request.protocol.clone() };
        let (train, val) = (place.file("train"), place.file("val"));
        let request = KnnRequest { protocol, train, val, k: vec![5], temperature: 0.07 };
        dinoxide::run::protocols::knn::knn(&request).unwrap().deviations
    };
    let fitting = of(Manner::Fitting, Some(ImageSize { width: 32, height: 32 }));
    assert!(fitting.iter().any(|words| words.contains("less the mean 0.5, 0.456, 0.406")), "{fitting:?}");
    assert_eq!(of(Manner::Reference, None), ["12 images are classified; the original needs 100 or more"]);
}

#[test]
fn many_classes_take_no_more_than_what_occurs() {
    // A table of all pairs would have 10¹⁰ cells.
    let confusion = Confusion::of(&[99_999, 99_999, 0], &[99_999, 5, 0], 100_000);
    assert_eq!(confusion.row(99_999).collect::<Vec<_>>(), [(5, 1), (99_999, 1)]);
    assert_eq!((confusion.images(0), confusion.accuracy(99_999), confusion.accuracy(1)), (1, Some(50.0), None));
    assert!(confusion_sheet(&confusion, &[]).is_none());
    assert!(confusion_sheet(&Confusion::of(&[0], &[1], 2), &[]).is_some());
}

#[test]
fn what_cannot_be_learnt_from_is_refused_and_little_suffices() {
    let mut place = place();
    let with = |train: PathBuf, val: PathBuf| LinearRequest { train: Some(train), val, ..place.request.clone() };
    let one_class = labelled(place.file("one"), &CLASSES[..1], 3);
    assert!(refused(linear(&with(one_class.clone(), one_class.clone()))).contains("one class"));
    let strange = labelled(place.file("strange"), &["ant", "dog"], 1);
    assert!(refused(linear(&with(place.file("train"), strange))).contains("`dog`"));
    // Two of three classes have no validation image; one image of a class is enough.
    let single = labelled(place.file("single"), &CLASSES, 1);
    let report = linear(&with(single.clone(), one_class.clone())).unwrap().result;
    assert_eq!((report.train, report.val, report.classes), (3, 3, 3));
    std::fs::write(single.join("ant/bad.png"), "not an image").unwrap();
    assert_eq!(linear(&with(single.clone(), one_class.clone())).unwrap().result.train, 3);
    let crops = Training { images: TrainImages::Crops, ..place.request.training.clone() };
    let report = linear(&LinearRequest { training: crops, ..with(single, one_class) }).unwrap().result;
    assert_eq!(report.classes, 3);
    for rates in [vec![], vec![-1.0], vec![f64::NAN]] {
        place.request.training.rates = Some(rates);
        assert!(linear(&place.request).is_err());
    }
}

#[test]
fn features_that_are_not_finite_are_named() {
    let mut place = place();
    let model = changed_run_folder(&place.file("damaged"), 32, |name, values| {
        if name.ends_with("norm.weight") {
            values.fill(f32::MAX); // The weights are finite, and so are accepted.
        }
    });
    place.request.protocol.model = model;
    let words = refused(linear(&place.request));
    assert!(words.contains("damaged or diverged"), "{words}");
    let request = LogRegRequest { protocol: place.request.protocol.clone(), ..of_labels(&place, vec![Subset::All]) };
    assert!(refused(logreg(&request)).contains("damaged or diverged"));
}

fn of_labels(place: &Place, subsets: Vec<Subset>) -> LogRegRequest {
    LogRegRequest {
        protocol: place.request.protocol.clone(),
        train: place.file("train"),
        val: place.file("val"),
        subsets,
        seeds: 3,
        penalties: vec![0.1],
        tolerance: 1e-6,
    }
}

#[test]
fn regressions_are_solved_for_all_labels_and_for_few() {
    let place = place();
    let mut request = of_labels(&place, vec![Subset::All, Subset::PerClass(2), Subset::Fraction(0.5)]);
    request.penalties = vec![0.1, 1.0];

    let outcome: Outcome<LogRegReport> = logreg(&request).unwrap();

    let fits = &outcome.result.fits;
    assert_eq!(fits.iter().map(|fit| fit.train).collect::<Vec<_>>(), [24, 24, 6, 6, 12, 12]);
    assert_eq!(fits.iter().map(|fit| fit.draws.len()).collect::<Vec<_>>(), [1, 1, 3, 3, 3, 3]);
    assert!(fits.iter().flat_map(|fit| &fit.draws).all(|draw| draw.converged && draw.gap <= 1e-6 * draw.loss));
    assert!(fits[0].draws[0].loss < fits[1].draws[0].loss, "a larger penalty costs more");
    assert_eq!((fits[0].top1_std, fits[2].top1_std.is_some()), (None, true));
    let mean = fits[2].draws.iter().map(|draw| draw.top1).sum::<f64>() / 3.0;
    assert!((fits[2].top1 - mean).abs() < 1e-9 && fits[0].top1 > 60.0, "{fits:?}");
    assert!(outcome.files.iter().all(|file| file.is_file()));
    assert!(outcome.deviations.iter().any(|words| words.contains("SimCLR")));
    assert_eq!(logreg(&request).unwrap().result, outcome.result);
    for bad in [Subset::Fraction(2.0), Subset::PerClass(0)] {
        assert!(logreg(&of_labels(&place, vec![bad])).is_err());
    }
    assert!(logreg(&LogRegRequest { penalties: vec![0.0], ..request.clone() }).is_err());
    assert!(logreg(&LogRegRequest { seeds: 0, ..request }).is_err());
}
