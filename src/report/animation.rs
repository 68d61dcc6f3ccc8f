//! Animated GIFs of any length, written frame by frame: only the frame that is shown is held.

use std::io::Write;

use gif::{Encoder, EncodingError, Repeat};

use super::film::change;
use super::picture::Picture;

/// Hundredths of a second that a frame is shown at least: browsers take less for a mistake, and show it for a tenth.
const SHORTEST: f64 = 2.0;
/// Hundredths in a second.
const SECOND: f64 = 100.0;

/// A GIF under way.
pub struct Animation<W: Write> {
    encoder: Encoder<W>,
    shown: Option<Picture>,
    size: (u32, u32),
    /// Hundredths of a second of a frame.
    each: f64,
    frames: usize,
}

impl<W: Write> Animation<W> {
    /// Begins a GIF of frames of one width and height that repeats.
    ///
    /// # Errors
    /// If the sides are beyond 65,535 pixels, or the beginning cannot be written.
    pub fn begin(writer: W, size: (u32, u32), fps: f64) -> Result<Self, EncodingError> {
        let side = |side: u32| u16::try_from(side).map_err(|error| std::io::Error::other(error.to_string()));
        let mut encoder = Encoder::new(writer, side(size.0)?, side(size.1)?, &[])?;
        encoder.set_repeat(Repeat::Infinite)?;
        Ok(Self { encoder, shown: None, size, each: (SECOND / fps).max(SHORTEST), frames: 0 })
    }

    /// Adds a frame; one of another size is brought to that of the first.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn push(&mut self, picture: &Picture) -> Result<(), EncodingError> {
        let picture = picture.resized(self.size.0, self.size.1);
        let mut frame = change(&picture, &mut self.shown);
        // Whole hundredths that do not drift from the true time.
        let until = |frames: usize| (frames as f64 * self.each).round();
        frame.delay = (until(self.frames + 1) - until(self.frames)) as u16;
        self.frames += 1;
        self.encoder.write_frame(&frame)
    }

    /// Ends the GIF.
    ///
    /// # Errors
    /// If the end cannot be written.
    pub fn finish(self) -> Result<W, EncodingError> {
        self.encoder.into_inner()
    }
}
