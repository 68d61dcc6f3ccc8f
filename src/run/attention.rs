//! `dinoxide attention`: where the model looks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::tensor::Pool;
use dinoxide_views::{Image, Skipped, Source};
use serde::Serialize;

use super::RunError;
use super::console::{Console, Figures, Verbosity};
use super::device::among_threads;
use super::images::warn_of_skipped;
use super::input::{ImageSize, Network};
use super::model::{Model, name_of};
use super::report::picture_of;
use super::seen::{free_name, seen};
use crate::checkpoint::atomic::write_atomic;
use crate::eval::EvalError;
use crate::eval::attention::{AttentionMaps, mass_mask};
use crate::eval::embedding::{FeatureKind, FeatureWriter};
use crate::eval::features::ImageBatch;
use crate::report::attention_sheet::{AttentionRow, OVERLAY_OPACITY, SheetStyle, attention_panel};
use crate::report::picture::{ColourMap, Grid, Picture, PictureError};

/// Colours of the maps.
const MAP: ColourMap = ColourMap::Viridis;
/// Width of a picture on the sheet.
const SMALLEST_CELL_PX: u32 = 160;
const LARGEST_CELL_PX: u32 = 320;

/// What to do.
#[derive(Debug, Clone)]
pub struct AttentionRequest {
    /// A run folder, `.safetensors` or `.pth`.
    pub model: PathBuf,
    /// Image files, folders or globs.
    pub images: Vec<String>,
    /// Folder for the pictures and arrays.
    pub out: PathBuf,
    /// Size to resize to; `None` keeps the size of each image, cropped to whole patches.
    pub image_size: Option<ImageSize>,
    /// Share of the attention inside the masks.
    pub threshold: f64,
    /// Which network.
    pub network: Network,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttentionReport {
    /// Images looked at.
    pub images: usize,
    /// Images that could not be read.
    pub skipped: usize,
    /// Files written.
    pub files: Vec<PathBuf>,
}

/// Looks at every image and writes a folder for each: the sheet, every head, the mean, masks, and the numbers.
///
/// # Errors
/// If the model or all images cannot be read, or the results cannot be written.
pub fn attention(request: &AttentionRequest) -> Result<AttentionReport, RunError> {
    among_threads(|| look(request))
}

fn look(request: &AttentionRequest) -> Result<AttentionReport, RunError> {
    let console = Console::new(Verbosity::Normal, Figures::Talk);
    mass_mask(&[], request.threshold)?;
    let model = Model::load(&request.model, request.network)?;
    model.notices.iter().for_each(|notice| console.warn(notice));
    let fixed = match request.image_size {
        Some(_) => Some(model.transform(request.image_size)?),
        None => None,
    };
    let no_attention = || RunError::NoAttention { model: name_of(&model.backbone.config()) };
    if model.backbone.vit().is_none() {
        return Err(no_attention());
    }
    let source = Source::open(&request.images)?;
    let (cpu, pool) = (Cpu::new(), Pool::new());
    let frozen = model.frozen(&cpu, &pool);
    let mut report = AttentionReport { images: 0, skipped: 0, files: Vec::new() };
    let mut skipped = Vec::new();
    let mut folders = BTreeSet::new();
    for image in &source.images {
        let decoded = match image.decode(&model.reading) {
            Ok(decoded) => decoded,
            Err(error) => {
                skipped.push(Skipped { path: image.path(), reason: error.to_string() });
                continue;
            }
        };
        let seen = seen(&console, &image.name, &decoded, fixed, model.backbone.stride());
        let (height, width) = (seen.height as usize, seen.width as usize);
        let values = frozen.class_attention(ImageBatch { pixels: &seen.pixels, images: 1, height, width });
        let values = values.ok_or_else(no_attention)?;
        let look = Look {
            name: &image.name,
            image: &seen,
            maps: AttentionMaps::new(values, model.backbone.grid(height, width))?,
        };
        let folder = request.out.join(free_name(&image.name, &mut folders));
        report.files.extend(look.write(&folder, request.threshold)?);
        report.images += 1;
    }
    warn_of_skipped(&console, &skipped);
    report.skipped = skipped.len();
    if report.images == 0 { Err(EvalError::NoImages.into()) } else { Ok(report) }
}

/// One image with what the network attends to.
struct Look<'a> {
    name: &'a str,
    image: &'a Image,
    maps: AttentionMaps,
}

impl Look<'_> {
    fn write(&self, folder: &Path, mass: f64) -> Result<Vec<PathBuf>, RunError> {
        std::fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
        let image = picture_of(self.image)?;
        let mut files = Vec::new();
        let mut save = |name: String, picture: &Picture| -> Result<(), RunError> {
            let (path, bytes) = (folder.join(name), picture.to_png()?);
            write_atomic(&path, |file| file.write_all(&bytes)).map_err(RunError::file("write", &path))?;
            files.push(path);
            Ok(())
        };
        save("attention.png".to_owned(), &self.sheet(&image, mass)?)?;
        let mean = self.maps.mean();
        save("mean.png".to_owned(), &self.heat(&image, &mean)?)?;
        save("overlay.png".to_owned(), &image.with_heat(&self.grid(mean.clone())?, MAP, OVERLAY_OPACITY))?;
        save("mask.png".to_owned(), &self.masked(&image, &mean, mass)?)?;
        for (number, head) in (1..).zip(self.maps.heads()) {
            save(format!("head-{number}.png"), &self.heat(&image, head)?)?;
            save(format!("mask-{number}.png"), &self.masked(&image, head, mass)?)?;
        }
        let path = folder.join("attention.npz");
        let (rows, columns) = self.maps.grid();
        let heads = self.maps.heads();
        let shape = [heads.len(), rows, columns];
        let mut writer = FeatureWriter::create(&path, FeatureKind::Attention, &shape)?;
        writer.push(self.name, &heads.flatten().copied().collect::<Vec<f32>>())?;
        writer.finish()?;
        files.push(path);
        Ok(files)
    }

    fn sheet(&self, image: &Picture, mass: f64) -> Result<Picture, RunError> {
        let kept = mass_mask(&self.maps.mean(), mass)?;
        let row = AttentionRow { image: image.clone(), maps: self.maps.clone(), kept, truth: None };
        let cell_px = image.width().clamp(SMALLEST_CELL_PX, LARGEST_CELL_PX);
        Ok(attention_panel(&row, &SheetStyle { mass, cell_px, map: MAP })?)
    }

    fn grid(&self, values: Vec<f32>) -> Result<Grid, PictureError> {
        let (rows, columns) = self.maps.grid();
        Grid::new(columns, rows, values)
    }

    fn heat(&self, image: &Picture, map: &[f32]) -> Result<Picture, PictureError> {
        Ok(self.grid(map.to_vec())?.normalised().to_picture(MAP, image.width(), image.height()))
    }

    fn masked(&self, image: &Picture, map: &[f32], mass: f64) -> Result<Picture, RunError> {
        let kept = mass_mask(map, mass)?.into_iter().map(|kept| f32::from(u8::from(kept)));
        Ok(image.with_mask(&self.grid(kept.collect())?))
    }
}
