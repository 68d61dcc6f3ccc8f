//! `dinoxide map`: all images on a plane, alike ones beside each other.

use std::path::PathBuf;

use dinoxide_views::{EvalBatch, Image, Source};
use serde::Serialize;

use super::RunError;
use super::classes::Classes;
use super::counter::Counter;
use super::device::among_threads;
use super::look::{Gallery, Look, LookRequest, named, picture_file, thinned, write_file, write_table};
use super::progress::grouped;
use super::report::scaled;
use crate::eval::EvalError;
use crate::eval::kmeans::kmeans;
use crate::eval::map::{Descent, FEWEST, STEPS, pca_map, perplexity, tsne_map};
use crate::eval::nearest::UnitRows;
use crate::report::map::{Map, MapGroup, MapPage, MapPoint, map_picture};
use crate::report::picture::Picture;

/// Seed of the clusters.
const SEED: u64 = 0;
/// Sides of the thumbnails, in pixels, for as many images at most.
const SIDES: [(u32, usize); 3] = [(96, 1000), (64, 3000), (48, usize::MAX)];

/// What to do.
#[derive(Debug, Clone)]
pub struct MapRequest {
    /// Images, network, folder.
    pub look: LookRequest,
    /// How features become places.
    pub method: MapMethod,
    /// Images at most; of more, evenly spread ones.
    pub max: usize,
    /// Clusters where folders are no classes.
    pub clusters: usize,
}

/// How features become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MapMethod {
    /// Neighbours stay neighbours (van der Maaten and Hinton 2008)
    #[default]
    Tsne,
    /// The two directions along which images differ most
    Pca,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MapReport {
    /// Images on the map.
    pub images: usize,
    /// Images that could not be read.
    pub skipped: usize,
    /// How features became places.
    pub method: MapMethod,
    /// What colours mean: `class` or `cluster`.
    pub colours: &'static str,
    /// Images of each class or cluster.
    pub groups: Vec<(String, usize)>,
    /// Files written.
    pub files: Vec<PathBuf>,
}

/// Places all images on a plane and writes a table, a picture and a page.
///
/// # Errors
/// If the model or the images cannot be read, there are fewer than two, or the results cannot be written.
pub fn map(request: &MapRequest) -> Result<MapReport, RunError> {
    among_threads(|| draw(request))
}

fn draw(request: &MapRequest) -> Result<MapReport, RunError> {
    let look = Look::open(&request.look)?;
    let transform = look.model.transform(request.look.image_size)?;
    let source = thinned(&look.console, Source::open(&request.look.data)?, request.max.max(2));
    let side = SIDES.iter().find(|(_, most)| source.len() <= *most).map_or(SIDES[2].0, |(side, _)| *side);
    let mut thumbnails = Vec::with_capacity(source.len());
    let channels = look.model.reading.channels;
    let gallery = look.features(source, transform, |batch| thumbnails.extend(small_copies(batch, channels, side)))?;
    if gallery.images.len() < 2 {
        return Err(EvalError::OneImage.into());
    }
    let (places, method) = places(&look, request.method, &gallery)?;
    let grouping = Grouping::of(&gallery, request.clusters)?;
    let points = places.iter().zip(&gallery.images).zip(grouping.of.iter().zip(thumbnails));
    let points = points.map(|((place, image), (group, thumbnail))| MapPoint {
        name: image.name.to_string(),
        place: *place,
        group: *group,
        thumbnail,
    });
    let counts = grouping.names.iter().enumerate();
    let counts = counts.map(|(group, name)| (name.clone(), grouping.of.iter().filter(|of| **of == group).count()));
    let report = MapReport {
        images: gallery.images.len(),
        skipped: gallery.skipped,
        method,
        colours: grouping.kind,
        groups: counts.collect(),
        files: Vec::new(),
    };
    let groups = report.groups.iter().map(|(name, count)| MapGroup { name: name.clone(), count: *count }).collect();
    let map = Map { points: points.collect(), groups };
    publish(request, &gallery, map, report)
}

/// What the network saw of each image, small and square.
fn small_copies(batch: &EvalBatch, channels: usize, side: u32) -> Vec<Picture> {
    let (width, height) = (batch.width, batch.height);
    let bytes = width as usize * height as usize * channels;
    let copy = |pixels: &[u8]| {
        let image = Image { width, height, channels, pixels: pixels.to_vec() };
        let factor = f64::from(side) / f64::from(width.max(height));
        let small = scaled(&image, factor).map(|picture| picture.resized(side, side));
        small.unwrap_or_else(|_| Picture::filled(side, side, [128; 3]))
    };
    batch.pixels.chunks_exact(bytes.max(1)).map(copy).collect()
}

/// The places of all images, and how they came about.
fn places(look: &Look, method: MapMethod, gallery: &Gallery) -> Result<(Vec<[f32; 2]>, MapMethod), RunError> {
    let Gallery { features, dim, images, .. } = gallery;
    let few = images.len() < FEWEST;
    if few && method == MapMethod::Tsne {
        look.console.say(&format!("t-SNE needs at least {FEWEST} images: principal components are shown"));
    }
    if few || method == MapMethod::Pca {
        return Ok((pca_map(features, *dim)?, MapMethod::Pca));
    }
    let rows = UnitRows::new(features.clone(), *dim, "the features")?;
    look.console.say(&format!(
        "t-SNE of {} images, perplexity {}, {} steps",
        grouped(images.len()),
        perplexity(images.len()),
        grouped(STEPS)
    ));
    let counter = Counter::of(STEPS, "steps");
    Ok((tsne_map(&rows, Descent::default(), |_| counter.add(1))?, MapMethod::Tsne))
}

/// What the colours mean.
struct Grouping {
    kind: &'static str,
    names: Vec<String>,
    of: Vec<usize>,
}

impl Grouping {
    /// Classes where folders are classes, else clusters of the unit features.
    fn of(gallery: &Gallery, clusters: usize) -> Result<Self, RunError> {
        if let Some(Classes { names, of }) = Classes::of_folders(gallery.images.iter().map(|image| &*image.name)) {
            return Ok(Self { kind: "class", names, of });
        }
        let rows = UnitRows::new(gallery.features.clone(), gallery.dim, "the features")?;
        let values: Vec<f32> = (0..rows.len()).flat_map(|row| rows.row(row)).copied().collect();
        let found = kmeans(&values, gallery.dim, clusters.clamp(1, rows.len()), SEED)?;
        let names = (1..=found.count).map(|number| format!("cluster {number}")).collect();
        Ok(Self { kind: "cluster", names, of: found.of })
    }
}

fn publish(request: &MapRequest, gallery: &Gallery, map: Map, mut report: MapReport) -> Result<MapReport, RunError> {
    let out = &request.look.out;
    let (table, picture, page) = (out.join("map.csv"), out.join("map.png"), out.join("map.html"));
    let line = |(image, point): (&dinoxide_views::source::SourceImage, &MapPoint)| {
        let [x, y] = point.place.map(|value| value.to_string());
        [image.path().display().to_string(), x, y, map.groups[point.group].name.clone()]
    };
    write_table(&table, ["path", "x", "y", report.colours], gallery.images.iter().zip(&map.points).map(line))?;
    picture_file(&picture, &map_picture(&map))?;
    let method = match report.method {
        MapMethod::Tsne => {
            "t-SNE of the class tokens by cosine: near images are alike to the network; distances between far groups mean little."
        }
        MapMethod::Pca => "The first two principal components of the class tokens.",
    };
    let groups = match report.colours {
        "class" => "Colours are classes (folders).",
        _ => "Colours are clusters (k-means): folders are no classes.",
    };
    let plural = if report.colours == "class" { "classes" } else { "clusters" };
    let html = MapPage {
        title: "Map of the images".to_owned(),
        sentence: format!(
            "{} images of {} as {} sees them, {} {plural}",
            grouped(report.images),
            named(&request.look.data),
            request.look.model.display(),
            report.groups.len()
        ),
        caption: format!("{method} {groups}"),
        kind: report.colours.to_owned(),
        map,
    };
    write_file(&page, html.to_html()?.as_bytes())?;
    report.files = vec![table, picture, page];
    Ok(report)
}
