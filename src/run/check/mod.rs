//! `dinoxide check`: reads every image once, before a training does, and says what is there.
//!
//! | file | does |
//! |---|---|
//! | `mod.rs` | reads all, sums up |
//! | `look.rs` | one image |
//! | `duplicates.rs` | groups of equal and of similar images |
//! | `page.rs` | the page |

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use dinoxide_views::{Reading, Skipped, Source};
use rayon::prelude::*;
use serde::Serialize;

use super::console::{Console, Figures, Verbosity};
use super::counter::Counter;
use super::values::{Form, Moments, common, sum_up, usual_channels};
use super::{RunError, device, machine};
use crate::config::PixelFacts;
use crate::eval::EvalError;
use look::Look;

mod duplicates;
mod look;
mod page;

/// What to check.
#[derive(Debug, Clone)]
pub struct CheckRequest {
    /// Folders, files, lists, tables, archives or globs.
    pub data: Vec<String>,
    /// The page to write.
    pub page: Option<PathBuf>,
    /// Threads; all cores without a number.
    pub workers: Option<usize>,
    /// Values of a pixel; what most images have without a number.
    pub channels: Option<usize>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Images that were found, unreadable ones among them.
    pub images: usize,
    /// Those that cannot be read.
    pub bad: Vec<Skipped>,
    /// Readable images of each format, by content.
    pub formats: BTreeMap<String, usize>,
    /// Readable images by values of a pixel.
    pub channels: BTreeMap<String, usize>,
    /// Readable images by bits of a value.
    pub bits: BTreeMap<String, usize>,
    /// Values of a pixel that a training reads, unless told otherwise.
    pub channels_read: usize,
    /// Readable images that have another number, and would be skipped.
    pub other_channels: usize,
    /// What becomes 0 and 1 of values wider than 8 bits, of each channel or of all; empty if there are none.
    pub range: Vec<[f32; 2]>,
    /// Mean of each channel (red, green and blue), 0 to 1; every image counts the same.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
    /// Widths in pixels.
    pub width: Extent,
    /// Heights in pixels.
    pub height: Extent,
    /// Groups of files with the same bytes.
    pub duplicates: Vec<Vec<String>>,
    /// Groups of images that look alike; of equal files only the first.
    pub near_duplicates: Vec<Vec<String>>,
    /// Images read and decoded per second, on all threads.
    pub images_per_second: f64,
    /// Threads.
    pub threads: usize,
    /// The page that was written.
    pub page: Option<PathBuf>,
}

impl CheckReport {
    /// Images that repeat another one: all but one of each group.
    pub fn copies(groups: &[Vec<String>]) -> usize {
        groups.iter().map(|group| group.len() - 1).sum()
    }
}

/// Smallest, middle and largest of some lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// The smallest.
    pub min: u32,
    /// The middle one.
    pub median: u32,
    /// The largest.
    pub max: u32,
}

impl Extent {
    fn of(mut lengths: Vec<u32>) -> Self {
        lengths.sort_unstable();
        let at = |index: usize| lengths.get(index).copied().unwrap_or(0);
        Self { min: at(0), median: at(lengths.len() / 2), max: at(lengths.len().saturating_sub(1)) }
    }
}

/// Everything that was seen: what the page is made from.
struct Survey {
    source: Source,
    looks: Vec<Option<Look>>,
    near: Vec<Vec<usize>>,
    /// Mean value of each image that a training reads.
    levels: Vec<f64>,
    pixels: PixelFacts,
}

impl Survey {
    /// The form in which a training reads these images.
    fn reading(&self) -> Reading {
        Reading { channels: self.pixels.channels, range: self.pixels.range.clone(), ..Reading::default() }
    }
}

/// Reads every image once.
///
/// # Errors
/// If there are no images or none of them can be read. A page that cannot be written is a warning.
pub fn check(request: &CheckRequest) -> Result<CheckReport, RunError> {
    let console = Console::new(Verbosity::Normal, Figures::Talk);
    let source = Source::open(&request.data)?;
    let threads = request.workers.unwrap_or_else(machine::cores);
    let pool = device::threads(threads)?;
    let begun = Instant::now();
    let counter = Counter::start(source.len());
    let looked: Vec<Result<Look, String>> = pool.install(|| {
        let look = |image| {
            let look = Look::at(image, request.channels).map_err(|error| error.to_string());
            counter.one();
            look
        };
        source.images.par_iter().map(look).collect()
    });
    drop(counter);
    let seconds = begun.elapsed().as_secs_f64();
    let mut bad = Vec::new();
    for (image, look) in source.images.iter().zip(&looked) {
        if let Err(reason) = look {
            bad.push(Skipped { path: image.path(), reason: reason.clone() });
        }
    }
    if bad.len() == source.len() {
        bad.iter().take(BAD_SHOWN).for_each(|bad| console.warn(&format!("`{}`: {}", bad.path.display(), bad.reason)));
        return Err(EvalError::NoImages.into());
    }
    let looks: Vec<Option<Look>> = looked.into_iter().map(Result::ok).collect();
    let exact = duplicates::exact(&looks);
    let near = duplicates::near(&looks, &exact);
    let (levels, pixels) = pool.install(|| measure(&source, &looks, request.channels));
    let survey = Survey { source, looks, near, levels, pixels };
    let report = report_on(&survey, &exact, bad, (seconds, threads));
    let Some(path) = &request.page else { return Ok(report) };
    if let Err(error) = page::write(path, &survey, &report, &request.data.join(" ")) {
        // What was read may have taken hours; it is still told.
        console.warn(&format!("the page is missing: {}", error.on_one_line()));
        return Ok(report);
    }
    Ok(CheckReport { page: Some(path.clone()), ..report })
}

/// Mean and deviation in the form that the images have in common, and the mean value of each. Values of more than 8 bits are read
/// a second time, since their range has to be known first.
fn measure(source: &Source, looks: &[Option<Look>], channels: Option<usize>) -> (Vec<f64>, PixelFacts) {
    let forms: Vec<&Form> = looks.iter().flatten().map(|look| &look.form).collect();
    let channels = channels.unwrap_or_else(|| usual_channels(&forms));
    let (reading, _) = common(&forms, channels);
    let known = |look: &Look| reading.range.is_empty() && look.form.reading().channels == channels;
    let moments: Vec<Moments> = source
        .images
        .par_iter()
        .zip(looks)
        .filter_map(|(image, look)| match look {
            Some(look) if known(look) => Some(look.moments.clone()),
            Some(_) => image.decode(&reading).ok().map(|image| Moments::of(&image)),
            None => None,
        })
        .collect();
    (moments.iter().map(Moments::brightness).collect(), sum_up(reading, moments.iter()))
}

/// Unreadable files that are named when there is nothing else to say.
const BAD_SHOWN: usize = 3;

fn report_on(
    survey: &Survey,
    exact: &[Vec<usize>],
    bad: Vec<Skipped>,
    (seconds, threads): (f64, usize),
) -> CheckReport {
    let looks: Vec<&Look> = survey.looks.iter().flatten().collect();
    let count = |name: fn(&Look) -> String| {
        let mut counts = BTreeMap::new();
        looks.iter().for_each(|look| *counts.entry(name(look)).or_insert(0) += 1);
        counts
    };
    let PixelFacts { images, channels, range, mean, std, .. } = survey.pixels.clone();
    let names = |groups: &[Vec<usize>]| {
        let name = |index: &usize| survey.source.images[*index].name.to_string();
        groups.iter().map(|group| group.iter().map(name).collect()).collect()
    };
    CheckReport {
        images: survey.source.len(),
        bad,
        formats: count(|look| look.stored.format.to_owned()),
        channels: count(|look| look.stored.channels.to_string()),
        bits: count(|look| look.stored.bits.to_string()),
        channels_read: channels,
        other_channels: looks.len() - images,
        range,
        mean,
        std,
        width: Extent::of(looks.iter().map(|look| look.width).collect()),
        height: Extent::of(looks.iter().map(|look| look.height).collect()),
        duplicates: names(exact),
        near_duplicates: names(&survey.near),
        images_per_second: survey.source.len() as f64 / seconds,
        threads,
        page: None,
    }
}
