//! Videos as DAVIS lays them out: `ImageSets/2017/val.txt`, `JPEGImages/480p/SEQUENCE/00000.jpg`, `Annotations/480p/SEQUENCE/00000.png`.

use std::path::{Path, PathBuf};

use super::super::listing::{entries, file_name};
use super::VideoDataError;
use crate::run::RunError;

/// Folders of frames and masks, and the list of sequences.
const FRAMES: &str = "JPEGImages/480p";
const MASKS: &str = "Annotations/480p";
const LIST: &str = "ImageSets/2017/val.txt";
/// Endings of frames.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// A video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// Name of its folders.
    pub name: String,
    /// Its frames in order.
    pub frames: Vec<VideoFrame>,
}

/// A frame of a video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoFrame {
    /// Name without its ending, such as `00000`.
    pub name: String,
    /// The picture.
    pub image: PathBuf,
    /// The annotation, if there is one.
    pub mask: Option<PathBuf>,
}

/// Sequences and those that were left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// In the order of the list, or of their names; the first frame of each has a mask.
    pub sequences: Vec<Sequence>,
    /// Names of those without a first mask.
    pub unlabelled: Vec<String>,
}

/// Finds the sequences of a folder: the `named` ones; else those of the list of DAVIS-2017; else all.
///
/// # Errors
/// If there are no videos, or one of those that are named or listed is missing or has no first mask.
pub fn find(root: &Path, named: &[String]) -> Result<Found, RunError> {
    let folder = root.join(FRAMES);
    if !folder.is_dir() {
        return Err(VideoDataError::NoVideos { path: root.to_path_buf() }.into());
    }
    let listed = if named.is_empty() { listed(root)? } else { named.to_vec() };
    let wanted = if listed.is_empty() { names(&folder, Path::is_dir)? } else { listed.clone() };
    let mut found = Found { sequences: Vec::new(), unlabelled: Vec::new() };
    let mut example = None;
    for name in wanted {
        let sequence = sequence(root, &name)?;
        let first = match sequence.as_ref().and_then(|sequence| sequence.frames.first()) {
            Some(first) => first,
            // Among all folders one without frames is no video.
            None if listed.is_empty() => continue,
            None => return Err(VideoDataError::NoSequence { path: folder.join(&name), name }.into()),
        };
        if first.mask.is_none() {
            let path = mask_path(root, &name, &first.name);
            if !listed.is_empty() {
                return Err(VideoDataError::NoFirstMask { name, path }.into());
            }
            example.get_or_insert(path);
            found.unlabelled.push(name);
            continue;
        }
        found.sequences.extend(sequence);
    }
    match (found.sequences.is_empty(), example) {
        (false, _) => Ok(found),
        (true, Some(example)) => Err(VideoDataError::NoFirstMasks { path: root.to_path_buf(), example }.into()),
        (true, None) => Err(VideoDataError::NoVideos { path: root.to_path_buf() }.into()),
    }
}

/// Names of the official list, if there is one.
fn listed(root: &Path) -> Result<Vec<String>, RunError> {
    let path = root.join(LIST);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(RunError::file("read", &path))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// A sequence with its frames; none if it has no folder.
fn sequence(root: &Path, name: &str) -> Result<Option<Sequence>, RunError> {
    let folder = root.join(FRAMES).join(name);
    if !folder.is_dir() {
        return Ok(None);
    }
    let is_frame = |path: &Path| {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        path.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&&*ending))
    };
    let frame = |file: String| {
        let image = folder.join(&file);
        let own = Path::new(&file).file_stem().map_or(file.clone(), |stem| stem.to_string_lossy().into_owned());
        let mask = Some(mask_path(root, name, &own)).filter(|mask| mask.is_file());
        VideoFrame { name: own, image, mask }
    };
    let frames = names(&folder, is_frame)?.into_iter().map(frame).collect();
    Ok(Some(Sequence { name: name.to_owned(), frames }))
}

fn mask_path(root: &Path, sequence: &str, frame: &str) -> PathBuf {
    root.join(MASKS).join(sequence).join(format!("{frame}.png"))
}

/// Sorted names of what is wanted in a folder, without hidden ones.
fn names(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<String>, RunError> {
    Ok(entries(folder)?.iter().filter(|path| wanted(path)).map(|path| file_name(path)).collect())
}
