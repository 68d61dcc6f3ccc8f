//! The image in the making: bytes of one color side by side, so that loops run over whole vectors.
use crate::pixel::Rgb8;
use crate::simd::LANES;

/// An 8-bit RGB image, row by row: all red, all green, all blue values of a row, each padded to whole vectors.
#[derive(Debug, Clone, Default)]
pub struct Planes {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Planes {
    /// Gives the image another size; what it holds is arbitrary. Memory is kept.
    pub(crate) fn reset(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
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

    /// Bytes of one color of a row.
    pub(crate) fn line(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    /// Bytes of a row.
    pub(crate) fn stride(&self) -> usize {
        3 * self.line()
    }

    /// All rows, [height, 3, line].
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
        out.reset(self.height, self.width);
        let (from_line, to_line) = (self.line(), out.line());
        for y in 0..self.height {
            for color in 0..3 {
                let row = &self.bytes[(3 * y + color) * from_line..][..self.width];
                for (x, value) in row.iter().enumerate() {
                    out.bytes[(3 * x + color) * to_line + y] = *value;
                }
            }
        }
    }

    /// Writes the pixels one by one, [height, width, 3].
    ///
    /// # Panics
    /// If `pixels` has another size.
    pub fn write(&self, pixels: &mut [u8]) {
        let (width, line) = (self.width, self.line());
        assert!(pixels.len() == 3 * width * self.height, "{} bytes for {width} x {}", pixels.len(), self.height);
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
}

impl From<&Rgb8> for Planes {
    fn from(image: &Rgb8) -> Self {
        let mut planes = Self::default();
        planes.reset(image.width as usize, image.height as usize);
        let line = planes.line();
        let rows = image.pixels.chunks_exact((3 * planes.width).max(1));
        for (row, from) in planes.bytes.chunks_exact_mut((3 * line).max(1)).zip(rows) {
            for (x, pixel) in from.as_chunks::<3>().0.iter().enumerate() {
                for (color, &value) in pixel.iter().enumerate() {
                    row[color * line + x] = value;
                }
            }
        }
        planes
    }
}

impl From<&Planes> for Rgb8 {
    fn from(planes: &Planes) -> Self {
        let mut pixels = vec![0; 3 * planes.width * planes.height];
        planes.write(&mut pixels);
        Self { width: planes.width as u32, height: planes.height as u32, pixels }
    }
}
