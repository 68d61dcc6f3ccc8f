//! `dinoxide neighbors`: which images are nearest to an image.

use std::path::PathBuf;

use dinoxide_views::Source;
use dinoxide_views::source::SourceImage;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::RunError;
use super::classes::Classes;
use super::device::among_threads;
use super::look::{Gallery, Look, LookRequest, figure, named, write_page, write_table};
use crate::eval::EvalError;
use crate::eval::nearest::{Neighbour, UnitRows};
use crate::report::neighbor_sheet::{NeighborRow, Shown, neighbor_sheet};
use crate::report::page::{RunPage, Table, Verdict, VerdictState};

/// Queries that are drawn where none are given.
const QUERIES: usize = 8;
/// Seed of that draw.
const SEED: u64 = 0;
/// Longer side of a picture on the sheet.
const CELL_PX: u32 = 112;
/// Queries and neighbours that a sheet shows; the table has all.
const SHOWN: [usize; 2] = [32, 16];

/// What to do.
#[derive(Debug, Clone)]
pub struct NeighborsRequest {
    /// Images, network, folder.
    pub look: LookRequest,
    /// Images to look for, of these or others; drawn from the data if there are none.
    pub queries: Vec<String>,
    /// Neighbours of each.
    pub k: usize,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NeighborsReport {
    /// Images among which neighbours are looked for.
    pub images: usize,
    /// Images that could not be read.
    pub skipped: usize,
    /// Images looked for.
    pub queries: usize,
    /// Neighbours of each.
    pub k: usize,
    /// Share of the neighbours that are of the query's class, 0 to 1; absent where folders are no classes.
    pub same_class: Option<f64>,
    /// The neighbours of every query, nearest first.
    pub neighbors: Vec<FoundNeighbors>,
    /// Files written.
    pub files: Vec<PathBuf>,
}

/// A query with its neighbours.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundNeighbors {
    /// Name of the query.
    pub query: String,
    /// Its neighbours, nearest first.
    pub nearest: Vec<FoundNeighbor>,
}

/// One neighbour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundNeighbor {
    /// Name of the image.
    pub image: String,
    /// Cosine of the two features.
    pub similarity: f32,
}

/// Looks for the nearest images by cosine of the class tokens and writes a table, a sheet and a page.
///
/// # Errors
/// If the model or the images cannot be read, there are fewer than two, or the results cannot be written.
pub fn neighbors(request: &NeighborsRequest) -> Result<NeighborsReport, RunError> {
    among_threads(|| find(request))
}

fn find(request: &NeighborsRequest) -> Result<NeighborsReport, RunError> {
    if request.k == 0 {
        return Err(EvalError::NoNeighbours.into());
    }
    let look = Look::open(&request.look)?;
    let transform = look.model.transform(request.look.image_size)?;
    let given = if request.queries.is_empty() { None } else { Some(Source::open(&request.queries)?) };
    let gallery = look.features(Source::open(&request.look.data)?, transform, |_| {})?;
    let others = given.map(|given| look.features(given, transform, |_| {})).transpose()?;
    let found = search(&look, request, &gallery, others.as_ref())?;
    let report = report_on(request, &gallery, others.as_ref(), &found);
    publish(&look, request, &found, report)
}

/// Queries and what is near them; images are those of the data, then queries that are not among them.
struct Found {
    images: Vec<SourceImage>,
    queries: Vec<usize>,
    nearest: Vec<Vec<Neighbour>>,
    classes: Option<Classes>,
}

fn search(
    look: &Look,
    request: &NeighborsRequest,
    gallery: &Gallery,
    others: Option<&Gallery>,
) -> Result<Found, RunError> {
    let bank = UnitRows::new(gallery.features.clone(), gallery.dim, "the features")?;
    let (mut images, mut features) = (gallery.images.clone(), gallery.features.clone());
    let queries = match others {
        None => drawn(images.len()),
        Some(others) => {
            // A query that is one of the images is not its own neighbour.
            let absolute = |image: &SourceImage| std::path::absolute(image.path()).unwrap_or_else(|_| image.path());
            let known: Vec<PathBuf> = images.iter().map(absolute).collect();
            let place = |(image, feature): (&SourceImage, &[f32])| {
                let path = absolute(image);
                known.iter().position(|known| *known == path).unwrap_or_else(|| {
                    images.push(image.clone());
                    features.extend_from_slice(feature);
                    images.len() - 1
                })
            };
            others.images.iter().zip(others.features.chunks_exact(gallery.dim)).map(place).collect()
        }
    };
    let own: Vec<Option<usize>> =
        queries.iter().map(|query| Some(*query).filter(|query| *query < bank.len())).collect();
    let most = bank.len() - usize::from(own.iter().any(Option::is_some));
    if most == 0 {
        return Err(EvalError::OneImage.into());
    }
    if request.k > most {
        let k = request.k;
        look.console.say(&format!("k = {k}: there are only {most} other images, so all of them are shown"));
    }
    let rows: Vec<f32> =
        queries.iter().flat_map(|query| &features[query * gallery.dim..][..gallery.dim]).copied().collect();
    let nearest = bank.nearest_others(&rows, &own, request.k)?;
    // Queries from elsewhere have folders of their own, which need not be classes of the data.
    let classes = if images.len() == bank.len() { Classes::of_folders(images.iter().map(|i| &*i.name)) } else { None };
    Ok(Found { images, queries, nearest, classes })
}

/// Indices of images spread over so many: one of each of eight equal parts, by a fixed seed.
pub fn drawn(images: usize) -> Vec<usize> {
    let count = images.min(QUERIES);
    let mut draws = ChaCha8Rng::seed_from_u64(SEED);
    let place = |part: usize| {
        let (first, end) = (part * images / count, (part + 1) * images / count);
        first + (draws.next_u64() % (end - first) as u64) as usize
    };
    (0..count).map(place).collect()
}

fn report_on(
    request: &NeighborsRequest,
    gallery: &Gallery,
    others: Option<&Gallery>,
    found: &Found,
) -> NeighborsReport {
    let name = |index: usize| found.images[index].name.to_string();
    let pairs = found.queries.iter().zip(&found.nearest);
    let neighbor = |near: &Neighbour| FoundNeighbor { image: name(near.index), similarity: near.similarity };
    let row = |(query, nearest): (&usize, &Vec<Neighbour>)| FoundNeighbors {
        query: name(*query),
        nearest: nearest.iter().map(neighbor).collect(),
    };
    let same_class = found.classes.as_ref().map(|classes| {
        let same = |(query, near): (usize, &Neighbour)| classes.of[query] == classes.of[near.index];
        let all = pairs.clone().flat_map(|(query, nearest)| nearest.iter().map(|near| (*query, near)));
        all.clone().filter(|pair| same(*pair)).count() as f64 / all.count().max(1) as f64
    });
    NeighborsReport {
        images: gallery.images.len(),
        skipped: gallery.skipped + others.map_or(0, |others| others.skipped),
        queries: found.queries.len(),
        k: found.nearest.iter().map(Vec::len).max().unwrap_or(request.k),
        same_class,
        neighbors: pairs.clone().map(row).collect(),
        files: Vec::new(),
    }
}

fn publish(
    look: &Look,
    request: &NeighborsRequest,
    found: &Found,
    mut report: NeighborsReport,
) -> Result<NeighborsReport, RunError> {
    let out = &request.look.out;
    let (table, sheet, page) = (out.join("neighbors.csv"), out.join("neighbors.png"), out.join("neighbors.html"));
    let line = |found: &FoundNeighbors| {
        let query = found.query.clone();
        (1..).zip(found.nearest.clone()).map(move |(rank, near): (usize, FoundNeighbor)| {
            [query.clone(), rank.to_string(), near.image, near.similarity.to_string()]
        })
    };
    let lines = report.neighbors.iter().flat_map(line);
    write_table(&table, ["query", "rank", "neighbour", "similarity"], lines)?;
    let rows: Vec<NeighborRow> = (0..found.queries.len().min(SHOWN[0])).map(|row| row_of(look, found, row)).collect();
    let mut caption =
        "On the left the image that is looked for, then the nearest others with the cosine of their class \
                       tokens."
            .to_owned();
    if found.classes.is_some() {
        caption += " Green edge: the same class (folder); red: another.";
    }
    if found.queries.len() > rows.len() || report.k > SHOWN[1] {
        caption += " neighbors.csv has more.";
    }
    let figure = figure(&sheet, &neighbor_sheet(&rows, CELL_PX), "Nearest images", caption)?;
    write_page(&page, &RunPage { figures: vec![figure], ..page_of(request, found, &report) })?;
    report.files = vec![table, sheet, page];
    Ok(report)
}

fn row_of(look: &Look, found: &Found, row: usize) -> NeighborRow {
    let shown = |index: usize| Shown {
        picture: look.thumbnail(&found.images[index], CELL_PX),
        class: found.classes.as_ref().map(|classes| classes.name(index).to_owned()),
    };
    let nearest = found.nearest[row].iter().take(SHOWN[1]);
    NeighborRow {
        query: shown(found.queries[row]),
        nearest: nearest.map(|near| (shown(near.index), near.similarity)).collect(),
    }
}

fn page_of(request: &NeighborsRequest, found: &Found, report: &NeighborsReport) -> RunPage {
    let sentence = match report.same_class {
        Some(share) => format!(
            "{:.0} % of the {} nearest of {} images are of the same class",
            100.0 * share,
            report.k,
            report.queries
        ),
        None => format!("the {} nearest of {} images among {}", report.k, report.queries, report.images),
    };
    let row = |(query, (found_one, nearest)): (&usize, (&FoundNeighbors, &Vec<Neighbour>))| {
        let similarity =
            |near: Option<&Neighbour>| near.map_or_else(String::new, |near| format!("{:.3}", near.similarity));
        let mut cells = vec![found_one.query.clone(), similarity(nearest.first()), similarity(nearest.last())];
        if let Some(classes) = &found.classes {
            let same = nearest.iter().filter(|near| classes.of[near.index] == classes.of[*query]).count();
            cells.push(format!("{same} of {}", nearest.len()));
        }
        cells
    };
    let rows = found.queries.iter().zip(report.neighbors.iter().zip(&found.nearest)).map(row);
    let mut header = vec!["image".to_owned(), "nearest".to_owned(), format!("rank {}", report.k)];
    header.extend(found.classes.as_ref().map(|_| "same class".to_owned()));
    let caption = format!(
        "Cosine of the class tokens of {} among {} images of {}.",
        request.look.model.display(),
        report.images,
        named(&request.look.data)
    );
    RunPage {
        title: "Nearest images".to_owned(),
        verdict: Verdict { state: VerdictState::Neutral, sentence },
        tables: vec![Table { title: "Similarities".to_owned(), caption, header, rows: rows.collect() }],
        ..RunPage::default()
    }
}
