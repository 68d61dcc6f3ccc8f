//! `dinoxide demo`: the whole way on images the program makes itself.
//!
//! Pictures → the same training as `pretrain` → k-NN and attention against what needs no training → the page.

use std::path::{Path, PathBuf};

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::params::Params;
use dinoxide_engine::tensor::Pool;
use dinoxide_views::{Crop, Image, Reading, decode_file};
use serde::Serialize;
use toml::Value;

use super::RunError;
use super::console::{Console, Figures, Progress, Verbosity};
use super::folder::{CONFIG_FILE, DATA_FOLDER, WhenExists};
use super::model::build;
use super::observer::WhenCollapsed;
use super::pretrain::{Goal, PretrainRequest, train_run};
use super::report::{self, Additions, Numbers, Sight, attention_maps, attention_row};
use super::trained::Trained;
use crate::config::{Origin, Partial};
use crate::demo::{Counts, DEFAULT_SIZE, class_names, write};
use crate::eval::attention::{AttentionScore, MASS, TruthMask, UnknownLevel, image_jaccard, mean_jaccard};
use crate::eval::features::Frozen;
use crate::nn::backbone::Backbone;
use crate::report::attention_sheet::AttentionRow;
use crate::report::page::Table;
use crate::train::End;

/// The recipe of the demo.
const RECIPE: &str = "demo";
/// Folder of runs that were given no name.
const RUNS: &str = "runs";
/// Training pictures for each validation picture.
const TRAIN_PER_VAL: u64 = 5;
/// Validation pictures whose attention is compared with the true mask.
const MASKS: usize = 200;
/// Pictures on the attention sheet.
const SHEET_ROWS: usize = 6;

/// What to do.
#[derive(Debug, Clone)]
pub struct DemoRequest {
    /// The run folder; `None` for the next free `runs/demo-<n>`.
    pub out: Option<PathBuf>,
    /// Training pictures to make; a fifth as many for validation.
    pub images: u64,
    /// Seed of images and training.
    pub seed: u64,
    /// Values over those of the recipe.
    pub given: Partial,
    /// How much to say.
    pub verbosity: Verbosity,
}

/// How the demo ended.
#[derive(Debug, Clone, PartialEq)]
pub enum DemoOutcome {
    /// Trained and measured.
    Finished(DemoReport),
    /// Stopped by a signal after saving.
    Interrupted {
        /// The run folder.
        run: PathBuf,
    },
}

/// What the demo found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DemoReport {
    /// k-NN top-1 of the untrained network, percent.
    pub knn_untrained: f64,
    /// k-NN top-1 on raw pixels, percent.
    pub knn_pixels: f64,
    /// k-NN top-1 of the trained teacher, percent.
    pub knn_trained: f64,
    /// Accuracy of guessing, percent.
    pub chance: f64,
    /// Mean Jaccard index of the best head against the true masks.
    pub jaccard: f64,
    /// The same of the untrained network.
    pub jaccard_untrained: f64,
    /// The same of a centred ellipse.
    pub jaccard_baseline: f64,
    /// Mean Jaccard index of the mean of heads.
    pub jaccard_mean_heads: f64,
    /// The same of the untrained network.
    pub jaccard_mean_heads_untrained: f64,
    /// Time of training with the evaluations in between; without them if the demo was continued.
    pub train_seconds: f64,
    /// The page.
    pub report: PathBuf,
}

/// Makes the pictures, trains, measures, writes the page. A run folder that holds a demo is continued.
///
/// # Errors
/// If the pictures cannot be made, the training fails, or the results cannot be written.
pub fn demo(request: &DemoRequest) -> Result<DemoOutcome, RunError> {
    let console = Console::new(request.verbosity, Figures::Talk);
    let out = request.out.clone().unwrap_or_else(free_run);
    let data = out.join(DATA_FOLDER);
    if !data.exists() {
        make_pictures(&console, &data, request)?;
    }
    let training = PretrainRequest {
        given: given(&data, request)?,
        when_exists: if out.join(CONFIG_FILE).exists() { WhenExists::MustResume } else { WhenExists::Resume },
        out: Some(out.clone()),
        goal: Goal::Train,
        when_collapsed: WhenCollapsed::GoOn,
        verbosity: request.verbosity,
        figures: Figures::Talk,
        progress: Progress::Lines,
    };
    let outcome = train_run(&training, &console, |trained| match trained.end {
        End::Finished => Ok(DemoOutcome::Finished(measure(trained, &data, &console)?)),
        End::Stopped => {
            report::publish(trained, &console)?;
            console.say(&format!("or, with the measurements at the end: dinoxide demo -o {}", out.display()));
            Ok(DemoOutcome::Interrupted { run: out.clone() })
        }
    })?;
    // Only a request for the plan alone ends without an outcome.
    Ok(outcome.unwrap_or(DemoOutcome::Interrupted { run: out }))
}

fn free_run() -> PathBuf {
    let path = |number: usize| Path::new(RUNS).join(format!("demo-{number}"));
    path((1..).find(|number| !path(*number).exists()).unwrap_or(1))
}

fn make_pictures(console: &Console, data: &Path, request: &DemoRequest) -> Result<(), RunError> {
    let classes = class_names().len() as u64;
    let (train, val) = (request.images.max(classes), (request.images / TRAIN_PER_VAL).max(classes));
    console.say(&format!("making {train} pictures to learn from and {val} to test on: {}", data.display()));
    Ok(write(data, &Counts { train, val }, DEFAULT_SIZE, request.seed)?)
}

/// The recipe with the places of the pictures, the seed, and what the user set.
fn given(data: &Path, request: &DemoRequest) -> Result<Partial, RunError> {
    let mut own = Partial::default();
    let place = |part: &str| Value::String(data.join(part).display().to_string());
    own.insert("data.train", Value::Array(vec![place("train")]), Origin::Derived)?;
    own.insert("data.val", place("val"), Origin::Derived)?;
    let seed = i64::try_from(request.seed).unwrap_or(i64::MAX);
    own.insert("run.seed", Value::Integer(seed), Origin::Flag("--seed"))?;
    Ok(Partial::from_recipe(RECIPE)?.overlaid(own).overlaid(request.given.clone()))
}

/// Pictures with the masks of their objects.
struct Scene {
    image: Image,
    mask: Vec<u8>,
}

/// Compares the trained network with what needs no training, and writes the page.
fn measure(trained: &Trained<'_>, data: &Path, console: &Console) -> Result<DemoReport, RunError> {
    console.say("comparing attention with the true masks, classes with pixels, and writing the page");
    let numbers = Numbers::gather(trained)?;
    let config = &trained.folder.config;
    let scenes = scenes(trained, data)?;
    let (backbone, teacher) = trained.state.method.backbone();
    let (_, untrained) = build(config)?;
    let (score, rows) = look(&scenes, backbone, teacher)?;
    let (score_untrained, _) = look(&scenes, backbone, &untrained)?;
    let additions = Additions {
        title: "dinoxide demo".to_owned(),
        tables: vec![jaccard_table(&score, &score_untrained, scenes.len())],
        attention: rows,
        next_steps: vec!["Your own images, without labels: dinoxide pretrain IMAGES".to_owned()],
    };
    let report = report::write(trained, &numbers, additions, console)?;
    Ok(DemoReport {
        knn_untrained: numbers.untrained.unwrap_or_default(),
        knn_pixels: numbers.pixels.unwrap_or_default(),
        knn_trained: numbers.trained.unwrap_or_default(),
        chance: numbers.chance.unwrap_or_default(),
        jaccard: score.best_head,
        jaccard_untrained: score_untrained.best_head,
        jaccard_baseline: score.ellipse,
        jaccard_mean_heads: score.mean_heads,
        jaccard_mean_heads_untrained: score_untrained.mean_heads,
        train_seconds: numbers.train_seconds,
        report,
    })
}

/// Validation pictures spread over all classes, with their masks, cut to whole patches.
fn scenes(trained: &Trained<'_>, data: &Path) -> Result<Vec<Scene>, RunError> {
    let images: Vec<_> = trained.validation.iter().flat_map(super::validation::Validation::queries).collect();
    let count = images.len().min(MASKS);
    let patch = trained.folder.config.model.patch_size as u32;
    let mut scenes = Vec::with_capacity(count);
    for place in 0..count {
        let found = images[place * images.len() / count];
        let mask = data.join("masks").join("val").join(&*found.name);
        let (Ok(image), Ok(mask)) = (found.decode(&Reading::default()), decode_file(&mask, &Reading::default())) else {
            continue;
        };
        let covered = |side: u32| side - side % patch;
        let window = Crop { x: 0, y: 0, width: covered(image.width), height: covered(image.height) };
        let mask = mask.crop(window).pixels.into_iter().step_by(3).collect();
        scenes.push(Scene { image: image.crop(window), mask });
    }
    Ok(scenes)
}

/// How well a network's attention outlines the objects, and the first rows of a sheet.
fn look(
    scenes: &[Scene],
    backbone: &Backbone,
    params: &Params,
) -> Result<(AttentionScore, Vec<AttentionRow>), RunError> {
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let frozen = Frozen::new(&cpu, &pool, backbone, params);
    let patch_size = backbone.stride();
    let stride = scenes.len().div_ceil(SHEET_ROWS).max(1);
    let (mut scores, mut rows) = (Vec::with_capacity(scenes.len()), Vec::new());
    for (place, Scene { image, mask }) in scenes.iter().enumerate() {
        let Some(maps) = attention_maps(&frozen, image)? else { continue };
        let size = (image.height as usize, image.width as usize);
        let truth = TruthMask::from_gray(mask, size, UnknownLevel::Background)?;
        scores.push(image_jaccard(&maps, patch_size, MASS, &[truth])?);
        if place.is_multiple_of(stride) {
            rows.push(attention_row(&Sight { image: image.clone(), maps }, Some(mask.clone()))?);
        }
    }
    Ok((mean_jaccard(&scores)?, rows))
}

fn jaccard_table(trained: &AttentionScore, untrained: &AttentionScore, pictures: usize) -> Table {
    let row = |name: &str, best: f64, mean: f64| vec![name.to_owned(), format!("{best:.3}"), format!("{mean:.3}")];
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Table {
        title: "Attention against the true masks".to_owned(),
        caption: format!(
            "Mean Jaccard index over {pictures} pictures of the patches that hold 60 % of the attention. The best head is \
             chosen for each picture by its mask, as in the paper."
        ),
        header: texts(&["network", "best head", "mean of heads"]),
        rows: vec![
            row("teacher", trained.best_head, trained.mean_heads),
            row("untrained", untrained.best_head, untrained.mean_heads),
            row("centred ellipse", trained.ellipse, trained.ellipse),
            row("whole picture", trained.foreground, trained.foreground),
        ],
    }
}
