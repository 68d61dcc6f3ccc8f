//! `dinoxide eval copy`: whether copies find the image they were made of.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dinoxide_engine::tensor::Pool;
use dinoxide_views::{EvalTransform, Source};
use serde::Serialize;

use super::listing::without_results;
use super::ranking::{ImageFile, KEPT, Ranking, publish};
use super::{Outcome, ProtocolRequest, Session};
use crate::eval::EvalError;
use crate::eval::copy_detection::{CopyQuery, DEPTH, descriptors, find_copies, mean_average_precision};
use crate::eval::features::ImageBatch;
use crate::eval::nearest::UnitRows;
use crate::eval::published::{self, Published};
use crate::eval::retrieval::Mark;
use crate::eval::whitening::Whitening;
use crate::run::RunError;
use crate::run::counter::Counter;
use crate::run::device::among_threads;
use crate::run::images::{introduce, loader, warn_of_skipped};
use crate::run::input::ImageSize;

mod blocks;

use blocks::{Block, ORIGINAL, STRONG};
pub use blocks::{CopyError, Pairing};

/// Side of the images in the original program.
const SIDE: usize = 320;

/// What to do.
#[derive(Debug, Clone)]
pub struct CopyRequest {
    /// Network, size, folder of the results.
    pub protocol: ProtocolRequest,
    /// Folder with `original/` and folders of copies.
    pub data: PathBuf,
    /// Images that are added to the originals among which is looked.
    pub distractors: Option<PathBuf>,
    /// Images from which the whitening is learnt; without them there is none.
    pub whitening: Option<PathBuf>,
}

/// The figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CopyReport {
    /// Originals among which is looked.
    pub originals: usize,
    /// Images beside them.
    pub distractors: usize,
    /// Images from which the whitening was learnt; none without it.
    pub whitening: Option<usize>,
    /// Every block, the originals themselves first.
    pub blocks: Vec<BlockReport>,
    /// Every query.
    pub per_query: Vec<CopyQueryReport>,
    /// Images that could not be read.
    pub left_out: Vec<String>,
}

/// The figures of a block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockReport {
    /// Its folder, such as `crops/50`.
    pub block: String,
    /// How its copies were told to belong to originals.
    pub pairing: Pairing,
    /// Mean average precision, percent; none if no query has an original.
    pub map: Option<f64>,
    /// Copies that have an original.
    pub queries: usize,
}

/// The figures of a query.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CopyQueryReport {
    /// The copy.
    pub query: String,
    /// Average precision, percent; none if it has no original.
    pub average_precision: Option<f64>,
}

/// Descriptors of the images that could be read.
struct Described {
    files: Vec<ImageFile>,
    /// Their places among all.
    places: Vec<usize>,
    /// `[N, 2 D]`
    rows: Vec<f32>,
    left_out: Vec<String>,
}

/// Looks for the originals of copies by the cosine of their descriptors.
///
/// # Errors
/// If the model or the images cannot be read, or copies cannot be told to belong to originals.
pub fn copy(request: &CopyRequest) -> Result<Outcome<CopyReport>, RunError> {
    among_threads(|| detect(request))
}

fn detect(request: &CopyRequest) -> Result<Outcome<CopyReport>, RunError> {
    let (originals, blocks) = blocks::find(&request.data, &request.protocol.out, request.protocol.manner)?;
    let source = |folder: &Path| -> Result<Source, RunError> {
        without_results(Source::open(&[folder.display().to_string()])?, folder, &request.protocol.out)
    };
    let others = request.distractors.as_deref().map(source).transpose()?;
    let learnt_from = request.whitening.as_deref().map(source).transpose()?;
    let mut session = Session::open(&request.protocol)?;
    let transform = transform(&mut session)?;
    introduce(&session.look.console, &session.look.model, transform);

    // The first block is that of the originals: they are described once.
    let paths = blocks.iter().flat_map(|block| &block.copies).map(|file| file.path.display().to_string());
    let all = described(&session, Source::open(&paths.collect::<Vec<_>>())?, transform)?;
    let others = others.map(|others| described(&session, others, transform)).transpose()?;
    let learnt_from = learnt_from.map(|images| described(&session, images, transform)).transpose()?;
    let dim = 2 * session.look.model.backbone.dim();
    let whitening = learnt_from.as_ref().map(|images| Whitening::fit(&images.rows, dim)).transpose()?;
    let finished =
        |rows: &[f32]| whitening.as_ref().map_or_else(|| Ok(rows.to_vec()), |whitening| whitening.apply(rows));

    let row_of: HashMap<usize, usize> = all.places.iter().enumerate().map(|(row, place)| (*place, row)).collect();
    let known: Vec<usize> = (0..originals.len()).filter(|place| row_of.contains_key(place)).collect();
    let rows = finished(&all.rows)?;
    let row = |place: usize| row_of.get(&place).map(|row| &rows[row * dim..][..dim]);
    let mut database: Vec<f32> = known.iter().filter_map(|place| row(*place)).flatten().copied().collect();
    let mut images: Vec<ImageFile> = known.iter().map(|place| originals[*place].clone()).collect();
    if let Some(others) = &others {
        database.extend(finished(&others.rows)?);
        images.extend(others.files.iter().cloned());
    }
    let database = UnitRows::new(database, dim, "the descriptors of the originals")?;
    let found = found(&blocks, &known, &database, row)?;

    note(&mut session, [others.as_ref(), learnt_from.as_ref()], database.len(), &all);
    let published: &'static [Published] =
        if blocks.iter().any(|block| block.name == STRONG) { &published::COPY } else { &[] };
    let mut report = report(&found)?;
    report.originals = known.len();
    report.distractors = others.map_or(0, |others| others.files.len());
    report.whitening = learnt_from.map(|images| images.files.len());
    report.left_out = all.left_out;
    session.finish_and("copy", (report, published), |session| publish(session, &images, &rankings(&found)))
}

fn transform(session: &mut Session<'_>) -> Result<EvalTransform, RunError> {
    let asked = session.request.image_size.filter(|_| !session.is_reference());
    let size = asked.unwrap_or(ImageSize { width: SIDE, height: SIDE });
    if size != (ImageSize { width: SIDE, height: SIDE }) {
        session.deviates(format!("images resized to {size}; the original: {SIDE}x{SIDE}"));
    }
    session.look.model.transform(Some(size))
}

/// Descriptors of the images of a source.
fn described(session: &Session<'_>, source: Source, transform: EvalTransform) -> Result<Described, RunError> {
    let (model, source) = (&session.look.model, Arc::new(source));
    let mut images = loader(model, &source, transform)?;
    let pool = Pool::new();
    let frozen = model.frozen(&session.look.cpu, &pool);
    let counter = Counter::start(source.len());
    let mut found = Described { files: Vec::new(), places: Vec::new(), rows: Vec::new(), left_out: Vec::new() };
    for batch in &mut images {
        let batch = batch?;
        let (height, width, count) = (batch.height as usize, batch.width as usize, batch.samples.len());
        let tokens = frozen.tokens(ImageBatch { pixels: &batch.pixels, images: count, height, width });
        found.rows.extend(descriptors(&tokens, count, model.backbone.dim())?);
        found.places.extend(batch.samples.iter().map(|sample| *sample as usize));
        counter.add(count);
    }
    drop(counter);
    warn_of_skipped(&session.look.console, images.skipped());
    found.left_out = images.skipped().iter().map(|file| file.path.display().to_string()).collect();
    if found.places.is_empty() {
        return Err(EvalError::NoImages.into());
    }
    let file = |place: &usize| {
        let image = &source.images[*place];
        ImageFile { name: image.name.to_string(), path: image.path() }
    };
    found.files = found.places.iter().map(file).collect();
    Ok(found)
}

/// A block with what its queries found.
struct Found<'b> {
    block: &'b Block,
    /// Those that could be read.
    copies: Vec<&'b ImageFile>,
    /// Indices of the originals of each in the database.
    originals: Vec<Vec<usize>>,
    queries: Vec<CopyQuery>,
}

fn found<'b, 'r>(
    blocks: &'b [Block],
    known: &[usize],
    database: &UnitRows,
    row: impl Fn(usize) -> Option<&'r [f32]>,
) -> Result<Vec<Found<'b>>, RunError> {
    let mut first = 0;
    let mut all = Vec::new();
    for block in blocks {
        let mut found = Found { block, copies: Vec::new(), originals: Vec::new(), queries: Vec::new() };
        let mut rows = Vec::new();
        for (at, copy) in block.copies.iter().enumerate() {
            let Some(row) = row(first + at) else { continue };
            rows.extend_from_slice(row);
            found.copies.push(copy);
            let kept = block.originals[at].iter().filter_map(|original| known.binary_search(original).ok());
            found.originals.push(kept.collect());
        }
        found.queries = find_copies(database, &rows, &found.originals)?;
        first += block.copies.len();
        all.push(found);
    }
    Ok(all)
}

fn report(found: &[Found<'_>]) -> Result<CopyReport, EvalError> {
    let block = |found: &Found<'_>| {
        let (map, queries) = mean_average_precision(&found.queries).ok().unzip();
        let map = map.map(|map: f64| 100.0 * map);
        BlockReport {
            block: found.block.name.clone(),
            pairing: found.block.pairing,
            map,
            queries: queries.unwrap_or(0),
        }
    };
    let query = |(copy, query): (&&ImageFile, &CopyQuery)| CopyQueryReport {
        query: copy.name.clone(),
        average_precision: query.average_precision.map(|precision| 100.0 * precision),
    };
    let blocks: Vec<BlockReport> = found.iter().map(block).collect();
    if blocks.iter().skip(1).all(|block| block.map.is_none()) {
        return Err(EvalError::NothingToFind);
    }
    let per_query = found.iter().flat_map(|found| found.copies.iter().zip(&found.queries).map(query)).collect();
    Ok(CopyReport { originals: 0, distractors: 0, whitening: None, blocks, per_query, left_out: Vec::new() })
}

/// What the table and the sheet show: all copies, for the originals find themselves.
fn rankings(found: &[Found<'_>]) -> Vec<Ranking> {
    let ranking = |block: &str, copy: &ImageFile, originals: &[usize], query: &CopyQuery| {
        let mark = |index| if originals.contains(&index) { Mark::Right } else { Mark::Wrong };
        let score = query.average_precision.map_or("no original".to_owned(), |ap| format!("AP {:.1}", 100.0 * ap));
        Ranking {
            query: copy.clone(),
            words: vec![block.to_owned(), score],
            first: query.nearest.iter().take(KEPT).map(|near| (*near, mark(near.index))).collect(),
        }
    };
    let copies = found.iter().filter(|found| found.block.name != ORIGINAL);
    let of = |found: &Found<'_>| {
        let each = found.copies.iter().zip(&found.originals).zip(&found.queries);
        each.map(|((copy, originals), query)| ranking(&found.block.name, copy, originals, query)).collect::<Vec<_>>()
    };
    copies.flat_map(of).collect()
}

/// Notes where this differs from how the published numbers came about.
fn note(session: &mut Session<'_>, [others, learnt_from]: [Option<&Described>; 2], database: usize, all: &Described) {
    if others.is_none() {
        session.deviates("no distractors; the published numbers: among 10,000 other images");
    }
    if learnt_from.is_none() {
        session.deviates("no whitening; the published numbers: learnt from 20,000 other images");
    }
    if database < DEPTH {
        session.deviates(format!("{database} images are ranked; the original needs {DEPTH} or more"));
    }
    let unread = |described: &Described| described.left_out.len();
    session.leaves_out(unread(all) + others.map_or(0, unread) + learnt_from.map_or(0, unread));
}
