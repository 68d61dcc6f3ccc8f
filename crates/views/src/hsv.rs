//! Hue shift in Pillow's 8-bit HSV, as torchvision's `adjust_hue` on PIL images.
//!
//! All three HSV channels pass through 8 bits, so a shift of zero is not the identity; that is how it was trained.
use crate::pixel::Rgb8;

/// Turns the hue by a fraction of the circle in [−0.5, 0.5].
pub fn adjust_hue(image: &mut Rgb8, fraction: f64) {
    // Cut towards zero, then wrap: torchvision's `np.int32(hue_factor * 255).astype(np.uint8)`.
    let shift = (fraction * 255.0) as i32 as u8;
    let sectors: [Sector; 256] = std::array::from_fn(|hue| Sector::new(hue as u8));
    let (pixels, _) = image.pixels.as_chunks_mut::<3>();
    for pixel in pixels {
        let [hue, saturation, value] = to_hsv(*pixel);
        *pixel = sectors[usize::from(hue.wrapping_add(shift))].to_rgb(saturation, value);
    }
}

/// Returns hue, saturation and value of 0–255 each. The mixture of f32 and f64 is Pillow's `rgb2hsv_row`.
fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    if range == 0 {
        return [0, 0, value];
    }
    let range = f32::from(range);
    let saturation = range / f32::from(value);
    let distance = |channel: u8| f32::from(value - channel) / range;
    let hue = if red == value {
        distance(blue) - distance(green)
    } else if green == value {
        (2.0 + f64::from(distance(red)) - f64::from(distance(blue))) as f32
    } else {
        (4.0 + f64::from(distance(green)) - f64::from(distance(red))) as f32
    };
    // In [5/6, 2): subtracting 1 is the remainder, exactly.
    let turned = f64::from(hue) / 6.0 + 1.0;
    let hue = if turned >= 1.0 { turned - 1.0 } else { turned } as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, value]
}

/// Where a hue lies in its sixth of the circle.
#[derive(Clone, Copy)]
struct Sector {
    index: u8,
    fraction: f32,
}

impl Sector {
    fn new(hue: u8) -> Self {
        let at = f64::from(hue) * 6.0 / 255.0;
        Self { index: at.floor() as u8 % 6, fraction: (at - at.floor()) as f32 }
    }

    fn to_rgb(self, saturation: u8, value: u8) -> [u8; 3] {
        if saturation == 0 {
            return [value; 3];
        }
        let saturation = (f64::from(saturation) / 255.0) as f32;
        // Not negative, so adding a half and cutting rounds half up.
        let scaled = |part: f64| (f64::from(value) * (1.0 - part) + 0.5) as u8;
        let low = scaled(f64::from(saturation));
        let falling = || scaled(f64::from(saturation * self.fraction));
        let rising = || scaled(f64::from(saturation) * (1.0 - f64::from(self.fraction)));
        match self.index {
            0 => [value, rising(), low],
            1 => [falling(), value, low],
            2 => [low, value, rising()],
            3 => [low, falling(), value],
            4 => [rising(), low, value],
            _ => [value, low, falling()],
        }
    }
}
