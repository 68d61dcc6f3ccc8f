//! Pixels: the one image type of this crate, and rectangles on it.

/// Red, green and blue.
pub const RGB: usize = 3;
/// Most values of a pixel.
pub const MAX_CHANNELS: usize = 32;

/// An 8-bit image, rows from top to bottom, the values of a pixel side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Values of a pixel: 3 are red, green and blue; at most [`MAX_CHANNELS`].
    pub channels: usize,
    /// `height · width · channels` bytes, [H, W, C].
    pub pixels: Vec<u8>,
}

/// A rectangle in pixels, inside its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Image {
    /// Returns an image of red, green and blue that is the same everywhere.
    pub fn filled(width: u32, height: u32, color: [u8; 3]) -> Self {
        Self { width, height, channels: 3, pixels: color.repeat(width as usize * height as usize) }
    }

    /// Returns a black image.
    pub fn black(width: u32, height: u32, channels: usize) -> Self {
        Self { width, height, channels, pixels: vec![0; width as usize * height as usize * channels] }
    }

    /// Returns the bytes of one row, [W, C].
    pub fn row(&self, y: u32) -> &[u8] {
        let stride = self.stride();
        &self.pixels[y as usize * stride..][..stride]
    }

    /// Returns the bytes of a row's length.
    pub(crate) fn stride(&self) -> usize {
        self.width as usize * self.channels
    }

    /// Returns the rectangle that covers the image.
    pub fn bounds(&self) -> Crop {
        Crop { x: 0, y: 0, width: self.width, height: self.height }
    }

    /// Returns a copy of a rectangle.
    ///
    /// # Panics
    /// If the rectangle leaves the image.
    pub fn crop(&self, crop: Crop) -> Self {
        self.assert_inside(crop);
        let mut pixels = Vec::with_capacity(crop.width as usize * crop.height as usize * self.channels);
        for y in crop.y..crop.y + crop.height {
            let (first, len) = (crop.x as usize * self.channels, crop.width as usize * self.channels);
            pixels.extend_from_slice(&self.row(y)[first..][..len]);
        }
        Self { width: crop.width, height: crop.height, pixels, ..*self }
    }

    /// Mirrors the image left to right.
    pub fn flip(&mut self) {
        let (stride, channels) = (self.stride(), self.channels);
        for row in self.pixels.chunks_exact_mut(stride.max(1)) {
            row.reverse();
            row.chunks_exact_mut(channels).for_each(<[u8]>::reverse);
        }
    }

    /// Returns what people are shown of the image: red, green and blue as they are, fewer values as gray levels of the first,
    /// of more the first three.
    pub fn shown(&self) -> Self {
        let colors =
            |pixel: &[u8]| if let [red, green, blue, ..] = *pixel { [red, green, blue] } else { [pixel[0]; 3] };
        let pixels = self.pixels.chunks_exact(self.channels).flat_map(colors).collect();
        Self { channels: 3, pixels, ..*self }
    }

    pub(crate) fn assert_inside(&self, crop: Crop) {
        let right = u64::from(crop.x) + u64::from(crop.width);
        let bottom = u64::from(crop.y) + u64::from(crop.height);
        let inside = right <= u64::from(self.width) && bottom <= u64::from(self.height);
        assert!(inside, "crop {crop:?} leaves the {} x {} image", self.width, self.height);
    }
}
