//! Films: the sheets of all evaluations one after the other, as an animated GIF.
//!
//! A pixel that stays as it was is not told again, so that the images beside the maps cost nothing.

use gif::{Encoder, Frame, Repeat};

use super::glyph;
use super::picture::{Picture, PictureError};
use super::sheet::GROUND;

/// Frames from which its size is guessed.
const GUESSED: usize = 4;
/// How often it is made again if the guess was wrong, and how much smaller than the sizes so far ask for.
const TRIES: usize = 4;
const SPARE: f64 = 0.92;
/// Difference of a channel up to which a pixel stays as it was: compressed sheets shimmer.
const TOLERANCE: u8 = 10;
/// From 1, best, to 30: how the colours of a frame are chosen.
const SPEED: i32 = 10;
/// Space around captions, pixels.
const PADDING: u32 = 6;

/// How large a film is and how fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilmStyle {
    /// Longer side without captions, pixels.
    pub longest_px: u32,
    /// Bytes at most, about: a film that would be larger has fewer frames, and then a smaller size.
    pub most_bytes: usize,
    /// Frames that such a film keeps.
    pub fewest: usize,
    /// Length of the film, hundredths of a second.
    pub length: u16,
    /// Bounds of a frame, hundredths of a second.
    pub frame: (u16, u16),
    /// The last frame, hundredths of a second.
    pub last: u16,
}

impl FilmStyle {
    /// Sheets of a run's evaluations, to be compared.
    pub const SHEETS: Self =
        Self { longest_px: 720, most_bytes: 1_200_000, fewest: 16, length: 800, frame: (20, 80), last: 250 };
    /// A video, to be watched.
    pub const VIDEO: Self =
        Self { longest_px: 480, most_bytes: 3_000_000, fewest: 60, length: 500, frame: (8, 25), last: 100 };
}

/// A frame of a film.
#[derive(Debug, Clone)]
pub struct FilmFrame {
    /// The sheet.
    pub picture: Picture,
    /// What stands below it, in capitals.
    pub caption: String,
}

/// Returns the frames, or evenly spread ones of them, as a GIF that repeats; frames smaller than the largest lie at the top left. Empty
/// without frames.
///
/// # Errors
/// If the encoder refuses the frames.
pub fn film(frames: &[FilmFrame]) -> Result<Vec<u8>, PictureError> {
    film_as(frames, FilmStyle::SHEETS)
}

/// The same in another size or at another speed.
///
/// # Errors
/// If the encoder refuses the frames.
pub fn film_as(frames: &[FilmFrame], style: FilmStyle) -> Result<Vec<u8>, PictureError> {
    let largest = |side: fn(&Picture) -> u32| frames.iter().map(|frame| side(&frame.picture)).max().unwrap_or(0);
    let size = (largest(Picture::width), largest(Picture::height));
    if frames.is_empty() {
        return Ok(Vec::new());
    }
    let most = style.most_bytes as f64;
    let mut scale = (f64::from(style.longest_px) / f64::from(size.0.max(size.1))).min(1.0);
    let mut count = frames.len();
    if count > style.fewest {
        let each = encoded(&spread(frames, GUESSED), size, scale, style)?.len() as f64 / GUESSED as f64;
        count = count.min((most / each) as usize).max(style.fewest);
        scale *= (most / (each * count as f64)).sqrt().min(1.0);
    }
    let shown = spread(frames, count);
    let mut file = encoded(&shown, size, scale, style)?;
    for _ in 1..TRIES {
        if file.len() <= style.most_bytes {
            break;
        }
        scale *= SPARE * (most / file.len() as f64).sqrt();
        file = encoded(&shown, size, scale, style)?;
    }
    Ok(file)
}

/// Returns at most so many items, evenly spread, with the first and the last.
pub fn spread<T>(items: &[T], most: usize) -> Vec<&T> {
    let (count, last) = (items.len().min(most), items.len().saturating_sub(1));
    (0..count).map(|place| &items[place * last / count.saturating_sub(1).max(1)]).collect()
}

/// The film with sheets of at most `size` scaled by `scale`.
fn encoded(frames: &[&FilmFrame], size: (u32, u32), scale: f64, style: FilmStyle) -> Result<Vec<u8>, PictureError> {
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    let (width, height) = (scaled(size.0), scaled(size.1) + glyph::LINE_HEIGHT + PADDING);
    let failed = |source| PictureError::Film { width, height, source };
    // No side is longer than a film's longest and its captions.
    let mut encoder = Encoder::new(Vec::new(), width as u16, height as u16, &[]).map_err(failed)?;
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    let each = (style.length / frames.len().min(style.length as usize) as u16).clamp(style.frame.0, style.frame.1);
    let mut shown: Option<Picture> = None;
    for (place, frame) in frames.iter().enumerate() {
        let mut picture = Picture::filled(width, height, GROUND);
        let (own_width, own_height) = (scaled(frame.picture.width()), scaled(frame.picture.height()));
        picture.paste(&frame.picture.resized(own_width, own_height), 0, 0);
        glyph::write(&mut picture, &frame.caption, (PADDING, height - glyph::LINE_HEIGHT), width - PADDING);
        let delay = if place + 1 == frames.len() { style.last } else { each };
        let change = Frame { delay, ..change(&picture, &mut shown) };
        encoder.write_frame(&change).map_err(failed)?;
    }
    encoder.into_inner().map_err(failed)
}

/// What changes from what is shown to a picture, which is shown from now on.
pub(super) fn change(picture: &Picture, shown: &mut Option<Picture>) -> Frame<'static> {
    let Some(shown) = shown else {
        *shown = Some(picture.clone());
        let mut pixels = opaque(picture);
        return Frame::from_rgba_speed(picture.width() as u16, picture.height() as u16, &mut pixels, SPEED);
    };
    let differs = |(now, then): (&[u8], &[u8])| now.iter().zip(then).any(|(now, then)| now.abs_diff(*then) > TOLERANCE);
    let pixels = picture.rgb().chunks_exact(3).zip(shown.rgb().chunks_exact(3));
    let places = (0..).zip(pixels).filter(|(_, pixels)| differs(*pixels)).map(|(place, _)| place);
    let changed: Vec<(u32, u32)> =
        places.map(|place: u32| (place % picture.width(), place / picture.width())).collect();
    let around = |side: fn(&(u32, u32)) -> u32| {
        let (low, high) = (changed.iter().map(side).min(), changed.iter().map(side).max());
        low.zip(high).unwrap_or((0, 0))
    };
    let ((left, right), (top, bottom)) = (around(|place| place.0), around(|place| place.1));
    let (width, height) = (right - left + 1, bottom - top + 1);
    // Four values a pixel; where the last is 0, what was there stays.
    let mut pixels = vec![0; 4 * width as usize * height as usize];
    for (column, row) in changed {
        let colour = picture.pixel(column, row);
        shown.set_pixel(column, row, colour);
        let at = 4 * ((row - top) as usize * width as usize + (column - left) as usize);
        pixels[at..at + 3].copy_from_slice(&colour);
        pixels[at + 3] = u8::MAX;
    }
    let frame = Frame::from_rgba_speed(width as u16, height as u16, &mut pixels, SPEED);
    Frame { left: left as u16, top: top as u16, ..frame }
}

fn opaque(picture: &Picture) -> Vec<u8> {
    picture.rgb().chunks_exact(3).flat_map(|colour| [colour[0], colour[1], colour[2], u8::MAX]).collect()
}
