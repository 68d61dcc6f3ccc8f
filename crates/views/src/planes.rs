//! The image in the making: bytes of one channel side by side, so that loops run over whole vectors.
use crate::pixel::Image;
use crate::simd::LANES;

/// An 8-bit image, row by row: of a row all values of the first channel (red), then all of the second, each padded to whole
/// vectors.
#[derive(Debug, Clone, Default)]
pub struct Planes {
    width: usize,
    height: usize,
    channels: usize,
    bytes: Vec<u8>,
}

impl Planes {
    /// Gives the image another size; what it holds is arbitrary. Memory is kept.
    pub(crate) fn reset(&mut self, width: usize, height: usize, channels: usize) {
        (self.width, self.height, self.channels) = (width, height, channels);
        let len = self.stride() * height;
        // Never shorter: what is there need not be cleared again.
        self.bytes.resize(self.bytes.len().max(len), 0);
    }

    /// Width in pixels.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub(crate) fn height(&self) -> usize {
        self.height
    }

    /// Values of a pixel.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// Bytes of one channel of a row.
    pub(crate) fn line(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Bytes of a row.
    pub(crate) fn stride(&self) -> usize {
        self.channels * self.line()
    }

    /// All rows, [height, channels, line].
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.stride() * self.height]
    }

    /// As [`Planes::bytes`].
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.stride() * self.height;
        &mut self.bytes[..len]
    }

    /// Writes the image with rows and columns exchanged.
    pub(crate) fn transpose(&self, out: &mut Self) {
        out.reset(self.height, self.width, self.channels);
        let (from_line, to_line, channels) = (self.line(), out.line(), self.channels);
        for y in 0..self.height {
            for channel in 0..channels {
                let row = &self.bytes[(channels * y + channel) * from_line..][..self.width];
                for (x, value) in row.iter().enumerate() {
                    out.bytes[(channels * x + channel) * to_line + y] = *value;
                }
            }
        }
    }

    /// Writes the pixels one by one, [height, width, channels].
    ///
    /// # Panics
    /// If `pixels` has another size.
    pub fn write(&self, pixels: &mut [u8]) {
        let (width, line, channels) = (self.width, self.line(), self.channels);
        let (len, height) = (pixels.len(), self.height);
        assert!(len == channels * width * height, "{len} bytes for {width} x {height} x {channels}");
        if channels != 3 {
            return self.write_any(pixels);
        }
        crate::simd::vectorised(
            #[inline(always)]
            || {
                let rows = pixels.chunks_exact_mut((3 * width).max(1));
                for (to, row) in rows.zip(self.bytes().chunks_exact((3 * line).max(1))) {
                    let ((red, rest), to) = (row.split_at(line), to.as_chunks_mut::<3>().0);
                    let (green, blue) = rest.split_at(line);
                    for x in 0..to.len() {
                        to[x] = [red[x], green[x], blue[x]];
                    }
                }
            },
        );
    }

    /// As [`Planes::write`] for any number of channels.
    fn write_any(&self, pixels: &mut [u8]) {
        let (width, line, channels) = (self.width, self.line(), self.channels);
        for (to, row) in
            pixels.chunks_exact_mut((channels * width).max(1)).zip(self.bytes().chunks_exact(channels * line))
        {
            for (channel, values) in row.chunks_exact(line).enumerate() {
                to[channel..].iter_mut().step_by(channels).zip(values).for_each(|(to, value)| *to = *value);
            }
        }
    }
}

impl From<&Image> for Planes {
    fn from(image: &Image) -> Self {
        let mut planes = Self::default();
        planes.reset(image.width as usize, image.height as usize, image.channels);
        let (line, stride) = (planes.line(), planes.stride());
        let rows = image.pixels.chunks_exact(image.stride().max(1));
        for (row, from) in planes.bytes.chunks_exact_mut(stride.max(1)).zip(rows) {
            for (x, pixel) in from.chunks_exact(image.channels).enumerate() {
                for (channel, &value) in pixel.iter().enumerate() {
                    row[channel * line + x] = value;
                }
            }
        }
        planes
    }
}

impl From<&Planes> for Image {
    fn from(planes: &Planes) -> Self {
        let mut image = Self::black(planes.width as u32, planes.height as u32, planes.channels);
        planes.write(&mut image.pixels);
        image
    }
}
