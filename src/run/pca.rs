//! `dinoxide pca`: what parts of images are alike to a network, as colours.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dinoxide_engine::tensor::Pool;
use dinoxide_views::{Image, Skipped, Source};
use serde::Serialize;

use super::RunError;
use super::counter::Counter;
use super::device::among_threads;
use super::images::warn_of_skipped;
use super::look::{Look, LookRequest, figure, named, thinned, write_file, write_page};
use super::report::picture_of;
use super::seen::{free_name, seen};
use crate::eval::EvalError;
use crate::eval::features::{Frozen, ImageBatch};
use crate::eval::pca::COLOURS;
use crate::eval::pca_maps::{Ground, PatchTokens, PcaMaps, pca_maps};
use crate::report::page::{RunPage, Table, Verdict, VerdictState};
use crate::report::pca_sheet::{PcaRow, Upsampling, cut_out, pca_picture, pca_sheet};
use crate::report::picture::PictureError;

/// Longer side of a picture on the sheet.
const CELL_PX: u32 = 200;

/// What to do.
#[derive(Debug, Clone)]
pub struct PcaRequest {
    /// Images, network, folder.
    pub look: LookRequest,
    /// Images at most: the tokens of all of them are held in memory.
    pub max: usize,
    /// Whether the background is left out.
    pub ground: Ground,
    /// How patches become pixels.
    pub upsampling: Upsampling,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PcaReport {
    /// Images looked at.
    pub images: usize,
    /// Images that could not be read.
    pub skipped: usize,
    /// Patches of all of them.
    pub patches: usize,
    /// Share of the patches' variance along each of the three components, 0 to 1.
    pub explained: Vec<f64>,
    /// Files written.
    pub files: Vec<PathBuf>,
}

/// Colours the patches of all images by their three principal components and writes a picture for each, a sheet and a page.
///
/// # Errors
/// If the model or all images cannot be read, or the results cannot be written.
pub fn pca(request: &PcaRequest) -> Result<PcaReport, RunError> {
    among_threads(|| draw(request))
}

fn draw(request: &PcaRequest) -> Result<PcaReport, RunError> {
    let look = Look::open(&request.look)?;
    let source = thinned(&look.console, Source::open(&request.look.data)?, request.max.max(1));
    let (sights, tokens, skipped) = tokens(&look, request, &source)?;
    let maps = pca_maps(&tokens, request.ground, None)?;
    let rows = pca_rows(&sights, &tokens.grids, &maps, request.upsampling)?;
    let mut report = PcaReport {
        images: sights.len(),
        skipped,
        patches: maps.colours.len() / COLOURS,
        explained: maps.explained.clone(),
        files: Vec::new(),
    };
    let out = &request.look.out;
    let mut taken = BTreeSet::new();
    for (sight, row) in sights.iter().zip(&rows) {
        let name = free_name(&sight.name, &mut taken);
        let pictures = [("", Some(&row.map)), ("-foreground", row.foreground.as_ref())];
        for (ending, picture) in pictures.into_iter().filter_map(|(ending, picture)| Some((ending, picture?))) {
            let path = out.join("maps").join(format!("{}{ending}.png", name.display()));
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).map_err(RunError::file("create", folder))?;
            }
            write_file(&path, &picture.to_png()?)?;
            report.files.push(path);
        }
    }
    let (sheet, page) = (out.join("pca.png"), out.join("pca.html"));
    let caption = "Equal colours are alike to the network, in all images: red, green and blue are the first three principal \
                   components of the patch tokens, each from its 1st to its 99th percentile.";
    let figure = figure(&sheet, &pca_sheet(&rows, CELL_PX), "Principal components of the patches", caption.to_owned())?;
    write_page(&page, &RunPage { figures: vec![figure], ..page_of(&report, request) })?;
    report.files.extend([sheet, page]);
    Ok(report)
}

/// An image as the network saw it.
#[derive(Debug, Clone)]
pub struct PcaSight {
    /// Its name.
    pub name: String,
    /// Its pixels; both sides are whole patches.
    pub image: Image,
}

fn tokens(look: &Look, request: &PcaRequest, source: &Source) -> Result<(Vec<PcaSight>, PatchTokens, usize), RunError> {
    let Look { console, model, cpu } = look;
    model.notices.iter().for_each(|notice| console.warn(notice));
    let fixed = match request.look.image_size {
        Some(_) => Some(model.transform(request.look.image_size)?),
        None => None,
    };
    let pool = Pool::new();
    let frozen = model.frozen(cpu, &pool);
    let (mut sights, mut tokens, mut skipped) = (Vec::new(), PatchTokens::default(), Vec::new());
    let counter = Counter::start(source.len());
    for image in &source.images {
        match image.decode(&model.reading) {
            Ok(decoded) => {
                let seen = seen(console, &image.name, &decoded, fixed, model.backbone.stride());
                add_tokens(&frozen, &seen, &mut tokens);
                sights.push(PcaSight { name: image.name.to_string(), image: seen });
            }
            Err(error) => skipped.push(Skipped { path: image.path(), reason: error.to_string() }),
        }
        counter.add(1);
    }
    drop(counter);
    warn_of_skipped(console, &skipped);
    if sights.is_empty() { Err(EvalError::NoImages.into()) } else { Ok((sights, tokens, skipped.len())) }
}

/// Adds the patch tokens of an image whose sides are whole patches.
pub fn add_tokens(frozen: &Frozen<'_>, image: &Image, tokens: &mut PatchTokens) {
    let (height, width) = (image.height as usize, image.width as usize);
    let values = frozen.tokens(ImageBatch { pixels: &image.pixels, images: 1, height, width });
    let grid = frozen.backbone.grid(height, width);
    tokens.push(&values, frozen.backbone.dim(), grid);
}

/// The images with their maps, ready for a sheet.
///
/// # Errors
/// If the maps are not those of the images.
pub fn pca_rows(
    sights: &[PcaSight],
    grids: &[(usize, usize)],
    maps: &PcaMaps,
    upsampling: Upsampling,
) -> Result<Vec<PcaRow>, PictureError> {
    let mut first = 0;
    let mut rows = Vec::new();
    for (sight, &grid) in sights.iter().zip(grids) {
        let patches = first..first + grid.0 * grid.1;
        let values = COLOURS * patches.start..COLOURS * patches.end;
        let image = picture_of(&sight.image)?;
        let map = pca_picture(maps.colours.get(values.clone()).unwrap_or_default(), grid, &image, upsampling)?;
        let foreground = match &maps.foreground {
            Some(front) => {
                let map = pca_picture(front.colours.get(values).unwrap_or_default(), grid, &image, upsampling)?;
                Some(cut_out(&map, front.kept.get(patches.clone()).unwrap_or_default(), grid)?)
            }
            None => None,
        };
        rows.push(PcaRow { image, map, foreground });
        first = patches.end;
    }
    Ok(rows)
}

fn page_of(report: &PcaReport, request: &PcaRequest) -> RunPage {
    let explained = report.explained.iter().map(|share| format!("{:.1} %", 100.0 * share)).collect::<Vec<_>>();
    let all: f64 = report.explained.iter().sum();
    let sentence = format!(
        "{} patches of {} images; three components hold {:.1} % of their variance",
        report.patches,
        report.images,
        100.0 * all
    );
    let mut rows = vec![
        vec!["model".to_owned(), request.look.model.display().to_string()],
        vec!["images".to_owned(), named(&request.look.data)],
        vec!["variance of each component".to_owned(), explained.join(", ")],
        vec!["unreadable".to_owned(), report.skipped.to_string()],
    ];
    if request.ground == Ground::Foreground {
        let how = "first component, Otsu's threshold; the side that is rarer at the borders; then a basis of its own";
        rows.push(vec!["foreground".to_owned(), how.to_owned()]);
    }
    RunPage {
        title: "What is alike to the network".to_owned(),
        verdict: Verdict { state: VerdictState::Neutral, sentence },
        tables: vec![Table { title: "In numbers".to_owned(), rows, ..Table::default() }],
        ..RunPage::default()
    }
}
