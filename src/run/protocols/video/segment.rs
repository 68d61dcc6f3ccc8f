//! One sequence after the other: frames to features, features and the first mask to masks, masks to files, scores and pictures.

use std::path::{Path, PathBuf};
use std::time::Instant;

use dinoxide_engine::tensor::Pool;
use dinoxide_views::opencv::resize_linear;
use dinoxide_views::{Image, decode_file};

use super::davis::{Sequence, VideoFrame};
use super::mask_file::{Labelling, read_mask};
use super::pictures::{Pictures, Shown};
use super::tables::SequenceScores;
use super::{MASKS, PICTURES, VideoDataError, VideoRequest};
use crate::eval::EvalError;
use crate::eval::features::{Frozen, ImageBatch};
use crate::eval::video::{FrameScore, Mask, Propagator, score_frame, shown_size, to_mask};
use crate::run::RunError;
use crate::run::counter::Counter;
use crate::run::input::ImageSize;
use crate::run::look::{Look, write_file};

/// How large frames are shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum FrameSize {
    /// Pixels of the shorter side.
    ShortSide(usize),
    /// Exactly this, whatever the aspect.
    Exact(ImageSize),
}

/// Segments sequences and keeps what is reported of all of them.
pub(super) struct Segmenter<'a> {
    look: &'a Look,
    frozen: Frozen<'a>,
    request: &'a VideoRequest,
    size: FrameSize,
    pub feature_seconds: f64,
    pub propagation_seconds: f64,
    pub pictures: Vec<PathBuf>,
    pub deviations: Vec<String>,
}

/// What stays the same throughout a sequence.
struct Course {
    labelling: Labelling,
    /// The first frame's width and height.
    stored: (u32, u32),
    /// Width and height that the network sees.
    shown: (usize, usize),
    /// Rows and columns.
    grid: (usize, usize),
    /// Width and height of the masks: those of the first annotation.
    mask: (usize, usize),
}

impl<'a> Segmenter<'a> {
    pub fn new(look: &'a Look, pool: &'a Pool, request: &'a VideoRequest, size: FrameSize) -> Self {
        let frozen = look.model.frozen(&look.cpu, pool);
        let (pictures, deviations) = (Vec::new(), Vec::new());
        Self { look, frozen, request, size, feature_seconds: 0.0, propagation_seconds: 0.0, pictures, deviations }
    }

    /// Writes masks and pictures of a sequence and returns its scores.
    ///
    /// # Errors
    /// If a frame or mask cannot be read or does not fit, or a file cannot be written.
    pub fn segment(&mut self, sequence: &Sequence, counter: &Counter) -> Result<SequenceScores, RunError> {
        let out = &self.request.protocol.out;
        let folder = out.join(MASKS).join(&sequence.name);
        std::fs::create_dir_all(&folder).map_err(RunError::file("create", &folder))?;
        let mut scores = SequenceScores::new(&sequence.name, sequence.frames.len());
        let mut pictures = Pictures::new(sequence.frames.len());
        let mut under_way: Option<(Course, Propagator)> = None;
        for (place, frame) in sequence.frames.iter().enumerate() {
            let image = self.read(frame)?;
            let (course, mask) = match &mut under_way {
                None => {
                    let (course, propagator, mask) = self.begin(sequence, frame, &image)?;
                    (&under_way.insert((course, propagator)).0, mask)
                }
                Some((course, propagator)) => {
                    let mask = self.advance(course, propagator, frame, &image)?;
                    (&*course, mask)
                }
            };
            write_mask(&folder.join(format!("{}.png", frame.name)), &course.labelling, &mask)?;
            let wanted = pictures.wants(place);
            let (truth, scored) = judge(course, frame, &mask, scores.counts(place))?;
            if wanted {
                let (name, predicted, truth) = (frame.name.as_str(), &mask, truth.as_ref());
                pictures.add(place, &Shown { name, image: &image, predicted, truth, scores: &scored })?;
            }
            if !scored.is_empty() {
                scores.scored.push((frame.name.clone(), scored));
            }
            counter.one();
        }
        let out = self.request.protocol.out.join(PICTURES);
        self.pictures.extend(pictures.write(&out, &sequence.name)?);
        Ok(scores)
    }

    /// The first frame: everything is decided by it and its mask.
    fn begin(
        &mut self,
        sequence: &Sequence,
        frame: &VideoFrame,
        image: &Image,
    ) -> Result<(Course, Propagator, Mask), RunError> {
        let path = frame.mask.as_deref().unwrap_or(Path::new(""));
        let file = read_mask(path)?;
        let labelling = Labelling::of(&file, path)?;
        let mask = labelling.truth(&file);
        if labelling.objects == 0 {
            self.look.console.warn(&format!("`{}` has no object in its first mask", sequence.name));
        }
        let stored = (image.width, image.height);
        let shown = self.shown(stored)?;
        if stored.0 == stored.1 {
            let square = "square videos are shown with their mask in one shape; the original transposes the mask's";
            if !self.deviations.iter().any(|deviation| deviation == square) {
                self.deviations.push(square.to_owned());
            }
        }
        let grid = self.look.model.backbone.grid(shown.1, shown.0);
        let size = (mask.width(), mask.height());
        let course = Course { labelling, stored, shown, grid, mask: size };
        let features = self.features(&course, image);
        let propagator = Propagator::new(self.request.propagation, grid, features, &mask).map_err(EvalError::from)?;
        Ok((course, propagator, mask))
    }

    fn advance(
        &mut self,
        course: &Course,
        propagator: &mut Propagator,
        frame: &VideoFrame,
        image: &Image,
    ) -> Result<Mask, RunError> {
        let found = (image.width, image.height);
        if found != course.stored {
            let path = frame.image.clone();
            return Err(VideoDataError::FrameSize { path, found, first: course.stored }.into());
        }
        let features = self.features(course, image);
        let start = Instant::now();
        let labels = propagator.advance(features).map_err(EvalError::from)?;
        let factor = self.look.model.backbone.stride();
        let mask = to_mask(&labels, course.grid, propagator.channels(), factor).map_err(EvalError::from)?;
        let mask = mask.resized(course.mask.0, course.mask.1);
        self.propagation_seconds += start.elapsed().as_secs_f64();
        Ok(mask)
    }

    fn read(&self, frame: &VideoFrame) -> Result<Image, VideoDataError> {
        let path = frame.image.clone();
        decode_file(&path, &self.look.model.reading).map_err(|source| VideoDataError::Frame { path, source })
    }

    /// Width and height that frames of this size are shown at.
    fn shown(&self, (width, height): (u32, u32)) -> Result<(usize, usize), RunError> {
        let stride = self.look.model.backbone.stride();
        match self.size {
            FrameSize::ShortSide(side) => {
                let size = (width as usize, height as usize);
                Ok(shown_size(size, side, stride).map_err(EvalError::from)?)
            }
            FrameSize::Exact(size) => {
                self.look.model.transform(Some(size))?;
                let whole = |side: usize| (side - side % stride).max(stride);
                Ok((whole(size.width), whole(size.height)))
            }
        }
    }

    /// [rows · columns, D]
    fn features(&mut self, course: &Course, image: &Image) -> Vec<f32> {
        let start = Instant::now();
        let (width, height) = course.shown;
        let resized = resize_linear(image, width as u32, height as u32);
        let batch = ImageBatch { pixels: &resized.pixels, images: 1, height, width };
        let mut tokens = self.frozen.tokens(batch);
        // What describes the whole frame comes first.
        tokens.drain(..self.look.model.backbone.dim());
        self.feature_seconds += start.elapsed().as_secs_f64();
        tokens
    }
}

/// The annotation of a frame, if there is one, and the scores of the objects, if the frame counts.
fn judge(
    course: &Course,
    frame: &VideoFrame,
    mask: &Mask,
    counts: bool,
) -> Result<(Option<Mask>, Vec<FrameScore>), RunError> {
    let Some(path) = &frame.mask else { return Ok((None, Vec::new())) };
    let truth = course.labelling.truth(&read_mask(path)?);
    if !counts {
        return Ok((Some(truth), Vec::new()));
    }
    let scores = score_frame(&truth, mask, course.labelling.objects);
    let scores = scores.map_err(|source| VideoDataError::Score { path: path.clone(), source })?;
    Ok((Some(truth), scores))
}

fn write_mask(path: &Path, labelling: &Labelling, mask: &Mask) -> Result<(), RunError> {
    let png = labelling.to_png(mask).map_err(|error| RunError::file("write", path)(error.into()))?;
    write_file(path, &png)
}
