//! The page of a check: counts, histograms, a contact sheet, what should be looked at.

use std::path::Path;

use dinoxide_views::Skipped;

use super::look::Look;
use super::{CheckReport, Survey};
use crate::checkpoint::atomic::write_atomic;
use crate::report::chart::{Chart, Series};
use crate::report::page::{Figure, RunPage, Table, Verdict, VerdictState};
use crate::report::picture::Picture;
use crate::report::sheet::sheet;
use crate::run::RunError;
use crate::run::progress::grouped;
use crate::run::report::scaled;

/// Columns and rows of the contact sheet.
const CONTACTS: [usize; 2] = [10, 6];
/// Groups of similar images on a sheet, and images of a group.
const GROUPS: [usize; 2] = [8, 6];
/// Side of a thumbnail.
const THUMBNAIL_PX: u32 = 96;
/// Bars of a histogram.
const BARS: usize = 40;
/// Rows of a table of files.
const LISTED: usize = 100;
/// Names of a group in a table.
const NAMED: usize = 12;
/// Images below which training from scratch learns little.
const FEW_IMAGES: usize = 500;
/// Share of duplicates that is worth a warning.
const MANY_DUPLICATES: f64 = 0.05;

pub(super) fn write(path: &Path, survey: &Survey, report: &CheckReport, data: &str) -> Result<(), RunError> {
    let page = RunPage {
        title: format!("Images of {data}"),
        verdict: verdict(report),
        charts: charts(survey),
        figures: figures(survey, report)?,
        tables: tables(report),
        next_steps: next_steps(report),
        ..RunPage::default()
    };
    write_atomic(path, |file| file.write_all(page.to_html().as_bytes())).map_err(RunError::file("write", path))
}

fn verdict(report: &CheckReport) -> Verdict {
    let readable = report.images - report.bad.len();
    let mut sentence = format!("{} images can be read", grouped(readable));
    if !report.bad.is_empty() {
        sentence += &format!(", {} cannot", grouped(report.bad.len()));
    }
    if report.other_channels > 0 {
        sentence += &format!(", {} of them not with {} channels", grouped(report.other_channels), report.channels_read);
    }
    let copies = CheckReport::copies(&report.duplicates) + CheckReport::copies(&report.near_duplicates);
    if copies > 0 {
        sentence += &format!("; {} repeat others", grouped(copies));
    }
    if readable < FEW_IMAGES {
        sentence += "; that is few to train on";
    }
    let many = copies as f64 > MANY_DUPLICATES * readable as f64;
    let look = !report.bad.is_empty() || report.other_channels > 0 || many || readable < FEW_IMAGES;
    Verdict { state: if look { VerdictState::Warning } else { VerdictState::Healthy }, sentence }
}

fn next_steps(report: &CheckReport) -> Vec<String> {
    let mut steps = Vec::new();
    if report.other_channels > 0 {
        steps.push(format!(
            "{} images have another number of channels than {}: a training skips them; data.channels chooses.",
            grouped(report.other_channels),
            report.channels_read
        ));
    }
    if !report.bad.is_empty() {
        let share = report.bad.len() as f64 / report.images as f64;
        steps.push(format!(
            "Unreadable files are skipped in training while they are no more than data.max_bad of all; here they are {:.2} %.",
            100.0 * share
        ));
    }
    if report.images - report.bad.len() < FEW_IMAGES {
        steps.push("So few images teach little by themselves: start from weights with --init.".to_owned());
    }
    if !report.near_duplicates.is_empty() || !report.duplicates.is_empty() {
        steps.push("Images that repeat others count several times; remove copies unless that is wanted.".to_owned());
    }
    if !report.range.is_empty() {
        steps.push(format!(
            "Values of more than 8 bits: {:?} become 0 and 255, all but a thousandth at each end lie in between.",
            report.range
        ));
    }
    if !report.range.is_empty() || report.channels_read != 3 {
        let range = if report.range.is_empty() { String::new() } else { set("range", &report.range) };
        steps.push(format!(
            "A training measures range, mean and deviation on up to 512 images; these are of all:{}{}{range}",
            set("mean", &report.mean),
            set("std", &report.std)
        ));
    }
    if report.channels_read == 3 && report.channels.keys().all(|channels| channels == "1" || channels == "2") {
        steps.push("All images are gray: --set views.recipe=gray leaves out what has no effect on them.".to_owned());
    }
    steps
}

/// What to type for a value of `data`; without spaces, which a shell would split at.
fn set(key: &str, value: &impl std::fmt::Debug) -> String {
    format!(" --set 'data.{key}={}'", format!("{value:?}").replace(' ', ""))
}

fn charts(survey: &Survey) -> Vec<Chart> {
    let values = |of: &dyn Fn(&Look) -> f64| survey.looks.iter().flatten().map(of).collect::<Vec<f64>>();
    let chart = |title: &str, x_label: &str, series: Vec<(&str, Vec<f64>)>| {
        let most = series.iter().flat_map(|(_, values)| values).fold(0.0, |most: f64, value| most.max(*value));
        Chart {
            title: title.to_owned(),
            x_label: x_label.to_owned(),
            y_label: "images".to_owned(),
            series: series.iter().map(|(name, values)| histogram(name, values, most)).collect(),
            ..Chart::default()
        }
    };
    vec![
        chart(
            "Size",
            "pixels",
            vec![("width", values(&|look| f64::from(look.width))), ("height", values(&|look| f64::from(look.height)))],
        ),
        chart(
            "Shape",
            "width over height",
            vec![("images", values(&|look| f64::from(look.width) / f64::from(look.height)))],
        ),
        chart("Files", "kilobytes", vec![("images", values(&|look| look.bytes as f64 / 1e3))]),
        chart(
            "Brightness",
            "mean value of an image",
            vec![("images", survey.levels.iter().map(|level| 255.0 * level).collect())],
        ),
    ]
}

/// The outline of a histogram from 0 to `most`.
fn histogram(name: &str, values: &[f64], most: f64) -> Series {
    let step = if most > 0.0 { most / BARS as f64 } else { 1.0 };
    let mut counts = [0usize; BARS];
    for value in values {
        counts[((value / step) as usize).min(BARS - 1)] += 1;
    }
    let bar = |(index, count): (usize, &usize)| {
        let (left, height) = (index as f64 * step, *count as f64);
        [(left, height), (left + step, height)]
    };
    Series::new(name, counts.iter().enumerate().flat_map(bar).collect())
}

fn figures(survey: &Survey, report: &CheckReport) -> Result<Vec<Figure>, RunError> {
    let readable: Vec<usize> = (0..survey.looks.len()).filter(|index| survey.looks[*index].is_some()).collect();
    let [columns, rows] = CONTACTS;
    let shown = readable.len().min(columns * rows);
    let chosen: Vec<usize> = (0..shown).map(|place| readable[place * readable.len() / shown]).collect();
    let groups: Vec<Vec<usize>> = chosen.chunks(columns).map(<[usize]>::to_vec).collect();
    let mut figures = vec![Figure {
        title: "Contact sheet".to_owned(),
        caption: format!("{shown} images, evenly spread over the data.{}", of_channels(report)),
        file: thumbnails(survey, &groups)?,
        film: None,
    }];
    if !survey.near.is_empty() {
        let [most, wide] = GROUPS;
        let groups: Vec<Vec<usize>> =
            survey.near.iter().take(most).map(|group| group.iter().copied().take(wide).collect()).collect();
        figures.push(Figure {
            title: "Images that look alike".to_owned(),
            caption: format!("A row for each group, {} of {}.", groups.len(), survey.near.len()),
            file: thumbnails(survey, &groups)?,
            film: None,
        });
    }
    Ok(figures)
}

/// What pictures of many channels show.
fn of_channels(report: &CheckReport) -> &'static str {
    match report.channels_read {
        1 | 3 => "",
        2 => " The first channel is shown.",
        _ => " The first three channels are shown as red, green and blue.",
    }
}

/// A sheet of small copies.
fn thumbnails(survey: &Survey, rows: &[Vec<usize>]) -> Result<Vec<u8>, RunError> {
    let cell = |index: &usize| -> Option<Picture> {
        let image = survey.source.images[*index].decode(&survey.reading()).ok()?;
        let scale = f64::from(THUMBNAIL_PX) / f64::from(image.width.max(image.height));
        scaled(&image, scale).ok()
    };
    let cells: Vec<Vec<Picture>> = rows.iter().map(|row| row.iter().filter_map(cell).collect()).collect();
    Ok(sheet(&cells, &[]).to_jpeg()?)
}

fn tables(report: &CheckReport) -> Vec<Table> {
    let per = |name: &str, counts: &std::collections::BTreeMap<String, usize>| {
        let list: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind}: {}", grouped(*count))).collect();
        vec![name.to_owned(), list.join(", ")]
    };
    let each = |values: &[f32]| values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(", ");
    let extent = |extent: super::Extent| format!("{} to {}, median {}", extent.min, extent.max, extent.median);
    let mut tables = vec![Table {
        title: "In numbers".to_owned(),
        header: vec!["what".to_owned(), "value".to_owned()],
        rows: vec![
            vec!["images found".to_owned(), grouped(report.images)],
            per("format", &report.formats),
            per("values of a pixel", &report.channels),
            per("bits of a value", &report.bits),
            vec!["width, pixels".to_owned(), extent(report.width)],
            vec!["height, pixels".to_owned(), extent(report.height)],
            vec![
                if report.channels_read == 3 { "mean of red, green, blue" } else { "mean of each channel" }.to_owned(),
                each(&report.mean),
            ],
            vec!["standard deviation".to_owned(), each(&report.std)],
            vec![
                "reading and decoding".to_owned(),
                format!("{:.0} images per second on {} threads", report.images_per_second, report.threads),
            ],
        ],
        ..Table::default()
    }];
    if !report.bad.is_empty() {
        let row = |bad: &Skipped| vec![bad.path.display().to_string(), bad.reason.clone()];
        tables.push(Table {
            title: "Unreadable".to_owned(),
            caption: first_of(report.bad.len()),
            header: vec!["file".to_owned(), "reason".to_owned()],
            rows: report.bad.iter().take(LISTED).map(row).collect(),
        });
    }
    for (title, groups) in [("Equal files", &report.duplicates), ("Alike", &report.near_duplicates)] {
        if !groups.is_empty() {
            tables.push(Table {
                title: title.to_owned(),
                caption: first_of(groups.len()),
                header: vec!["images".to_owned(), "names".to_owned()],
                rows: groups.iter().take(LISTED).map(|group| vec![group.len().to_string(), names(group)]).collect(),
            });
        }
    }
    tables
}

fn first_of(count: usize) -> String {
    if count > LISTED { format!("The first {LISTED} of {}.", grouped(count)) } else { String::new() }
}

/// The first names of a group.
fn names(group: &[String]) -> String {
    let more = group.len().saturating_sub(NAMED);
    let named = group[..group.len() - more].join(", ");
    if more > 0 { format!("{named} and {} more", grouped(more)) } else { named }
}
