//! The hue shift against Pillow's own mixture of f32 and f64, for every color.
//!
//! `hsv.rs` computes in f32 alone. Its bytes must be equal, not close: a hue that falls on a whole number in exact arithmetic is
//! decided by rounding, and small ranges of color, the most frequent in photos, fall on such hues all the time.

use dinoxide_views::color::{ColorStep, Part, apply};
use dinoxide_views::{Image, Planes};

/// Pillow's `rgb2hsv_row`.
fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let value = red.max(green).max(blue);
    let range = value - red.min(green).min(blue);
    if range == 0 {
        return [0, 0, value];
    }
    let saturation = f32::from(range) / f32::from(value);
    let distance = |channel: u8| f32::from(value - channel) / f32::from(range);
    let hue = if red == value {
        distance(blue) - distance(green)
    } else if green == value {
        (2.0 + f64::from(distance(red)) - f64::from(distance(blue))) as f32
    } else {
        (4.0 + f64::from(distance(green)) - f64::from(distance(red))) as f32
    };
    let hue = (f64::from(hue) / 6.0 + 1.0) % 1.0;
    [(f64::from(hue as f32) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, value]
}

/// Pillow's `hsv2rgb_row`.
fn to_rgb([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let at = f64::from(hue) * 6.0 / 255.0;
    let fraction = (at - at.floor()) as f32;
    let saturation = (f64::from(saturation) / 255.0) as f32;
    let scaled = |part: f64| (f64::from(value) * (1.0 - part) + 0.5) as u8;
    let low = scaled(f64::from(saturation));
    let falling = scaled(f64::from(saturation * fraction));
    let rising = scaled(f64::from(saturation) * (1.0 - f64::from(fraction)));
    match at.floor() as u8 % 6 {
        0 => [value, rising, low],
        1 => [falling, value, low],
        2 => [low, value, rising],
        3 => [low, falling, value],
        4 => [rising, low, value],
        _ => [value, low, falling],
    }
}

/// Turns all colors `step` apart, 4096 to a row.
fn assert_equal_for(fraction: f64, step: usize) {
    let mut pixels: Vec<u8> =
        (0..1u32 << 24).step_by(step).flat_map(|color| color.to_le_bytes().into_iter().take(3)).collect();
    let height = pixels.len() / 3 / 4096;
    pixels.truncate(height * 4096 * 3);
    let image = Image { width: 4096, height: height as u32, channels: 3, pixels };
    let mut planes = Planes::from(&image);
    apply(&mut planes, Part::Colors, &[ColorStep::Hue(fraction)]);
    let turned = Image::from(&planes);
    // Torchvision's `np.int32(hue_factor * 255).astype(np.uint8)`.
    let shift = (fraction * 255.0) as i32 as u8;
    for (color, turned) in image.pixels.as_chunks::<3>().0.iter().zip(turned.pixels.as_chunks::<3>().0) {
        let [hue, saturation, value] = to_hsv(*color);
        let expected = to_rgb([hue.wrapping_add(shift), saturation, value]);
        assert_eq!(*turned, expected, "{color:?} turned by {fraction}");
    }
}

#[test]
fn every_color_equals_pillows() {
    assert_equal_for(0.0, 1);
}

#[test]
fn turned_colors_equal_pillows() {
    for (fraction, step) in [(-0.5, 11), (-0.1, 7), (-0.033, 13), (0.004, 17), (0.05, 19), (0.0999, 7), (0.5, 23)] {
        assert_equal_for(fraction, step);
    }
}
