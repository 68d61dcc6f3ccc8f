//! Derived from the size and number of the images: network, crops, head, batch.

use dinoxide_engine::kernels::Patches;
use dinoxide_engine::tape::Keep;
use toml::Value;

use super::{Draft, pair, short, small_data, step_up, supervised, tuned, whole};
use crate::config::{Config, ConfigError, DinoConfig, Facts, HeadConfig, InitFacts, ModelConfig, Origin};
use crate::nn::backbone::Backbone;

/// Keys of `[model]` for what a ViT may have beyond those of DINO.
const ADDITIONS: [&str; 5] = ["layer_scale", "registers", "ffn", "mask_token", "resampling"];

/// Name, patch and size of the network.
pub(in crate::config) fn model(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    if let Some(init) = draft.facts.init.as_ref().filter(|init| is_asked_for(draft, &init.model)) {
        return model_of_weights(draft, init);
    }
    draft.choose("model.name", "vit_tiny", "the smallest named model; a CPU trains it in reasonable time")?;
    let class = image_class(draft.facts);
    if draft.config.model.shape().is_none() {
        return draft.choose("views.global.size", whole(class.global_px), median_reason(class, draft.facts));
    }
    let (global, why) = match (draft.given.whole("model.image_size"), draft.given.whole("model.patch_size")) {
        (Some(size), _) => (size, "the network's image size".to_owned()),
        (None, Some(patch @ 1..)) if !class.global_px.is_multiple_of(patch) => {
            let patches = (class.global_px as f64 / patch as f64).round().max(1.0) as usize;
            (patches * patch, median_reason(class, draft.facts) + &format!(", in whole patches of {patch} px"))
        }
        (None, _) => (class.global_px, median_reason(class, draft.facts)),
    };
    draft.choose("views.global.size", whole(global), why)?;
    let global = draft.config.views.global.size as usize;
    let patch = step_up(&tuned::PATCH_BY_CROP, global);
    let grid = global / patch;
    draft.choose("model.patch_size", whole(patch), format!("a crop of {global} px becomes {grid} × {grid} patches"))?;
    draft.choose("model.image_size", whole(global), "the side of a global crop")
}

/// Whether the network of weights is the one that was named, if one was.
fn is_asked_for(draft: &Draft<'_>, model: &ModelConfig) -> bool {
    draft.given.text("model.name").is_none_or(|name| name == model.name)
}

/// The network that the weights are of, on crops that they are used to.
fn model_of_weights(draft: &mut Draft<'_>, init: &InitFacts) -> Result<(), ConfigError> {
    let (model, reason) = (&init.model, "the weights are of this network");
    draft.choose("model.name", model.name.as_str(), reason)?;
    if model.shape().is_none() {
        let class = image_class(draft.facts);
        return draft.choose("views.global.size", whole(class.global_px), median_reason(class, draft.facts));
    }
    let sizes = [
        ("model.patch_size", Some(model.patch_size)),
        ("model.embed_dim", model.embed_dim),
        ("model.depth", model.depth),
        ("model.num_heads", model.num_heads),
    ];
    for (key, size) in sizes {
        size.map_or(Ok(()), |size| draft.choose(key, whole(size), reason))?;
    }
    draft.choose("model.mlp_ratio", model.mlp_ratio, reason)?;
    let (added, plain) = (Value::try_from(model)?, Value::try_from(ModelConfig::default())?);
    for key in ADDITIONS {
        let value = added.get(key).filter(|value| plain.get(key) != Some(*value));
        value.map_or(Ok(()), |value| draft.choose(&format!("model.{key}"), value.clone(), reason))?;
    }
    sizes_of_weights(draft, model.image_size)
}

/// The size of the crops and of the grid of positions, for weights that have positions for images of side `stored`.
fn sizes_of_weights(draft: &mut Draft<'_>, stored: usize) -> Result<(), ConfigError> {
    let patch = draft.config.model.patch_size.max(1);
    let covered = draft.facts.median_size.map(|(width, height)| width.min(height) as usize / patch * patch);
    let fitting = covered.map(|side| side.max(tuned::FEWEST_PATCHES * patch));
    let most = (tuned::LARGEST_CROP_PX / patch).max(tuned::FEWEST_PATCHES) * patch;
    let smaller = fitting.filter(|side| *side < stored.min(most));
    let (global, reason) = match (draft.given.whole("model.image_size"), smaller) {
        (_, Some(side)) if stored > most => (side, "the images are smaller than those of the weights"),
        (_, None) if stored > most => (most, "crops of the weights' size would take a CPU too long"),
        (Some(size), _) => (size, "the network's image size"),
        (None, Some(side)) => (side, "the images are smaller than those of the weights"),
        (None, None) => (stored, "the size of the weights' images"),
    };
    draft.choose("views.global.size", whole(global), reason)?;
    if stored > most {
        return draft.choose("model.image_size", whole(stored), "the weights have positions for this size");
    }
    let global = draft.config.views.global.size as usize;
    draft.choose("model.image_size", whole(global), "the side of a global crop")
}

fn image_class(facts: &Facts) -> &'static tuned::ImageClass {
    let [_, _, photos] = &tuned::IMAGE_CLASSES;
    let Some((width, height)) = facts.median_size else { return photos };
    let side = width.min(height);
    tuned::IMAGE_CLASSES.iter().find(|class| side <= class.up_to_px).unwrap_or(photos)
}

fn median_reason(class: &tuned::ImageClass, facts: &Facts) -> String {
    match facts.median_size {
        Some((width, height)) => format!("{} (median {width}×{height})", class.called),
        None => "the size for photos on a CPU".to_owned(),
    }
}

/// Local crops and blur.
pub(in crate::config) fn views(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let global = draft.config.views.global.size as usize;
    let patch = draft.config.model.unit().max(1);
    let local = ((global as f64 * tuned::LOCAL_SHARE / patch as f64).round() as usize).max(1) * patch;
    draft.choose(
        "views.local.size",
        whole(local),
        if patch > 1 {
            format!("half a global crop, in whole patches of {patch} px")
        } else {
            "half a global crop".to_owned()
        },
    )?;
    let name = draft.config.method.name;
    if name.learns_from_labels() {
        return supervised::views(draft);
    }
    if name.has_multi_crop() {
        let reason = "most of the gain of multi-crop at three quarters of its cost";
        draft.choose("views.local.count", whole(tuned::LOCAL_COUNT), reason)?;
    } else {
        draft.no_local_crops("the method compares two crops")?;
    }
    if small_data(draft.facts) {
        easy_crops_strong_colours(draft)?;
    }
    if draft.config.method.jigsaw.is_some() && !small_data(draft.facts) {
        draft.choose("views.rand_augment", "rand-m10-mstd0.5-inc1", "InfoMin's views are stronger than MoCo's")?;
    }
    if global <= tuned::NO_BLUR_UP_TO_PX {
        let none = Value::Array(vec![Value::Float(0.0); 3]);
        return draft.choose("views.blur", none, format!("crops of {global} px have no detail to lose"));
    }
    let radius = short(tuned::BLUR_RADIUS_PX * global as f64 / tuned::BLUR_REFERENCE_PX).max(tuned::BLUR_RADIUS_MIN_PX);
    let reason = format!("2 px at 224 px, in proportion at {global} px");
    draft.choose("views.blur_radius", pair(tuned::BLUR_RADIUS_MIN_PX, radius), reason)
}

/// Crops that still share something, and colours that do not tell which crops belong together.
fn easy_crops_strong_colours(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let [global, local] = tuned::SMALL_DATA_SCALES;
    draft.choose(
        "views.global.scale",
        pair(global.0, global.1),
        "small data: crops that share more are learnt sooner",
    )?;
    draft.choose(
        "views.local.scale",
        pair(local.0, local.1),
        "small data: crops large enough to show a part of something",
    )?;
    for (name, value) in tuned::SMALL_DATA_JITTER {
        let reason = "small data: colour is what a short run would learn first, and last";
        draft.choose(&format!("views.color_jitter.{name}"), value, reason)?;
    }
    draft.choose("views.gray", tuned::SMALL_DATA_GRAY, "small data: as for the jitter of colours")
}

/// The options of a method other than DINO.
pub(in crate::config) fn method(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let name = draft.config.method.name;
    if !name.has_options() {
        return Ok(());
    }
    if name.masks_patches() && draft.config.model.shape().is_some() {
        draft.choose("model.mask_token", true, "what the student sees in the place of masked patches")?;
    }
    // A recipe for DINO may be the start of another method.
    let of_dino = |key: &str| key.starts_with("dino.") || key.starts_with("head.");
    let typed = |key: &str| matches!(draft.given.origin(key), Origin::File { .. } | Origin::Flag(_) | Origin::Set);
    if !name.has_dino_head() && !draft.given.iter().any(|(key, _)| of_dino(key) && typed(key)) {
        (draft.config.dino, draft.config.head) = (DinoConfig::default(), HeadConfig::default());
    }
    let options = |method| Config { method, ..Config::default() }.values_under(&["method."]);
    let (paper, small) = (options(name.paper())?, options(name.small())?);
    for ((key, paper), (_, small)) in paper.into_iter().zip(small).filter(|((key, _), _)| *key != "method.name") {
        let differs = small_data(draft.facts) && paper != small;
        let (value, reason) = if differs { (small, "small data") } else { (paper, "as in the paper") };
        draft.choose(key, value, reason)?;
    }
    if name.paper().images.is_some() {
        draft.adjust("method.images", whole(draft.facts.images), "all images of the run")?;
        let most = (draft.facts.images / tuned::IMAGES_PER_CLUSTER).max(2);
        if draft.config.method.prototypes > Some(most) {
            draft.choose("method.prototypes", whole(most), "few images: a cluster for some of them")?;
        }
    }
    Ok(())
}

/// Number of prototypes.
pub(in crate::config) fn head(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    if !draft.config.method.name.has_dino_head() {
        return Ok(());
    }
    if let Some(head) = draft.facts.init.as_ref().and_then(|init| init.head.as_ref()) {
        let reason = "the weights have this head";
        let sizes = [
            ("head.out_dim", head.out_dim),
            ("head.hidden_dim", head.hidden_dim),
            ("head.bottleneck_dim", head.bottleneck_dim),
            ("head.layers", head.layers),
        ];
        sizes.into_iter().try_for_each(|(key, size)| draft.choose(key, whole(size), reason))?;
        return draft.choose("head.use_bn", head.use_bn, reason);
    }
    let (fewest, most) = tuned::OUT_DIM_RANGE;
    let images = draft.facts.images;
    let wanted = (images / tuned::IMAGES_PER_PROTOTYPE).clamp(fewest, most);
    let power = 1_usize << wanted.ilog2();
    draft.choose(
        "head.out_dim",
        whole(power),
        format!("about one prototype for 16 of {images} images, a power of two"),
    )?;
    let small = small_data(draft.facts);
    let reason = if small { "gets short runs on small data off the ground sooner" } else { "as in the paper" };
    draft.choose("head.use_bn", small, reason)
}

/// Effective batch and micro-batch.
pub(in crate::config) fn batch(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let images = draft.facts.images;
    let batch = step_up(&tuned::BATCH_BY_IMAGES, images);
    draft.choose(
        "run.batch",
        whole(batch),
        format!("for {images} images: enough to compare, and many steps per epoch"),
    )?;
    if draft.config.run.batch > images {
        let asked = draft.config.run.batch;
        draft.adjust(
            "run.batch",
            whole(images),
            format!("there are only {images} images, fewer than a batch of {asked}"),
        )?;
    }
    let batch = draft.config.run.batch;
    let fits = (draft.facts.free_bytes as f64 * tuned::ACTIVATION_SHARE / bytes_per_image(&draft.config)) as usize;
    let config = &draft.config;
    let parts = batch.div_ceil(fits.max(config.method.name.fewest_images()));
    // Equal parts; the last one has what is left, but not a single image.
    let micro = batch.div_ceil(parts.max(1));
    let micro = micro + usize::from(parts > 1 && micro > 1 && batch % micro == 1);
    let reason = match (micro == batch, config.mixes_images()) {
        (true, _) => "the whole batch fits into half the free memory",
        (false, false) => "what fits into half the free memory; accumulated exactly",
        (false, true) => "what fits into half the free memory; accumulated, each part normalised by itself",
    };
    draft.choose("run.micro_batch", whole(micro), reason)
}

/// The crops of one image: global ones, then local ones.
fn crops(config: &Config, backbone: &Backbone) -> [Patches; 2] {
    let (global, local) = (&config.views.global, &config.views.local);
    [(global.count, global.size), (local.count, local.size)]
        .map(|(count, side)| backbone.patches(count as usize, side as usize, side as usize))
}

/// The layers that class tokens go through, and those that masked patches do.
fn heads(config: &Config, width: usize) -> [Vec<[usize; 2]>; 2] {
    let (class, patch) = (config.head_layers(width), config.patch_head_layers(width));
    let patch = if patch.is_empty() { class.clone() } else { patch };
    [class, patch]
}

/// Activations kept for the backward pass of one image, bytes, f32.
fn bytes_per_image(config: &Config) -> f64 {
    let Some(backbone) = config.model.plain(config.data.channels) else { return 1.0 };
    let mut config = config.clone();
    let keep = if config.run.recompute { Keep::Inputs } else { Keep::Everything };
    if keep == Keep::Inputs && config.method.name.has_dino_head() {
        // Of the outputs only a part is in memory at once.
        (config.head.out_dim, config.method.patch_out_dim) = (0, None);
    }
    // Of a hidden layer two values are kept, before and after what follows it.
    let [class, patch] = heads(&config, backbone.dim());
    let per_row = |layers: &[[usize; 2]]| layers.iter().map(|[_, outputs]| 2 * outputs).sum::<usize>() as f64;
    let rows = config.crops_per_image() as f64 * per_row(&class) + config.masked_patches() * per_row(&patch);
    4.0 * (backbone.kept_values(&crops(&config, &backbone), keep) + rows)
}

/// Floating-point operations of one training step per image: student forward and backward, teacher forward.
pub fn flops_per_image(config: &Config) -> f64 {
    let Some(backbone) = config.model.plain(config.data.channels) else { return 0.0 };
    let crops = crops(config, &backbone);
    let (asking, answering) = config.global_crops_seen();
    let global = |count: usize| Patches { images: count, ..crops[0] };
    let student = backbone.work(&[global(asking), crops[1]], config.model.drop_path);
    let layers = heads(config, backbone.dim());
    let [class, patch] = layers.map(|layers| layers.iter().map(|[from, to]| 2.0 * (from * to) as f64).sum::<f64>());
    let teacher = if answering > 0 { backbone.work(&[global(answering)], 0.0).forward } else { 0.0 };
    let rows = 3 * (asking + config.views.local.count as usize) + answering;
    student.forward + student.backward + teacher + rows as f64 * class + 4.0 * config.masked_patches() * patch
}

/// Floating-point operations of a labelled image: one forward pass of teacher and student each.
pub(super) fn flops_per_evaluated(config: &Config) -> f64 {
    let Some(backbone) = config.model.plain(config.data.channels) else { return 0.0 };
    let side = config.views.global.size as usize;
    2.0 * backbone.work(&[backbone.patches(1, side, side)], 0.0).forward
}

/// Estimated training speed on `cores` cores, images per second.
pub fn images_per_second(config: &Config, cores: usize) -> f64 {
    tuned::FLOPS_PER_CORE * cores.max(1) as f64 / flops_per_image(config).max(1.0)
}
