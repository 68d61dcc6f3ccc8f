//! Rendering: a drawn view becomes pixels, in DINO's order.
use crate::blur::Blur;
use crate::color::{ColorStep, Part, apply, level, parts};
use crate::draw::{ColorOp, DrawnView, Jitter, draw};
use crate::pixel::{Crop, Image};
use crate::planes::Planes;
use crate::random::Key;
use crate::recipe::ViewRecipe;
use crate::resample::{Resampler, Resize, Window};
use crate::times::{Clock, Times};

/// Renders views and keeps its working memory: nothing is allocated after the first few images.
#[derive(Debug, Default)]
pub struct Renderer {
    resampler: Resampler,
    blur: Blur,
    view: Planes,
    turned: Planes,
    /// Time spent so far.
    pub times: Times,
}

impl Renderer {
    /// Writes the view of `size` × `size` pixels, [size, size, channels]: crop and resize, flip and turn, RandAugment,
    /// jitter, gray, blur, solarize, erase.
    ///
    /// # Panics
    /// If the drawn crop leaves the image, or `pixels` has another size.
    pub fn render(&mut self, image: &Image, drawn: &DrawnView, size: u32, pixels: &mut [u8]) {
        let mut clock = Clock::start();
        let rectangle = Crop { x: 0, y: 0, width: size, height: size };
        let window = Window { rectangle, filter: drawn.filter };
        // Every later step treats left and right alike, and top and bottom. Half a turn mirrors both ways; a quarter
        // exchanges rows and columns after one of the two.
        let mirrored = drawn.flip != (drawn.turns >= 2);
        let upside_down = drawn.flip_vertical != matches!(drawn.turns, 1 | 2);
        let resize = Resize { crop: drawn.crop, size: (size, size), window, mirrored, upside_down };
        self.resampler.resize(image, resize, &mut self.view);
        if drawn.turns % 2 == 1 {
            self.view.transpose(&mut self.turned);
            std::mem::swap(&mut self.view, &mut self.turned);
        }
        clock.add(&mut self.times.crop_resize);
        for operation in drawn.operations.into_iter().flatten() {
            operation.apply(&mut self.view, &mut self.turned);
        }
        for part in parts(&self.view) {
            apply_colors(&mut self.view, part, drawn.jitter.as_ref(), drawn.gray);
        }
        clock.add(&mut self.times.jitter);
        if let Some(radius) = drawn.blur_radius {
            self.blur.apply(&mut self.view, radius);
            clock.add(&mut self.times.blur);
        }
        if let Some(threshold) = drawn.solarize {
            for part in parts(&self.view) {
                apply(&mut self.view, part, &[ColorStep::Solarize(threshold)]);
            }
            clock.add(&mut self.times.solarize);
        }
        self.view.write(pixels);
        if let Some(erased) = drawn.erased {
            erased.apply(pixels, size, image.channels);
        }
        clock.add(&mut self.times.store);
    }

    /// Writes all views of one use of an image, one buffer for each group of the recipe, [views, size, size, channels].
    /// Buffers are made as long as needed.
    pub fn render_groups(&mut self, image: &Image, recipe: &ViewRecipe, key: &Key, groups: &mut Vec<Vec<u8>>) {
        let (crops, size) = (recipe.groups(), (image.width, image.height));
        groups.resize(crops.len(), Vec::new());
        let mut number = 0;
        for (crops, pixels) in crops.iter().zip(groups) {
            let view_bytes = crops.values() * image.channels;
            pixels.resize(view_bytes * crops.count as usize, 0);
            for view in pixels.chunks_exact_mut(view_bytes) {
                self.render(image, &draw(recipe, key, number, size), crops.size, view);
                number += 1;
            }
        }
    }
}

/// Returns the view of `size` × `size` pixels; see [`Renderer::render`].
///
/// # Panics
/// If the drawn crop leaves the image.
pub fn render(image: &Image, drawn: &DrawnView, size: u32) -> Image {
    let mut view = Image::black(size, size, image.channels);
    Renderer::default().render(image, drawn, size, &mut view.pixels);
    view
}

/// Returns all views of one use of an image: globals, then locals.
pub fn render_views(image: &Image, recipe: &ViewRecipe, key: &Key) -> Vec<Image> {
    let mut groups = Vec::new();
    Renderer::default().render_groups(image, recipe, key, &mut groups);
    let views = recipe.groups().into_iter().zip(&groups).flat_map(|(crops, pixels)| {
        let (width, height, channels) = (crops.size, crops.size, image.channels);
        let view = move |pixels: &[u8]| Image { width, height, channels, pixels: pixels.to_vec() };
        pixels.chunks_exact(crops.values() * channels).map(view)
    });
    views.collect()
}

/// Applies the four steps of color jitter in their drawn order, then gray. Contrast alone needs to see the whole image
/// first, so there are two passes: what comes before it, and the rest.
fn apply_colors(view: &mut Planes, part: Part, jitter: Option<&Jitter>, gray: bool) {
    let mut steps = [ColorStep::Gray; 5];
    let mut waiting = 0;
    for op in jitter.map(|jitter| jitter.order).into_iter().flatten() {
        let Some(jitter) = jitter else { break };
        // What a recipe leaves out is left out, as in torchvision: even a hue that does not move passes through 8 bits.
        let idle = match op {
            ColorOp::Brightness => jitter.brightness == 1.0,
            ColorOp::Contrast => jitter.contrast == 1.0,
            ColorOp::Saturation => jitter.saturation == 1.0 || part != Part::Colors,
            ColorOp::Hue => jitter.hue == 0.0 || part != Part::Colors,
        };
        if idle {
            continue;
        }
        steps[waiting] = match op {
            ColorOp::Brightness => ColorStep::Brightness(jitter.brightness),
            ColorOp::Saturation => ColorStep::Saturation(jitter.saturation),
            ColorOp::Hue => ColorStep::Hue(jitter.hue),
            ColorOp::Contrast => {
                apply(view, part, &steps[..waiting]);
                steps[0] = ColorStep::Contrast { factor: jitter.contrast, gray: level(view, part) };
                waiting = 1;
                continue;
            }
        };
        waiting += 1;
    }
    if gray && part == Part::Colors {
        steps[waiting] = ColorStep::Gray;
        waiting += 1;
    }
    apply(view, part, &steps[..waiting]);
}
