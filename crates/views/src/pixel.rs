//! Pixels: the one image type of this crate, and rectangles on it.

/// An 8-bit RGB image, rows from top to bottom, three bytes a pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rgb8 {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// `height · width · 3` bytes, [H, W, 3].
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

impl Rgb8 {
    /// Returns an image of one color.
    pub fn filled(width: u32, height: u32, color: [u8; 3]) -> Self {
        Self { width, height, pixels: color.repeat(width as usize * height as usize) }
    }

    /// Returns the bytes of one row, [W, 3].
    pub fn row(&self, y: u32) -> &[u8] {
        let stride = self.width as usize * 3;
        &self.pixels[y as usize * stride..][..stride]
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
        let mut pixels = Vec::with_capacity(crop.width as usize * crop.height as usize * 3);
        for y in crop.y..crop.y + crop.height {
            pixels.extend_from_slice(&self.row(y)[crop.x as usize * 3..][..crop.width as usize * 3]);
        }
        Self { width: crop.width, height: crop.height, pixels }
    }

    /// Mirrors the image left to right.
    pub fn flip(&mut self) {
        let width = self.width as usize;
        for row in self.pixels.chunks_exact_mut((width * 3).max(3)) {
            let (row, _) = row.as_chunks_mut::<3>();
            row.reverse();
        }
    }

    pub(crate) fn assert_inside(&self, crop: Crop) {
        let right = u64::from(crop.x) + u64::from(crop.width);
        let bottom = u64::from(crop.y) + u64::from(crop.height);
        let inside = right <= u64::from(self.width) && bottom <= u64::from(self.height);
        assert!(inside, "crop {crop:?} leaves the {} x {} image", self.width, self.height);
    }
}
