//! The ground truth of revisited Oxford and Paris: the pickle as it is published, or the same as JSON.
//!
//! Reading executes nothing; what is not a dictionary of plain lists, numbers and texts is an error.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use serde_json::{Number, Value as Json};

use super::super::listing::entries;
use super::RetrievalError;
use crate::checkpoint::pickle::{self, MAX_PICKLE_BYTES, Value};
use crate::eval::retrieval::Truth;
use crate::run::RunError;

/// How its file begins.
const PREFIX: &str = "gnd_";
/// Endings of images, the published one first.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// A benchmark.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundTruth {
    /// Its name, from that of the file, such as `roxford5k`.
    pub name: String,
    /// Names of the images among which is looked.
    pub images: Vec<String>,
    /// Names of the queries.
    pub queries: Vec<String>,
    /// What belongs to each query.
    pub truth: Vec<Truth>,
    /// Where in each query the building is: left, upper, right and lower edge in pixels.
    pub boxes: Vec<Option<[f64; 4]>>,
}

#[derive(Deserialize)]
struct Stored {
    imlist: Vec<String>,
    qimlist: Vec<String>,
    gnd: Vec<StoredQuery>,
}

#[derive(Deserialize)]
struct StoredQuery {
    easy: Vec<usize>,
    hard: Vec<usize>,
    junk: Vec<usize>,
    bbx: Option<[f64; 4]>,
}

/// The file of the ground truth that `data` is or holds, itself or in one of its folders; none if there is none.
///
/// # Errors
/// If there are several, or a folder cannot be read.
pub fn locate(data: &Path) -> Result<Option<PathBuf>, RunError> {
    if data.is_file() {
        return Ok(Some(data.to_path_buf()));
    }
    if !data.is_dir() {
        return Ok(None);
    }
    let mut found = within(data)?;
    if found.is_empty() {
        for folder in entries(data)?.iter().filter(|path| path.is_dir()) {
            found.extend(within(folder)?);
        }
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => Err(RetrievalError::SeveralGroundTruths { data: data.to_path_buf(), found }.into()),
    }
}

/// The ground truths in a folder; of a pickle and JSON of one name the pickle.
fn within(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let entries = entries(folder)?;
    let is = |path: &&PathBuf, ending: &str| {
        let begins = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        begins && path.extension().is_some_and(|found| found == ending) && path.is_file()
    };
    let pickles: Vec<PathBuf> = entries.iter().filter(|path| is(path, "pkl")).cloned().collect();
    let other = |path: &&PathBuf| is(path, "json") && !pickles.contains(&path.with_extension("pkl"));
    let json: Vec<PathBuf> = entries.iter().filter(other).cloned().collect();
    Ok([pickles, json].concat())
}

impl GroundTruth {
    /// Reads a ground truth, a pickle unless its name ends in `.json`.
    ///
    /// # Errors
    /// If the file cannot be read or is no ground truth.
    pub fn read(path: &Path) -> Result<Self, RunError> {
        let size = std::fs::metadata(path).map_err(RunError::file("read", path))?.len();
        let broken = |what: String| RetrievalError::GroundTruth { path: path.to_path_buf(), what };
        if size > MAX_PICKLE_BYTES {
            return Err(broken(format!("it has {size} bytes, and at most {MAX_PICKLE_BYTES} are read")).into());
        }
        let bytes = std::fs::read(path).map_err(RunError::file("read", path))?;
        let json = if path.extension().is_some_and(|ending| ending == "json") {
            serde_json::from_slice(&bytes).map_err(|error| broken(format!("it is no JSON: {error}")))?
        } else {
            let value =
                pickle::read(&bytes).map_err(|error| broken(format!("it is no pickle that is understood: {error}")))?;
            plain(&value).map_err(broken)?
        };
        let stored = Stored::deserialize(json).map_err(|error| broken(error.to_string()))?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let name = stem.strip_prefix(PREFIX).unwrap_or(&stem).to_owned();
        Self::from_stored(name, stored).map_err(|what| broken(what).into())
    }

    fn from_stored(name: String, stored: Stored) -> Result<Self, String> {
        let Stored { imlist: images, qimlist: queries, gnd } = stored;
        if gnd.len() != queries.len() {
            return Err(format!("`gnd` has {} entries for {} queries of `qimlist`", gnd.len(), queries.len()));
        }
        if gnd.is_empty() || images.is_empty() {
            return Err(format!("it has {} queries and {} images; both are needed", gnd.len(), images.len()));
        }
        let inside = |name: &&String| Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if let Some(name) = images.iter().chain(&queries).find(|name| name.is_empty() || !inside(name)) {
            return Err(format!("the name {name:?} leads out of the folder of the images"));
        }
        for (query, listed) in queries.iter().zip(&gnd) {
            let listed = listed.easy.iter().chain(&listed.hard).chain(&listed.junk);
            if let Some(index) = listed.into_iter().find(|index| **index >= images.len()) {
                return Err(format!("query `{query}` lists image {index}, and `imlist` has {}", images.len()));
            }
        }
        let boxes = gnd.iter().map(|query| query.bbx).collect();
        let truth = |query: StoredQuery| Truth { easy: query.easy, hard: query.hard, junk: query.junk };
        Ok(Self { name, images, queries, truth: gnd.into_iter().map(truth).collect(), boxes })
    }

    /// The folder of the images of the ground truth at `path`.
    ///
    /// # Errors
    /// If it is not where it is published to be.
    pub fn folder(&self, path: &Path) -> Result<PathBuf, RunError> {
        let beside = path.parent().unwrap_or(Path::new(""));
        let looked = vec![beside.join("jpg"), beside.join(&self.name).join("jpg")];
        match looked.iter().find(|folder| folder.is_dir()) {
            Some(folder) => Ok(folder.clone()),
            None => Err(RetrievalError::NoImageFolder { looked }.into()),
        }
    }
}

/// The file of a named image, or the one it should be.
pub fn image_file(folder: &Path, name: &str) -> PathBuf {
    let file = |ending: &str| folder.join(format!("{name}.{ending}"));
    ENDINGS.iter().map(|ending| file(ending)).find(|path| path.is_file()).unwrap_or_else(|| file(ENDINGS[0]))
}

/// A value of a pickle as JSON.
fn plain(value: &Value) -> Result<Json, String> {
    Ok(match value {
        Value::None => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(number) => Json::Number((*number).into()),
        Value::Float(number) => Json::Number(Number::from_f64(*number).ok_or("it holds a number that is not finite")?),
        Value::Text(text) => Json::String(text.to_string()),
        Value::List(items) | Value::Tuple(items) => Json::Array(items.iter().map(plain).collect::<Result<_, _>>()?),
        Value::Dict(entries) => {
            let entry = |(key, value): &(Value, Value)| match key {
                Value::Text(key) => Ok((key.to_string(), plain(value)?)),
                other => Err(format!("it has the key {other}, which is no text")),
            };
            Json::Object(entries.iter().map(entry).collect::<Result<_, String>>()?)
        }
        Value::BigInt(_) | Value::Bytes(_) | Value::Tensor(_) | Value::Opaque { .. } => {
            return Err(format!("it holds {value}, and a ground truth is made of plain lists, numbers and texts"));
        }
    })
}
