//! Somebody's own folder: every image is a query, and the other images of its class are to be found.

use dinoxide_views::{Error, Source};

use super::super::listing::without_results;
use super::super::ranking::{ImageFile, KEPT, Ranking, publish};
use super::thumbnails::{Part, Showing, features};
use super::{
    Missing, Outcome, QueryPart, RetrievalError, RetrievalReport, RetrievalRequest, Scales, Session, per_query,
    settings, within, words,
};
use crate::eval::EvalError;
use crate::eval::nearest::UnitRows;
use crate::eval::retrieval::rank_classes;
use crate::run::RunError;
use crate::run::images::{introduce_as, warn_of_skipped};

/// What the setting is called.
const CLASSES: &str = "classes";

pub(super) fn score(request: &RetrievalRequest) -> Result<Outcome<RetrievalReport>, RunError> {
    let source = Source::labelled(&request.data).map_err(|error| match error {
        Error::NoClasses { .. } => RetrievalError::NothingKnown { data: request.data.clone() }.into(),
        other => RunError::from(other),
    })?;
    let source = without_results(source, &request.data, &request.protocol.out)?;
    check(request)?;
    let file =
        |image: &dinoxide_views::source::SourceImage| ImageFile { name: image.name.to_string(), path: image.path() };
    let files: Vec<ImageFile> = source.images.iter().map(file).collect();

    let mut session = Session::open(&request.protocol)?;
    let (width, height) = session.look.model.transform.size();
    let within = within(&session, width.max(height) as usize)?;
    let scales = request.scales.unwrap_or(Scales::One).values();
    let showing = Showing { within, scales, missing: Missing::Skip };
    session.deviates(
        "every image is a query for the others of its folder; the original knows revisited Oxford and Paris only",
    );
    introduce_as(&session.look.console, &session.look.model, &format!("made to fit {}x{}", within.0, within.1));
    let parts: Vec<Part<'_>> = files.iter().map(|file| Part { path: &file.path, edges: None }).collect();
    let shown = features(&session, &parts, &showing);
    let skipped = |(place, reason): &(usize, String)| dinoxide_views::Skipped {
        path: files[*place].path.clone(),
        reason: reason.clone(),
    };
    warn_of_skipped(&session.look.console, &shown.failed.iter().map(skipped).collect::<Vec<_>>());
    match shown.places.len() {
        0 => return Err(EvalError::NoImages.into()),
        1 => return Err(EvalError::OneImage.into()),
        _ => {}
    }

    let images = UnitRows::new(shown.features, session.look.model.backbone.dim(), "the features")?;
    let classes: Vec<u32> = shown.places.iter().map(|place| source.images[*place].label.unwrap_or(0)).collect();
    let ranked = rank_classes(&images, &classes, KEPT)?;
    let settings = settings(&[CLASSES], &ranked)?;
    let left: Vec<ImageFile> = shown.places.iter().map(|place| files[*place].clone()).collect();
    let rankings = left.iter().zip(&ranked).map(|(query, ranked)| Ranking {
        query: query.clone(),
        words: words(ranked.scores[0]),
        first: ranked.first.clone(),
    });
    let rankings: Vec<Ranking> = rankings.collect();
    session.leaves_out(shown.failed.len());
    let report = RetrievalReport {
        dataset: CLASSES.to_owned(),
        images: left.len(),
        queries: left.len(),
        left_out: shown.failed.iter().map(|(place, _)| files[*place].name.clone()).collect(),
        within,
        scales: showing.scales,
        settings,
        per_query: per_query(&[CLASSES], left.iter().map(|query| &*query.name), &ranked),
    };
    session.finish_and("retrieval", (report, &[]), |session| publish(session, &left, &rankings))
}

/// # Errors
/// If something is asked for that only a benchmark has.
fn check(request: &RetrievalRequest) -> Result<(), RetrievalError> {
    let option = match request {
        RetrievalRequest { images: Some(_), .. } => "--images",
        RetrievalRequest { queries: QueryPart::Box, .. } => "--queries box",
        RetrievalRequest { missing: Missing::Skip, .. } => "--missing skip",
        _ => return Ok(()),
    };
    Err(RetrievalError::OnlyBenchmark { option, data: request.data.clone() })
}
