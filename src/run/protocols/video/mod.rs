//! `dinoxide eval video`: objects that are labelled in the first frame of a video, followed through it by frozen features.
//!
//! | file | does |
//! |---|---|
//! | `davis.rs` | finds sequences, their frames and annotations |
//! | `mask_file.rs` | reads and writes masks |
//! | `segment.rs` | one sequence: frames to features to masks |
//! | `pictures.rs` | a sheet and a film of it |
//! | `tables.rs` | scores, as the official evaluator writes them |
//! | `score.rs` | `dinoxide eval video-score`: masks of any program |

mod davis;
mod error;
pub mod mask_file;
mod pictures;
pub mod score;
mod segment;
mod tables;

use std::path::PathBuf;

use dinoxide_engine::tensor::Pool;
use serde::Serialize;

pub use error::VideoDataError;
pub use tables::SequenceReport;

use super::{Outcome, ProtocolRequest, Session};
use crate::eval::published;
use crate::eval::video::{Propagation, SHORT_SIDE, SIDE_MULTIPLE, Summary};
use crate::run::RunError;
use crate::run::counter::Counter;
use crate::run::device::among_threads;
use segment::{FrameSize, Segmenter};
use tables::{SequenceScores, percent, summary, write_tables};

/// Folders of the predicted masks and of the pictures.
const MASKS: &str = "masks";
const PICTURES: &str = "pictures";
/// Deviation of the pixels in `eval_video_segmentation.py`; the first is not that of its other protocols.
const DEVIATION: [f32; 3] = [0.228, 0.224, 0.225];

/// What to do.
#[derive(Debug, Clone)]
pub struct VideoRequest {
    /// Network, folder of the results.
    pub protocol: ProtocolRequest,
    /// Folder laid out as DAVIS is.
    pub data: PathBuf,
    /// Names of sequences; none for all.
    pub sequences: Vec<String>,
    /// How labels are handed on.
    pub propagation: Propagation,
    /// Shorter side of the frames, pixels, unless the request gives an exact size.
    pub short_side: usize,
}

/// The scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VideoReport {
    /// Means over all objects of all sequences, percent; none if nothing could be scored.
    #[serde(flatten)]
    pub summary: Option<Summary>,
    /// Every sequence.
    pub sequences: Vec<SequenceReport>,
    /// Frames of all sequences.
    pub frames: usize,
    /// Earlier frames that voted besides the first.
    pub last_frames: usize,
    /// How many places away votes came from; 0 for any.
    pub neighborhood: usize,
    /// Votes of a place.
    pub top_k: usize,
    /// Temperature of the votes.
    pub temperature: f64,
    /// Time of the network.
    pub feature_seconds: f64,
    /// Time of handing labels on.
    pub propagation_seconds: f64,
}

/// Segments the videos of a folder from their first masks and scores what is annotated (DINO, Caron et al. 2021, section 4.2.2).
///
/// # Errors
/// If the model or the videos cannot be read, or the results cannot be written.
pub fn video(request: &VideoRequest) -> Result<Outcome<VideoReport>, RunError> {
    among_threads(|| segment(request))
}

fn segment(request: &VideoRequest) -> Result<Outcome<VideoReport>, RunError> {
    request.propagation.check().map_err(crate::eval::EvalError::from)?;
    let found = davis::find(&request.data, &request.sequences)?;
    let mut session = Session::open_with(&request.protocol, DEVIATION)?;
    prepare(&mut session, request);
    session.look.model.notices.iter().for_each(|notice| session.look.console.warn(notice));
    if !found.unlabelled.is_empty() {
        let names = found.unlabelled.join(", ");
        session.look.console.warn(&format!("left out, since their first frames have no mask: {names}"));
    }
    let size = match request.protocol.image_size {
        Some(exact) => FrameSize::Exact(exact),
        None => FrameSize::ShortSide(request.short_side),
    };
    let frames = found.sequences.iter().map(|sequence| sequence.frames.len()).sum();
    let counter = Counter::of(frames, "frames");
    let pool = Pool::new();
    let mut scores = Vec::new();
    let mut segmenter = Segmenter::new(&session.look, &pool, request, size);
    for sequence in &found.sequences {
        scores.push(segmenter.segment(sequence, &counter)?);
    }
    drop(counter);
    let Segmenter { deviations, feature_seconds, propagation_seconds, pictures, .. } = segmenter;
    session.deviations.extend(deviations);
    session.file(MASKS);
    session.files.extend(pictures);
    let summary = summary(&scores);
    match &summary {
        Some(summary) => session.files.extend(write_tables(&request.protocol.out, &scores, summary)?),
        None => session.look.console.warn(
            "nothing could be scored: no annotated frame that is neither first nor last, or no object in the first; the masks are written",
        ),
    }
    let Propagation { last_frames, neighborhood, top_k, temperature } = request.propagation;
    let report = VideoReport {
        summary: summary.map(percent),
        sequences: scores.iter().map(SequenceScores::report).collect(),
        frames,
        last_frames,
        neighborhood,
        top_k,
        temperature,
        feature_seconds,
        propagation_seconds,
    };
    session.finish("video", report, &published::VIDEO)
}

/// Frames as the original reads them, and what differs.
fn prepare(session: &mut Session<'_>, request: &VideoRequest) {
    // The original reads frames with OpenCV, which turns them.
    session.turn_images();
    if request.propagation != Propagation::default() {
        let Propagation { last_frames, neighborhood, top_k, temperature } = request.propagation;
        session.deviates(format!(
            "{last_frames} last frames, neighbourhood {neighborhood}, {top_k} votes, temperature {temperature}; the paper: 7, 12, 5, 0.1"
        ));
    }
    let stride = session.look.model.backbone.stride();
    match request.protocol.image_size {
        Some(size) => session.deviates(format!("frames resized to {size}; the original: shorter side to {SHORT_SIDE}")),
        None if request.short_side != SHORT_SIDE => {
            session.deviates(format!("shorter side of frames {}; the original: {SHORT_SIDE}", request.short_side));
        }
        None => {}
    }
    if !SIDE_MULTIPLE.is_multiple_of(stride) {
        session.deviates(format!(
            "sides of frames are multiples of {stride}; the original's longer one of {SIDE_MULTIPLE}"
        ));
    }
    if session.look.model.backbone.vit().is_none() {
        session.deviates("features of the network's last places; the original has patch tokens of ViTs alone");
    }
}
