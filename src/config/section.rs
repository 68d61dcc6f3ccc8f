//! The sections of the configuration. Field comments say what a value means; `key.rs` holds the text users see.

use std::time::Duration;

use clap::ValueEnum;
use dinoxide_views::pixel::RGB;
use jiff::SpanRelativeTo;
use serde::{Deserialize, Serialize};

use crate::nn::pos_embed::Resampling;
use crate::nn::vit::Ffn;

/// Batch size for which `optim.lr` is stated (DINO, `main_dino.py`: `lr * batch / 256`).
pub(super) const LR_REFERENCE_BATCH: f64 = 256.0;

/// Channel means of ImageNet.
const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
/// Channel standard deviations of ImageNet.
const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Where the images are and how they are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Folders, files, lists or globs.
    pub train: Vec<String>,
    /// Share of each entry of `train` in an epoch, in any unit; empty if every image counts the same.
    pub weights: Vec<f64>,
    /// Labelled folder for k-NN while training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val: Option<String>,
    /// Whether the orientation noted by the camera is applied.
    pub exif: ExifMode,
    /// Share of unreadable images above which the run stops.
    pub max_bad: f64,
    /// Values of a pixel: 3 are red, green and blue.
    pub channels: usize,
    /// What becomes 0 and 255 of values wider than 8 bits, of each channel or of all; empty for all that the type holds.
    pub range: Vec<[f32; 2]>,
    /// Channel means subtracted from pixels in 0..1.
    pub mean: Vec<f32>,
    /// Channel standard deviations pixels are divided by.
    pub std: Vec<f32>,
    /// Loader threads.
    pub workers: usize,
    /// Memory for decoded images, MiB.
    pub cache_mb: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            weights: Vec::new(),
            val: None,
            exif: ExifMode::Apply,
            max_bad: 0.01,
            channels: RGB,
            range: Vec::new(),
            mean: IMAGENET_MEAN.to_vec(),
            std: IMAGENET_STD.to_vec(),
            workers: 1,
            cache_mb: 1024,
        }
    }
}

/// What to do with the orientation noted in a photo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExifMode {
    /// Turn the picture upright.
    Apply,
    /// Leave it as stored, as torchvision does.
    Ignore,
}

/// The backbone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A ViT such as `vit_small`, a ResNet such as `resnet50`, or an XCiT such as `xcit_small_12_p16`.
    pub name: String,
    /// Side of a ViT's patch, pixels.
    pub patch_size: usize,
    /// Side of the square image whose patch grid has its own position embeddings in a ViT, pixels.
    pub image_size: usize,
    /// Width, where it differs from the named model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embed_dim: Option<usize>,
    /// Blocks, where they differ from the named model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
    /// Attention heads, where they differ from the named model's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_heads: Option<usize>,
    /// Hidden width of the MLP as a multiple of the width.
    pub mlp_ratio: f64,
    /// What LayerScale begins with in a ViT; 0 for a ViT without it.
    pub layer_scale: f64,
    /// Register tokens of a ViT.
    pub registers: usize,
    /// What is between the two layers of the second branch of a ViT's blocks.
    pub ffn: Ffn,
    /// Whether a ViT keeps the mask token of its weights; nothing trains it.
    pub mask_token: bool,
    /// How the positions of a ViT become those of another grid.
    pub resampling: Resampling,
    /// Stochastic depth of the student's last block; earlier blocks have proportionally less.
    pub drop_path: f64,
    /// Weights to start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Whether tensors of the backbone that the weights do not have, or have in another shape, stay at random values.
    pub init_partial: bool,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            name: "vit_small".to_owned(),
            patch_size: 16,
            image_size: 224,
            embed_dim: None,
            depth: None,
            num_heads: None,
            mlp_ratio: 4.0,
            layer_scale: 0.0,
            registers: 0,
            ffn: Ffn::Mlp,
            mask_token: false,
            resampling: Resampling::Offset,
            drop_path: 0.0,
            init: None,
            init_partial: false,
        }
    }
}

/// The projection head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadConfig {
    /// Prototypes (K).
    pub out_dim: usize,
    /// Width of the hidden layers.
    pub hidden_dim: usize,
    /// Width of the normalised layer before the prototypes.
    pub bottleneck_dim: usize,
    /// Layers of the MLP.
    pub layers: usize,
    /// Batch normalisation in the MLP.
    pub use_bn: bool,
    /// Keep the prototypes at unit length.
    pub norm_last_layer: bool,
}

impl Default for HeadConfig {
    fn default() -> Self {
        Self { out_dim: 65_536, hidden_dim: 2048, bottleneck_dim: 256, layers: 3, use_bn: false, norm_last_layer: true }
    }
}

/// Temperatures, teacher and centre (DINO, Caron et al. 2021, section 3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DinoConfig {
    /// Temperature of the student's softmax.
    pub student_temp: f64,
    /// Temperature of the teacher's softmax: first epoch, after the warm-up.
    pub teacher_temp: [f64; 2],
    /// Epochs over which the teacher's temperature moves from the first to the second value.
    pub teacher_temp_warmup_epochs: usize,
    /// Share of the teacher kept at each step: first, last.
    pub momentum: [f64; 2],
    /// Which weights the teacher has.
    pub teacher: TeacherWeights,
    /// What keeps the teacher from preferring a few prototypes.
    pub centering: Centering,
    /// Share of the centre kept at each step; only `centering` has one.
    pub center_momentum: f64,
    /// What is compared of student and teacher.
    pub loss: DinoObjective,
    /// Whether the student has a predictor after the bottleneck of its head, as BYOL's.
    pub predictor: bool,
    /// Steps during which the prototypes do not learn.
    pub freeze_last_layer_steps: usize,
}

impl Default for DinoConfig {
    fn default() -> Self {
        Self {
            student_temp: 0.1,
            teacher_temp: [0.04, 0.04],
            teacher_temp_warmup_epochs: 0,
            momentum: [0.996, 1.0],
            teacher: TeacherWeights::Momentum,
            centering: Centering::Centering,
            center_momentum: 0.9,
            loss: DinoObjective::CrossEntropy,
            predictor: false,
            freeze_last_layer_steps: 0,
        }
    }
}

/// What keeps the teacher from preferring a few prototypes. The names are DINOv2's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Centering {
    /// A running mean of the teacher's logits is subtracted (DINO, Caron et al. 2021, eq. 4).
    Centering,
    /// Every prototype gets the same share of each batch (Sinkhorn–Knopp, three iterations; table 15 there, DINOv2).
    SinkhornKnopp,
    /// A softmax over the batch, then every row by its sum: one iteration of that (table 15 there).
    SoftmaxBatch,
    /// Nothing (figure 7 there).
    None,
}

impl Centering {
    /// Whether the images of a batch are balanced with each other.
    pub fn looks_at_batch(self) -> bool {
        matches!(self, Self::SinkhornKnopp | Self::SoftmaxBatch)
    }
}

/// Which weights the teacher has (DINO, Caron et al. 2021, figure 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherWeights {
    /// The moving average of the student's.
    Momentum,
    /// The student's.
    Student,
    /// The student's of one step before.
    PreviousStep,
    /// The student's at the end of the epoch before.
    PreviousEpoch,
}

/// What is compared of student and teacher (DINO, Caron et al. 2021, tables 7 and 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DinoObjective {
    /// Probabilities, by their cross-entropy.
    CrossEntropy,
    /// Outputs at unit length, by their squared distance as in BYOL; the teacher's are centred before.
    Mse,
}

/// Optimizer and its schedules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimConfig {
    /// Which optimizer.
    pub name: OptimizerName,
    /// Learning rate for a batch of 256.
    pub lr: f64,
    /// Learning rate the cosine ends at; not scaled by the batch.
    pub min_lr: f64,
    /// Weight decay: first step, last step.
    pub weight_decay: [f64; 2],
    /// Largest gradient norm; 0 switches clipping off.
    pub clip: f64,
    /// Whose norm is clipped.
    pub clip_mode: ClipMode,
    /// Epochs of linear warm-up; may be a fraction.
    pub warmup_epochs: f64,
    /// What the learning rate of each block is multiplied by, from the last one down to the patch embedding; 1 for none.
    pub layer_decay: f64,
    /// Steps during which only the head learns.
    pub freeze_backbone_steps: usize,
}

impl Default for OptimConfig {
    fn default() -> Self {
        Self {
            name: OptimizerName::Adamw,
            lr: 5e-4,
            min_lr: 1e-6,
            weight_decay: [0.04, 0.4],
            clip: 3.0,
            clip_mode: ClipMode::Tensor,
            warmup_epochs: 0.0,
            layer_decay: 1.0,
            freeze_backbone_steps: 0,
        }
    }
}

/// The optimizers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent with momentum 0.9.
    Sgd,
    /// Layer-wise adaptive rate scaling.
    Lars,
}

/// Whose norm is clipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClipMode {
    /// Each parameter tensor's, as in the reference program.
    Tensor,
    /// The whole gradient's.
    Global,
}

/// What matrix products multiply. Sums, statistics, parameters and gradients are f32 always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// bf16, where the processor has instructions for it; else f32.
    Bf16,
    /// The fastest the processor has instructions for: bf16 or f32.
    Auto,
}

/// Length, batch, seed, checkpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Passes over the images.
    pub epochs: usize,
    /// Optimizer steps of the whole run, where the last epoch is cut short.
    pub steps: Option<usize>,
    /// Time the run may take, such as `8h` or `1h30m`: the schedule is paced to come to its end by then.
    pub time: Option<String>,
    /// Images per optimizer step.
    pub batch: usize,
    /// Images per forward pass; gradients are accumulated up to `batch`.
    pub micro_batch: usize,
    /// What matrix products multiply.
    pub precision: Precision,
    /// Whether activations within a block are computed again for the gradient instead of being kept.
    pub recompute: bool,
    /// Seed of every random draw.
    pub seed: u64,
    /// Compute threads.
    pub threads: usize,
    /// Steps between two checkpoints.
    pub checkpoint_every_steps: usize,
    /// Epochs between two checkpoints that are kept for good; 0 keeps none.
    pub keep_every_epochs: usize,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            epochs: 100,
            steps: None,
            time: None,
            batch: 64,
            micro_batch: 64,
            precision: Precision::F32,
            recompute: false,
            seed: 0,
            threads: 1,
            checkpoint_every_steps: 1000,
            keep_every_epochs: 0,
        }
    }
}

impl RunConfig {
    /// Optimizer steps of the whole run, for epochs of `steps_per_epoch` steps.
    pub fn total_steps(&self, steps_per_epoch: usize) -> usize {
        let all = self.epochs * steps_per_epoch;
        self.steps.map_or(all, |steps| steps.min(all))
    }

    /// The time the run may take; `None` if it is not limited, or not said in a way that is understood.
    pub fn time_limit(&self) -> Option<Duration> {
        let span: jiff::Span = self.time.as_ref()?.parse().ok()?;
        let length = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(length).ok()
    }
}

/// Evaluation while training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvalConfig {
    /// Epochs between two evaluations.
    pub every_epochs: usize,
    /// Neighbours that vote.
    pub knn_k: usize,
    /// Labelled images that vote or are classified, at most; evenly spread where there are more.
    pub most_images: usize,
    /// Whether attention, components and neighbours are drawn at each evaluation.
    pub pictures: bool,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { every_epochs: 10, knn_k: 20, most_images: 20_000, pictures: true }
    }
}

/// What is written down, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Steps between two rows of `metrics.jsonl`.
    pub every_steps: usize,
    /// Whether TensorBoard's event files are written.
    pub tensorboard: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { every_steps: 10, tensorboard: true }
    }
}
