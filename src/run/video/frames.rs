//! Frames one after the other: of a folder, or of a video file.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use dinoxide_views::{Image, Reading, Skipped, Source, decode_bytes};

use super::FilmError;
use super::ffmpeg::{self, About};
use crate::run::RunError;
use crate::run::look::named;

/// Endings of video files. GIFs are among them, since as images they have one frame only.
const VIDEOS: [&str; 10] = ["mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "wmv", "gif"];

/// Where frames come from.
pub(super) struct Frames {
    origin: Origin,
    /// Frames per second, if they have a speed of their own.
    pub fps: Option<f64>,
    /// How many there are, if that is known.
    pub count: Option<usize>,
    given: String,
}

enum Origin {
    Images(Box<Source>),
    File(PathBuf),
}

/// A frame.
pub(super) struct FrameImage {
    pub place: usize,
    pub name: String,
    pub image: Image,
}

impl Frames {
    /// Opens a folder, images, or a video file.
    ///
    /// # Errors
    /// If there are no images, or the video cannot be looked at.
    pub fn open(inputs: &[String]) -> Result<Self, RunError> {
        let given = named(inputs);
        let file =
            inputs.first().map(PathBuf::from).filter(|path| inputs.len() == 1 && path.is_file() && is_video(path));
        if let Some(path) = file {
            let About { fps, frames } = ffmpeg::about(&path)?;
            return Ok(Self { origin: Origin::File(path), fps, count: frames, given });
        }
        let source = Source::open(inputs)?;
        let count = Some(source.len());
        Ok(Self { origin: Origin::Images(Box::new(source)), fps: None, count, given })
    }

    /// Gives `see` the frames that `wanted` names by their place, until it says to stop; returns those that could not be read.
    ///
    /// # Errors
    /// If no frame can be read, or `see` fails.
    pub fn each(
        &self,
        reading: &Reading,
        wanted: impl Fn(usize) -> bool,
        mut see: impl FnMut(FrameImage) -> Result<ControlFlow<()>, RunError>,
    ) -> Result<Vec<Skipped>, RunError> {
        let (mut skipped, mut seen) = (Vec::new(), 0);
        match &self.origin {
            Origin::Images(source) => {
                for (place, image) in source.images.iter().enumerate().filter(|(place, _)| wanted(*place)) {
                    match image.decode(reading) {
                        Ok(decoded) => {
                            seen += 1;
                            let frame = FrameImage { place, name: image.name.to_string(), image: decoded };
                            if see(frame)?.is_break() {
                                break;
                            }
                        }
                        Err(error) => skipped.push(Skipped { path: image.path(), reason: error.to_string() }),
                    }
                }
            }
            Origin::File(path) => {
                let mut place = 0;
                ffmpeg::decode(path, |bytes| {
                    let at = place;
                    place += 1;
                    if !wanted(at) {
                        return Ok(ControlFlow::Continue(()));
                    }
                    match decode_bytes(&bytes, reading) {
                        Ok(image) => {
                            seen += 1;
                            see(FrameImage { place: at, name: format!("frame {}", at + 1), image })
                        }
                        Err(error) => {
                            skipped.push(Skipped { path: path.clone(), reason: error.to_string() });
                            Ok(ControlFlow::Continue(()))
                        }
                    }
                })?;
            }
        }
        if seen == 0 { Err(FilmError::NoFrames { given: self.given.clone() }.into()) } else { Ok(skipped) }
    }
}

fn is_video(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| VIDEOS.contains(&&*ending))
}
