//! What is answered at which address. Only `GET`.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{Path as Address, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use axum::{Router, middleware};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::catalog::{LOG_FILE, METRICS_FILE};
use super::dashboard::Dashboard;
use super::guard::{Names, file_policy, guard};
use super::{events, files, follow, gallery};
use crate::run::folder::stored_config;
use crate::run::report::{PICTURES, REPORT_FILE};

/// All addresses.
pub(super) fn router(dashboard: Arc<Dashboard>, names: Names) -> Router {
    Router::new()
        .route("/", asset("text/html; charset=utf-8", include_str!("page.html")))
        .route("/page.css", asset("text/css; charset=utf-8", include_str!("page.css")))
        .route("/page.js", asset("text/javascript; charset=utf-8", include_str!("page.js")))
        .route("/icon.svg", asset("image/svg+xml", include_str!("icon.svg")))
        .route("/api/runs", get(runs))
        .route("/api/runs/{id}/metrics", get(metrics))
        .route("/api/runs/{id}/log", get(async |board: Board, id: Id| of_run(board, id, log).await))
        .route("/api/runs/{id}/pictures", get(async |board: Board, id: Id| of_run(board, id, pictures).await))
        .route("/api/runs/{id}/config", get(async |board: Board, id: Id| of_run(board, id, config).await))
        .route("/api/events", get(events::events))
        .route("/runs/{id}/report", get(async |board: Board, id: Id| of_run(board, id, report).await))
        .route("/runs/{id}/pictures/{*path}", get(picture))
        .fallback(async || missing("nothing is here; the page is at /"))
        .layer(middleware::from_fn_with_state(names, guard))
        .with_state(dashboard)
}

type Board = State<Arc<Dashboard>>;
type Id = Address<String>;

/// A file that is part of the program.
fn asset(media_type: &'static str, text: &'static str) -> MethodRouter<Arc<Dashboard>> {
    get(async move || ([(CONTENT_TYPE, media_type)], text))
}

/// Answers on another thread: a file system may take its time.
async fn blocking(answer: impl FnOnce() -> Response + Send + 'static) -> Response {
    let failed = |_| (StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be made").into_response();
    tokio::task::spawn_blocking(answer).await.unwrap_or_else(failed)
}

/// Answers from the folder of a run.
async fn of_run(
    State(dashboard): Board,
    Address(id): Id,
    answer: impl FnOnce(&Path) -> Response + Send + 'static,
) -> Response {
    blocking(move || match dashboard.folder(&id) {
        Some(folder) => answer(&folder),
        None => missing("there is no such run any more, or it is not under the folder that is served"),
    })
    .await
}

async fn runs(State(dashboard): Board) -> Response {
    blocking(move || json_of(&dashboard.contents())).await
}

/// What is asked about figures.
#[derive(Debug, Deserialize)]
struct Wanted {
    /// Only rows after this step.
    after: Option<u64>,
}

async fn metrics(board: Board, id: Id, Query(wanted): Query<Wanted>) -> Response {
    of_run(board, id, move |run| {
        let thinned = files::inside(run, METRICS_FILE).map(|file| follow::thinned(&file, wanted.after));
        let (rows, every) = thinned.map_or((Vec::new(), 1), |thinned| (thinned.rows, thinned.every));
        json_of(&json!({ "rows": rows, "every": every }))
    })
    .await
}

fn log(run: &Path) -> Response {
    json_of(&files::inside(run, LOG_FILE).map(|file| files::tail(&file)).unwrap_or_default())
}

fn pictures(run: &Path) -> Response {
    json_of(&gallery::gallery(run))
}

fn config(run: &Path) -> Response {
    let stored = stored_config(run).ok().flatten();
    let both = stored.and_then(|config| Some((config.to_commented_toml().ok()?, config.values().ok()?)));
    match both {
        Some((toml, values)) => json_of(&json!({ "toml": toml, "values": values })),
        None => missing("the configuration of this run cannot be read"),
    }
}

fn report(run: &Path) -> Response {
    match files::inside(run, REPORT_FILE) {
        Some(file) => file_of_run(&file, "text/html; charset=utf-8", "no-cache"),
        None => missing("this run has no report.html yet; it is written after the first evaluation or at the end"),
    }
}

/// What says that a picture may be kept: an address that changes with the file.
#[derive(Debug, Deserialize)]
struct Version {
    v: Option<String>,
}

async fn picture(
    State(dashboard): Board,
    Address((id, path)): Address<(String, String)>,
    Query(version): Query<Version>,
) -> Response {
    let caching = if version.v.is_some() { "private, max-age=86400, immutable" } else { "no-cache" };
    of_run(State(dashboard), Address(id), move |run| {
        let file = files::inside(run, &format!("{PICTURES}/{path}"));
        match (file, gallery::media_type(&path)) {
            (Some(file), Some(media_type)) => file_of_run(&file, media_type, caching),
            _ => missing("there is no such picture"),
        }
    })
    .await
}

fn file_of_run(file: &Path, media_type: &'static str, caching: &'static str) -> Response {
    let headers: [(HeaderName, &str); 2] = [(CONTENT_TYPE, media_type), (CACHE_CONTROL, caching)];
    match std::fs::read(file) {
        Ok(bytes) => (headers, [file_policy()], bytes).into_response(),
        Err(_) => missing("the file cannot be read"),
    }
}

fn json_of(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written").into_response(),
    }
}

fn missing(why: &str) -> Response {
    let text = json!({ "error": why }).to_string();
    (StatusCode::NOT_FOUND, [(CONTENT_TYPE, "application/json")], text).into_response()
}
