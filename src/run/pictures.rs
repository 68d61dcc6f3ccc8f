//! Pictures of every evaluation: the same few images each time, so that those of all epochs make a film.
//!
//! `pictures/attention/epoch-0010.png`, `pictures/pca/…` and `pictures/neighbors/…` of the run folder.

use std::path::{Path, PathBuf};

use dinoxide_views::Image;
use dinoxide_views::source::SourceImage;
use serde::{Deserialize, Serialize};

use super::RunError;
use super::look::write_file;
use super::neighbors::drawn;
use super::pca::{PcaSight, add_tokens, pca_rows};
use super::probe::{Probe, ProbeFeatures};
use super::report::{PICTURES, Sight, attention_maps, attention_row};
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
/// Where the components of the last picture are kept, so that those of the next one keep their colours.
const COMPONENTS: &str = "components.json";

/// What is drawn at every evaluation.
pub struct Pictures {
    /// Below it the pictures go.
    folder: PathBuf,
    sights: Vec<Image>,
    components: Components,
}

/// A sheet that was drawn.
pub struct Drawn {
    /// Its kind, the name of its folder.
    pub kind: &'static str,
    /// The picture.
    pub picture: Picture,
}

/// The projections of the patches in the last picture, `[P, 3]`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
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
        let folder = run.join(PICTURES);
        let components = std::fs::read(folder.join("pca").join(COMPONENTS)).unwrap_or_default();
        // Without them, or with those of another version, the colours begin anew.
        let components = serde_json::from_slice(&components).unwrap_or_default();
        Self { sights: sights.collect(), folder, components }
    }

    /// Draws all sheets after `epoch` epochs and writes them.
    ///
    /// # Errors
    /// If the network's values are not finite, or a file cannot be written.
    pub fn draw(
        &mut self,
        frozen: &Frozen<'_>,
        probe: &Probe,
        features: &ProbeFeatures,
        epoch: usize,
    ) -> Result<Vec<Drawn>, RunError> {
        let mut all = Vec::new();
        if !self.sights.is_empty() {
            all.push(Drawn { kind: "attention", picture: self.attention(frozen)? });
            all.push(Drawn { kind: "pca", picture: self.components(frozen)? });
        }
        if let Some(picture) = neighbors(probe, features)? {
            all.push(Drawn { kind: "neighbors", picture });
        }
        for Drawn { kind, picture } in &all {
            let path = self.folder.join(kind).join(format!("epoch-{epoch:04}.png"));
            write(&path, &picture.to_png()?)?;
        }
        Ok(all)
    }

    fn attention(&self, frozen: &Frozen<'_>) -> Result<Picture, RunError> {
        let mut rows = Vec::new();
        for image in &self.sights {
            let sight = Sight { image: image.clone(), maps: attention_maps(frozen, image)? };
            rows.push(attention_row(&sight, None)?);
        }
        Ok(attention_sheet(&rows, &SheetStyle::default())?)
    }

    fn components(&mut self, frozen: &Frozen<'_>) -> Result<Picture, RunError> {
        let mut tokens = PatchTokens::default();
        self.sights.iter().for_each(|image| add_tokens(frozen, image, &mut tokens));
        let before = Some(self.components.projections.as_slice()).filter(|before| !before.is_empty());
        // Images that changed since have other patches: the colours begin anew.
        let maps = pca_maps(&tokens, Ground::Whole, before).or_else(|_| pca_maps(&tokens, Ground::Whole, None))?;
        self.components.projections.clone_from(&maps.projections);
        let text = serde_json::to_vec(&self.components).unwrap_or_default();
        write(&self.folder.join("pca").join(COMPONENTS), &text)?;
        let sight = |image: &Image| PcaSight { name: String::new(), image: image.clone() };
        let sights: Vec<PcaSight> = self.sights.iter().map(sight).collect();
        Ok(pca_sheet(&pca_rows(&sights, &tokens.grids, &maps, Upsampling::Nearest)?, MAP_PX))
    }
}

/// The nearest images of the probe to a few of it; nothing if there are too few.
fn neighbors(probe: &Probe, features: &ProbeFeatures) -> Result<Option<Picture>, RunError> {
    let images = probe.images();
    if images.len() < 2 {
        return Ok(None);
    }
    let bank = UnitRows::new(features.teacher.clone(), features.dim, "the features of the probe")?;
    let queries = drawn(images.len());
    let own: Vec<Option<usize>> = queries.iter().copied().map(Some).collect();
    let rows: Vec<f32> = queries.iter().flat_map(|query| bank.row(*query)).copied().collect();
    let nearest = bank.nearest_others(&rows, &own, NEIGHBORS)?;
    let shown = |index: usize| -> Result<Shown, RunError> {
        let image = images[index].shown();
        let picture = Picture::new(image.width, image.height, image.pixels)?.resized(CELL_PX, CELL_PX);
        Ok(Shown { picture, class: None })
    };
    let mut rows = Vec::new();
    for (query, nearest) in queries.iter().zip(&nearest) {
        let near = nearest.iter().map(|near| Ok((shown(near.index)?, near.similarity)));
        rows.push(NeighborRow { query: shown(*query)?, nearest: near.collect::<Result<_, RunError>>()? });
    }
    Ok(Some(neighbor_sheet(&rows, CELL_PX)))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
    }
    write_file(path, bytes)
}
