//! What a plan is made from: how many images, how large, how many cores, how much memory.

use std::path::Path;

use dinoxide_engine::cpu::Cpu;
use dinoxide_views::pixel::RGB;
use dinoxide_views::source::SourceImage;
use dinoxide_views::{Reading, Source, decode_samples};
use rayon::prelude::*;

use super::model::InitialWeights;
use super::values::{Form, Moments, common, sum_up, usual_channels};
use super::{RunError, labelled, machine};
use crate::config::{Facts, MEASURED as BY_MEASURING, Partial, PixelFacts};

/// Images opened to find out what they are like.
const PROBED: usize = 48;
/// Images opened where their mean and deviation count.
const MEASURED: usize = 512;

/// How keys begin whose values follow from the weights that a run starts from.
pub(super) const FROM_WEIGHTS: [&str; 4] = ["model.", "head.", "views.global.size", "optim.freeze_backbone_steps"];
/// What the weights decide of a run that has not begun.
const DECIDED: [&str; 14] = [
    "model.name",
    "model.patch_size",
    "model.image_size",
    "model.mlp_ratio",
    "model.layer_scale",
    "model.registers",
    "model.ffn",
    "model.mask_token",
    "model.resampling",
    "head.out_dim",
    "head.hidden_dim",
    "views.global.size",
    "data.mean",
    "optim.freeze_backbone_steps",
];

/// The images of `data.train`, with their classes where these are learnt from; none if it is not given.
pub(super) fn open_source(given: &Partial) -> Result<Source, RunError> {
    let places = places(given);
    if labelled::is_wanted(given) { labelled::open(&places) } else { Ok(Source::open(&places)?) }
}

/// The entries of `data.train`; none if it is not given.
pub(super) fn places(given: &Partial) -> Vec<String> {
    let places = given.value("data.train").and_then(|value| value.as_array()).into_iter().flatten();
    places.filter_map(|place| place.as_str().map(str::to_owned)).collect()
}

/// Looks at the images and at the machine.
///
/// # Errors
/// If `data.val` is given and holds no labelled images.
pub fn gather(source: &Source, given: &Partial) -> Result<Facts, RunError> {
    let val = given.text("data.val");
    let val_classes = match val {
        Some(val) => Some(Source::labelled(Path::new(val))?.classes.len()),
        None => None,
    };
    let init = match given.text("model.init") {
        // Nothing of what they would decide is open: a run that goes on does not need them any more.
        Some(_) if DECIDED.iter().all(|key| given.has(key)) => None,
        Some(weights) => InitialWeights::read(weights.as_ref())?.facts(),
        None => None,
    };
    let probed = Probed::look(source, given, PROBED);
    Ok(Facts {
        images: source.len(),
        median_size: probed.median_size(),
        pixels: (!probed.forms.is_empty()).then(|| probed.pixels(source, given)),
        cores: machine::cores(),
        memory_bytes: machine::memory_bytes(),
        free_bytes: machine::free_bytes(),
        bf16: Cpu::bf16().is_some(),
        val_classes,
        init,
        speed: None,
    })
}

/// What some images are like.
struct Probed {
    sizes: Vec<(u32, u32)>,
    forms: Vec<Form>,
}

impl Probed {
    /// Looks at `count` images.
    fn look(source: &Source, given: &Partial, count: usize) -> Self {
        let reading = Reading { channels: given.whole("data.channels").unwrap_or(RGB), ..Reading::default() };
        let look = |image: &SourceImage| {
            let (samples, _) = image.read().and_then(|bytes| decode_samples(&bytes, &reading)).ok()?;
            Some(((samples.width, samples.height), Form::of(&samples)))
        };
        let (sizes, forms) =
            spread(source, count).into_par_iter().filter_map(look).collect::<Vec<_>>().into_iter().unzip();
        Self { sizes, forms }
    }

    fn median_size(&self) -> Option<(u32, u32)> {
        let (mut widths, mut heights): (Vec<u32>, Vec<u32>) = self.sizes.iter().copied().unzip();
        widths.sort_unstable();
        heights.sort_unstable();
        Some((*widths.get(widths.len() / 2)?, *heights.get(heights.len() / 2)?))
    }

    /// The form of the images and, as far as they are needed, range, mean and deviation on more images than these.
    fn pixels(&self, source: &Source, given: &Partial) -> PixelFacts {
        let forms: Vec<&Form> = self.forms.iter().collect();
        let usual = usual_channels(&forms);
        let channels = given.whole("data.channels").unwrap_or(usual);
        let (mut reading, mut images) = common(&forms, channels);
        if channels != usual && 2 * images < forms.len() {
            // What was asked for is not what is there; the plan says so.
            return PixelFacts { images: 0, usual, ..sum_up(reading, std::iter::empty()) };
        }
        let stated: Option<Vec<[f32; 2]>> = given.value("data.range").and_then(|range| range.clone().try_into().ok());
        if stated.is_none() && !reading.range.is_empty() {
            let more = Self::look(source, given, MEASURED);
            (reading, images) = common(&more.forms.iter().collect::<Vec<_>>(), channels);
        }
        reading.range = stated.unwrap_or(reading.range);
        let is_list = |key: &&str| given.value(key).is_some_and(|value| value.is_array());
        let asked = |key: &&str| given.text(key) == Some(BY_MEASURING);
        let keys = ["data.mean", "data.std"];
        if !(keys.iter().any(asked) || channels != RGB && !keys.iter().all(is_list)) {
            return PixelFacts { images, usual, ..sum_up(reading, std::iter::empty()) };
        }
        let read = |image: &SourceImage| image.decode(&reading).ok().map(|image| Moments::of(&image));
        let moments: Vec<Moments> = spread(source, MEASURED).into_par_iter().filter_map(read).collect();
        PixelFacts { usual, ..sum_up(reading, moments.iter()) }
    }
}

/// Some images, evenly spread.
fn spread(source: &Source, count: usize) -> Vec<&SourceImage> {
    source.images.iter().step_by(source.len().div_ceil(count).max(1)).collect()
}
