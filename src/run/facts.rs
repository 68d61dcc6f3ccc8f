//! What a plan is made from: how many images, how large, how many cores, how much memory.

use std::path::Path;

use dinoxide_engine::cpu::Cpu;
use dinoxide_views::{Reading, Source, decode_samples};

use super::values::{Tally, sum_up};
use super::{RunError, machine};
use crate::config::{Facts, Partial};

/// Images opened to find out what they are like.
const PROBED: usize = 48;
/// Images opened where their mean and deviation count.
const MEASURED: usize = 512;
/// Red, green and blue.
const RGB: usize = 3;

/// The images of `data.train`; none if it is not given.
pub(super) fn open_source(given: &Partial) -> Result<Source, RunError> {
    let places = given.value("data.train").and_then(|value| value.as_array().cloned()).unwrap_or_default();
    let places: Vec<String> = places.iter().filter_map(|place| place.as_str().map(str::to_owned)).collect();
    Ok(Source::open(&places)?)
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
    let channels = given.whole("data.channels");
    let mut probed = probe(source, channels, PROBED);
    let pixels = |probed: &Probed| sum_up(&probed.tallies.iter().collect::<Vec<_>>(), channels);
    let measured = ["data.mean", "data.std"].iter().any(|key| given.text(key) == Some("measured"));
    let median_size = median_size(&probed);
    let mut found = pixels(&probed);
    if measured || found.channels != RGB || !found.range.is_empty() {
        probed = probe(source, channels, MEASURED);
        found = pixels(&probed);
    }
    Ok(Facts {
        images: source.len(),
        median_size,
        pixels: (found.images > 0).then_some(found),
        cores: machine::cores(),
        memory_bytes: machine::memory_bytes(),
        bf16: Cpu::bf16().is_some(),
        val_classes,
    })
}

/// What some images are like.
struct Probed {
    widths: Vec<u32>,
    heights: Vec<u32>,
    tallies: Vec<Tally>,
}

/// Looks at `count` images, evenly spread.
fn probe(source: &Source, channels: Option<usize>, count: usize) -> Probed {
    let mut probed = Probed { widths: Vec::new(), heights: Vec::new(), tallies: Vec::new() };
    let reading = Reading { channels: channels.unwrap_or(RGB), ..Reading::default() };
    for image in source.images.iter().step_by(source.len().div_ceil(count).max(1)) {
        let found = image.read().and_then(|bytes| decode_samples(&bytes, &reading));
        let Ok((samples, _)) = found else { continue };
        probed.widths.push(samples.width);
        probed.heights.push(samples.height);
        probed.tallies.push(Tally::of(&samples, channels));
    }
    probed
}

fn median_size(probed: &Probed) -> Option<(u32, u32)> {
    let median = |sides: &[u32]| {
        let mut sides = sides.to_vec();
        sides.sort_unstable();
        sides.get(sides.len() / 2).copied()
    };
    Some((median(&probed.widths)?, median(&probed.heights)?))
}
