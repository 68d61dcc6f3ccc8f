//! `dinoxide pca --video`: what is alike to a network, frame by frame, in colours that mean the same in all of them.

use std::ops::ControlFlow;

use dinoxide_engine::tensor::Pool;

use super::{Studio, VideoReport, VideoRequest, fitted};
use crate::eval::pca::{COLOURS, Pca, colour_ranges, colours_within};
use crate::eval::pca_maps::PatchTokens;
use crate::report::pca_sheet::{Upsampling, pca_picture};
use crate::report::sheet::sheet;
use crate::run::RunError;
use crate::run::device::among_threads;
use crate::run::pca::add_tokens;
use crate::run::report::picture_of;

/// Frames that the components are learnt from.
const LEARNT_FROM: usize = 8;
/// Longer side of a picture, pixels.
const SIDE: u32 = 400;

/// Writes a video of frames beside their colours. Components and their ranges are those of a few frames, and then stay.
///
/// # Errors
/// If the frames cannot be read, or the video cannot be written.
pub fn pca_video(request: &VideoRequest, upsampling: Upsampling) -> Result<VideoReport, RunError> {
    among_threads(|| film(request, upsampling))
}

fn film(request: &VideoRequest, upsampling: Upsampling) -> Result<VideoReport, RunError> {
    let studio = Studio::open(request)?;
    let pool = Pool::new();
    let frozen = studio.frozen(&pool);
    // Spread over the video where its length is known, else the first ones.
    let count = studio.frames.count.unwrap_or(LEARNT_FROM).max(1);
    let places: Vec<usize> = (0..LEARNT_FROM.min(count)).map(|place| place * count / LEARNT_FROM.min(count)).collect();
    let last = places.last().copied().unwrap_or(0);
    let (mut tokens, mut first) = (PatchTokens::default(), None);
    studio.frames.each(
        studio.reading(),
        |place| places.contains(&place),
        |frame| {
            let image = studio.seen(&frame, first)?;
            first.get_or_insert((frame.image.width, frame.image.height));
            add_tokens(&frozen, &image, &mut tokens);
            Ok(if frame.place >= last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        },
    )?;
    let pca = Pca::fit(&tokens.values, tokens.dim, COLOURS)?;
    let ranges = colour_ranges(&pca.project(&tokens.values)?, COLOURS)?;
    drop(tokens);
    let side = request.side.unwrap_or(SIDE);
    studio.film(|image| {
        let mut tokens = PatchTokens::default();
        add_tokens(&frozen, image, &mut tokens);
        let grid = tokens.grids.first().copied().unwrap_or_default();
        let colours = colours_within(&pca.project(&tokens.values)?, &ranges)?;
        let picture = fitted(&picture_of(image)?, side);
        let map = pca_picture(&colours, grid, &picture, upsampling)?;
        Ok(sheet(&[vec![picture, map]], &[]))
    })
}
