//! Pictures of every evaluation: the same few images each time, so that those of all epochs make a film.
//!
//! `pictures/attention/epoch-0010.png`, `pictures/pca/…`, `pictures/neighbors/….jpg` and `pictures/map/….jpg` of the run folder.

mod before;
mod map;

use std::path::{Path, PathBuf};

use dinoxide_views::Image;
use dinoxide_views::source::SourceImage;
use serde::{Deserialize, Serialize};

use before::{before, keep};
use map::probe_map;

use super::RunError;
use super::look::write_file;
use super::neighbors::drawn;
use super::pca::{PcaSight, add_tokens, pca_rows};
use super::probe::{Probe, ProbeFeatures};
use super::report::{PICTURES, Sight, attention_maps, attention_row, picture_of};
use super::validation::{eval_transform, reading};
use crate::config::Config;
use crate::eval::features::Frozen;
use crate::eval::nearest::UnitRows;
use crate::eval::pca_maps::{Ground, PatchTokens, pca_maps};
use crate::report::attention_sheet::{SheetStyle, attention_sheet};
use crate::report::neighbor_sheet::{NeighborRow, Shown, neighbor_sheet};
use crate::report::pca_sheet::{Upsampling, pca_sheet};
use crate::report::picture::Picture;

/// Images whose attention and patches are shown.
const SIGHTS: usize = 6;
/// Neighbours of each query.
const NEIGHBORS: usize = 8;
/// Longer side of a picture among others on a sheet, pixels.
const CELL_PX: u32 = 112;
/// Longer side of a map of patches, pixels.
const MAP_PX: u32 = 160;
/// Name of the files that keep the components of a picture, so that those of the next one keep their colours.
const COMPONENTS: &str = "components";

/// What is drawn at every evaluation.
pub struct Pictures {
    /// Below it the pictures go.
    folder: PathBuf,
    sights: Vec<Image>,
}

/// When an evaluation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Steps done.
    pub step: usize,
    /// Epochs done.
    pub epoch: usize,
}

/// A sheet that was drawn.
pub struct Drawn {
    /// Its kind, the name of its folder.
    pub kind: &'static str,
    /// Width and height, pixels.
    pub size: (u32, u32),
    /// The picture as a PNG or JPEG file.
    pub file: Vec<u8>,
}

/// How a picture is kept.
#[derive(Debug, Clone, Copy)]
enum Form {
    Png,
    Jpeg,
}

/// The projections of the patches in the last picture, `[P, 3]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Components {
    projections: Vec<f32>,
}

impl Pictures {
    /// Reads the images, spread over `among`; those that cannot be read are left out.
    pub fn open(run: &Path, config: &Config, among: &[&SourceImage]) -> Self {
        let (count, transform) = (among.len().min(SIGHTS), eval_transform(config));
        let chosen = (0..count).map(|place| among[place * among.len() / count]);
        let sights =
            chosen.filter_map(|image| image.decode(&reading(config)).ok()).map(|image| transform.apply(&image));
        Self { sights: sights.collect(), folder: run.join(PICTURES) }
    }

    /// Draws all sheets of the evaluation `at` and writes them.
    ///
    /// # Errors
    /// If the network's values are not finite, or a file cannot be written.
    pub fn draw(
        &self,
        frozen: &Frozen<'_>,
        probe: &Probe,
        features: &ProbeFeatures,
        at: Moment,
    ) -> Result<Vec<Drawn>, RunError> {
        let mut all = Vec::new();
        if !self.sights.is_empty() {
            if let Some(attention) = self.attention(frozen)? {
                all.push(self.keep("attention", &attention, Form::Png, at)?);
            }
            all.push(self.keep("pca", &self.components(frozen, at)?, Form::Png, at)?);
        }
        if probe.images().len() < 2 {
            return Ok(all);
        }
        let unit = UnitRows::new(features.teacher.clone(), features.dim, "the features of the probe")?;
        // Photographs for the most part, which are ten times larger as PNG.
        all.push(self.keep("neighbors", &neighbors(probe, &unit)?, Form::Jpeg, at)?);
        let map = probe_map(&self.folder.join("map"), probe, &unit, at)?;
        all.push(self.keep("map", &map, Form::Jpeg, at)?);
        Ok(all)
    }

    fn keep(&self, kind: &'static str, picture: &Picture, form: Form, at: Moment) -> Result<Drawn, RunError> {
        let (file, ending) = match form {
            Form::Png => (picture.to_png()?, "png"),
            Form::Jpeg => (picture.to_jpeg()?, "jpg"),
        };
        write(&self.folder.join(kind).join(format!("epoch-{:04}.{ending}", at.epoch)), &file)?;
        Ok(Drawn { kind, size: (picture.width(), picture.height()), file })
    }

    /// The sheet of a ViT's attention.
    fn attention(&self, frozen: &Frozen<'_>) -> Result<Option<Picture>, RunError> {
        let mut rows = Vec::new();
        for image in &self.sights {
            let Some(maps) = attention_maps(frozen, image)? else { return Ok(None) };
            rows.push(attention_row(&Sight { image: image.clone(), maps }, None)?);
        }
        Ok(Some(attention_sheet(&rows, &SheetStyle::default())?))
    }

    fn components(&self, frozen: &Frozen<'_>, at: Moment) -> Result<Picture, RunError> {
        let mut tokens = PatchTokens::default();
        self.sights.iter().for_each(|image| add_tokens(frozen, image, &mut tokens));
        let folder = self.folder.join("pca");
        let earlier = before::<Components>(&folder, COMPONENTS, at.step);
        let earlier = earlier.as_ref().map(|earlier| earlier.projections.as_slice());
        // Images that changed since have other patches: the colours begin anew.
        let maps = pca_maps(&tokens, Ground::Whole, earlier).or_else(|_| pca_maps(&tokens, Ground::Whole, None))?;
        keep(&folder, COMPONENTS, at.step, &Components { projections: maps.projections.clone() })?;
        let sight = |image: &Image| PcaSight { name: String::new(), image: image.clone() };
        let sights: Vec<PcaSight> = self.sights.iter().map(sight).collect();
        Ok(pca_sheet(&pca_rows(&sights, &tokens.grids, &maps, Upsampling::Nearest)?, MAP_PX))
    }
}

/// The nearest images of the probe, whose features are `bank`, to a few of it.
fn neighbors(probe: &Probe, bank: &UnitRows) -> Result<Picture, RunError> {
    let images = probe.images();
    let queries = drawn(images.len());
    let own: Vec<Option<usize>> = queries.iter().copied().map(Some).collect();
    let rows: Vec<f32> = queries.iter().flat_map(|query| bank.row(*query)).copied().collect();
    let nearest = bank.nearest_others(&rows, &own, NEIGHBORS)?;
    let shown = |index: usize| -> Result<Shown, RunError> {
        let picture = picture_of(&images[index])?.resized(CELL_PX, CELL_PX);
        Ok(Shown { picture, class: None })
    };
    let mut rows = Vec::new();
    for (query, nearest) in queries.iter().zip(&nearest) {
        let near = nearest.iter().map(|near| Ok((shown(near.index)?, near.similarity)));
        rows.push(NeighborRow { query: shown(*query)?, nearest: near.collect::<Result<_, RunError>>()? });
    }
    Ok(neighbor_sheet(&rows, CELL_PX))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
    }
    write_file(path, bytes)
}
