//! Images one at a time, at their own size, as commands show them to a network; and names for what comes of it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use dinoxide_views::{Crop, EvalTransform, Image};

use super::console::Console;

/// Most patches of an image at its own size: about 1450 pixels a side with patches of 16.
const MOST_PATCHES: f64 = 8192.0;

/// The image as a network is shown it: resized by `fixed`, or as it is, made smaller if it has more patches than can be computed in
/// reasonable time, and larger if it has none. Right and bottom edges that no whole patch covers are cut, as
/// `visualize_attention.py` does.
pub(super) fn seen(
    console: &Console,
    name: &str,
    image: &Image,
    fixed: Option<EvalTransform>,
    patch_size: usize,
) -> Image {
    let sized = match fixed {
        Some(transform) => transform.apply(image),
        None => own_size(console, name, image, patch_size),
    };
    // A network without patches sees what is smaller than its stride.
    let patch = patch_size as u32;
    let covered = |side: u32| if side < patch { side } else { side - side % patch };
    sized.crop(Crop { x: 0, y: 0, width: covered(sized.width), height: covered(sized.height) })
}

fn own_size(console: &Console, name: &str, image: &Image, patch_size: usize) -> Image {
    let patch = patch_size as f64;
    let (width, height) = (f64::from(image.width), f64::from(image.height));
    let patches = (width / patch).floor() * (height / patch).floor();
    let scale = if patches > MOST_PATCHES { (MOST_PATCHES / patches).sqrt() } else { 1.0 };
    let side = |side: f64| (side * scale).round().max(patch) as u32;
    let transform = EvalTransform::Exact { width: side(width), height: side(height) };
    if transform.size() == (image.width, image.height) {
        return image.clone();
    }
    let ((width, height), (old_width, old_height)) = (transform.size(), (image.width, image.height));
    console.say(&format!(
        "{name}: {old_width}x{old_height} resized to {width}x{height}; `--image-size` chooses another size"
    ));
    transform.apply(image)
}

/// A name that no earlier image took: the image's name without its ending, or with it if that is taken.
pub(super) fn free_name(name: &str, taken: &mut BTreeSet<PathBuf>) -> PathBuf {
    // Names in lists may lead anywhere; results stay below the output folder.
    let inside = Path::new(name).components().filter(|part| matches!(part, Component::Normal(_)));
    let whole: PathBuf = inside.collect();
    let numbered = (2..).map(|number| PathBuf::from(format!("{}-{number}", whole.display())));
    let mut candidates = [whole.with_extension(""), whole.clone()].into_iter().chain(numbered);
    let free = candidates.find(|candidate| !taken.contains(candidate)).unwrap_or(whole);
    taken.insert(free.clone());
    free
}
