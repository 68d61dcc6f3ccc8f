//! The published results of the networks nearest to a run's, as a landmark beside its own.
//!
//! From "Emerging Properties in Self-Supervised Vision Transformers" (Caron et al. 2021, arXiv:2104.14294), tables 2 and 7, and the README of
//! facebookresearch/dino; the epochs of table 2 are those of the released models' arguments.

use super::numbers::Numbers;
use crate::config::ModelConfig;
use crate::report::curves::KnnPoint;
use crate::report::page::Table;
use crate::run::progress::grouped;
use crate::run::trained::Trained;

/// A network trained and measured on ImageNet-1k at 224 px; top-1 in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// As the paper calls it.
    pub name: &'static str,
    /// Width of a token.
    pub embed_dim: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    /// Epochs of training.
    pub epochs: usize,
    /// Weighted k-NN, k = 20.
    pub knn: f64,
    /// A linear classifier on frozen features.
    pub linear: f64,
    /// Where it stands.
    pub place: &'static str,
}

const fn published(
    (name, embed_dim, patch_size): (&'static str, usize, usize),
    epochs: usize,
    [knn, linear]: [f64; 2],
    place: &'static str,
) -> Published {
    Published { name, embed_dim, patch_size, epochs, knn, linear, place }
}

const VIT_S16: (&str, usize, usize) = ("ViT-S/16", 384, 16);

/// The DINO networks whose results were published.
const PUBLISHED: [Published; 7] = [
    published(VIT_S16, 100, [69.3, 74.0], "README"),
    published(VIT_S16, 300, [72.8, 76.1], "table 7"),
    published(VIT_S16, 800, [74.5, 77.0], "table 2"),
    published(("ViT-S/8", 384, 8), 800, [78.3, 79.7], "table 2"),
    published(("ViT-B/16", 768, 16), 400, [76.1, 78.2], "table 2"),
    published(("ViT-B/8", 768, 8), 300, [77.4, 80.1], "table 2"),
    published(("ResNet-50", 2048, 32), 800, [67.5, 75.3], "table 2"),
];

/// The published results of the network of the same kind that is nearest in width, then in patch size.
pub fn nearest(model: &ModelConfig) -> Vec<Published> {
    let (kind, embed_dim, patch_size) = match model.shape() {
        Some(shape) => ("ViT", shape.embed_dim, model.patch_size),
        // Those of XCiT were published without how they were trained.
        None if model.name.starts_with("xcit") => return Vec::new(),
        None => ("ResNet", model.dim(), 32),
    };
    let of_kind = || PUBLISHED.into_iter().filter(|found| found.name.starts_with(kind));
    // Twice as much is as far as half as much.
    let far = |a: usize, b: usize| (a.max(1) as f64 / b as f64).ln().abs();
    let distance = |found: &Published| (far(embed_dim, found.embed_dim), far(patch_size, found.patch_size));
    let closer =
        |a: &Published, b: &Published| distance(a).partial_cmp(&distance(b)).unwrap_or(std::cmp::Ordering::Equal);
    let Some(best) = of_kind().min_by(closer) else { return Vec::new() };
    of_kind().filter(|found| found.name == best.name).collect()
}

/// The run's k-NN beside the published results; nothing without labelled images.
pub(super) fn table(trained: &Trained<'_>, numbers: &Numbers) -> Option<Table> {
    let last = numbers.trained?;
    let config = &trained.folder.config;
    let found = nearest(&config.model);
    let name = found.first()?.name;
    let images = format!("{} images, {} px", grouped(trained.source.len()), config.views.global.size);
    let own = |name: &str, epochs: f64, top1: f64| {
        [format!("this run, {name}"), images.clone(), short(epochs), format!("{top1:.1}"), "–".to_owned()].into()
    };
    let epochs = numbers.knn.last().map_or(0.0, |point| point.epoch);
    let mut rows: Vec<Vec<String>> = vec![own("teacher", epochs, last)];
    rows.extend(numbers.student.map(|top1| own("student", epochs, top1)));
    // A network that has not learnt yet is not the best of a run, unless it began with weights.
    let counts = |point: &&KnnPoint| point.epoch > 0.0 || config.model.init.is_some();
    let best = numbers.knn.iter().filter(counts).max_by(|a, b| a.top1.total_cmp(&b.top1));
    rows.extend(best.map(|best| own("best teacher", best.epoch, best.top1)));
    rows.extend(found.iter().map(|found| {
        let Published { name, epochs, knn, linear, place, .. } = found;
        let cells = [format!("DINO {name} ({place})"), "ImageNet-1k, 224 px".to_owned()];
        cells.into_iter().chain([epochs.to_string(), format!("{knn:.1}"), format!("{linear:.1}")]).collect()
    }));
    Some(Table {
        title: "Beside published results".to_owned(),
        caption: format!(
            "A landmark, not a target for other data. {name} is the official model nearest to this run's by width and patch size; it was \
             trained for so many epochs and measured on ImageNet-1k (1.28 million images, 1000 classes) at 224 px (Caron et al. 2021, and \
             the README of facebookresearch/dino). This run's k-NN is on its own labelled images."
        ),
        header: ["network", "trained on", "epochs", "k-NN, %", "linear, %"].map(str::to_owned).into(),
        rows,
    })
}

/// Epochs, whole ones without a fraction.
fn short(epochs: f64) -> String {
    let digits = usize::from(epochs.fract() != 0.0);
    format!("{epochs:.digits$}")
}
