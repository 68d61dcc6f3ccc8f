//! The derivations: one function per group of values, all constants in the table on top.

use dinoxide_views::pixel::RGB;
use toml::Value;

use super::key::{IMAGENET, MEASURED};
use super::{Choice, Config, ConfigError, DataConfig, Facts, Partial, Precision};

/// The constants of the derivations. They come from experiments (RESULTS.md) and are changed here only.
mod tuned {
    /// Unreadable files that are skipped in any folder, however few images it has.
    pub(super) const UNREADABLE_IMAGES: usize = 3;
    /// Largest share of such files.
    pub(super) const UNREADABLE_SHARE: f64 = 0.5;
    /// Crops for a kind of image.
    pub(super) struct ImageClass {
        /// Largest median side this class is for, pixels.
        pub(super) up_to_px: u32,
        /// What such images are called in the plan.
        pub(super) called: &'static str,
        /// Side of a global crop, pixels.
        pub(super) global_px: usize,
    }
    /// Kinds of images by median side, smallest first.
    pub(super) const IMAGE_CLASSES: [ImageClass; 3] = [
        ImageClass { up_to_px: 40, called: "small images", global_px: 32 },
        ImageClass { up_to_px: 80, called: "medium images", global_px: 64 },
        ImageClass { up_to_px: u32::MAX, called: "photos", global_px: 96 },
    ];
    /// Patch side by side of a global crop: `(up to, patch)`.
    pub(super) const PATCH_BY_CROP: [(usize, usize); 3] = [(40, 8), (80, 8), (usize::MAX, 16)];
    /// Side of a local crop as a share of a global one's (the paper: 96 of 224).
    pub(super) const LOCAL_SHARE: f64 = 0.5;
    /// Local crops per image (the paper: 8; each costs little and helps less than the one before).
    pub(super) const LOCAL_COUNT: usize = 6;
    /// Global crops up to this side are not blurred: a blur of 2 px leaves nothing of 32.
    pub(super) const NO_BLUR_UP_TO_PX: usize = 40;
    /// Global crops from this side on are blurred with the paper's radius of 2 px at 224, smaller ones in proportion.
    pub(super) const BLUR_REFERENCE_PX: f64 = 224.0;
    /// Largest blur at the reference side, pixels.
    pub(super) const BLUR_RADIUS_PX: f64 = 2.0;
    /// Smallest blur, pixels.
    pub(super) const BLUR_RADIUS_MIN_PX: f64 = 0.1;
    /// Images per prototype.
    pub(super) const IMAGES_PER_PROTOTYPE: usize = 16;
    /// Up to so many images the run is short, and the paper's values leave it at the level of the untrained network.
    pub(super) const SMALL_DATA_UP_TO_IMAGES: usize = 100_000;
    /// Fewest and most prototypes.
    pub(super) const OUT_DIM_RANGE: (usize, usize) = (256, 65_536);
    /// Effective batch by number of images: `(up to, batch)`.
    pub(super) const BATCH_BY_IMAGES: [(usize, usize); 3] =
        [(20_000, 32), (SMALL_DATA_UP_TO_IMAGES, 64), (usize::MAX, 128)];
    /// Seconds a run should take.
    pub(super) const TARGET_SECONDS: f64 = 3600.0;
    /// Fewest and most epochs.
    pub(super) const EPOCHS_RANGE: (usize, usize) = (3, 300);
    /// Sustained speed of one core in training, floating-point operations per second.
    pub(super) const FLOPS_PER_CORE: f64 = 80e9;
    /// Averaging windows of the teacher in one run: its memory is this fraction of the run.
    pub(super) const TEACHER_WINDOWS: f64 = 20.0;
    /// Range of the teacher's first momentum.
    pub(super) const MOMENTUM_RANGE: (f64, f64) = (0.95, 0.9995);
    /// Teacher temperature by number of images: `(up to, (in the first epoch, after the warm-up))`.
    pub(super) const TEACHER_TEMP_BY_IMAGES: [(usize, (f64, f64)); 3] =
        [(SMALL_DATA_UP_TO_IMAGES, (0.015, 0.04)), (500_000, (0.04, 0.055)), (usize::MAX, (0.04, 0.07))];
    /// Share of the run over which the teacher's temperature rises.
    pub(super) const TEACHER_TEMP_WARMUP_SHARE: f64 = 0.1;
    /// Share of the area in crops of small data: global, local.
    pub(super) const SMALL_DATA_SCALES: [(f64, f64); 2] = [(0.5, 1.0), (0.2, 0.6)];
    /// Chance of turning gray on small data.
    pub(super) const SMALL_DATA_GRAY: f64 = 0.3;
    /// Colour jitter on small data: chance, brightness, contrast, saturation, hue.
    pub(super) const SMALL_DATA_JITTER: [(&str, f64); 5] =
        [("p", 1.0), ("brightness", 0.6), ("contrast", 0.6), ("saturation", 0.6), ("hue", 0.2)];
    /// Steps of warm-up that are enough for any run (10 epochs of ImageNet at a batch of 1024).
    pub(super) const WARMUP_STEPS: usize = 12_500;
    /// Largest share of the run spent on warm-up.
    pub(super) const WARMUP_SHARE: f64 = 0.1;
    /// Largest share of the run with frozen prototypes.
    pub(super) const FREEZE_SHARE: f64 = 0.05;
    /// Learning rate for a batch of 256 (the paper: 5e-4, for batches of 1024 and long runs) by batch: `(up to, rate)`.
    pub(super) const LR_BY_BATCH: [(usize, f64); 3] = [(32, 6e-3), (64, 4e-3), (usize::MAX, 2e-3)];
    /// Evaluations in one run.
    pub(super) const EVALUATIONS: usize = 10;
    /// Neighbours that vote.
    pub(super) const KNN_K: usize = 20;
    /// Fewest and most steps between two checkpoints.
    pub(super) const CHECKPOINT_STEPS: (usize, usize) = (100, 500);
    /// Rows of metrics per epoch.
    pub(super) const ROWS_PER_EPOCH: usize = 10;
    /// Most steps between two rows of metrics.
    pub(super) const ROW_STEPS: usize = 50;
    /// Share of memory for decoded images.
    pub(super) const CACHE_SHARE: f64 = 0.25;
    /// Memory for activations of one micro-batch as a share of all memory.
    pub(super) const ACTIVATION_SHARE: f64 = 0.5;
}

/// A configuration under construction.
pub(super) struct Draft<'a> {
    pub(super) given: &'a Partial,
    pub(super) facts: &'a Facts,
    pub(super) config: Config,
    pub(super) choices: Vec<Choice>,
}

impl Draft<'_> {
    /// Sets `key` to a derived value with its reason, unless it was given.
    fn choose(&mut self, key: &str, value: impl Into<Value>, reason: impl Into<String>) -> Result<(), ConfigError> {
        if self.given.has(key) {
            return Ok(());
        }
        self.adjust(key, value, reason)
    }

    /// Sets `key` with a reason, even over a given value.
    fn adjust(&mut self, key: &str, value: impl Into<Value>, reason: impl Into<String>) -> Result<(), ConfigError> {
        let value = value.into();
        let choice = Choice { key: key.to_owned(), value: value.to_string(), reason: reason.into(), flag: flag(key) };
        self.assign(key, value)?;
        self.choices.retain(|earlier| earlier.key != key);
        self.choices.push(choice);
        Ok(())
    }

    fn steps_per_epoch(&self) -> usize {
        self.config.steps_per_epoch(self.facts.images)
    }

    fn total_steps(&self) -> usize {
        self.config.total_steps(self.facts.images)
    }

    pub(super) fn finish(self) -> (Config, Vec<Choice>) {
        (self.config, self.choices)
    }
}

/// What to type to choose a key otherwise.
fn flag(key: &str) -> String {
    let short = match key {
        "model.name" => "--model",
        "run.epochs" => "--epochs",
        "run.batch" => "--batch",
        "eval.every_epochs" => "--eval-every",
        "run.precision" => "--precision",
        "data.workers" => "--workers",
        _ => return format!("--set {key}=…"),
    };
    short.to_owned()
}

fn whole(number: usize) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn pair(first: f64, last: f64) -> Value {
    Value::Array(vec![Value::Float(first), Value::Float(last)])
}

/// Rounds to three significant digits, so that a derived value is one a person would write.
fn short(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// What the processor multiplies fastest, if that was asked for.
pub(super) fn precision(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    match (draft.config.run.precision, draft.facts.bf16) {
        (Precision::Auto, true) => draft.adjust("run.precision", "bf16", "the processor has instructions for it"),
        (Precision::Auto, false) => draft.adjust("run.precision", "f32", "the processor has no instructions for bf16"),
        _ => Ok(()),
    }
}

/// Loader threads and cache.
pub(super) fn data(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let cores = draft.facts.cores.max(1);
    let workers = cores.saturating_sub(1).max(1);
    draft.choose("data.workers", whole(workers), format!("one thread fewer than the {cores} cores of this machine"))?;
    draft.choose("run.threads", whole(cores), format!("all {cores} cores compute"))?;
    let cache = (draft.facts.memory_bytes as f64 * tuned::CACHE_SHARE / f64::from(1 << 20)) as usize;
    draft.choose("data.cache_mb", whole(cache.max(1)), "a quarter of the memory holds decoded images")?;
    let (images, few) = (draft.facts.images, tuned::UNREADABLE_IMAGES);
    let share = few as f64 / images.max(1) as f64;
    if share <= draft.config.data.max_bad {
        return Ok(());
    }
    let share = short(share.min(tuned::UNREADABLE_SHARE));
    draft.choose("data.max_bad", share, format!("{few} unreadable files do not stop a run on {images} images"))
}

/// Channels of the images, and how their values become numbers around zero.
pub(super) fn pixels(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let Some(pixels) = draft.facts.pixels.clone() else { return Ok(()) };
    if pixels.images == 0 {
        return Err(ConfigError::BadValue {
            origin: draft.given.origin("data.channels"),
            key: "data.channels".to_owned(),
            value: pixels.channels.to_string(),
            allowed: format!("{}, as most images have", pixels.usual),
        });
    }
    if pixels.channels != RGB {
        draft.choose("data.channels", whole(pixels.channels), "what the images hold")?;
    }
    if !pixels.range.is_empty() {
        let range = pixels.range.iter().map(|[low, high]| pair(f64::from(*low), f64::from(*high))).collect();
        let reason = format!("more than 8 bits: 99.8 % of the values of {} images become 0 to 255", pixels.images);
        draft.choose("data.range", Value::Array(range), reason)?;
    }
    let usual = DataConfig::default();
    for (key, measured, usual) in [("data.mean", &pixels.mean, usual.mean), ("data.std", &pixels.std, usual.std)] {
        let asked = draft.given.text(key).map(str::to_owned);
        let (values, reason) = match asked.as_deref() {
            Some(IMAGENET) => (&usual, "as asked, for weights trained with them".to_owned()),
            Some(MEASURED) => (measured, format!("as asked, measured on {} images", pixels.images)),
            None if draft.config.data.channels == RGB || draft.given.has(key) => continue,
            _ => (measured, format!("measured on {} images", pixels.images)),
        };
        let values = values.iter().map(|value| Value::Float(short(f64::from(*value)))).collect();
        draft.adjust(key, Value::Array(values), reason)?;
    }
    Ok(())
}

/// Changes of color that make no sense are left out, even where they were asked for.
pub(super) fn colors(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let channels = draft.config.data.channels;
    if channels == RGB {
        return Ok(());
    }
    let views = &draft.config.views;
    let jitter = views.color_jitter;
    let used = [
        ("views.color_jitter.saturation", jitter.saturation),
        ("views.color_jitter.hue", jitter.hue),
        ("views.gray", views.gray),
    ];
    for (key, _) in used.into_iter().filter(|(_, amount)| *amount > 0.0) {
        draft.adjust(key, 0.0, format!("left out: {channels} channels are not red, green and blue"))?;
    }
    Ok(())
}

/// Name, patch and size of the network.
pub(super) fn model(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    draft.choose("model.name", "vit_tiny", "the smallest named model; a CPU trains it in reasonable time")?;
    let class = image_class(draft.facts);
    let (global, why) = match draft.given.whole("model.image_size") {
        Some(size) => (size, "the network's image size".to_owned()),
        None => (class.global_px, median_reason(class, draft.facts)),
    };
    draft.choose("views.global.size", whole(global), why)?;
    let global = draft.config.views.global.size as usize;
    let patch = step_up(&tuned::PATCH_BY_CROP, global);
    let grid = global / patch;
    draft.choose("model.patch_size", whole(patch), format!("a crop of {global} px becomes {grid} × {grid} patches"))?;
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

/// The value of the first row whose limit is not below `at`.
fn step_up<T: Copy>(table: &[(usize, T); 3], at: usize) -> T {
    let [(_, _), (_, _), (_, last)] = table;
    table.iter().find(|(limit, _)| at <= *limit).map_or(*last, |(_, value)| *value)
}

/// Local crops and blur.
pub(super) fn views(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let global = draft.config.views.global.size as usize;
    let patch = draft.config.model.patch_size.max(1);
    let local = ((global as f64 * tuned::LOCAL_SHARE / patch as f64).round() as usize).max(1) * patch;
    draft.choose("views.local.size", whole(local), format!("half a global crop, in whole patches of {patch} px"))?;
    draft.choose(
        "views.local.count",
        whole(tuned::LOCAL_COUNT),
        "most of the gain of multi-crop at three quarters of its cost",
    )?;
    if small_data(draft.facts) {
        easy_crops_strong_colours(draft)?;
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

fn small_data(facts: &Facts) -> bool {
    facts.images <= tuned::SMALL_DATA_UP_TO_IMAGES
}

/// Number of prototypes.
pub(super) fn head(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
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
pub(super) fn batch(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let images = draft.facts.images;
    let batch = step_up(&tuned::BATCH_BY_IMAGES, images);
    draft.choose(
        "run.batch",
        whole(batch),
        format!("for {images} images: enough for the centre, and many steps per epoch"),
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
    let fits = (draft.facts.memory_bytes as f64 * tuned::ACTIVATION_SHARE / bytes_per_image(&draft.config)) as usize;
    let micro = batch.min(fits.max(1));
    let reason = if micro == batch {
        "the whole batch fits into memory"
    } else {
        "what fits into half the memory; accumulated exactly"
    };
    draft.choose("run.micro_batch", whole(micro), reason)
}

/// Tokens of one image: `(student, teacher)`.
fn tokens(config: &Config) -> (f64, f64) {
    let patch = config.model.patch_size.max(1);
    let of = |side: usize| ((side / patch).pow(2) + 1) as f64;
    let teacher = config.views.global.count as f64 * of(config.views.global.size as usize);
    let student = teacher + config.views.local.count as f64 * of(config.views.local.size as usize);
    (student, teacher)
}

/// Activations kept for the backward pass of one image, bytes.
fn bytes_per_image(config: &Config) -> f64 {
    // Per token and block: inputs of both branches, queries, keys, values, attention's result, and one row of the MLP's hidden
    // width, f32; when they are computed again, one row of each block and everything of one.
    let Some(shape) = config.model.shape() else { return 1.0 };
    let (block, depth) = (6.0 + config.model.mlp_ratio, shape.depth as f64);
    let rows = shape.embed_dim as f64 * if config.run.recompute { depth + block } else { depth * block };
    let logits = config.crops_per_image() as f64 * (config.head.out_dim + 4 * config.head.hidden_dim) as f64;
    4.0 * (tokens(config).0 * rows + logits)
}

/// Floating-point operations of one training step per image: student forward and backward, teacher forward.
pub fn flops_per_image(config: &Config) -> f64 {
    let Some(shape) = config.model.shape() else { return 0.0 };
    let (student, teacher) = tokens(config);
    let width = shape.embed_dim as f64;
    let block = width * width * (4.0 + 2.0 * config.model.mlp_ratio) * shape.depth as f64;
    let (hidden, neck) = (config.head.hidden_dim as f64, config.head.bottleneck_dim as f64);
    let middle = hidden * hidden * config.head.layers.saturating_sub(2) as f64;
    let head = width * hidden + middle + hidden * neck + neck * config.head.out_dim as f64;
    let globals = config.views.global.count as f64;
    let forward = |tokens: f64, rows: f64| 2.0 * (tokens * block + rows * head);
    3.0 * forward(student, config.crops_per_image() as f64) + forward(teacher, globals)
}

/// Estimated training speed on `cores` cores, images per second.
pub fn images_per_second(config: &Config, cores: usize) -> f64 {
    tuned::FLOPS_PER_CORE * cores.max(1) as f64 / flops_per_image(config).max(1.0)
}

/// Length of the run.
pub(super) fn epochs(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let cores = draft.facts.cores.max(1);
    let speed = images_per_second(&draft.config, cores);
    let (fewest, most) = tuned::EPOCHS_RANGE;
    let epochs = (tuned::TARGET_SECONDS * speed / draft.facts.images as f64) as usize;
    let epochs = epochs.clamp(fewest, most);
    let minutes = (epochs * draft.facts.images) as f64 / speed / 60.0;
    let reason = format!("about {minutes:.0} minutes at an estimated {speed:.0} images per second on {cores} cores");
    draft.choose("run.epochs", whole(epochs), reason)
}

/// Everything that follows from the number of steps.
pub(super) fn schedules(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    teacher(draft)?;
    let (steps, per_epoch) = (draft.total_steps(), draft.steps_per_epoch());
    let warmup_steps = ((steps as f64 * tuned::WARMUP_SHARE) as usize).min(tuned::WARMUP_STEPS);
    let warmup = short(warmup_steps as f64 / per_epoch as f64);
    draft.choose(
        "optim.warmup_epochs",
        warmup,
        format!("{warmup_steps} of {steps} steps, at most a tenth of the run"),
    )?;
    let epochs = draft.config.run.epochs;
    if draft.config.optim.warmup_epochs > epochs as f64 {
        let reason = format!("the warm-up asked for is longer than the {epochs} epochs; a tenth of the run instead");
        draft.adjust("optim.warmup_epochs", short(epochs as f64 * tuned::WARMUP_SHARE), reason)?;
    }
    let frozen = ((steps as f64 * tuned::FREEZE_SHARE) as usize).min(per_epoch);
    let reason = "one epoch, at most a twentieth of the run, so that the features settle first";
    draft.choose("dino.freeze_last_layer_steps", whole(frozen), reason)?;
    let lr = step_up(&tuned::LR_BY_BATCH, draft.config.run.batch);
    draft.choose("optim.lr", lr, "short runs with small batches need more than the paper's 5e-4")
}

/// Momentum and temperature of the teacher.
fn teacher(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let (steps, images) = (draft.total_steps(), draft.facts.images);
    let (lowest, highest) = tuned::MOMENTUM_RANGE;
    let rate = short(tuned::TEACHER_WINDOWS / steps.max(1) as f64);
    // Rounded again: 1 - 0.0142 is 0.9858 to a reader, 0.9858000000000000… to the machine.
    let momentum = ((1.0 - rate).clamp(lowest, highest) * 1e6).round() / 1e6;
    let reason = format!("the teacher remembers about a twentieth of {steps} steps");
    draft.choose("dino.momentum", pair(momentum, 1.0), reason)?;
    let (centering, reason) = if small_data(draft.facts) {
        ("sinkhorn_knopp", "a running centre cannot follow so sharp a teacher on so small batches")
    } else {
        ("centering", "as in the paper")
    };
    draft.choose("dino.centering", centering, reason)?;
    let (start, end) = step_up(&tuned::TEACHER_TEMP_BY_IMAGES, images);
    let reason = if small_data(draft.facts) {
        "small data needs a teacher sharp enough to act on what an untrained network sees"
    } else {
        "large data bears a softer teacher"
    };
    draft.choose("dino.teacher_temp", pair(start, end), format!("{images} images: {reason}"))?;
    let epochs = draft.config.run.epochs;
    let [start, end] = draft.config.dino.teacher_temp;
    let warmup = if start == end { 0 } else { (epochs as f64 * tuned::TEACHER_TEMP_WARMUP_SHARE).round() as usize };
    draft.choose(
        "dino.teacher_temp_warmup_epochs",
        whole(warmup),
        if warmup == 0 { "the temperature is constant" } else { "a tenth of the run" },
    )?;
    if draft.config.dino.teacher_temp_warmup_epochs > epochs {
        let shorter = (epochs as f64 * tuned::TEACHER_TEMP_WARMUP_SHARE).round() as usize;
        let reason = format!("the warm-up asked for is longer than the {epochs} epochs");
        draft.adjust("dino.teacher_temp_warmup_epochs", whole(shorter), reason)?;
    }
    Ok(())
}

/// Evaluation, checkpoints, log.
pub(super) fn bookkeeping(draft: &mut Draft<'_>) -> Result<(), ConfigError> {
    let (epochs, per_epoch) = (draft.config.run.epochs, draft.steps_per_epoch());
    let every = (epochs / tuned::EVALUATIONS).max(1);
    let times = epochs / every;
    let reason = match draft.facts.val_classes {
        Some(classes) => format!("{times} times in the run ({classes} classes)"),
        None => format!("{times} times in the run, once --val names a labelled folder"),
    };
    draft.choose("eval.every_epochs", whole(every), reason)?;
    draft.choose("eval.knn_k", whole(tuned::KNN_K), "the k of the paper")?;
    let (fewest, most) = tuned::CHECKPOINT_STEPS;
    let steps = per_epoch.clamp(fewest, most);
    draft.choose("run.checkpoint_every_steps", whole(steps), format!("at most {steps} steps of work are lost"))?;
    let rows = (per_epoch / tuned::ROWS_PER_EPOCH).clamp(1, tuned::ROW_STEPS);
    draft.choose("log.every_steps", whole(rows), "about ten rows per epoch")
}
