//! Videos of what a network attends to, or finds alike: frames from a folder or a video file, one after the other, to a GIF, a folder
//! of PNG files, or a video file (`video_generation.py` of DINO, Caron et al. 2021).
//!
//! | file | does |
//! |---|---|
//! | `frames.rs` | frames of a folder or a video file |
//! | `sink.rs` | where they go |
//! | `ffmpeg.rs` | video files, through the programs `ffmpeg` and `ffprobe` |
//! | `attention.rs`, `pca.rs` | what is drawn of a frame |

pub mod attention;
mod error;
mod ffmpeg;
mod frames;
pub mod pca;
mod sink;

use std::ops::ControlFlow;
use std::path::PathBuf;

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use dinoxide_views::{EvalTransform, Image, Reading};
use serde::Serialize;

pub use self::error::FilmError;
use self::frames::{FrameImage, Frames};
use self::sink::Sink;
use super::RunError;
use super::console::{Console, Figures, Verbosity};
use super::counter::Counter;
use super::images::{introduce_as, warn_of_skipped};
use super::input::{ImageSize, Network};
use super::model::Model;
use super::seen::seen;
use crate::eval::features::Frozen;
use crate::report::picture::Picture;

/// Frames per second where the frames have no speed of their own, as in the original program.
const FPS: f64 = 30.0;

/// What to do.
#[derive(Debug, Clone)]
pub struct VideoRequest {
    /// A run folder, or a file or folder of weights.
    pub model: PathBuf,
    /// A folder of frames, frames, or a video file.
    pub input: Vec<String>,
    /// The GIF, the video file, or the folder of PNG files.
    pub out: PathBuf,
    /// Frames per second; that of the video file, or 30, unless given.
    pub fps: Option<f64>,
    /// Longer side of a picture, pixels; as suits the pictures unless given.
    pub side: Option<u32>,
    /// Size that the network sees; `None` keeps that of the frames, cropped to whole patches.
    pub image_size: Option<ImageSize>,
    /// Which network.
    pub network: Network,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoReport {
    /// Frames.
    pub frames: usize,
    /// Frames that could not be read.
    pub skipped: usize,
    /// Frames per second.
    pub fps: f64,
    /// Width and height.
    pub size: (u32, u32),
    /// The file, or the folder.
    pub out: PathBuf,
}

/// What is shared by all frames.
struct Studio<'r> {
    request: &'r VideoRequest,
    console: Console,
    model: Model,
    cpu: Cpu,
    frames: Frames,
    fixed: Option<EvalTransform>,
}

impl<'r> Studio<'r> {
    fn open(request: &'r VideoRequest) -> Result<Self, RunError> {
        let console = Console::new(Verbosity::Normal, Figures::Talk);
        let model = Model::load(&request.model, request.network)?;
        let fixed = match request.image_size {
            Some(_) => Some(model.transform(request.image_size)?),
            None => None,
        };
        let same = |input: &String| std::fs::canonicalize(input).ok().zip(std::fs::canonicalize(&request.out).ok());
        if request.out.is_file() && request.input.iter().filter_map(same).any(|(input, out)| input == out) {
            return Err(FilmError::Itself { path: request.out.clone() }.into());
        }
        let frames = Frames::open(&request.input)?;
        Ok(Self { request, console, model, cpu: Cpu::new(), frames, fixed })
    }

    fn frozen<'a>(&'a self, pool: &'a Pool) -> Frozen<'a> {
        self.model.frozen(&self.cpu, pool)
    }

    fn reading(&self) -> &Reading {
        &self.model.reading
    }

    /// The frame as the network sees it. What is said of the first one holds for all.
    fn seen(&self, frame: &FrameImage, first: Option<(u32, u32)>) -> Result<Image, RunError> {
        let found = (frame.image.width, frame.image.height);
        match first {
            Some(first) if first != found && self.fixed.is_none() => {
                Err(FilmError::FrameSize { name: frame.name.clone(), found, first }.into())
            }
            Some(_) => {
                let quiet = Console::new(Verbosity::Quiet, Figures::Talk);
                Ok(seen(&quiet, &frame.name, &frame.image, self.fixed, self.model.backbone.stride()))
            }
            None => Ok(seen(&self.console, &frame.name, &frame.image, self.fixed, self.model.backbone.stride())),
        }
    }

    /// Draws every frame and writes it; `draw` gets the frame as the network sees it.
    fn film(&self, mut draw: impl FnMut(&Image) -> Result<Picture, RunError>) -> Result<VideoReport, RunError> {
        let fps = self.request.fps.or(self.frames.fps).unwrap_or(FPS);
        let mut sink = Sink::open(&self.request.out, fps)?;
        let counter = Counter::of(self.frames.count.unwrap_or(0), "frames");
        let mut first = None;
        let skipped = self.frames.each(
            self.reading(),
            |_| true,
            |frame| {
                let image = self.seen(&frame, first)?;
                if first.is_none() {
                    introduce_as(&self.console, &self.model, &format!("frames of {}x{}", image.width, image.height));
                }
                first.get_or_insert((frame.image.width, frame.image.height));
                sink.push(&draw(&image)?)?;
                counter.one();
                Ok(ControlFlow::Continue(()))
            },
        )?;
        drop(counter);
        warn_of_skipped(&self.console, &skipped);
        let (frames, size) = (sink.frames, sink.size.unwrap_or_default());
        sink.finish()?;
        Ok(VideoReport { frames, skipped: skipped.len(), fps, size, out: self.request.out.clone() })
    }
}

/// The picture with its longer side of so many pixels, unless it is smaller.
fn fitted(picture: &Picture, side: u32) -> Picture {
    let (width, height) = (picture.width(), picture.height());
    let scale = (f64::from(side) / f64::from(width.max(height))).min(1.0);
    let scaled = |side: u32| (f64::from(side) * scale).round() as u32;
    picture.resized(scaled(width), scaled(height))
}
