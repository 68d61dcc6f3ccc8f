//! `dinoxide eval segmentation` and `dinoxide eval saliency`.

use std::path::PathBuf;

use clap::Args;

use super::{Ending, ProtocolArgs, show};
use crate::cli::print_json;
use crate::eval::attention::MASS;
use crate::run::console::print_line;
use crate::run::protocols::retrieval::Missing;
use crate::run::protocols::saliency::{SaliencyRequest, saliency};
use crate::run::protocols::segmentation::truth::{MaskKind, MaskReading, Unknown};
use crate::run::protocols::segmentation::{SegmentationReport, SegmentationRequest, segmentation};

/// Attention as segmentation: Jaccard index of the best head (PASCAL VOC, or own masks).
///
/// Images are resized to 480x480 unless --image-size says otherwise; a network that learnt from small crops may do better with less.
#[derive(Debug, Args)]
pub(super) struct SegmentationArgs {
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// Folder with images/ and masks/ of the same names, or with JPEGImages/, SegmentationObject/ (or SegmentationClass/) and
    /// ImageSets/Segmentation/val.txt, as PASCAL VOC has
    data: PathBuf,
    /// Share of the attention inside the masks
    #[arg(long, value_name = "SHARE", default_value_t = MASS, conflicts_with = "reference_exact")]
    threshold: f64,
    #[command(flatten)]
    masks: MaskArgs,
}

/// What masks mean.
#[derive(Debug, Args)]
struct MaskArgs {
    /// How masks say what is an object
    #[arg(long, value_enum, default_value_t)]
    masks: MaskKind,
    /// Level of pixels that are not judged, or none [default: 128 of gray masks, 255 of indexed ones]
    #[arg(long, value_name = "LEVEL")]
    unknown: Option<Unknown>,
    /// What becomes of a file without its counterpart of the same name
    #[arg(long, value_enum, default_value_t)]
    missing: Missing,
}

/// Saliency maps that any program has made, against masks: mean absolute error and Jaccard index at level 128.
#[derive(Debug, Args)]
pub(super) struct SaliencyArgs {
    /// Folder of the maps
    maps: PathBuf,
    /// Folder of the masks, with the same names
    truth: PathBuf,
    #[command(flatten)]
    masks: MaskArgs,
    /// Folder for results.json and the table
    #[arg(short, long, value_name = "DIR", default_value = "eval-saliency")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl MaskArgs {
    fn reading(&self) -> MaskReading {
        MaskReading { kind: self.masks, unknown: self.unknown.unwrap_or_default() }
    }
}

pub(super) fn run(arguments: SegmentationArgs) -> anyhow::Result<Ending> {
    let SegmentationArgs { protocol, data, threshold, masks } = arguments;
    let (protocol, json) = protocol.request("segmentation");
    let (reading, missing) = (masks.reading(), masks.missing);
    let outcome = segmentation(&SegmentationRequest { protocol, data, threshold, reading, missing })?;
    show(&outcome, json, print_table)
}

fn print_table(report: &SegmentationReport) {
    print_line("Jaccard index, percent");
    let rows = [
        ("best head of each object", report.jaccard),
        ("mean of the heads", report.jaccard_mean_heads),
        ("best head, untrained", report.untrained),
        ("centred ellipse", report.ellipse),
        ("all pixels", report.foreground),
    ];
    rows.iter().for_each(|(name, value)| print_line(&format!("{name:<26}{value:>6.1}")));
    let SegmentationReport { images, objects, image_size, .. } = report;
    print_line(&format!("{objects} objects in {images} images of {image_size}"));
}

pub(super) fn run_saliency(arguments: SaliencyArgs) -> anyhow::Result<Ending> {
    let SaliencyArgs { maps, truth, masks, out, json } = arguments;
    let (reading, missing) = (masks.reading(), masks.missing);
    let report = saliency(&SaliencyRequest { maps, masks: truth, reading, missing, out })?;
    if json {
        print_json(&report)?;
        return Ok(Ending::Done);
    }
    print_line(&format!("MAE {:.4}, J {:.2} % of {} images", report.mae, report.jaccard, report.images));
    report.files.iter().for_each(|file| print_line(&file.display().to_string()));
    Ok(Ending::Done)
}
