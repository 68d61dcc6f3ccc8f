//! Images for a trained model: read ahead of it, and the words about what was read.

use std::sync::Arc;

use dinoxide_views::{EvalConfig, EvalLoader, EvalTransform, Skipped, Source};

use super::console::Console;
use super::model::{Model, name_of};
use super::{RunError, machine};

/// Unreadable files that are named before the rest is only counted.
const SKIPPED_SHOWN: usize = 10;

/// Says what the user should know about a model and how its images are brought to size.
pub(super) fn introduce(console: &Console, model: &Model, transform: EvalTransform) {
    introduce_as(console, model, &words(transform));
}

/// The same where `size` says how images are brought to size.
pub(super) fn introduce_as(console: &Console, model: &Model, size: &str) {
    model.notices.iter().for_each(|notice| console.warn(notice));
    let config = model.backbone.config();
    let network = match config.vit() {
        Some(vit) => format!(
            "ViT of width {}, depth {}, {} heads, patch {}",
            vit.embed_dim, vit.depth, vit.num_heads, vit.patch_size
        ),
        None => format!("{} of width {}", name_of(&config), config.dim()),
    };
    console.say(&format!("{network}; images: {size}"));
}

/// A transform in words.
pub(super) fn words(transform: EvalTransform) -> String {
    match transform {
        EvalTransform::ResizeCrop { resize, crop } if resize == crop => {
            format!("shorter side to {resize}, centre square")
        }
        EvalTransform::ResizeCrop { resize, crop } => format!("shorter side to {resize}, centre {crop}x{crop}"),
        EvalTransform::Exact { width, height } => format!("resized to {width}x{height}"),
    }
}

/// Decodes the images of a source ahead of the model.
pub(super) fn loader(model: &Model, source: &Arc<Source>, transform: EvalTransform) -> Result<EvalLoader, RunError> {
    let config = EvalConfig {
        batch: model.images_at_once(transform),
        workers: machine::cores(),
        reading: model.reading.clone(),
    };
    Ok(EvalLoader::new(Arc::clone(source), transform, config)?)
}

/// Names the first unreadable files and counts them all.
pub(super) fn warn_of_skipped(console: &Console, skipped: &[Skipped]) {
    if skipped.is_empty() {
        return;
    }
    for file in skipped.iter().take(SKIPPED_SHOWN) {
        console.warn(&format!("skipped `{}`: {}", file.path.display(), file.reason));
    }
    console.warn(&format!("{} unreadable images were skipped", skipped.len()));
}
