//! `dinoxide dedup`: images that are nearly the same.

use std::cmp::Reverse;
use std::path::PathBuf;

use dinoxide_views::Source;
use rayon::prelude::*;
use serde::Serialize;

use super::RunError;
use super::counter::Counter;
use super::device::among_threads;
use super::look::{Gallery, Look, LookRequest, figure, named, write_page, write_table};
use crate::eval::EvalError;
use crate::eval::dedup::groups;
use crate::eval::nearest::UnitRows;
use crate::report::page::{RunPage, Table, Verdict, VerdictState};
use crate::report::tiles::{GREEN, Tile, tiles};

/// Longer side of a picture on the sheet.
const CELL_PX: u32 = 112;
/// Groups and images of a group on the sheet.
const SHOWN: [usize; 2] = [24, 9];
/// Groups in the page's table.
const LISTED: usize = 100;
/// Share of images in groups from which on the threshold is probably too low for the network.
const MANY: f64 = 0.5;

/// What to do.
#[derive(Debug, Clone)]
pub struct DedupRequest {
    /// Images, network, folder.
    pub look: LookRequest,
    /// Cosine from which on two images are the same.
    pub threshold: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DedupReport {
    /// Images compared.
    pub images: usize,
    /// Images that could not be read.
    pub skipped: usize,
    /// Cosine from which on two images are the same.
    pub threshold: f64,
    /// Groups of two and more.
    pub groups: usize,
    /// Images that could be removed: all of the groups but one each.
    pub copies: usize,
    /// Size of the largest group.
    pub largest: usize,
    /// Median over all images of the cosine with the nearest other.
    pub median_nearest: Option<f32>,
    /// Files written.
    pub files: Vec<PathBuf>,
}

/// One image of a group.
struct Member {
    image: usize,
    pixels: u64,
    similarity: f32,
}

/// Finds groups of near-duplicates by the cosine of their class tokens and writes a table, a sheet and a page.
///
/// # Errors
/// If the model or the images cannot be read, there are fewer than two, or the results cannot be written.
pub fn dedup(request: &DedupRequest) -> Result<DedupReport, RunError> {
    among_threads(|| find(request))
}

fn find(request: &DedupRequest) -> Result<DedupReport, RunError> {
    let threshold = request.threshold;
    if !(threshold > 0.0 && threshold <= 1.0) {
        return Err(EvalError::Threshold { threshold }.into());
    }
    let look = Look::open(&request.look)?;
    let transform = look.model.transform(request.look.image_size)?;
    let gallery = look.features(Source::open(&request.look.data)?, transform, |_| {})?;
    let features = UnitRows::new(gallery.features.clone(), gallery.dim, "the features")?;
    if features.len() < 2 {
        return Err(EvalError::OneImage.into());
    }
    let counter = Counter::of(features.len(), "images compared");
    let found = groups(&features, threshold, |more| counter.add(more))?;
    drop(counter);
    let mut nearest: Vec<f32> = found.nearest.iter().flatten().copied().collect();
    nearest.sort_unstable_by(f32::total_cmp);
    let counter = Counter::of(found.groups.iter().map(Vec::len).sum(), "images of groups");
    let sorted = |group: &Vec<usize>| {
        let members = keeper_first(&look, &gallery, &features, group);
        counter.add(group.len());
        members
    };
    let members: Vec<Vec<Member>> = found.groups.iter().map(sorted).collect();
    drop(counter);
    let report = DedupReport {
        images: features.len(),
        skipped: gallery.skipped,
        threshold,
        groups: members.len(),
        copies: members.iter().map(|group| group.len() - 1).sum(),
        largest: members.iter().map(Vec::len).max().unwrap_or(0),
        median_nearest: nearest.get(nearest.len() / 2).copied(),
        files: Vec::new(),
    };
    if too_many(&report) {
        look.console.warn(&too_low(&report));
    }
    publish(&look, request, &gallery, &members, report)
}

/// The images of a group: the largest, then by name; the others by their likeness to it.
fn keeper_first(look: &Look, gallery: &Gallery, features: &UnitRows, group: &[usize]) -> Vec<Member> {
    let (images, reading) = (&gallery.images, &look.model.reading);
    let pixels = |image: usize| {
        let decoded = images[image].decode(reading);
        decoded.map_or(0, |image| u64::from(image.width) * u64::from(image.height))
    };
    let mut members: Vec<Member> =
        group.par_iter().map(|&image| Member { image, pixels: pixels(image), similarity: 1.0 }).collect();
    let name = |member: &Member| &gallery.images[member.image].name;
    members.sort_by(|a, b| Reverse(a.pixels).cmp(&Reverse(b.pixels)).then_with(|| name(a).cmp(name(b))));
    let keeper = members[0].image;
    members.iter_mut().skip(1).for_each(|member| member.similarity = features.similarity(keeper, member.image));
    members[1..].sort_by(|a, b| b.similarity.total_cmp(&a.similarity).then_with(|| name(a).cmp(name(b))));
    members
}

fn too_many(report: &DedupReport) -> bool {
    (report.copies + report.groups) as f64 > MANY * report.images as f64
}

fn too_low(report: &DedupReport) -> String {
    let usual = report
        .median_nearest
        .map_or_else(String::new, |median| format!(" (half of all images have one at {median:.4})"));
    format!(
        "{} of {} images are in groups: the threshold {} is low for this network, to which most images have a near one{usual}; \
         try --threshold closer to 1",
        report.copies + report.groups,
        report.images,
        report.threshold
    )
}

fn publish(
    look: &Look,
    request: &DedupRequest,
    gallery: &Gallery,
    groups: &[Vec<Member>],
    mut report: DedupReport,
) -> Result<DedupReport, RunError> {
    let out = &request.look.out;
    let (table, sheet, page) = (out.join("groups.csv"), out.join("groups.png"), out.join("groups.html"));
    let line = |(number, group): (usize, &Vec<Member>)| {
        let row = |(place, member): (usize, &Member)| {
            let path = gallery.images[member.image].path().display().to_string();
            let role = if place == 0 { "keep" } else { "copy" };
            [number.to_string(), path, member.similarity.to_string(), role.to_owned()]
        };
        group.iter().enumerate().map(row).collect::<Vec<_>>()
    };
    let lines = (1..).zip(groups).flat_map(line);
    write_table(&table, ["group", "path", "similarity", "role"], lines)?;
    report.files = vec![table];
    let mut figures = Vec::new();
    if !groups.is_empty() {
        let [most, wide] = SHOWN;
        let rows: Vec<Vec<Tile>> = groups.iter().take(most).map(|group| row(look, gallery, group, wide)).collect();
        let columns = rows.iter().map(Vec::len).max().unwrap_or(1);
        let captions: Vec<String> =
            std::iter::once("keep".to_owned()).chain((1..columns).map(|number| format!("copy {number}"))).collect();
        let caption = format!(
            "A row for each group, the largest first, {} of {}. On the left the image to keep, the one with the most pixels; then \
             up to {} others with their similarity to it.",
            rows.len(),
            groups.len(),
            wide - 1
        );
        figures.push(figure(&sheet, &tiles(&rows, &captions, CELL_PX), "Groups", caption)?);
        report.files.push(sheet);
    }
    write_page(&page, &RunPage { figures, ..page_of(request, gallery, groups, &report) })?;
    report.files.push(page);
    Ok(report)
}

fn row(look: &Look, gallery: &Gallery, group: &[Member], wide: usize) -> Vec<Tile> {
    let tile = |(place, member): (usize, &Member)| {
        let image = &gallery.images[member.image];
        let more = if place == 0 { format!("{} images", group.len()) } else { format!("{:.4}", member.similarity) };
        Tile { picture: look.thumbnail(image, CELL_PX), lines: vec![more], edge: (place == 0).then_some(GREEN) }
    };
    group.iter().take(wide).enumerate().map(tile).collect()
}

fn page_of(request: &DedupRequest, gallery: &Gallery, groups: &[Vec<Member>], report: &DedupReport) -> RunPage {
    let path = |member: &Member| gallery.images[member.image].name.to_string();
    let row = |(number, group): (usize, &Vec<Member>)| {
        let least = group.iter().map(|member| member.similarity).fold(1.0, f32::min);
        vec![number.to_string(), group.len().to_string(), path(&group[0]), format!("{least:.4}")]
    };
    let caption = format!(
        "Cosine of the class tokens of {} from {} on; {} images of {}, {} unreadable. groups.csv has every image.",
        request.look.model.display(),
        request.threshold,
        report.images,
        named(&request.look.data),
        report.skipped
    );
    let header = ["group", "images", "keep", "least similar"].map(str::to_owned).to_vec();
    let (state, sentence) = match report {
        report if too_many(report) => (VerdictState::Warning, too_low(report)),
        DedupReport { groups: 0, images, .. } => {
            (VerdictState::Neutral, format!("none of {images} images repeats another"))
        }
        DedupReport { groups, images, copies, .. } => {
            (VerdictState::Neutral, format!("{copies} of {images} images repeat others, in {groups} groups"))
        }
    };
    let rows: Vec<Vec<String>> = (1..).zip(groups).map(row).take(LISTED).collect();
    RunPage {
        title: "Images that are nearly the same".to_owned(),
        verdict: Verdict { state, sentence },
        tables: vec![Table { title: "Groups".to_owned(), caption, header, rows }],
        ..RunPage::default()
    }
}
