//! `dinoxide eval video` and `dinoxide eval video-score`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, ProtocolArgs, show, show_published};
use crate::cli::print_json;
use crate::eval::video::{Propagation, SHORT_SIDE, Summary};
use crate::run::console::print_line;
use crate::run::protocols::video::score::{ScoreReport, ScoreRequest, score};
use crate::run::protocols::video::{SequenceReport, VideoReport, VideoRequest, video};

/// What `--image-size` is here.
const SIZE: &str = "Resize frames to exactly this size, cut to whole patches, such as 480 or 854x480 (width x height)\n\
    [default: by --short-side, the aspect kept]";

/// Follow objects through videos from their first mask (DAVIS-2017, J&F).
#[derive(Debug, Args)]
#[command(mut_arg("image_size", |size| size.help(SIZE)))]
pub(super) struct VideoArgs {
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Folder with JPEGImages/480p/SEQUENCE/*.jpg and Annotations/480p/SEQUENCE/*.png, as DAVIS has; masks are indexed or black and
    /// white, and all but the first may be missing
    data: PathBuf,
    /// Sequences [default: those of ImageSets/2017/val.txt, or all where there is no such list]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    sequences: Vec<String>,
    /// Earlier frames that vote besides the first one
    #[arg(long, alias = "n_last_frames", value_name = "N", default_value_t = Propagation::default().last_frames)]
    last_frames: usize,
    /// How many patches away votes come from; 0 for any
    #[arg(long, alias = "size_mask_neighborhood", value_name = "N", default_value_t = Propagation::default().neighborhood)]
    neighborhood: usize,
    /// Votes of a patch
    #[arg(long, alias = "topk", value_name = "K", default_value_t = Propagation::default().top_k)]
    top_k: usize,
    /// Temperature of the votes
    #[arg(long, value_name = "T", default_value_t = Propagation::default().temperature)]
    temperature: f64,
    /// Shorter side of the frames that the network sees, pixels; the longer one follows, cut to a multiple of 64
    #[arg(long, value_name = "PX", default_value_t = SHORT_SIDE, conflicts_with_all = ["image_size", "reference_exact"])]
    short_side: usize,
}

/// J and F of masks that any program has predicted, without a model.
#[derive(Debug, Args)]
pub(super) struct VideoScoreArgs {
    /// Folder with SEQUENCE/00000.png, or a folder that `eval video` has written
    predictions: PathBuf,
    /// Folder with JPEGImages/480p and Annotations/480p, as DAVIS has
    data: PathBuf,
    /// Sequences [default: those of ImageSets/2017/val.txt, or all where there is no such list]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    sequences: Vec<String>,
    /// Folder for results.json and the tables
    #[arg(short, long, value_name = "DIR", default_value = "eval-video-score")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: VideoArgs) -> anyhow::Result<Ending> {
    let VideoArgs { protocol, data, sequences, last_frames, neighborhood, top_k, temperature, short_side } = arguments;
    let (protocol, json) = protocol.request("video");
    let propagation = Propagation { last_frames, neighborhood, top_k, temperature };
    let outcome = video(&VideoRequest { protocol, data, sequences, propagation, short_side })?;
    show(&outcome, json, |report: &VideoReport| print_table(report.summary.as_ref(), &report.sequences))
}

pub(super) fn run_score(arguments: VideoScoreArgs) -> anyhow::Result<Ending> {
    let VideoScoreArgs { predictions, data, sequences, out, json } = arguments;
    let report: ScoreReport = score(&ScoreRequest { predictions, data, sequences, out })?;
    if json {
        print_json(&report)?;
        return Ok(Ending::Done);
    }
    print_table(Some(&report.summary), &report.sequences);
    show_published(report.published);
    report.files.iter().for_each(|file| print_line(&file.display().to_string()));
    Ok(Ending::Done)
}

fn print_table(summary: Option<&Summary>, sequences: &[SequenceReport]) {
    let objects =
        || sequences.iter().flat_map(|sequence| (1..).zip(&sequence.objects).map(move |object| (sequence, object)));
    let name = |sequence: &SequenceReport, number: usize| format!("{}_{number}", sequence.name);
    let width =
        objects().map(|(sequence, (number, _))| name(sequence, number).len()).max().unwrap_or(0).max("mean".len());
    let Some(Summary { j_and_f, j, f }) = summary else {
        print_line(&format!("{} sequences, nothing to score", sequences.len()));
        return;
    };
    print_line(&format!("{:width$}    J&F      J  recall  decay      F  recall  decay", ""));
    let row = |name: &str, mean: f64, j: &crate::eval::video::Statistics, f: &crate::eval::video::Statistics| {
        print_line(&format!(
            "{name:width$}  {mean:>5.1}  {:>5.1}   {:>5.1}  {:>5.1}  {:>5.1}   {:>5.1}  {:>5.1}",
            j.mean, j.recall, j.decay, f.mean, f.recall, f.decay
        ));
    };
    for (sequence, (number, score)) in objects() {
        row(&name(sequence, number), (score.j.mean + score.f.mean) / 2.0, &score.j, &score.f);
    }
    row("mean", *j_and_f, j, f);
}
