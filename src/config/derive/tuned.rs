//! The constants of the derivations. They come from experiments (RESULTS.md) and are changed here only.

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
/// Fewest patches along a side of a global crop for a network that starts from weights.
pub(super) const FEWEST_PATCHES: usize = 4;
/// Largest global crop of a network that starts from weights, pixels, unless another size is given: what most networks were trained
/// with, those of DINOv2 too until their last epochs.
pub(super) const LARGEST_CROP_PX: usize = 224;
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
/// Images for each cluster, at least, on average.
pub(super) const IMAGES_PER_CLUSTER: usize = 8;
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
/// Largest share of a run that a warm-up of a recipe or frozen prototypes may take where the run is shorter than the recipe's.
pub(super) const WARMUP_MOST: f64 = 0.5;
/// Largest share of the run with frozen prototypes.
pub(super) const FREEZE_SHARE: f64 = 0.05;
/// Learning rate for a batch of 256 (the paper: 5e-4, for batches of 1024 and long runs) by batch: `(up to, rate)`.
pub(super) const LR_BY_BATCH: [(usize, f64); 3] = [(32, 6e-3), (64, 4e-3), (usize::MAX, 2e-3)];
/// Weight decay of the methods whose decay is constant.
pub(super) const WEIGHT_DECAY: f64 = 0.05;
/// Share of the area in crops of small data where the classes are known.
pub(super) const SUPERVISED_SCALE: (f64, f64) = (0.35, 1.0);
/// Learning rate for a batch of 256 where the classes are known (DeiT: 2.5e-4, for batches of 1024 and 300 epochs).
pub(super) const SUPERVISED_LR: f64 = 2e-3;
/// Evaluations in one run.
pub(super) const EVALUATIONS: usize = 10;
/// Fewest and most labelled images of an evaluation.
pub(super) const EVALUATED_IMAGES: (usize, usize) = (5000, 20_000);
/// Largest share of the time for evaluations.
pub(super) const EVALUATION_SHARE: f64 = 0.1;
/// Evaluations besides those: before the first step, and what the page of the run takes at the end.
pub(super) const FURTHER_EVALUATIONS: f64 = 1.25;
/// Seconds for the last checkpoint, the films and the page of the run.
pub(super) const FINISH_SECONDS: f64 = 6.0;
/// Share of a limited time that is trained, whatever else takes long.
pub(super) const TRAINING_SHARE: f64 = 0.2;
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
/// Memory for activations of one micro-batch as a share of the free memory.
pub(super) const ACTIVATION_SHARE: f64 = 0.5;
