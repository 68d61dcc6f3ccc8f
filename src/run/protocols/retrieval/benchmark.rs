//! Revisited Oxford and Paris, and other benchmarks whose ground truth has their form.

use std::path::{Path, PathBuf};

use super::super::ranking::{ImageFile, KEPT, Ranking, publish};
use super::ground_truth::{GroundTruth, image_file};
use super::thumbnails::{Part, Showing, Shown, features};
use super::{
    Missing, Outcome, QueryPart, RetrievalError, RetrievalReport, RetrievalRequest, Scales, Session, per_query,
    settings, within, words,
};
use crate::eval::nearest::UnitRows;
use crate::eval::published::{self, Published};
use crate::eval::retrieval::{Setting, Truth, rank};
use crate::run::RunError;
use crate::run::images::introduce_as;

/// Missing images that are named before the rest is only counted.
const NAMED: usize = 3;
/// The setting that tables and sheets show where there is room for one.
const SHOWN_SETTING: usize = 1;

pub(super) fn score(request: &RetrievalRequest, file: &Path) -> Result<Outcome<RetrievalReport>, RunError> {
    let benchmark = GroundTruth::read(file)?;
    let folder = request.images.clone().map_or_else(|| benchmark.folder(file), Ok)?;
    let files = |names: &[String]| -> Vec<ImageFile> {
        names.iter().map(|name| ImageFile { name: name.clone(), path: image_file(&folder, name) }).collect()
    };
    let (images, queries) = (files(&benchmark.images), files(&benchmark.queries));
    if request.missing == Missing::Error {
        check_present(&images, &queries)?;
    }
    let boxes = boxes(request, &benchmark, file)?;
    let mut session = Session::open(&request.protocol)?;
    let (showing, published) = showing(&mut session, request, &benchmark.name)?;
    introduce_as(
        &session.look.console,
        &session.look.model,
        &format!("made to fit {}x{}", showing.within.0, showing.within.1),
    );
    let of = |files: &[ImageFile], boxes: &[Option<[f64; 4]>], what| {
        let parts = files.iter().zip(boxes).map(|(file, edges)| Part { path: &file.path, edges: *edges });
        usable(features(&session, &parts.collect::<Vec<_>>(), &showing), files, &showing, (what, &folder))
    };
    let shown_queries = of(&queries, &boxes, "queries")?;
    let shown_images = of(&images, &vec![None; images.len()], "images")?;
    let left_out = left_out(&mut session, [(&images, &shown_images), (&queries, &shown_queries)]);

    let truth = remaining(&benchmark.truth, &shown_queries, &shown_images, images.len());
    let database = UnitRows::new(shown_images.features, session.look.model.backbone.dim(), "the features")?;
    let ranked = rank(&database, &shown_queries.features, &truth, KEPT)?;
    let names = Setting::ALL.map(Setting::name);
    let settings = settings(&names, &ranked)?;
    let kept = |files: &[ImageFile], places: &[usize]| places.iter().map(|place| files[*place].clone()).collect();
    let (images, queries): (Vec<_>, Vec<ImageFile>) =
        (kept(&images, &shown_images.places), kept(&queries, &shown_queries.places));
    let rankings = queries.iter().zip(&ranked).map(|(query, ranked)| Ranking {
        query: query.clone(),
        words: words(ranked.scores[SHOWN_SETTING]),
        first: ranked.first.clone(),
    });
    let rankings: Vec<Ranking> = rankings.collect();
    let report = RetrievalReport {
        dataset: benchmark.name,
        images: images.len(),
        queries: queries.len(),
        left_out,
        within: showing.within,
        scales: showing.scales,
        settings,
        per_query: per_query(&names, queries.iter().map(|query| &*query.name), &ranked),
    };
    session.finish_and("retrieval", (report, published), |session| publish(session, &images, &rankings))
}

/// The part of each query that is shown; none for all of it.
///
/// # Errors
/// If boxes are asked for and a query has none.
fn boxes(
    request: &RetrievalRequest,
    benchmark: &GroundTruth,
    path: &Path,
) -> Result<Vec<Option<[f64; 4]>>, RetrievalError> {
    if request.queries == QueryPart::Whole {
        return Ok(vec![None; benchmark.queries.len()]);
    }
    let without = benchmark.queries.iter().zip(&benchmark.boxes).find(|(_, edges)| edges.is_none());
    match without {
        Some((query, _)) => Err(RetrievalError::NoBox { path: path.to_path_buf(), query: query.clone() }),
        None => Ok(benchmark.boxes.clone()),
    }
}

/// # Errors
/// If an image or query is not there.
fn check_present(images: &[ImageFile], queries: &[ImageFile]) -> Result<(), RetrievalError> {
    let all = || images.iter().chain(queries);
    let missing: Vec<&ImageFile> = all().filter(|image| !image.path.is_file()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let first = missing.iter().take(NAMED).map(|image| image.path.clone()).collect();
    Err(RetrievalError::MissingImages { count: missing.len(), total: all().count(), first })
}

/// Size and scales of the benchmark unless others are asked for, and what was published of it.
fn showing(
    session: &mut Session<'_>,
    request: &RetrievalRequest,
    name: &str,
) -> Result<(Showing, &'static [Published]), RunError> {
    let (side, scales, published): (usize, _, &'static [Published]) = if name.contains("paris") {
        (512, Scales::Three, &published::PARIS)
    } else if name.contains("oxford") {
        (224, Scales::One, &published::OXFORD)
    } else {
        (224, Scales::One, &[])
    };
    let within = within(session, side)?;
    if within != (side as u32, side as u32) {
        session.deviates(format!("images fit {}x{}; the original's {side}x{side}", within.0, within.1));
    }
    let used = request.scales.filter(|_| !session.is_reference()).unwrap_or(scales);
    if used != scales {
        let words = |scales| if scales == Scales::One { "one scale" } else { "the mean of three scales" };
        session.deviates(format!("{}; the published numbers: {}", words(used), words(scales)));
    }
    if request.queries == QueryPart::Box {
        session.deviates("queries are cut to their boxes; the original shows all of them");
    }
    Ok((Showing { within, scales: used.values(), missing: request.missing }, published))
}

/// What was shown of `files`, if that is all that was asked for.
fn usable(
    mut shown: Shown,
    files: &[ImageFile],
    showing: &Showing,
    (what, folder): (&'static str, &PathBuf),
) -> Result<Shown, RetrievalError> {
    if showing.missing == Missing::Error && !shown.failed.is_empty() {
        let (place, reason) = shown.failed.swap_remove(0);
        return Err(RetrievalError::Unusable { path: files[place].path.clone(), reason });
    }
    if shown.places.is_empty() {
        return Err(RetrievalError::NoneLeft { what, folder: folder.clone() });
    }
    Ok(shown)
}

/// Names the images that were left out, in words and as a list.
fn left_out(session: &mut Session<'_>, sides: [(&Vec<ImageFile>, &Shown); 2]) -> Vec<String> {
    let all = || sides.iter().flat_map(|(files, shown)| shown.failed.iter().map(|(at, why)| (&files[*at], why)));
    for (file, reason) in all().take(NAMED) {
        session.look.console.warn(&format!("left out `{}`: {reason}", file.path.display()));
    }
    let names: Vec<String> = all().map(|(file, _)| file.name.clone()).collect();
    if !names.is_empty() {
        let [(images, of_images), (queries, of_queries)] = sides;
        let how = format!(
            "{} of {} images and {} of {} queries are left out, so these are not the benchmark's figures",
            of_images.failed.len(),
            images.len(),
            of_queries.failed.len(),
            queries.len()
        );
        session.look.console.warn(&how);
        session.deviates(how);
    }
    names
}

/// The truth of the queries that are left, of the images that are left.
fn remaining(truth: &[Truth], queries: &Shown, images: &Shown, all: usize) -> Vec<Truth> {
    let mut now = vec![None; all];
    images.places.iter().enumerate().for_each(|(new, old)| now[*old] = Some(new));
    let kept = |listed: &[usize]| listed.iter().filter_map(|old| now[*old]).collect();
    let query = |place: &usize| {
        let Truth { easy, hard, junk } = &truth[*place];
        Truth { easy: kept(easy), hard: kept(hard), junk: kept(junk) }
    };
    queries.places.iter().map(query).collect()
}
