//! Rendering: a drawn view becomes pixels, in DINO's order.
use crate::blur::gaussian_blur;
use crate::color::{adjust_brightness, adjust_contrast, adjust_saturation, solarize, to_gray};
use crate::draw::{ColorOp, DrawnView, Jitter, draw};
use crate::hsv::adjust_hue;
use crate::pixel::Rgb8;
use crate::random::Key;
use crate::recipe::ViewRecipe;
use crate::resample::{Filter, resize_crop};

/// Returns the view of `size` × `size` pixels: crop and resize, flip, jitter, gray, blur, solarize.
///
/// # Panics
/// If the drawn crop leaves the image.
pub fn render(image: &Rgb8, drawn: &DrawnView, size: u32) -> Rgb8 {
    let mut view = resize_crop(image, drawn.crop, (size, size), Filter::Bicubic);
    if drawn.flip {
        view.flip();
    }
    if let Some(jitter) = &drawn.jitter {
        apply_jitter(&mut view, jitter);
    }
    if drawn.gray {
        to_gray(&mut view);
    }
    if let Some(radius) = drawn.blur_radius {
        view = gaussian_blur(&view, radius);
    }
    if let Some(threshold) = drawn.solarize {
        solarize(&mut view, threshold);
    }
    view
}

/// Returns all views of one use of an image: globals, then locals.
pub fn render_views(image: &Rgb8, recipe: &ViewRecipe, key: &Key) -> Vec<Rgb8> {
    let size = (image.width, image.height);
    (0..recipe.views()).map(|view| render(image, &draw(recipe, key, view, size), recipe.crops(view).size)).collect()
}

/// Applies the four steps of color jitter in their drawn order.
pub fn apply_jitter(view: &mut Rgb8, jitter: &Jitter) {
    for op in jitter.order {
        match op {
            ColorOp::Brightness => adjust_brightness(view, jitter.brightness),
            ColorOp::Contrast => adjust_contrast(view, jitter.contrast),
            ColorOp::Saturation => adjust_saturation(view, jitter.saturation),
            ColorOp::Hue => adjust_hue(view, jitter.hue),
        }
    }
}
