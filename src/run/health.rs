//! The health of a run: what its figures say is going wrong, and what to do about it.
//!
//! The figures are those of the paper's collapse study (section 5.3, figure 7): the teacher's entropy h(P_t), KL(P_t‖P_s),
//! which with it makes up the loss, and the entropy of the batch's mean target.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::probe::IMAGES as PROBE_IMAGES;
use crate::config::Config;
use crate::schedule::warmup_steps;

/// Share of ln K from which on the teacher's entropy means that it tells nothing apart.
const UNIFORM: f64 = 0.99;
/// Distance of the loss from ln K, as a share of it, at which it sits there.
const AT_LN_K: f64 = 0.005;
/// Share of the largest possible entropy of a batch's mean target below which few prototypes are in use.
const FEW_PROTOTYPES: f64 = 0.1;
/// Divergence below which the student has nothing left to learn, nats.
const NOTHING_LEFT: f64 = 1e-3;
/// Gradient norm below which nothing moves.
const NO_GRADIENT: f64 = 1e-6;
/// Share of ln K by which the teacher's entropy has to go up and down again, and how many turns are too many: a healthy run falls from
/// ln K and may rise once, when the teacher's temperature does.
const SWING: f64 = 0.25;
const TURNS: usize = 3;
/// Weight of a step in the running mean that is watched for swings.
const SMOOTHING: f64 = 0.2;
/// Standard deviation of the features, as a share of what even spreading gives, below which all images look the same.
const ALIKE: f64 = 1e-3;
/// Share of the dimensions below which the features use few directions, if the rank has fallen to this share of its best.
const FEW_DIRECTIONS: f64 = 0.1;
/// The same where the rank alone tells, which falls in the first epochs of healthy runs too.
const FEW_DIRECTIONS_ALONE: f64 = 0.03;
const RANK_LOST: f64 = 0.5;
/// Divergence, as a share of ln K, below which the student has little left to learn. A healthy run's rank falls at its beginning too,
/// but not with so small a divergence.
const LITTLE_LEFT: f64 = 0.02;
/// Share of k-NN accuracy that a run which started from weights may lose, and, without labels, of the rank, which also falls where a
/// network only comes to care for other things.
const FORGOTTEN: f64 = 0.2;
const RANK_FORGOTTEN: f64 = 0.6;
/// Steps for which a sign has to last, or this share of a short run.
const PATIENCE: (usize, f64) = (200, 0.2);

/// What is going wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// The teacher gives every prototype the same share.
    UniformCollapse,
    /// All images share a few prototypes.
    OnePrototypeCollapse,
    /// The student says what the teacher says, though the teacher says something.
    NothingLeft,
    /// No gradient.
    NotLearning,
    /// The teacher jumps between telling nothing apart and preferring few prototypes.
    Unstable,
    /// All images have the same features.
    ImagesAlike,
    /// The features use few directions, and ever fewer.
    DimensionalCollapse,
    /// The features are worse than those of the weights that the run started from.
    Forgetting,
}

impl Finding {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::UniformCollapse => "uniform collapse",
            Self::OnePrototypeCollapse => "one-prototype collapse",
            Self::NothingLeft => "nothing left to learn",
            Self::NotLearning => "not learning",
            Self::Unstable => "unstable",
            Self::ImagesAlike => "images alike",
            Self::DimensionalCollapse => "dimensional collapse",
            Self::Forgetting => "forgetting",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::UniformCollapse => {
                "lower `dino.teacher_temp` (0.02 to 0.04; of SwAV `method.epsilon`), warm it up longer, freeze the prototypes \
                 longer, or lower `optim.lr`"
            }
            Self::OnePrototypeCollapse => {
                "DINO: set `dino.centering` to sinkhorn_knopp, or lower `dino.center_momentum`, or raise \
                 `dino.teacher_temp`; SwAV: raise `method.epsilon`, or keep a `method.queue`"
            }
            Self::NothingLeft => {
                "use more or stronger crops (`views.local.count`, `views.color_jitter`), or a larger batch"
            }
            Self::NotLearning => {
                "look whether the images differ (`dinoxide check`), and whether `--init` weights or a very low \
                 temperature (`dino.student_temp`, `method.temperature`) leave the softmax without a slope"
            }
            Self::Unstable => {
                "lower `optim.lr` or warm it up longer (`optim.warmup_epochs`); DINO: raise `dino.momentum` (0.996 to \
                 0.9995), or set `dino.centering` to sinkhorn_knopp"
            }
            Self::ImagesAlike => "look whether the images differ (`dinoxide check`); if they do, lower `optim.lr`",
            Self::DimensionalCollapse => "use a larger batch, a weaker `optim.weight_decay`, or a lower `optim.lr`",
            Self::Forgetting => {
                "lower `optim.lr` (a tenth) or `optim.layer_decay`, raise the average's momentum, let the head learn alone for longer \
                 (`optim.freeze_backbone_steps`); the checkpoint `best` holds the best network"
            }
        }
    }

    /// Whether going on is a waste of time.
    pub fn is_collapse(self) -> bool {
        matches!(self, Self::UniformCollapse | Self::OnePrototypeCollapse | Self::DimensionalCollapse)
    }

    /// Whether a run stops for it by itself.
    pub fn ends_the_run(self) -> bool {
        self == Self::Forgetting
    }
}

/// The figures of a step, or their means over several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pulse {
    /// Loss, of DINO and SwAV in nats; of several terms the one that compares the targets.
    pub loss: f64,
    /// Figures of the targets, where these are probabilities.
    pub targets: Option<Targets>,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
}

/// Figures of targets that are probabilities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Targets {
    /// Mean entropy of the targets, h(P_t), nats.
    pub entropy: f64,
    /// Entropy of the batch's mean target, nats.
    pub batch_entropy: f64,
}

impl Pulse {
    /// KL(P_t‖P_s), nats.
    pub fn kl(&self) -> Option<f64> {
        self.targets.map(|targets| self.loss - targets.entropy)
    }
}

/// What the largest values of the figures are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// ln K: targets that tell nothing apart.
    ln_k: f64,
    /// Entropy of a batch in which every target is another prototype, at most ln K.
    widest: f64,
}

impl Scale {
    /// The scale of a configuration.
    pub fn of(config: &Config) -> Self {
        let ln_k = config.prototypes().map_or(f64::INFINITY, |prototypes| (prototypes as f64).ln());
        let targets = config.run.batch * config.views.global.count as usize;
        Self { ln_k, widest: ln_k.min((targets as f64).ln()) }
    }

    /// The signs that a step shows.
    pub fn signs(&self, pulse: &Pulse) -> Vec<Finding> {
        let at_ln_k = (pulse.loss - self.ln_k).abs() < AT_LN_K * self.ln_k;
        let uniform = pulse.targets.is_some_and(|targets| targets.entropy > UNIFORM * self.ln_k) && at_ln_k;
        let few = pulse.targets.is_some_and(|targets| targets.batch_entropy < FEW_PROTOTYPES * self.widest);
        let nothing = pulse.kl().is_some_and(|kl| kl.abs() < NOTHING_LEFT) && !uniform && !few;
        let still = pulse.grad_norm < NO_GRADIENT;
        let signs = [
            (Finding::UniformCollapse, uniform),
            (Finding::OnePrototypeCollapse, few),
            (Finding::NothingLeft, nothing),
            (Finding::NotLearning, still),
        ];
        signs.into_iter().filter(|(_, shown)| *shown).map(|(finding, _)| finding).collect()
    }

    /// A finding with the figures that show it and its remedy.
    pub fn words(&self, finding: Finding, pulse: &Pulse) -> String {
        let Targets { entropy, batch_entropy } =
            pulse.targets.unwrap_or(Targets { entropy: f64::NAN, batch_entropy: f64::NAN });
        let figures = match finding {
            Finding::UniformCollapse => {
                format!("entropy {entropy:.2} and loss {:.2} of ln K = {:.2}", pulse.loss, self.ln_k)
            }
            Finding::OnePrototypeCollapse => {
                format!("entropy of the mean target {batch_entropy:.2} of {:.2}", self.widest)
            }
            Finding::NothingLeft => format!("KL {:.4}", pulse.loss - entropy),
            Finding::Unstable => {
                format!("the teacher's entropy has turned {TURNS} times by a quarter of ln K = {:.2}", self.ln_k)
            }
            // Those of the features are seen at evaluations.
            _ => format!("gradient norm {:.1e}", pulse.grad_norm),
        };
        words(finding, &figures)
    }
}

fn words(finding: Finding, figures: &str) -> String {
    format!("{} ({figures}): {}", finding.name(), finding.remedy())
}

/// Follows a curve up and down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Swing {
    /// Running mean of the values: what jumps from batch to batch is no swing.
    mean: Option<f64>,
    /// Lowest and highest value since the last turn.
    range: Option<(f64, f64)>,
    /// Where it goes.
    heading: Heading,
    /// How often it has turned.
    turns: usize,
}

/// Where a curve goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Heading {
    /// Nowhere yet.
    #[default]
    Level,
    Up,
    Down,
}

impl Swing {
    /// Takes the next value; a turn is a way back of at least `amplitude`.
    fn follow(&mut self, value: f64, amplitude: f64) {
        let value = self.mean.map_or(value, |mean| mean + SMOOTHING * (value - mean));
        self.mean = Some(value);
        let (low, high) = self.range.unwrap_or((value, value));
        let (low, high) = (low.min(value), high.max(value));
        let turned = match self.heading {
            Heading::Up => high - value > amplitude,
            Heading::Down => value - low > amplitude,
            Heading::Level => false,
        };
        self.range = Some(if turned { (value, value) } else { (low, high) });
        self.turns += usize::from(turned);
        self.heading = match self.heading {
            Heading::Up if turned => Heading::Down,
            Heading::Down if turned => Heading::Up,
            Heading::Level if value - low > amplitude => Heading::Up,
            Heading::Level if high - value > amplitude => Heading::Down,
            heading => heading,
        };
    }
}

/// What a monitor remembers, also over an interruption.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Step since which each sign has been there.
    since: BTreeMap<Finding, usize>,
    /// What has been told.
    told: BTreeSet<Finding>,
    /// The way of the teacher's entropy, as shares of ln K.
    #[serde(default)]
    entropy: Swing,
    /// KL(P_t‖P_s) of the last step, nats.
    #[serde(default)]
    kl: Option<f64>,
    /// Figures of the features before the first step and at their best; a process that continues the run looks at them anew.
    #[serde(skip)]
    features: Option<[Sighting; 2]>,
}

/// Figures of the features at an evaluation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sighting {
    /// RankMe of the teacher's features.
    pub rank: Option<f64>,
    /// Mean standard deviation of the teacher's features at unit length.
    pub feature_std: Option<f64>,
    /// k-NN top-1 of the teacher, percent.
    pub knn_top1: Option<f64>,
}

impl Sighting {
    /// The better of each figure.
    fn best(self, other: Self) -> Self {
        let better = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
        Self {
            rank: better(self.rank, other.rank),
            feature_std: better(self.feature_std, other.feature_std),
            knn_top1: better(self.knn_top1, other.knn_top1),
        }
    }
}

/// Watches the figures of a run.
#[derive(Debug, Clone)]
pub struct Monitor {
    scale: Scale,
    patience: usize,
    /// Step from which on signs count: the learning rate has to have risen, if the run is long enough for that.
    from: usize,
    memory: Memory,
    /// Dimensions of the features.
    dim: usize,
    /// Whether the run started from weights.
    continues_weights: bool,
}

impl Monitor {
    /// A monitor of a run that has told nothing yet.
    pub fn new(config: &Config, steps_per_epoch: usize) -> Self {
        let (steps, share) = PATIENCE;
        let total = config.run.total_steps(steps_per_epoch);
        let patience = steps.min((share * total as f64) as usize).max(1);
        let warmup = warmup_steps(config.optim.warmup_epochs, steps_per_epoch);
        let from = warmup.min(total.saturating_sub(2 * patience));
        // Features of so many images span no more directions.
        let dim = config.model.dim().clamp(1, PROBE_IMAGES);
        let (memory, continues_weights) = (Memory::default(), config.model.init.is_some());
        Self { scale: Scale::of(config), patience, from, memory, dim, continues_weights }
    }

    /// What has been told so far.
    pub fn told(&self) -> &BTreeSet<Finding> {
        &self.memory.told
    }

    /// What it remembers.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Goes on where an earlier process stopped.
    pub fn continue_from(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// Looks at a step; returns what has now lasted long enough, with its words.
    pub fn look(&mut self, step: usize, pulse: &Pulse) -> Vec<(Finding, String)> {
        self.memory.kl = pulse.kl();
        let signs = if step < self.from { Vec::new() } else { self.scale.signs(pulse) };
        let Memory { since, told, entropy, .. } = &mut self.memory;
        since.retain(|finding, _| signs.contains(finding));
        let mut found = Vec::new();
        for finding in signs {
            let since = *since.entry(finding).or_insert(step);
            if step - since >= self.patience {
                found.push(finding);
            }
        }
        if let Some(targets) = pulse.targets {
            entropy.follow(targets.entropy / self.scale.ln_k, SWING);
        }
        if entropy.turns >= TURNS {
            found.push(Finding::Unstable);
        }
        found.retain(|finding| told.insert(*finding));
        found.into_iter().map(|finding| (finding, self.scale.words(finding, pulse))).collect()
    }

    /// Looks at the features after `step` steps; returns what is wrong with them, with its words.
    pub fn look_at_features(&mut self, step: usize, now: Sighting) -> Vec<(Finding, String)> {
        let [first, best] = self.memory.features.unwrap_or([now; 2]);
        let best = best.best(now);
        self.memory.features = Some([first, best]);
        let mut found = Vec::new();
        if let Some(std) = now.feature_std.filter(|std| *std < ALIKE / (self.dim as f64).sqrt()) {
            found.push((Finding::ImagesAlike, format!("standard deviation of the features {std:.1e}")));
        }
        // Where targets are no probabilities the rank alone has to tell, and k-NN if there are labels.
        let probabilities = self.scale.ln_k.is_finite();
        let better = now.knn_top1.zip(first.knn_top1).is_some_and(|(now, first)| now > first);
        let learns = match probabilities {
            true => self.memory.kl.is_none_or(|kl| kl > LITTLE_LEFT * self.scale.ln_k),
            false => better,
        };
        let few = if probabilities { FEW_DIRECTIONS } else { FEW_DIRECTIONS_ALONE };
        if let (Some(rank), Some(best), false) = (now.rank, best.rank, learns)
            && rank < few * self.dim as f64
            && rank < RANK_LOST * best
        {
            let kl = self.memory.kl.map_or(String::new(), |kl| format!(", KL {kl:.3}"));
            let figures = format!("rank {rank:.1} of {} dimensions, {best:.1} at its best{kl}", self.dim);
            found.push((Finding::DimensionalCollapse, figures));
        }
        let falls = |now: Option<f64>, first: Option<f64>, share: f64| {
            now.zip(first).filter(|(now, first)| *now < (1.0 - share) * first && step > 0)
        };
        let knn = falls(now.knn_top1, first.knn_top1, FORGOTTEN)
            .map(|(now, first)| format!("k-NN {now:.1} %, {first:.1} % at the start"));
        // Without labels the rank has to do; with them it may fall while k-NN rises.
        let rank = falls(now.rank, first.rank, RANK_FORGOTTEN).filter(|_| now.knn_top1.is_none());
        let rank = rank.map(|(now, first)| format!("rank {now:.1}, {first:.1} at the start"));
        let figures = knn.or(rank).filter(|_| self.continues_weights);
        found.extend(figures.map(|figures| (Finding::Forgetting, figures)));
        found.retain(|(finding, _)| self.memory.told.insert(*finding));
        found.into_iter().map(|(finding, figures)| (finding, words(finding, &figures))).collect()
    }
}
