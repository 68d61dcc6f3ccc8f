//! What a plan is made from: how many images, how large, how many cores, how much memory.

use std::path::Path;

use dinoxide_engine::cpu::Cpu;
use dinoxide_views::{Exif, Source};

use super::{RunError, machine};
use crate::config::{Facts, Partial};

/// Images opened to find the median size.
const PROBED: usize = 48;

/// The images of `data.train`; none if it is not given.
pub(super) fn open_source(given: &Partial) -> Result<Source, RunError> {
    let places = given.value("data.train").and_then(|value| value.as_array().cloned()).unwrap_or_default();
    let places: Vec<String> = places.iter().filter_map(|place| place.as_str().map(str::to_owned)).collect();
    Ok(Source::open(&places)?)
}

/// Looks at the images and at the machine.
///
/// # Errors
/// If `val` is given and holds no labelled images.
pub fn gather(source: &Source, val: Option<&str>) -> Result<Facts, RunError> {
    let val_classes = match val {
        Some(val) => Some(Source::labelled(Path::new(val))?.classes.len()),
        None => None,
    };
    Ok(Facts {
        images: source.len(),
        median_size: median_size(source),
        cores: machine::cores(),
        memory_bytes: machine::memory_bytes(),
        bf16: Cpu::bf16().is_some(),
        val_classes,
    })
}

fn median_size(source: &Source) -> Option<(u32, u32)> {
    let stride = source.len().div_ceil(PROBED).max(1);
    let probed = (0..source.len()).step_by(stride);
    let readable = probed.filter_map(|index| source.images[index].decode(Exif::Ignore).ok());
    let (mut widths, mut heights): (Vec<u32>, Vec<u32>) = readable.map(|image| (image.width, image.height)).unzip();
    widths.sort_unstable();
    heights.sort_unstable();
    Some((*widths.get(widths.len() / 2)?, *heights.get(heights.len() / 2)?))
}
