//! Every key a configuration may hold, with the one line users read about it.

use super::span::Unit;

/// A key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Dotted name, such as `run.epochs`.
    pub name: &'static str,
    /// What it means, in one line.
    pub comment: &'static str,
    /// Whether it may differ when a run is continued, because the result does not depend on it.
    pub free_on_resume: bool,
    /// Unit, where a length such as `"10%"` or `"2 epochs"` is accepted as well.
    pub(super) unit: Option<Unit>,
    /// Words that stand for a value found in the data, or chosen by the program.
    pub(super) words: &'static [&'static str],
    /// Whether 0 leaves the choice to the program, as "auto" does.
    pub(super) zero_is_open: bool,
}

impl Key {
    /// The same key, where both 0 and "auto" leave the choice to the program.
    const fn open(self) -> Self {
        Self { words: &[AUTO], zero_is_open: true, ..self }
    }
}

/// A key that determines the result of a run.
const fn fixed(name: &'static str, comment: &'static str) -> Key {
    Key { name, comment, free_on_resume: false, unit: None, words: &[], zero_is_open: false }
}

/// A key that may change between an interruption and its continuation.
const fn free(name: &'static str, comment: &'static str) -> Key {
    Key { free_on_resume: true, ..fixed(name, comment) }
}

/// A key that accepts a length.
const fn length(name: &'static str, comment: &'static str, unit: Unit) -> Key {
    Key { unit: Some(unit), ..fixed(name, comment) }
}

/// A key whose value may be found in the data.
const fn found(name: &'static str, comment: &'static str, words: &'static [&'static str]) -> Key {
    Key { words, ..fixed(name, comment) }
}

/// The choice is left to the program.
pub(super) const AUTO: &str = "auto";
/// What the images of this run have.
pub(crate) const MEASURED: &str = "measured";
/// What networks trained on ImageNet expect.
pub(super) const IMAGENET: &str = "imagenet";

/// All keys, in the order in which they are written: a table's own keys before its inner tables, as TOML asks.
pub const KEYS: &[Key] = &[
    fixed("recipe", "recipe the values started from (`dinoxide recipes ls`)"),
    fixed("data.train", "folders, images, lists (.txt), tables (.csv), archives (.tar, .zip) or globs"),
    fixed(
        "data.weights",
        "share of each entry of data.train in an epoch, such as [3, 1]; empty: every image counts the same",
    ),
    fixed("data.val", "folder with one sub-folder per class, or a .csv with paths and labels: k-NN while training"),
    fixed("data.exif", "\"apply\" turns phone photos upright; \"ignore\" equals torchvision"),
    fixed("data.max_bad", "share of unreadable images above which the run stops"),
    found("data.channels", "values of a pixel, 1 to 32: 3 are red, green and blue", &[AUTO]),
    found(
        "data.range",
        "what becomes 0 and 255 of values wider than 8 bits, [[low, high]] or one for each channel",
        &[AUTO],
    ),
    found("data.mean", "channel means; or \"imagenet\", \"measured\"", &[AUTO, MEASURED, IMAGENET]),
    found("data.std", "channel standard deviations; or \"imagenet\", \"measured\"", &[AUTO, MEASURED, IMAGENET]),
    free("data.workers", "threads that decode and augment").open(),
    free("data.cache_mb", "memory for decoded images, MiB").open(),
    fixed(
        "model.name",
        "a ViT such as vit_small or dinov2_vits14_reg, a ResNet such as resnet50, an XCiT such as xcit_small_12_p16",
    ),
    fixed("model.patch_size", "side of a patch, pixels"),
    fixed("model.image_size", "image side whose patch grid has its own position embeddings, pixels"),
    fixed("model.embed_dim", "width, where it differs from the named model's"),
    fixed("model.depth", "blocks, where they differ from the named model's"),
    fixed("model.num_heads", "attention heads, where they differ from the named model's"),
    fixed("model.mlp_ratio", "hidden width of the MLP as a multiple of the width"),
    fixed("model.layer_scale", "what LayerScale begins with, such as 1e-5 (DINOv2); 0 = without it"),
    fixed("model.registers", "register tokens, such as 4 (DINOv2 with registers)"),
    fixed("model.ffn", "\"mlp\", or \"swiglu\", gated as in the largest network of DINOv2"),
    fixed(
        "model.mask_token",
        "a token for masked patches: trained by ibot and dinov2, else that of DINOv2's files as it is",
    ),
    fixed(
        "model.resampling",
        "positions for other sizes: \"offset\" as DINO, \"antialiased\" as DINOv2 with registers and timm",
    ),
    fixed("model.drop_path", "stochastic depth of the student's last block"),
    fixed("model.init", "weights to start from"),
    fixed("model.init_partial", "start although tensors of the backbone do not fit; those begin with random values"),
    fixed("method.name", "dino, ibot, dinov2, byol, simclr, mocov3, swav, supervised and others: docs/methods"),
    fixed("method.momentum", "share of the average kept at each step: first, last (cosine)"),
    fixed("method.hidden_dim", "width of the hidden layers of projector and predictor"),
    fixed("method.out_dim", "width of what the loss compares"),
    fixed("method.layers", "linear layers of the projector"),
    fixed("method.temperature", "temperature of the softmax"),
    fixed("method.prototypes", "prototypes (K)"),
    fixed("method.heads", "clusterings, each with so many prototypes"),
    fixed("method.images", "images that are remembered, those of data.train"),
    fixed("method.epsilon", "temperature of the assignments to prototypes"),
    fixed("method.queue", "rows of earlier batches that are kept; 0 for none"),
    fixed("method.queue_from_epoch", "epoch from which on they are used"),
    length("method.freeze_prototypes_steps", "steps during which the prototypes do not learn", Unit::Steps),
    fixed("method.jigsaw", "share of the loss that the jigsaw of a view has, 3 × 3 patches in random order"),
    fixed("method.off_diagonal", "weight of the correlations between different outputs"),
    fixed("method.classes", "classes, those of the folders of data.train"),
    fixed("method.label_smoothing", "share of a target that is spread over all classes"),
    fixed("method.mask_probability", "share of the global crops of which patches are masked"),
    fixed("method.mask_ratio", "smallest and largest share of such a crop's patches that are masked"),
    fixed("method.patch_weight", "weight of the loss of masked patches"),
    fixed("method.patch_out_dim", "prototypes of a head for patches alone; 0: they share that of class tokens"),
    fixed("method.koleo", "weight of KoLeo, which spreads the features of a batch; 0 for none"),
    fixed("head.out_dim", "prototypes (K)"),
    fixed("head.hidden_dim", "width of the hidden layers"),
    fixed("head.bottleneck_dim", "width of the normalised layer before the prototypes"),
    fixed("head.layers", "layers of the MLP"),
    fixed("head.use_bn", "batch normalisation in the MLP"),
    fixed("head.norm_last_layer", "keep the prototypes at unit length"),
    fixed("dino.student_temp", "temperature of the student's softmax"),
    fixed("dino.teacher_temp", "temperature of the teacher's softmax: first epoch, after the warm-up"),
    length("dino.teacher_temp_warmup_epochs", "epochs between the two temperatures", Unit::Epochs),
    fixed("dino.momentum", "share of the teacher kept at each step: first, last (cosine)"),
    fixed("dino.teacher", "weights of the teacher: momentum; student, previous_step, previous_epoch: ablations"),
    fixed(
        "dino.centering",
        "centering: running centre; sinkhorn_knopp: equal shares of each batch; softmax_batch; none",
    ),
    fixed("dino.center_momentum", "share of the centre kept at each step"),
    fixed("dino.loss", "cross_entropy of probabilities; mse: squared distance of outputs at unit length"),
    fixed("dino.predictor", "an MLP of the student alone after the bottleneck of its head, as in BYOL"),
    length("dino.freeze_last_layer_steps", "steps during which the prototypes do not learn", Unit::Steps),
    fixed(
        "views.recipe",
        "recipe of views that the rest started from, such as byol (`dinoxide recipes ls`); empty for none",
    ),
    fixed("views.filter", "resampling of the crops: bicubic or bilinear, antialiased as Pillow's"),
    fixed("views.flip", "chance of a horizontal flip"),
    fixed("views.flip_vertical", "chance of a vertical flip"),
    fixed("views.turn", "chance of a turn by 90, 180 or 270 degrees"),
    fixed("views.gray", "chance of turning gray"),
    fixed("views.blur", "chance of a blur: global crop 1, global crop 2, local crops"),
    fixed("views.solarize", "chance of solarisation: global crop 1, global crop 2, local crops"),
    fixed(
        "views.rand_augment",
        "operations drawn for each view, in timm's notation: \"rand-m9-mstd0.5-inc1\"; empty for none",
    ),
    fixed("views.erase", "chance of a rectangle of noise"),
    fixed("views.mixup", "mixup of the images of a batch: parameter of its Beta distribution, such as 0.8; 0 for none"),
    fixed("views.cutmix", "CutMix, in turns with mixup: parameter of its Beta distribution, such as 1.0; 0 for none"),
    fixed("views.blur_radius", "range of the blur's standard deviation, pixels"),
    fixed("views.global.size", "side of the crops both networks see, pixels"),
    fixed("views.global.scale", "smallest and largest share of the image's area"),
    fixed("views.global.count", "global crops per image; the teacher sees these only"),
    fixed("views.local.size", "side of the crops only the student sees, pixels"),
    fixed("views.local.scale", "smallest and largest share of the image's area"),
    fixed("views.local.count", "local crops per image; 0 trains without multi-crop"),
    fixed("views.color_jitter.p", "chance of a random change of colours"),
    fixed("views.color_jitter.brightness", "largest relative change of brightness"),
    fixed("views.color_jitter.contrast", "largest relative change of contrast"),
    fixed("views.color_jitter.saturation", "largest relative change of saturation"),
    fixed("views.color_jitter.hue", "largest shift of the hue, in turns"),
    fixed("optim.name", "adamw, sgd or lars"),
    fixed("optim.lr", "learning rate for a batch of 256; scaled linearly to run.batch"),
    fixed("optim.min_lr", "learning rate at the end; not scaled"),
    fixed("optim.weight_decay", "weight decay: first step, last step (cosine); not on biases and norms"),
    fixed("optim.clip", "largest gradient norm; 0 = off"),
    fixed("optim.clip_mode", "\"tensor\" clips each parameter by itself, as the original; \"global\" all together"),
    length("optim.warmup_epochs", "epochs of linear warm-up; fractions allowed", Unit::FractionalEpochs),
    fixed(
        "optim.layer_decay",
        "learning rate of a block as a share of the next one's, down to the patch embedding; 1 = all the same",
    ),
    length("optim.freeze_backbone_steps", "steps during which only the head learns", Unit::Steps),
    found("run.epochs", "passes over the images", &[AUTO]),
    fixed("run.steps", "optimizer steps of the whole run, where the last epoch is cut short"),
    fixed("run.time", "time the run may take, such as \"8h\": the schedule is paced to end by then"),
    found("run.batch", "images per optimizer step", &[AUTO]),
    free("run.micro_batch", "images per forward pass; gradients are accumulated up to run.batch").open(),
    fixed("run.precision", "what products multiply: \"f32\", \"bf16\", or \"auto\", bf16 where the processor can"),
    free(
        "run.recompute",
        "compute a block's activations again for the gradient: a fraction of the memory, a third more time",
    ),
    fixed("run.seed", "seed of every random draw"),
    free("run.threads", "compute threads").open(),
    free("run.checkpoint_every_steps", "steps between two checkpoints").open(),
    free("run.keep_every_epochs", "epochs between two checkpoints kept for good; 0 = none"),
    fixed("eval.every_epochs", "epochs between two evaluations").open(),
    fixed("eval.knn_k", "neighbours that vote"),
    fixed(
        "eval.most_images",
        "labelled images that vote or are classified, at most; evenly spread where there are more",
    ),
    free("eval.pictures", "whether attention, components, neighbours and a map are drawn at each evaluation"),
    fixed("log.every_steps", "steps between two rows of metrics.jsonl").open(),
    free("log.tensorboard", "whether event files for TensorBoard are written"),
];

/// The key of that name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether `name` is a section, such as `run` or `views.global`.
pub(super) fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// Similarity below which a suggestion would only confuse.
const SIMILAR: f64 = 0.7;

/// The known key nearest to a mistyped one: by the whole name, or by its last part alone.
pub(super) fn nearest(wrong: &str) -> Option<String> {
    let last = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let score = |known: &str| {
        let whole = strsim::jaro_winkler(wrong, known);
        // `lr` or `epochs` without its section, or under the wrong one.
        let tail = 0.98 * strsim::jaro_winkler(&last(wrong), &last(known));
        whole.max(tail)
    };
    KEYS.iter()
        .map(|key| (score(key.name), key.name))
        .filter(|(similarity, _)| *similarity >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name.to_owned())
}
