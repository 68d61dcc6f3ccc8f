//! Ranges and relations of the values of a resolved configuration.

use std::time::Duration;

use dinoxide_views::pixel::MAX_CHANNELS;
use dinoxide_views::recipe::{MAX_BLUR_RADIUS, MAX_COUNT, MAX_SIZE};

use super::network::{LARGEST, LARGEST_RATIO, MOST_REGISTERS};
use super::{Config, ConfigError, DinoObjective, KEYS, ModelConfig, Partial, write};
use crate::nn::backbone::MOST_BLOCKS;
use crate::nn::jigsaw::patch_side;

/// Wider layers and longer queues are a mistake.
const MOST: usize = 1 << 24;
/// More clusterings of the same images are a mistake.
const MOST_HEADS: usize = 64;
/// Shortest time that a run can be planned for: measuring its speed takes a part of it.
const SHORTEST_RUN: Duration = Duration::from_secs(10);

impl Config {
    /// Checks every value and every relation between values.
    ///
    /// # Errors
    /// The first bad value, with its key and what is allowed.
    pub fn validate(&self) -> Result<(), ConfigError> {
        validate(self, &Partial::default())
    }
}

/// Stops at the first bad value; `given` knows where it was written.
struct Checker<'a> {
    given: &'a Partial,
}

impl Checker<'_> {
    fn require(&self, holds: bool, key: &str, value: impl ToString, allowed: &str) -> Result<(), ConfigError> {
        if holds {
            return Ok(());
        }
        Err(ConfigError::BadValue {
            origin: self.given.origin(key),
            key: key.to_owned(),
            value: value.to_string(),
            allowed: allowed.to_owned(),
        })
    }

    fn share(&self, key: &str, value: f64) -> Result<(), ConfigError> {
        self.require((0.0..=1.0).contains(&value), key, value, "0 to 1")
    }

    fn positive(&self, key: &str, value: f64) -> Result<(), ConfigError> {
        self.require(value > 0.0 && value.is_finite(), key, value, "a number above 0")
    }

    fn not_negative(&self, key: &str, value: f64) -> Result<(), ConfigError> {
        self.require(value >= 0.0 && value.is_finite(), key, value, "0 or more")
    }

    fn at_least(&self, key: &str, value: usize, fewest: usize) -> Result<(), ConfigError> {
        self.require(value >= fewest, key, value, &format!("a whole number, at least {fewest}"))
    }
}

/// Checks the model alone.
pub(super) fn validate_model(config: &Config, given: &Partial) -> Result<(), ConfigError> {
    model(config, &Checker { given })
}

/// Checks a resolved configuration.
pub(super) fn validate(config: &Config, given: &Partial) -> Result<(), ConfigError> {
    let check = Checker { given };
    data(config, &check)?;
    model(config, &check)?;
    let name = config.method.name;
    if name.has_dino_head() {
        head_and_dino(config, &check)?;
    }
    if name.masks_patches() {
        masks(config, &check)?;
    }
    if name.has_options() {
        method(config, &check)?;
    }
    memory_of_images(config, &check)?;
    jigsaw(config, &check)?;
    options_of_others(config)?;
    views(config, &check)?;
    optim_and_run(config, &check)?;
    sizes_divide(config)
}

fn data(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    let data = &config.data;
    check.require(!data.train.is_empty(), "data.train", "[]", "at least one folder, file, list or glob")?;
    let (weights, sum) = (&data.weights, data.weights.iter().sum::<f64>());
    let fits = weights.is_empty() || weights.len() == data.train.len() && sum > 0.0 && sum.is_finite();
    let fits = fits && weights.iter().all(|weight| *weight >= 0.0);
    let allowed = format!("{} numbers of at least 0, one for each entry of data.train", data.train.len());
    check.require(fits, "data.weights", format!("{weights:?}"), &allowed)?;
    check.share("data.max_bad", data.max_bad)?;
    let channels = data.channels;
    check.require(
        (1..=MAX_CHANNELS).contains(&channels),
        "data.channels",
        channels,
        &format!("1 to {MAX_CHANNELS}"),
    )?;
    let rises = |[low, high]: &[f32; 2]| low < high && low.is_finite() && high.is_finite();
    let fits = data.range.iter().all(rises) && (data.range.len() <= 1 || data.range.len() == channels);
    let allowed = format!("[[low, high]], or a rising pair for each of {channels} channels");
    check.require(fits, "data.range", format!("{:?}", data.range), &allowed)?;
    let fits = data.mean.len() == channels && data.mean.iter().all(|mean| mean.is_finite());
    check.require(
        fits,
        "data.mean",
        format!("{:?}", data.mean),
        &format!("{channels} numbers, one for each channel"),
    )?;
    let fits = data.std.len() == channels && data.std.iter().all(|std| *std > 0.0 && std.is_finite());
    check.require(fits, "data.std", format!("{:?}", data.std), &format!("{channels} numbers above 0"))?;
    check.at_least("data.workers", data.workers, 1)
}

fn model(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    let model = &config.model;
    check.require((0.0..1.0).contains(&model.drop_path), "model.drop_path", model.drop_path, "0 to below 1")?;
    let Some(shape) = model.shape() else {
        return other_network(config, check);
    };
    check.at_least("model.patch_size", model.patch_size, 1)?;
    check.at_least("model.image_size", model.image_size, model.patch_size)?;
    check.at_least("model.embed_dim", shape.embed_dim, 1)?;
    check.at_least("model.depth", shape.depth, 1)?;
    check.at_least("model.num_heads", shape.num_heads, 1)?;
    check.require(shape.depth <= MOST_BLOCKS, "model.depth", shape.depth, &format!("at most {MOST_BLOCKS}"))?;
    for (key, size) in [("model.image_size", model.image_size), ("model.embed_dim", shape.embed_dim)] {
        check.require(size <= LARGEST, key, size, &format!("at most {LARGEST}"))?;
    }
    let divides = shape.embed_dim.is_multiple_of(shape.num_heads);
    let allowed = format!("a divisor of the width {}", shape.embed_dim);
    check.require(divides, "model.num_heads", shape.num_heads, &allowed)?;
    check.positive("model.mlp_ratio", model.mlp_ratio)?;
    let allowed = format!("at most {LARGEST_RATIO}");
    check.require(model.mlp_ratio <= LARGEST_RATIO, "model.mlp_ratio", model.mlp_ratio, &allowed)?;
    check.not_negative("model.layer_scale", model.layer_scale)?;
    let allowed = format!("at most {MOST_REGISTERS}");
    check.require(model.registers <= MOST_REGISTERS, "model.registers", model.registers, &allowed)
}

/// A network that is no ViT has none of a ViT's sizes, and a ResNet no branches to drop or to compute again.
fn other_network(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    let model = &config.model;
    if model.dim() == 0 {
        let known = ModelConfig::names().collect::<Vec<_>>().join(", ");
        let allowed = format!("{known}; a ViT also with sizes as in `vit_tiny_patch16_96`");
        return check.require(false, "model.name", &model.name, &allowed);
    }
    let (given, plain) = (write::leaves(config)?, write::leaves(&Config::default())?);
    match model.foreign_keys().iter().find(|key| given.get(**key) != plain.get(**key)) {
        None => Ok(()),
        Some(key) => Err(ConfigError::Conflict {
            key: (*key).to_owned(),
            value: given.get(*key).map(ToString::to_string).unwrap_or_default(),
            other: format!("`model.name` = \"{}\"", model.name),
            hint: format!("other networks have it; leave `{key}` away"),
        }),
    }
}

fn head_and_dino(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    let head = &config.head;
    check.at_least("head.out_dim", head.out_dim, 2)?;
    check.at_least("head.hidden_dim", head.hidden_dim, 1)?;
    check.at_least("head.bottleneck_dim", head.bottleneck_dim, 1)?;
    check.at_least("head.layers", head.layers, 1)?;
    let dino = &config.dino;
    check.positive("dino.student_temp", dino.student_temp)?;
    let warm = dino.teacher_temp.iter().all(|temp| *temp > 0.0 && temp.is_finite());
    check.require(warm, "dino.teacher_temp", format!("{:?}", dino.teacher_temp), "two numbers above 0")?;
    let shares = dino.momentum.iter().all(|share| (0.0..=1.0).contains(share));
    check.require(shares, "dino.momentum", format!("{:?}", dino.momentum), "two numbers from 0 to 1")?;
    check.require(
        (0.0..1.0).contains(&dino.center_momentum),
        "dino.center_momentum",
        dino.center_momentum,
        "0 to below 1",
    )?;
    if dino.loss == DinoObjective::Mse && dino.centering.looks_at_batch() {
        return Err(ConfigError::Conflict {
            key: "dino.centering".to_owned(),
            value: write::leaves(config)?.remove("dino.centering").map(|value| value.to_string()).unwrap_or_default(),
            other: "`dino.loss` = \"mse\"".to_owned(),
            hint: "without probabilities there is nothing to balance; use centering or none".to_owned(),
        });
    }
    let epochs = config.run.epochs;
    let fits = dino.teacher_temp_warmup_epochs <= epochs;
    let allowed = format!("at most run.epochs, {epochs}");
    check.require(fits, "dino.teacher_temp_warmup_epochs", dino.teacher_temp_warmup_epochs, &allowed)
}

/// What is masked, and what the terms of iBOT's and DINOv2's loss weigh.
fn masks(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    let (method, model) = (&config.method, &config.model);
    let allowed = format!("a ViT: the method {} masks patches", method.name.title());
    check.require(model.shape().is_some(), "model.name", &model.name, &allowed)?;
    check.require(model.mask_token, "model.mask_token", model.mask_token, "true: this method trains it")?;
    let (side, patch) = (config.views.global.size, model.patch_size);
    let allowed = format!("at least two patches of {patch} px");
    check.require(side as usize >= 2 * patch, "views.global.size", side, &allowed)?;
    let probability = method.mask_probability.unwrap_or(f64::NAN);
    check.share("method.mask_probability", probability)?;
    let ratio = method.mask_ratio.unwrap_or([f64::NAN; 2]);
    let rises = 0.0 <= ratio[0] && ratio[0] <= ratio[1] && ratio[1] <= 1.0;
    check.require(rises, "method.mask_ratio", format!("{ratio:?}"), "two rising numbers from 0 to 1")?;
    check.not_negative("method.patch_weight", method.patch_weight.unwrap_or(f64::NAN))?;
    check.not_negative("method.koleo", method.koleo.unwrap_or(f64::NAN))?;
    let prototypes = method.patch_out_dim.unwrap_or(1);
    let fits = prototypes != 1 && prototypes <= MOST;
    let allowed = format!("0 for the head of class tokens, or 2 to {MOST}");
    check.require(fits, "method.patch_out_dim", prototypes, &allowed)
}

/// The options of a method other than DINO.
fn method(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    let (method, paper) = (&config.method, config.method.name.paper());
    let sizes = [
        ("method.hidden_dim", method.hidden_dim, paper.hidden_dim, 1),
        ("method.out_dim", method.out_dim, paper.out_dim, 1),
        ("method.layers", method.layers, paper.layers, 1),
        ("method.prototypes", method.prototypes, paper.prototypes, 2),
        ("method.classes", method.classes, paper.classes, 2),
        // MoCo has nothing to compare with but its queue; SwAV can do without.
        ("method.queue", method.queue, paper.queue, usize::from(paper.queue.is_some_and(|queue| queue > 0))),
    ];
    for (key, size, asked, fewest) in sizes {
        check.require(size.is_some() || asked.is_none(), key, "not set", "a whole number")?;
        check.at_least(key, size.unwrap_or(fewest), fewest)?;
        check.require(size.unwrap_or(0) <= MOST, key, size.unwrap_or(0), &format!("at most {MOST}"))?;
    }
    let numbers = [
        ("method.temperature", method.temperature, paper.temperature),
        ("method.epsilon", method.epsilon, paper.epsilon),
        ("method.off_diagonal", method.off_diagonal, paper.off_diagonal),
    ];
    for (key, number, asked) in numbers {
        check.require(number.is_some() || asked.is_none(), key, "not set", "a number above 0")?;
        check.positive(key, number.unwrap_or(1.0))?;
    }
    let epoch = method.queue_from_epoch;
    check.require(
        epoch.is_some() || paper.queue_from_epoch.is_none(),
        "method.queue_from_epoch",
        "not set",
        "an epoch",
    )?;
    let shares = config.momentum();
    let valid = (method.momentum.is_some() || paper.momentum.is_none())
        && shares.iter().all(|share| (0.0..=1.0).contains(share));
    check.require(valid, "method.momentum", format!("{shares:?}"), "two numbers from 0 to 1")?;
    let local = config.views.local.count;
    let fits = local == 0 || !method.name.takes_two_views();
    let allowed = match method.name.learns_from_labels() {
        true => "0: a classifier sees whole images",
        false => "0: this method compares two global crops",
    };
    check.require(fits, "views.local.count", local, allowed)?;
    let smoothing = method.label_smoothing;
    let set = smoothing.is_some() || paper.label_smoothing.is_none();
    check.require(set, "method.label_smoothing", "not set", "a number")?;
    let below = (0.0..1.0).contains(&smoothing.unwrap_or(0.0));
    check.require(below, "method.label_smoothing", smoothing.unwrap_or(0.0), "0 to below 1")?;
    if method.name.learns_from_labels() {
        return Ok(());
    }
    // Every other method looks at images beside each other, in its loss or in the normalisation of its head.
    let run = &config.run;
    check.at_least("run.batch", run.batch, 2)?;
    check.at_least("run.micro_batch", run.micro_batch, 2)?;
    let alone = run.batch > run.micro_batch && run.batch % run.micro_batch == 1;
    let allowed = format!("a number that does not leave one image of {} by itself", run.batch);
    check.require(!alone, "run.micro_batch", run.micro_batch, &allowed)
}

/// The share of a jigsaw, and room for its patches.
fn jigsaw(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    if config.method.name.paper().jigsaw.is_none() {
        return Ok(());
    }
    let share = config.method.jigsaw.unwrap_or(f64::NAN);
    check.share("method.jigsaw", share)?;
    let (crop, unit) = (config.views.global.size as usize, config.model.unit());
    let fewest = (unit..).find(|side| patch_side(*side, unit) > 0).unwrap_or(unit).next_multiple_of(unit);
    let allowed = format!("at least {fewest}: each ninth of a crop gives the jigsaw a patch of {unit} px or more");
    check.require(patch_side(crop, unit) > 0, "views.global.size", crop, &allowed)
}

/// The options of a method that divides all images into clusters.
fn memory_of_images(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    let (method, paper) = (&config.method, config.method.name.paper());
    if paper.images.is_none() {
        return Ok(());
    }
    let allowed = "2 or more: the first epoch fills the memory, and nothing is learnt in it";
    check.require(config.run.epochs >= 2, "run.epochs", config.run.epochs, allowed)?;
    let images = method.images.unwrap_or(0);
    let allowed = format!("a whole number, 1 to {MOST}");
    check.require((1..=MOST).contains(&images), "method.images", images, &allowed)?;
    let heads = method.heads.unwrap_or(0);
    check.require((1..=MOST_HEADS).contains(&heads), "method.heads", heads, &format!("1 to {MOST_HEADS}"))?;
    let prototypes = method.prototypes.unwrap_or(0);
    let allowed = format!("at most the images, {images}: each of them is in one cluster");
    check.require(prototypes <= images, "method.prototypes", prototypes, &allowed)
}

/// Options that this configuration's method does not have keep their plain values.
fn options_of_others(config: &Config) -> Result<(), ConfigError> {
    let (given, plain) = (write::leaves(config)?, write::leaves(&Config::default())?);
    for key in KEYS.iter().filter(|key| given.get(key.name) != plain.get(key.name)) {
        if !config.uses(key.name)? {
            let name = write::leaves(config)?.remove("method.name").map(|name| name.to_string()).unwrap_or_default();
            return Err(ConfigError::Conflict {
                key: key.name.to_owned(),
                value: given.get(key.name).map(ToString::to_string).unwrap_or_default(),
                other: format!("`method.name` = {name}"),
                hint: format!("another method has it; leave `{}` away", key.name),
            });
        }
    }
    Ok(())
}

fn views(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    let views = &config.views;
    for (name, crop) in [("global", &views.global), ("local", &views.local)] {
        let [low, high] = crop.scale;
        let ordered = 0.0 < low && low <= high && high <= 1.0;
        let key = format!("views.{name}.scale");
        check.require(ordered, &key, format!("{:?}", crop.scale), "two rising numbers above 0, at most 1")?;
        let (size, count) = (format!("views.{name}.size"), format!("views.{name}.count"));
        check.require((1..=MAX_SIZE).contains(&crop.size), &size, crop.size, &format!("1 to {MAX_SIZE}"))?;
        check.require(crop.count <= MAX_COUNT, &count, crop.count, &format!("at most {MAX_COUNT}"))?;
    }
    let supervised = config.method.name.learns_from_labels();
    let (fits, allowed) =
        if supervised { (views.global.count >= 1, "1 or more") } else { (views.global.count == 2, "2") };
    check.require(fits, "views.global.count", views.global.count, allowed)?;
    for (key, alpha) in [("views.mixup", views.mixup), ("views.cutmix", views.cutmix)] {
        check.not_negative(key, alpha)?;
        check.require(supervised || alpha == 0.0, key, alpha, "0: only the method supervised knows what is mixed")?;
    }
    check.share("views.erase", views.erase)?;
    for (key, chance) in [
        ("views.flip", views.flip),
        ("views.flip_vertical", views.flip_vertical),
        ("views.turn", views.turn),
        ("views.gray", views.gray),
        ("views.color_jitter.p", views.color_jitter.p),
    ] {
        check.share(key, chance)?;
    }
    for (key, chances) in [("views.blur", views.blur), ("views.solarize", views.solarize)] {
        let valid = chances.iter().all(|chance| (0.0..=1.0).contains(chance));
        check.require(valid, key, format!("{chances:?}"), "three numbers from 0 to 1")?;
    }
    let jitter = &views.color_jitter;
    check.not_negative("views.color_jitter.brightness", jitter.brightness)?;
    check.not_negative("views.color_jitter.contrast", jitter.contrast)?;
    check.not_negative("views.color_jitter.saturation", jitter.saturation)?;
    check.require((0.0..=0.5).contains(&jitter.hue), "views.color_jitter.hue", jitter.hue, "0 to 0.5")?;
    let [low, high] = views.blur_radius;
    let ordered = 0.0 <= low && low <= high && high <= MAX_BLUR_RADIUS;
    let allowed = format!("two rising numbers, 0 to {MAX_BLUR_RADIUS}");
    check.require(ordered, "views.blur_radius", format!("{:?}", views.blur_radius), &allowed)
}

fn optim_and_run(config: &Config, check: &Checker<'_>) -> Result<(), ConfigError> {
    let optim = &config.optim;
    check.positive("optim.lr", optim.lr)?;
    check.not_negative("optim.min_lr", optim.min_lr)?;
    check.not_negative("optim.clip", optim.clip)?;
    let decays = optim.weight_decay.iter().all(|decay| *decay >= 0.0 && decay.is_finite());
    check.require(decays, "optim.weight_decay", format!("{:?}", optim.weight_decay), "two numbers, 0 or more")?;
    let share = 0.0 < optim.layer_decay && optim.layer_decay <= 1.0;
    check.require(share, "optim.layer_decay", optim.layer_decay, "above 0, at most 1")?;
    let run = &config.run;
    check.at_least("run.epochs", run.epochs, 1)?;
    check.at_least("run.steps", run.steps.unwrap_or(1), 1)?;
    let understood = run.time.is_none() || run.time_limit().is_some_and(|limit| limit >= SHORTEST_RUN);
    let time = run.time.clone().unwrap_or_default();
    check.require(understood, "run.time", time, "a time such as \"8h\", \"1h30m\" or \"10m\", at least 10s")?;
    let fits = (0.0..=run.epochs as f64).contains(&optim.warmup_epochs);
    check.require(fits, "optim.warmup_epochs", optim.warmup_epochs, &format!("0 to run.epochs, {}", run.epochs))?;
    check.at_least("run.batch", run.batch, 1)?;
    check.at_least("run.micro_batch", run.micro_batch, 1)?;
    check.at_least("run.threads", run.threads, 1)?;
    check.at_least("run.checkpoint_every_steps", run.checkpoint_every_steps, 1)?;
    check.at_least("eval.every_epochs", config.eval.every_epochs, 1)?;
    check.at_least("eval.knn_k", config.eval.knn_k, 1)?;
    check.at_least("eval.most_images", config.eval.most_images, 4)?;
    check.at_least("log.every_steps", config.log.every_steps, 1)
}

/// Crops are cut into whole patches.
fn sizes_divide(config: &Config) -> Result<(), ConfigError> {
    let patch = config.model.unit();
    let sizes = [
        ("model.image_size", config.model.image_size),
        ("views.global.size", config.views.global.size as usize),
        ("views.local.size", config.views.local.size as usize),
    ];
    for (key, size) in sizes {
        if size % patch != 0 {
            return Err(ConfigError::Conflict {
                key: key.to_owned(),
                value: size.to_string(),
                other: format!("the patches of `{}`, {patch} px", config.model.name),
                hint: format!("use a multiple of {patch}, such as {}", (size / patch).max(1) * patch),
            });
        }
    }
    Ok(())
}
