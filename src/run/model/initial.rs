//! Weights to start a run from: `--init`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dinoxide_engine::params::Params;
use dinoxide_views::pixel::RGB;

use super::recognise::{recognise, square_root};
use super::{IGNORED, backbone_config, is_run, open_run, part};
use crate::checkpoint::names::is_counter;
use crate::checkpoint::{CheckpointError, MatchReport, NamedTensor, Section, match_names, names, read_any};
use crate::config::{HeadConfig, InitFacts, ModelConfig};
use crate::methods::BACKBONE;
use crate::methods::HEADS;
use crate::methods::dino::HEAD;
use crate::nn::backbone::BackboneConfig;
use crate::nn::pos_embed::{Resampling, position_mix};
use crate::run::RunError;
use crate::run::input::Network;

/// Name of the stored positions.
const POSITIONS: &str = "pos_embed";
/// Name of the patch embedding's kernel.
const PATCHES: &str = "patch_embed.proj.weight";

/// Where checkpoints have the centre: the section and the tensor of the official ones, the part and the tensor of ours.
const OFFICIAL_CENTER: (&str, &str) = ("dino_loss", "center");
const OUR_CENTER: (&str, &str) = ("method", "center");

/// How many names of a kind are said before "and N more".
const MOST_SAID: usize = 3;

/// Weights that a run cannot start from.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// Some tensors of the backbone do not fit.
    #[error(
        "the weights of `{}` do not fit the network; `--init-partial` starts with those that do, and with random values for the \
         rest\n{report}",
        path.display()
    )]
    SomeDoNotFit {
        /// Where they are.
        path: PathBuf,
        /// Every difference.
        report: Box<MatchReport>,
    },
    /// No tensor of the backbone fits.
    #[error("nothing in the weights of `{}` fits the network; `dinoxide inspect` says what they are\n{report}", path.display())]
    NothingFits {
        /// Where they are.
        path: PathBuf,
        /// Every difference.
        report: Box<MatchReport>,
    },
}

/// Which tensors of a backbone weights must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of them, and no others.
    All,
    /// At least one; the others stay as they are.
    Some,
}

/// Weights that a run may start from, as they are stored: those of a run folder or of a file; of several networks the teacher.
#[derive(Debug, Clone)]
pub struct InitialWeights {
    path: PathBuf,
    tensors: Vec<NamedTensor>,
    backbone: Option<BackboneConfig>,
    head: Option<HeadConfig>,
    center: Option<Vec<f32>>,
}

/// What a run took over.
#[derive(Debug, Clone)]
pub struct TakenOver {
    /// In words.
    pub words: String,
    /// The centre, where the whole head was taken over and a centre belongs to it.
    pub center: Option<Vec<f32>>,
}

impl InitialWeights {
    /// Reads the weights at `path`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(path: &Path) -> Result<Self, RunError> {
        if is_run(path) {
            let (config, loaded) = open_run(path)?;
            let tensors = part(&loaded, Network::Teacher, path)?;
            let center = loaded.parts.get(OUR_CENTER.0).and_then(|part| part.tensor(OUR_CENTER.1));
            let center = center.map(|tensor| tensor.values.clone());
            let backbone = Some(backbone_config(&config)?);
            return Ok(Self {
                path: path.to_path_buf(),
                tensors,
                backbone,
                head: config.method.name.has_dino_head().then_some(config.head),
                center,
            });
        }
        let mut file = read_any(path)?;
        let found = file.section_names();
        // A checkpoint of nothing but a student is fine to start from.
        let wanted = match names::choose_section(&found, Section::Teacher, path) {
            Err(CheckpointError::NoSection { .. }) => Section::Student,
            _ => Section::Teacher,
        };
        let texts = file.texts();
        let tensors = file.network(wanted)?.tensors;
        let stored = file.section(OFFICIAL_CENTER.0)?;
        let center = stored.into_iter().find(|tensor| tensor.name == OFFICIAL_CENTER.1).map(|tensor| tensor.values);
        // What cannot be recognised may still fit the network that was asked for.
        let backbone = recognise(&tensors, &texts, path).ok();
        Ok(Self { path: path.to_path_buf(), backbone, head: stored_head(&tensors), center, tensors })
    }

    /// What a configuration can follow; `None` if the network is none that is known.
    pub fn facts(&self) -> Option<InitFacts> {
        let backbone = self.backbone.as_ref()?;
        let normalize = backbone.normalize();
        let model = ModelConfig::of(backbone);
        // A ResNet or an XCiT of other sizes than those that have a name cannot be configured.
        model.backbone(normalize.clone())?;
        Some(InitFacts { model, mean: normalize.mean.clone(), std: normalize.std.clone(), head: self.head.clone() })
    }

    /// Puts the weights into `student`.
    ///
    /// The backbone must fit as far as it is `wanted`, except that a square grid of positions of another size is interpolated, and a
    /// patch embedding of red, green and blue is inflated to another number of channels. The head is used if
    /// all of it fits, and else starts anew.
    ///
    /// # Errors
    /// If tensors of the backbone are missing, unexpected or of another shape, or none fits; if values are not finite.
    pub fn put_into(self, student: &mut Params, wanted: Wanted) -> Result<TakenOver, RunError> {
        let Self { path, tensors: mut found, center, backbone, .. } = self;
        let resampling = backbone.as_ref().and_then(BackboneConfig::vit).map(|vit| vit.extras.resampling);
        let mut expected: Vec<(String, Vec<usize>)> = Vec::new();
        let mut expected_head = Vec::new();
        for spec in student.layout().specs() {
            match spec.name.strip_prefix(BACKBONE) {
                Some(name) => expected.push((name.to_owned(), spec.shape.clone())),
                None => expected_head.push((spec.name.clone(), spec.shape.clone())),
            }
        }
        let mut report = Vec::new();
        if let Some(notice) = fit_positions(&expected, &mut found, resampling.unwrap_or_default()) {
            report.push(notice);
        }
        if let Some(notice) = fit_channels(&expected, &mut found) {
            report.push(notice);
        }
        let fit = check_fit(match_names(&expected, &found, &IGNORED), &path, wanted)?;
        names::check_finite(&found, &path)?;
        report.insert(0, format!("started from `{}`: {}", path.display(), taken_of_backbone(&fit)));
        let (head, backbone): (Vec<_>, Vec<_>) = found.into_iter().partition(is_of_head);
        let fitting: BTreeSet<&str> = fit.matched.iter().map(String::as_str).collect();
        copy(student, BACKBONE, backbone.iter().filter(|tensor| fitting.contains(tensor.name.as_str())));
        let fit = match_names(&expected_head, &head, &[]);
        if fit.is_complete() {
            copy(student, "", head.iter());
            report.push(format!("{} tensors of the head", fit.matched.len()));
        } else {
            report.push(format!("the head starts anew ({})", why_not(&fit, head.len())));
        }
        Ok(TakenOver { words: report.join("; "), center: center.filter(|_| fit.is_complete()) })
    }
}

/// Whether a tensor belongs to what follows the backbone in training.
fn is_of_head(tensor: &NamedTensor) -> bool {
    HEADS.iter().any(|prefix| tensor.name.starts_with(prefix))
}

/// Whether what fits is enough.
fn check_fit(fit: MatchReport, path: &Path, wanted: Wanted) -> Result<MatchReport, InitError> {
    let (path, report) = (path.to_path_buf(), Box::new(fit));
    // What a normalisation has counted fits any network that has one.
    if report.matched.iter().all(|name| is_counter(name)) {
        return Err(InitError::NothingFits { path, report });
    }
    match wanted {
        Wanted::All if !report.is_complete() => Err(InitError::SomeDoNotFit { path, report }),
        Wanted::All | Wanted::Some => Ok(*report),
    }
}

/// What of the backbone was taken over, in words.
fn taken_of_backbone(fit: &MatchReport) -> String {
    let missing = fit.missing.iter().map(|missing| format!("`{}`", missing.name));
    let other = fit
        .shape_mismatch
        .iter()
        .map(|tensor| format!("`{}`, which is {:?} there and {:?} here", tensor.name, tensor.found, tensor.expected));
    let anew: Vec<String> = missing.chain(other).collect();
    let unused: Vec<String> = fit.unexpected.iter().map(|name| format!("`{name}`")).collect();
    let mut words = format!("{} tensors of the backbone", fit.matched.len());
    for (names, what) in [(anew, "begin with random values"), (unused, "of the file are not used")] {
        let more = names.len().saturating_sub(MOST_SAID);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        if !names.is_empty() {
            words += &format!("; {} {what} ({}{more})", names.len(), names[..names.len().min(MOST_SAID)].join(", "));
        }
    }
    words
}

/// The sizes of the head among the tensors of a network, if there is one.
pub(in crate::run) fn stored_head(tensors: &[NamedTensor]) -> Option<HeadConfig> {
    let head = || tensors.iter().filter_map(|tensor| Some((tensor.name.strip_prefix(HEAD)?, tensor.shape.as_slice())));
    let (_, &[out_dim, bottleneck_dim]) = head().find(|(name, _)| *name == "last_layer.weight_v")? else { return None };
    let is_layer = |(name, shape): &(&str, &[usize])| name.starts_with("mlp") && shape.len() == 2;
    let hidden_dim = head().filter(is_layer).find_map(|(_, shape)| shape.first().copied())?;
    Some(HeadConfig {
        out_dim,
        hidden_dim,
        bottleneck_dim,
        layers: head().filter(is_layer).count(),
        use_bn: head().any(|(name, _)| name.ends_with("running_mean")),
        ..HeadConfig::default()
    })
}

/// Interpolates the stored positions if both grids are square and differ in nothing but their side.
fn fit_positions(
    expected: &[(String, Vec<usize>)],
    found: &mut [NamedTensor],
    resampling: Resampling,
) -> Option<String> {
    let (_, shape) = expected.iter().find(|(name, _)| name == POSITIONS)?;
    let stored = found.iter_mut().find(|tensor| tensor.name == POSITIONS)?;
    let (&[1, wanted, width], &[1, given, stored_width]) = (shape.as_slice(), stored.shape.as_slice()) else {
        return None;
    };
    if wanted == given || width != stored_width {
        return None;
    }
    let (to, from) = (square_root(wanted.checked_sub(1)?)?, square_root(given.checked_sub(1)?)?);
    let mix = position_mix(from, [to, to], true, resampling)?;
    let (class, grid) = stored.values.split_at(width);
    let mut values = class.to_vec();
    for (sources, weights) in mix.index.chunks_exact(mix.taps).zip(mix.weights.chunks_exact(mix.taps)) {
        let mut position = vec![0.0_f32; width];
        for (source, weight) in sources.iter().zip(weights) {
            let row = &grid[*source as usize * width..][..width];
            position.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
        }
        values.extend(position);
    }
    (stored.values, stored.shape) = (values, shape.clone());
    Some(format!("positions interpolated from {from}x{from} to {to}x{to}"))
}

/// Inflates a patch embedding of red, green and blue to other channels, as timm's `adapt_input_conv` does: for one channel the
/// three are added up; for more they take turns and are scaled by 3 / channels.
fn fit_channels(expected: &[(String, Vec<usize>)], found: &mut [NamedTensor]) -> Option<String> {
    let (_, shape) = expected.iter().find(|(name, _)| name == PATCHES)?;
    let stored = found.iter_mut().find(|tensor| tensor.name == PATCHES)?;
    let (&[width, channels, patch, _], &[stored_width, RGB, rows, columns]) =
        (shape.as_slice(), stored.shape.as_slice())
    else {
        return None;
    };
    if channels == RGB || (width, patch, patch) != (stored_width, rows, columns) {
        return None;
    }
    let area = patch * patch;
    let inflated = |kernel: &[f32]| -> Vec<f32> {
        if channels == 1 {
            return (0..area).map(|at| kernel[at] + kernel[area + at] + kernel[2 * area + at]).collect();
        }
        let scale = RGB as f32 / channels as f32;
        (0..channels * area).map(|at| kernel[at % (RGB * area)] * scale).collect()
    };
    stored.values = stored.values.chunks_exact(RGB * area).flat_map(inflated).collect();
    stored.shape.clone_from(shape);
    Some(format!("patch embedding inflated from red, green and blue to {channels} channels"))
}

fn copy<'a>(student: &mut Params, prefix: &str, tensors: impl Iterator<Item = &'a NamedTensor>) {
    for tensor in tensors {
        if let Some(id) = student.layout().find(&format!("{prefix}{}", tensor.name)) {
            student.get_mut(id).copy_from_slice(&tensor.values);
        }
    }
}

fn why_not(fit: &MatchReport, tensors: usize) -> String {
    if tensors == 0 {
        return "there is none in the file".to_owned();
    }
    if let Some(shape) = fit.shape_mismatch.first() {
        return format!("`{}` is {:?} there and {:?} here", shape.name, shape.found, shape.expected);
    }
    match (fit.missing.first(), fit.unexpected.first()) {
        (Some(missing), _) => format!("`{}` is missing there", missing.name),
        (None, Some(name)) => format!("`{name}` is not part of this head"),
        (None, None) => "it does not fit".to_owned(),
    }
}
